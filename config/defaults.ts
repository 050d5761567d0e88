/**
 * Every default an operator can rely on, with its unit and its reason. Nothing else in the tree
 * invents a number that an operator could have said.
 */
import type { DeviceOptions, ReactorLimits, Timeouts } from '../native/index.ts';

export const DEFAULT_TIMEOUTS: Timeouts = {
  /** A phone on a bad link may need several retransmissions for a post-quantum hello of two segments. */
  helloTimeoutMs: 10_000,
  /** Two more round trips and a key operation that may have to wait for its turn on a device. */
  handshakeTimeoutMs: 30_000,
  /** Nodes of one farm are milliseconds apart: longer means that nobody is there. */
  connectTimeoutMs: 1_000,
  /** A frozen process still accepts TCP: this is what its clients lose before the next candidate. */
  firstByteTimeoutMs: 1_000,
  /** Long polls and web sockets are quiet for minutes, and usually ping within five. */
  idleTimeoutMs: 600_000,
  /** For a peer that has our close_notify and does not answer; nothing is lost by leaving it. */
  lingerTimeoutMs: 5_000,
  /**
   * Unacknowledged bytes for this long: the peer is gone. Not less than the idle time-out, because Linux
   * counts a closed window as well, and a paused download is no dead peer. The phases that want to know
   * sooner (connect, handshake, first byte) have time-outs of their own.
   */
  tcpUserTimeoutMs: 600_000,
  /** First keepalive probe; below the five minutes after which common NATs forget a flow. */
  keepAliveIdleS: 60,
};

export const DEFAULT_LIMITS: ReactorLimits = {
  /** Per son, or fewer: as many as RLIMIT_NOFILE has file descriptors for, two each. */
  maxConnections: 20_000,
  /** Per balancer son, each at most 64 KiB: 128 MiB at worst. */
  maxUndecidedHellos: 2_048,
};

/**
 * Per balancer son. An unprivileged user has 1,024 pipes of 64 KiB in all (pipe-user-pages-soft);
 * flows beyond the pool are copied, not refused.
 */
export const DEFAULT_MAX_PIPES = 256;

/** Handshakes in flight per terminator son; 32 KiB of stack each. The others wait their turn. */
export const DEFAULT_MAX_FIBERS = 1_024;

/** File descriptors that a process keeps for itself: standard streams, epoll, logs, memfd, devices. */
export const RESERVED_FILES = 64;

/** Kernel's accept queue per socket; the kernel lowers it to net.core.somaxconn (4,096 since 5.4). */
export const DEFAULT_BACKLOG = 4_096;

/** Sons of a terminator: two, so that a crash or a restart never leaves the node without one. */
export const DEFAULT_TERMINATOR_WORKERS = 2;

/** Sons of a balancer: it costs a tenth of a terminator, and one knows all the loads it has caused. */
export const DEFAULT_BALANCER_WORKERS = 1;

/** How long a leaving son lets its connections finish. */
export const DEFAULT_DRAIN_TIMEOUT_MS = 30_000;

/** A son that has not said "ready" by then never will. */
export const SON_START_TIMEOUT_MS = 10_000;

/** Entries of a node's session table: about 40 MB when all are in use. */
export const DEFAULT_SESSION_SLOTS = 100_000;

/** How long after its full handshake a session may be resumed. RFC 8446 allows seven days; browsers rarely keep more than hours. */
export const DEFAULT_SESSION_MAX_AGE_S = 7_200;

export const DEFAULT_TLS_MIN: '1.2' | '1.3' = '1.2';

/**
 * Mozilla's "intermediate" list for TLS 1.2 without its DHE suites: they need parameters of their
 * own, cost more than the whole rest of the handshake, and no client that can do them lacks ECDHE.
 * There is no static RSA in it: without forward secrecy one stolen key opens every recording.
 */
export const DEFAULT_CIPHERS: string = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** TLS 1.3: Mozilla's order. */
export const DEFAULT_CIPHERSUITES: string = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
].join(':');

/** The post-quantum hybrid first, then what every client has. */
export const DEFAULT_GROUPS = 'X25519MLKEM768:X25519:P-256';

/** OpenSSL's level 2 is 112 bits: RSA-2048 and P-256 pass, RSA-1024 and SHA-1 signatures do not. */
export const DEFAULT_SECURITY_LEVEL = 2;

/** What the plaintext behind a terminator is spoken in. */
export const DEFAULT_ALPN: readonly string[] = ['http/1.1'];

/** Private keys compute at once, on the son's own core, unless a device is named. */
export const DEFAULT_DEVICE: DeviceOptions = {
  kind: 'inline',
  polls: 1,
  depth: 1,
  cancellable: true,
};

/** The test device without further words: some disorder, a ring that a burst can fill. */
export const DEFAULT_TEST_DEVICE: DeviceOptions = {
  kind: 'test',
  polls: 8,
  depth: 64,
  cancellable: true,
};
