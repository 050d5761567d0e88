/** JSON lines on stdout, on terminals too: what is tried by hand is what a collector will get. */
import { Option } from 'commander';
import { pino } from 'pino';
import type { Logger } from 'pino';
import type { Role } from '../native/messages.ts';

export function openLogger(role: Role, level: string): Logger {
  // Synchronous: the last line before the end is the one that matters.
  return pino({ level, base: { pid: process.pid, role } }, pino.destination({ fd: 1, sync: true }));
}

export function logLevelOption(): Option {
  return new Option('--log-level <level>', 'least important lines to log')
    .choices(['debug', 'info', 'warn', 'error'])
    .default('info');
}
