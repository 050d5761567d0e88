/**
 * What father and sons say to each other over Node's IPC channel. Secrets (private keys, routing
 * keys) travel here and nowhere else: argv and environment are readable by others.
 *
 *   father ──start──▶ son        once, first
 *          ◀──ready │ failed──   serving, or why it cannot
 *          ◀──leaving──          somebody sent the son SIGTERM: please start a successor
 *          ──drain──▶            stop accepting, finish what is there
 *          ──close──▶            stop now
 *          ──stats──▶ ◀──stats── with the number of the question
 *          ◀──drained──          last words, with the final counters
 */
export type Role = 'balancer' | 'terminator';

/** Where the father's descriptors are in a son; 3 is the IPC channel. */
export const SON_LISTEN_FD = 4;
export const SON_SESSION_TABLE_FD = 5;

export interface StartMessage {
  readonly type: 'start';
  readonly role: Role;
  readonly slot: number;
  /** URL of the module whose `startSon` knows this role. */
  readonly module: string;
  readonly listenFd: number;
  readonly sessionTableFd: number | null;
  readonly logLevel: string;
  /** The son closes what is left after draining for so long. */
  readonly drainTimeoutMs: number;
  /** What `startSon` gets; structured clone, so typed arrays arrive as such. */
  readonly payload: unknown;
}

export type FatherMessage =
  | StartMessage
  | { readonly type: 'drain'; readonly final: boolean }
  | { readonly type: 'close' }
  | { readonly type: 'stats'; readonly question: number };

export type SonMessage =
  | { readonly type: 'ready' }
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  | { readonly type: 'leaving' }
  | { readonly type: 'stats'; readonly question: number; readonly counters: Counters }
  | { readonly type: 'drained'; readonly counters: Counters };

export type Counters = Readonly<Record<string, number>>;
