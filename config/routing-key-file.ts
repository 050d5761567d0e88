/** The routing secret as an operator gives it: a file, private to its user. */
import { readSecretFile } from './operator-file.ts';
import { OperatorError } from './operator-error.ts';
import { parseRoutingSecret } from './routing-key.ts';
import type { RoutingSecret } from './routing-key.ts';

export function readRoutingKeyFile(path: string, flag = '--routing-key-file'): RoutingSecret {
  const what = `${flag} ${path}`;
  const text = readSecretFile(what, path);
  try {
    return parseRoutingSecret(text);
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    throw new OperatorError(error.code, `${what}: ${error.message}`, { cause: error });
  }
}
