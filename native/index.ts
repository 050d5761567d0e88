/**
 * The addon's only door. Everything TypeScript may ask of the native data plane is typed here; the
 * table at the bottom (`Addon`) is the whole export table. C++ copies what it is given before it
 * returns, so callers keep ownership of every buffer they pass, unless a comment says "shared".
 *
 * Units are last in names. Addresses are literal IPs (no names: resolve first) or `unix:/path`.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

/** Where a socket listens or connects: a literal IP with a port, or a unix socket path. */
export type SocketAddress =
  | { readonly host: string; readonly port: number }
  | { readonly path: string };

export interface ReactorLimits {
  /** Connections at once; accepting pauses at this number and resumes when one closes. */
  readonly maxConnections: number;
  /** Hellos not yet whole; beyond it the oldest is closed and counted. Balancer only. */
  readonly maxUndecidedHellos: number;
}

/** All in milliseconds; 0 is never "off". */
export interface Timeouts {
  readonly helloTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly firstByteTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly lingerTimeoutMs: number;
  readonly tcpUserTimeoutMs: number;
  readonly keepAliveIdleS: number;
}

export interface BalancerOptions {
  readonly listenFd: number;
  readonly terminators: readonly SocketAddress[];
  readonly limits: ReactorLimits;
  readonly timeouts: Timeouts;
  /** Pipes kept for splice; 0 = always copy. */
  readonly maxPipes: number;
  /** Shared: C++ writes the hello's raw bytes (records included) here before `route`. 65,536 bytes. */
  readonly hello: Uint8Array;
  /** Shared: `route` writes the candidates, best first, and returns how many. */
  readonly candidates: Uint16Array;
  /** Shared: C++ keeps the number of live connections per terminator here. */
  readonly live: Int32Array;
  /** Shared: see `BALANCER_COUNTERS`. */
  readonly counters: Float64Array;
  /**
   * The one call a connection makes into TypeScript. `source` is the client's address as text.
   * Returns how many entries of `candidates` it filled, or a negative refusal: -1 not TLS.
   */
  route(length: number, source: string): number;
  /**
   * Called at most once per loop iteration. Triples: kind (EVENT_*), terminator, detail (errno or ms);
   * `length` counts Int32s (three per event). The array is reused by the next call.
   */
  events(batch: Int32Array, length: number): void;
}

/** Kinds in the `events` batches. */
export const EVENT_ANSWERED = 1; // first byte of a terminator; detail = ms since the hello was sent
export const EVENT_REFUSED = 2; // connect failed, or closed before its first byte; detail = errno (0 = EOF)
export const EVENT_SILENT = 3; // connect or first byte timed out
export const EVENT_EXHAUSTED = 4; // our own shortage (EMFILE, EADDRNOTAVAIL): not the terminator's fault
export const EVENT_ACCEPT_PAUSED = 5; // detail = errno, or 0 for maxConnections
export const EVENT_ACCEPT_RESUMED = 6;
export const EVENT_DRAINED = 7; // the last connection of a draining reactor closed
export const EVENT_UPSTREAM_FAILED = 8; // terminator: the origin refused; detail = errno

export interface CertificatePair {
  /** PEM chain, leaf first. */
  readonly cert: string;
  /** PEM private key. */
  readonly key: string;
}

export interface TlsOptions {
  readonly certificates: readonly CertificatePair[];
  readonly minVersion: '1.2' | '1.3';
  readonly ciphers: string;
  readonly ciphersuites: string;
  readonly groups: string;
  readonly securityLevel: number;
  readonly alpn: readonly string[];
  /** Policy fingerprint: session-id context and part of every lookup. 32 bytes. */
  readonly fingerprint: Uint8Array;
  readonly sessionMaxAgeS: number;
}

/** How private-key operations run: `inline` computes at once, `test` completes after N polls. */
export interface DeviceOptions {
  readonly kind: 'inline' | 'test';
  /** `test`: an operation completes after this many polls (spread pseudo-randomly over 1..polls). */
  readonly polls: number;
  /** `test`: ring depth; a submit beyond it is answered "retry". */
  readonly depth: number;
  /** `test`: false = a submitted operation cannot be cancelled: its connection becomes a zombie. */
  readonly cancellable: boolean;
}

/** One epoch's keys of the routable IDs, as `config/routing-key.ts` derives them. */
export interface RoutableIdKey {
  readonly epoch: number;
  readonly nodeId: number;
  readonly k1: Uint8Array;
  readonly k2: Uint8Array;
}

export interface TerminatorOptions {
  readonly listenFd: number;
  readonly upstream: SocketAddress;
  readonly limits: ReactorLimits;
  readonly timeouts: Timeouts;
  readonly tls: TlsOptions;
  readonly device: DeviceOptions;
  /** Fibers at once; beyond it handshakes wait their turn. */
  readonly maxFibers: number;
  /** File descriptor of the session table's memfd. */
  readonly sessionTableFd: number;
  /** What new IDs are sealed with; null = random IDs. */
  readonly routableId: RoutableIdKey | null;
  /** Shared: see `TERMINATOR_COUNTERS`. */
  readonly counters: Float64Array;
  events(batch: Int32Array, length: number): void;
}

/** A running data plane. Numbers, not pointers, cross the border: `id` is looked up in C++. */
export interface DataPlane {
  /**
   * Stop accepting and report EVENT_DRAINED when the last connection has closed. `final` empties the
   * accept queue and shuts the listening socket itself (nobody else will accept from it); otherwise
   * the socket stays open for a successor that shares it.
   */
  drain(final: boolean): void;
  /** Close everything now (connections included) and release it. Idempotent. */
  close(): void;
}

export interface SessionRecord {
  readonly der: Uint8Array;
  /** Absolute deadline, Unix seconds. */
  readonly expiresAtS: number;
  /** When the chain's full handshake was, Unix seconds. */
  readonly fullHandshakeAtS: number;
  /** Resumptions of the chain so far. */
  readonly uses: number;
  readonly originNode: number;
}

export interface SessionTableStats {
  readonly slots: number;
  readonly used: number;
  readonly protected: number;
  readonly hits: number;
  readonly misses: number;
  readonly expired: number;
  readonly mismatched: number;
  readonly inserted: number;
  readonly evicted: number;
  readonly repaired: number;
  readonly contended: number;
  readonly torn: number;
  readonly tooLarge: number;
}

/** Why the table has nothing; cache/store.ts says what each means. */
export type TableMiss = 'not-found' | 'expired' | 'policy-mismatch' | 'contended' | 'torn';

/** The node's shared-memory session table, mapped in this process. */
export interface NativeSessionTable {
  put(
    id: Uint8Array,
    fingerprint: Uint8Array,
    record: SessionRecord,
    nowS: number,
    replaces: Uint8Array | null,
  ): boolean;
  get(id: Uint8Array, fingerprint: Uint8Array, nowS: number): SessionRecord | null;
  /** The same, with the reason of a miss (cache/store.ts names them). */
  lookup(id: Uint8Array, fingerprint: Uint8Array, nowS: number): SessionRecord | TableMiss;
  delete(id: Uint8Array): boolean;
  stats(): SessionTableStats;
}

/** What `startLoad` is asked: bench/load.ts explains each field; bench/run-load.ts fills them in. */
export interface LoadGeneratorOptions {
  readonly targets: readonly {
    readonly host: string;
    readonly port: number;
    readonly serverName: string;
    /** Heads of the request: when others follow on the connection, and when it is the last. */
    readonly request: string;
    readonly lastRequest: string;
  }[];
  readonly clients: number;
  readonly ratePerS: number;
  readonly rampMs: number;
  readonly durationMs: number;
  readonly connections: number;
  readonly requestsPerConnection: number;
  readonly uploadBytes: number;
  readonly tlsVersion: '1.2' | '1.3' | 'any';
  readonly ciphers: string;
  readonly ciphersuites: string;
  readonly groups: string;
  readonly signatureAlgorithms: string;
  readonly alpn: readonly string[];
  /** PEM; empty = not verified. */
  readonly ca: string;
  readonly offer: 'never' | 'always' | 'ratio';
  readonly fullEvery: number;
  readonly offerRatio: number;
  readonly mechanism: 'id' | 'ticket';
  readonly connectTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly responseTimeoutMs: number;
  readonly graceMs: number;
  readonly seed: number;
  /** Open loop: connections under way at once; a start beyond it fails as `localExhausted`. */
  readonly maxOpen: number;
  /** Shared: see `loadCounterNames`. */
  readonly counters: Float64Array;
  /** The run is over. Called once; never after `close`. */
  done(result: LoadGeneratorResult): void;
}

export interface LoadHistogram {
  readonly count: number;
  readonly minUs: number;
  readonly maxUs: number;
  readonly sumUs: number;
  /** Pairs: upper bound in µs, count; only buckets that are not empty, ascending. */
  readonly buckets: Float64Array;
}

export interface LoadGeneratorResult {
  readonly elapsedMs: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly negotiated: Readonly<Record<string, number>>;
  /** Triples: started, completed, resumed. */
  readonly perTarget: Float64Array;
  /** Five per second: started, completed, resumed, errors, bytesIn. */
  readonly perSecond: Float64Array;
  readonly handshake: LoadHistogram;
  readonly handshakeFull: LoadHistogram;
  readonly handshakeResumed: LoadHistogram;
  readonly firstByte: LoadHistogram;
  readonly total: LoadHistogram;
}

/** A running load generator. */
export interface LoadGenerator {
  /** Start no more; what is under way gets its grace time; then `done`. Idempotent. */
  stop(): void;
  /** Drop everything now, without a result. Idempotent. */
  close(): void;
}

export interface Addon {
  /** Raise RLIMIT_NOFILE's soft limit to the hard one; returns the limit in force. */
  raiseFileLimit(): number;
  /** Open a listening socket (SO_REUSEPORT unless unix). Returns { fd, port }; throws with `code` = errno name. */
  openListener(address: SocketAddress, backlog: number): { fd: number; port: number };
  closeFd(fd: number): void;
  /** Ask OpenSSL whether these options make a context; null, or { code, message, certificate index }. */
  checkTls(tls: TlsOptions): { code: string; message: string; index: number } | null;
  startBalancer(options: BalancerOptions): DataPlane;
  startTerminator(options: TerminatorOptions): DataPlane;
  /** TLS clients for measurements; throws when an option is refused. */
  startLoad(options: LoadGeneratorOptions): LoadGenerator;
  createSessionTable(slots: number): number;
  openSessionTable(fd: number): NativeSessionTable;
  /** The C++ halves of the routable-ID codec (the TypeScript ones are in config/routable-id.ts). */
  sealRoutableId(key: RoutableIdKey, random: Uint8Array): Uint8Array;
  openRoutableId(key: RoutableIdKey, id: Uint8Array): number | null;
  /** Feed chunks to the incremental framing; for the tests that compare it with the parser. */
  frameHello(chunks: readonly Uint8Array[]): { state: string; length: number };
  readonly balancerCounterNames: readonly string[];
  readonly terminatorCounterNames: readonly string[];
  readonly loadCounterNames: readonly string[];
}

const require = createRequire(import.meta.url);

// Another build of the addon (a sanitized one, say) is named by its path.
const addonPath = process.env['TLSFARM_ADDON'];
export const native: Addon = require(
  addonPath ? resolve(addonPath) : '../build/Release/tlsfarm.node',
) as Addon;
