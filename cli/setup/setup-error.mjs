/** Setup cannot go on. The message says what is wrong and what to do; `code` is stable. */
export class SetupError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = 'SetupError';
    this.code = code;
  }
}
