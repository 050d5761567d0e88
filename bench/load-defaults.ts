/** A run that means something without any option: the base that `tlsfarm bench` and trials change. */
import type { LoadOptions, LoadTarget } from './load.ts';

/** One or more targets; GET of each target's path, 64 clients, 10 seconds, sessions resumed always. */
export function defaultLoadOptions(...targets: readonly LoadTarget[]): LoadOptions {
  return {
    targets,
    clients: 64,
    ratePerS: 0,
    rampMs: 0,
    durationMs: 10_000,
    connections: 0,
    requestsPerConnection: 1,
    uploadBytes: 0,
    tlsVersion: 'any',
    ciphers: '',
    ciphersuites: '',
    groups: '',
    signatureAlgorithms: '',
    alpn: [],
    ca: null,
    resume: { kind: 'always', fullEvery: 0 },
    mechanism: 'id',
    connectTimeoutMs: 5_000,
    handshakeTimeoutMs: 10_000,
    responseTimeoutMs: 30_000,
    graceMs: 5_000,
    seed: 1,
  };
}
