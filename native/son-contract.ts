/**
 * What a role's module must offer to be run in a son: `startSon`, found by the URL in the start
 * message, so that native/ need not import what stands above it.
 */
import type { Logger } from 'pino';
import type { Counters } from './messages.ts';

export interface SonContext {
  readonly listenFd: number;
  readonly sessionTableFd: number | null;
  readonly slot: number;
  readonly logger: Logger;
}

export interface RunningSon {
  /** Stop accepting. `final` also empties and shuts the listening socket; otherwise a successor has it. */
  drain(final: boolean): void;
  /** Drop every connection and stop. Idempotent. */
  close(): void;
  counters(): Counters;
  /** Resolves when the last connection of a draining son has closed. */
  readonly drained: Promise<void>;
}

/** Throws (an OperatorError if it is the operator's to mend) when it cannot serve. */
export type StartSon = (payload: never, context: SonContext) => RunningSon;
