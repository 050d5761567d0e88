import type { Logger } from 'pino';
import { DEFAULT_LIMITS, RESERVED_FILES } from '../config/defaults.ts';
import type { ReactorLimits } from './index.ts';

/** A connection has two sockets, the client's and the one behind it. */
const FILES_PER_CONNECTION = 2;
/** A pipe has two ends. */
const FILES_PER_PIPE = 2;

/**
 * No more connections than the process may open files for. It is worth a warning only when somebody
 * asked for more: the default is a ceiling, not a wish.
 */
export function fitToFileLimit(
  limits: ReactorLimits,
  maxPipes: number,
  fileLimit: number,
  logger: Pick<Logger, 'warn' | 'debug'>,
): ReactorLimits {
  const files = fileLimit - RESERVED_FILES - maxPipes * FILES_PER_PIPE;
  const room = Math.max(1, Math.floor(files / FILES_PER_CONNECTION));
  if (limits.maxConnections <= room) return limits;
  const level = limits.maxConnections === DEFAULT_LIMITS.maxConnections ? 'debug' : 'warn';
  logger[level](
    { maxConnections: room, wanted: limits.maxConnections, fileLimit, fix: 'ulimit -n' },
    'fewer connections than wanted: file limit',
  );
  return { ...limits, maxConnections: room };
}

/** Pipes are a luxury (without one a flow is copied): at most a quarter of the descriptors. */
export function fitPipes(maxPipes: number, fileLimit: number): number {
  const files = Math.max(0, fileLimit - RESERVED_FILES);
  return Math.min(maxPipes, Math.floor(files / (4 * FILES_PER_PIPE)));
}
