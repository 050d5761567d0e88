import type { Logger } from 'pino';
import { RESERVED_FILES } from '../config/defaults.ts';
import type { ReactorLimits } from './index.ts';

/** A connection has two sockets, the client's and the one behind it. */
const FILES_PER_CONNECTION = 2;
/** A pipe has two ends. */
const FILES_PER_PIPE = 2;

/** No more connections than the process may open files for; says so when that is fewer than asked. */
export function fitToFileLimit(
  limits: ReactorLimits,
  maxPipes: number,
  fileLimit: number,
  logger: Pick<Logger, 'warn'>,
): ReactorLimits {
  const files = fileLimit - RESERVED_FILES - maxPipes * FILES_PER_PIPE;
  const room = Math.max(1, Math.floor(files / FILES_PER_CONNECTION));
  if (limits.maxConnections <= room) return limits;
  logger.warn(
    { maxConnections: room, wanted: limits.maxConnections, fileLimit, fix: 'ulimit -n' },
    'fewer connections than wanted: file limit',
  );
  return { ...limits, maxConnections: room };
}
