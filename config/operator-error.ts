/**
 * What the operator did, as opposed to what the network did (a value) or what we did (an assertion):
 * one sentence that says what is wrong and contains the fix. `code` is stable, for scripts and tests;
 * the sentence may be reworded. Nothing has been started when one of these is thrown.
 */
export class OperatorError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'OperatorError';
    this.code = code;
  }
}

/** Exit status of every command that ends in an OperatorError or in flags it does not know. */
export const OPERATOR_EXIT_STATUS = 2;
