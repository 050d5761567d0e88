/**
 * Files that an operator names: read with errors that name the flag, and, for secrets, refused when
 * others could read them.
 */
import {
  chmodSync,
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { OperatorError } from './operator-error.ts';

/** `what` is how messages call it, for example `--cert rsa.crt`. */
export function readOperatorFile(what: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError(what, error);
  }
}

/** Like `readOperatorFile`; group and others must have no permission at all. */
export function readSecretFile(what: string, path: string): string {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw fileError(what, error);
  }
  try {
    const { mode } = fstatSync(fd);
    if ((mode & 0o077) !== 0) {
      throw new OperatorError(
        'secret-file-mode',
        `${what} can be read by others (mode ${(mode & 0o777).toString(8).padStart(4, '0')}): ` +
          `run \`chmod 600 ${path}\`, and replace the secret if anybody may have read it.`,
      );
    }
    return readFileSync(fd, 'utf8');
  } catch (error) {
    throw error instanceof OperatorError ? error : fileError(what, error);
  } finally {
    closeSync(fd);
  }
}

/** A new file of mode 0600 (or `mode`); refuses to overwrite unless `force`. */
export function writeOperatorFile(
  what: string,
  path: string,
  text: string,
  options: { readonly mode?: number; readonly force?: boolean } = {},
): void {
  const mode = options.mode ?? 0o600;
  if (options.force === true) return replaceOperatorFile(what, path, text, mode);
  try {
    writeFileSync(path, text, { mode, flag: 'wx' });
    // The umask may have taken more than we wanted, never less.
    chmodSync(path, mode);
  } catch (error) {
    throw fileError(what, error);
  }
}

/** Written beside it, flushed, renamed: readers see the old file or the new one, whole. */
export function replaceOperatorFile(what: string, path: string, text: string, mode = 0o600): void {
  const beside = `${path}.${process.pid}.new`;
  try {
    const fd = openSync(beside, 'wx', mode);
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    chmodSync(beside, mode);
    renameSync(beside, path);
  } catch (error) {
    try {
      unlinkSync(beside);
    } catch {
      // It was never made, or is already renamed.
    }
    throw fileError(what, error);
  }
}

/** The folder, made if it is missing; what is there keeps its mode. */
export function makeOperatorFolder(flag: string, folder: string, mode = 0o755): void {
  try {
    mkdirSync(folder, { recursive: true, mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      code === 'EEXIST' || code === 'ENOTDIR' ? 'is not a folder' : `cannot be made (${code})`;
    throw new OperatorError(
      'folder-unusable',
      `${flag} ${folder} ${why}: choose a folder that this user may write to.`,
      { cause: error },
    );
  }
}

function fileError(what: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  const say = (stable: string, sentence: string): OperatorError =>
    new OperatorError(stable, sentence, { cause: error });
  switch (code) {
    case 'ENOENT':
      return say('file-missing', `${what} does not exist: check the path and its folder.`);
    case 'EACCES':
    case 'EPERM':
      return say('file-forbidden', `${what} is not accessible: give this user permission for it.`);
    case 'EISDIR':
      return say('file-is-folder', `${what} is a folder: name the file in it.`);
    case 'ENOTDIR':
      return say('file-missing', `${what} is not in a folder: a part of its path is a file.`);
    case 'EEXIST':
      return say(
        'file-exists',
        `${what} exists: choose another path, or say --force to replace it.`,
      );
    case 'ENOSPC':
    case 'EROFS':
      return say('file-unwritable', `${what} cannot be written (${code}): choose another disk.`);
    default:
      return error;
  }
}
