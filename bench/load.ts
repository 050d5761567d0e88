/**
 * What a load run is asked and what it answers: the contract between the native client
 * (native/src/load_*.cc, started by bench/run-load.ts), `tlsfarm bench` and the comparison trials.
 * docs/bench-json.md documents LoadResult for other programs. Units are last in names.
 */

/** How often, and by which mechanism, a client offers what it got on an earlier connection. */
export type Resume =
  /** Never offers anything: every handshake is full. */
  | { readonly kind: 'never' }
  /** Offers always when it has something; after `fullEvery` connections it forgets (0 = never). */
  | { readonly kind: 'always'; readonly fullEvery: number }
  /** Offers with this probability (0..1), from a seeded generator. */
  | { readonly kind: 'ratio'; readonly ratio: number };

/** What TLS 1.2 resumes by; TLS 1.3 always by PSK. */
export type Mechanism = 'id' | 'ticket';

export interface LoadTarget {
  /** Literal IP: names are resolved before. */
  readonly host: string;
  readonly port: number;
  /** SNI and the name that is verified; empty = none sent. */
  readonly serverName: string;
  readonly path: string;
}

export interface LoadOptions {
  /** A client's n-th connection goes to targets[n % length]: sessions are carried across them. */
  readonly targets: readonly LoadTarget[];
  /** Closed loop: so many clients, each starting its next connection when the last is done. */
  readonly clients: number;
  /** Open loop: connections started per second, whatever happens to earlier ones; 0 = closed loop. */
  readonly ratePerS: number;
  /** Clients (or the rate) grow linearly over this time. */
  readonly rampMs: number;
  /** Stop starting after this time; 0 = no limit. */
  readonly durationMs: number;
  /** Stop starting after so many connections; 0 = no limit. */
  readonly connections: number;
  /** 0 = handshake only; else so many requests on each connection (more than one: keep-alive). */
  readonly requestsPerConnection: number;
  /** Bytes of a POST body; 0 = GET. */
  readonly uploadBytes: number;
  readonly tlsVersion: '1.2' | '1.3' | 'any';
  /** OpenSSL lists; empty = the library's defaults. */
  readonly ciphers: string;
  readonly ciphersuites: string;
  readonly groups: string;
  readonly signatureAlgorithms: string;
  readonly alpn: readonly string[];
  /** PEM; null = the server's certificate is not verified. */
  readonly ca: string | null;
  readonly resume: Resume;
  readonly mechanism: Mechanism;
  readonly connectTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly responseTimeoutMs: number;
  /** After the end of the run, connections under way get this long. */
  readonly graceMs: number;
  /** For ratios. Printed with the result. */
  readonly seed: number;
}

/** Microseconds. Buckets are log-linear; percentiles are exact to about 1 %. */
export interface Distribution {
  readonly count: number;
  readonly minUs: number;
  readonly meanUs: number;
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
  /** [upper bound in µs, count] of every bucket that is not empty, ascending. */
  readonly buckets: readonly (readonly [number, number])[];
}

/** Every way a connection can fail; each is counted, none is swallowed. */
export const LOAD_ERRORS = {
  connectRefused: 'the TCP connect was refused',
  connectTimeout: 'no TCP connection within the connect time-out',
  connectOther: 'the TCP connect failed otherwise',
  localExhausted: 'no descriptor or no local port here',
  handshakeAlert: 'the server sent a fatal alert',
  handshakeVerify: 'the certificate did not verify',
  handshakeReset: 'reset or closed during the handshake',
  handshakeTimeout: 'no finished handshake within the handshake time-out',
  handshakeOther: 'the handshake failed otherwise',
  responseReset: 'reset before the response was whole',
  responseTruncated:
    'closed before the response was whole, or without close_notify where the end was the length',
  responseTimeout: 'no whole response within the response time-out',
  responseStatus: 'an HTTP status other than 2xx',
  responseGarbage: 'no HTTP response',
  unfinished: 'still under way when the grace time was over',
} as const;
export type LoadError = keyof typeof LOAD_ERRORS;

export interface LoadSecond {
  /** Seconds since the start, whole. */
  readonly second: number;
  readonly started: number;
  readonly completed: number;
  readonly resumed: number;
  readonly errors: number;
  readonly bytesIn: number;
}

export interface LoadResult {
  readonly startedAt: string;
  readonly elapsedMs: number;
  readonly seed: number;
  readonly started: number;
  /** Handshake and all requests went well. */
  readonly completed: number;
  readonly handshakesFull: number;
  readonly handshakesResumed: number;
  /** Offered a session and got a full handshake. */
  readonly offeredButFull: number;
  readonly requests: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly errors: Readonly<Record<LoadError, number>>;
  /** Handshakes by what was negotiated: "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519". */
  readonly negotiated: Readonly<Record<string, number>>;
  readonly perTarget: readonly {
    readonly target: string;
    readonly started: number;
    readonly completed: number;
    readonly resumed: number;
  }[];
  readonly perSecond: readonly LoadSecond[];
  /** TCP connect to the end of the TLS handshake. */
  readonly handshake: Distribution;
  readonly handshakeFull: Distribution;
  readonly handshakeResumed: Distribution;
  /** Request sent to first byte of the response. */
  readonly firstByte: Distribution;
  /**
   * The whole connection. In the open loop from the *intended* start: a server that stalls is charged
   * for the clients that had to wait (no coordinated omission).
   */
  readonly total: Distribution;
  readonly openLoop: boolean;
  /** CPU of the generator's thread over the run, 0..1 of one core; above 0.8 it is the bottleneck. */
  readonly generatorBusy: number;
  readonly generatorCpuUsPerConnection: number;
}

/** Live view, about ten times a second. */
export interface LoadProgress {
  readonly elapsedMs: number;
  readonly started: number;
  readonly completed: number;
  readonly resumed: number;
  readonly errors: number;
  readonly active: number;
  readonly ratePerS: number;
}
