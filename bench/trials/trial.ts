/** What is measured. A trial knows no server: only what its clients do and what has to come of it. */
import type { LoadOptions } from '../load.ts';

/** What the servers of a row stand on: certificate and kind of sessions, or terminators behind them. */
export type Ground = 'rsa' | 'ec' | 'rsa-tickets' | 'balanced';

export type Unit = 'µs per connection' | 'µs per MB' | 'KiB per connection';

export interface Trial {
  /** For --only and in the JSON. */
  readonly key: string;
  readonly title: string;
  readonly unit: Unit;
  readonly ground: Ground;
  /**
   * What has to come of the handshakes: none resumed, or nearly all that offer a session. A server
   * that did something else than the row says is shown, and not compared.
   */
  readonly wants: 'full' | 'resumed' | 'any';
  /** What differs from BASE. */
  readonly load: Partial<LoadOptions>;
  /** By driver: why it is not even tried. */
  readonly untried: Readonly<Record<string, string>>;
  /** An absolute figure that is wanted of tlsfarm, and where it is from. */
  readonly target: { readonly value: number; readonly why: string } | null;
}

/** Hundreds of clients would only lengthen queues; fewer would leave the server waiting. */
export const CLIENTS = 64;

export const BASE: Omit<LoadOptions, 'targets' | 'durationMs' | 'ca' | 'seed'> = {
  clients: CLIENTS,
  ratePerS: 0,
  rampMs: 0,
  connections: 0,
  requestsPerConnection: 1,
  uploadBytes: 0,
  tlsVersion: '1.2',
  // One cipher for everybody: what each of them would prefer is not the question.
  ciphers: 'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256',
  ciphersuites: 'TLS_AES_128_GCM_SHA256',
  // P-256 is for the certificate: TLS 1.2 clients say with it which ECDSA keys they take.
  groups: 'X25519:P-256',
  signatureAlgorithms: '',
  alpn: [],
  resume: { kind: 'never' },
  mechanism: 'id',
  connectTimeoutMs: 5_000,
  handshakeTimeoutMs: 10_000,
  responseTimeoutMs: 10_000,
  graceMs: 2_000,
};

export const PAGE = '/';
export const MILLION = '/million';
