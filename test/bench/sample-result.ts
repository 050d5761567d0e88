/** A load run that never was, for what is pure about its report; the same for the same seed. */
import type {
  Distribution,
  LoadError,
  LoadOptions,
  LoadResult,
  LoadSecond,
} from '../../bench/load.ts';
import { LOAD_ERRORS } from '../../bench/load.ts';
import { seededRandom } from '../../bench/random.ts';

export function sampleOptions(changes: Partial<LoadOptions> = {}): LoadOptions {
  return {
    targets: [{ host: '127.0.0.1', port: 8443, serverName: 'localhost', path: '/' }],
    clients: 64,
    ratePerS: 0,
    rampMs: 0,
    durationMs: 10_000,
    connections: 0,
    requestsPerConnection: 1,
    uploadBytes: 0,
    tlsVersion: '1.3',
    ciphers: '',
    ciphersuites: '',
    groups: '',
    signatureAlgorithms: '',
    alpn: ['http/1.1'],
    ca: null,
    resume: { kind: 'ratio', ratio: 0.9 },
    mechanism: 'id',
    connectTimeoutMs: 5_000,
    handshakeTimeoutMs: 10_000,
    responseTimeoutMs: 30_000,
    graceMs: 2_000,
    seed: 7,
    ...changes,
  };
}

export function sampleResult(changes: Partial<LoadResult> = {}): LoadResult {
  const random = seededRandom(7);
  // Log-normal, as latencies are.
  const latencies = (count: number, medianUs: number, spread: number): number[] =>
    Array.from({ length: count }, () => {
      const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
      return medianUs * Math.exp(spread * normal);
    });
  const full = latencies(2_500, 28_000, 0.35);
  const resumed = latencies(20_100, 12_000, 0.3);
  const total = [...full, ...resumed].map((us) => us + 2_000 + 3_000 * random());
  return {
    startedAt: '2026-01-02T03:04:05.000Z',
    elapsedMs: 10_300,
    seed: 7,
    started: 22_612,
    completed: 22_600,
    handshakesFull: 2_500,
    handshakesResumed: 20_100,
    offeredButFull: 10,
    requests: 22_600,
    bytesIn: 4_500_000,
    bytesOut: 1_800_000,
    errors: noErrors({ connectRefused: 5, responseTruncated: 7 }),
    negotiated: { 'TLSv1.3 TLS_AES_128_GCM_SHA256 X25519': 22_600 },
    perTarget: [{ target: '127.0.0.1:8443', started: 22_612, completed: 22_600, resumed: 20_100 }],
    perSecond: Array.from({ length: 11 }, (_, second): LoadSecond => {
      const completed = second === 10 ? 90 : 2_200 + Math.round(100 * random());
      const errors = second === 4 ? 12 : 0;
      const back = Math.round(completed * 0.89);
      return {
        second,
        started: completed,
        completed,
        resumed: back,
        errors,
        bytesIn: completed * 200,
      };
    }),
    handshake: distribution([...full, ...resumed]),
    handshakeFull: distribution(full),
    handshakeResumed: distribution(resumed),
    firstByte: distribution(latencies(22_600, 3_000, 0.6)),
    total: distribution(total),
    openLoop: false,
    generatorBusy: 0.41,
    generatorCpuUsPerConnection: 181,
    ...changes,
  };
}

export function noErrors(some: Partial<Record<LoadError, number>> = {}): Record<LoadError, number> {
  const kinds = Object.keys(LOAD_ERRORS) as LoadError[];
  const none = Object.fromEntries(kinds.map((kind) => [kind, 0])) as Record<LoadError, number>;
  return { ...none, ...some };
}

/** Buckets 1 % wide, as the contract says. */
export function distribution(us: readonly number[]): Distribution {
  const sorted = us.toSorted((a, b) => a - b);
  const counts = new Map<number, number>();
  for (const value of sorted) {
    const upper = Math.round(1.01 ** Math.ceil(Math.log(value) / Math.log(1.01)));
    counts.set(upper, (counts.get(upper) ?? 0) + 1);
  }
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? 0;
  return {
    count: sorted.length,
    minUs: sorted[0] ?? 0,
    meanUs: sorted.reduce((sum, value) => sum + value, 0) / Math.max(1, sorted.length),
    p50Us: at(0.5),
    p90Us: at(0.9),
    p99Us: at(0.99),
    p999Us: at(0.999),
    maxUs: sorted.at(-1) ?? 0,
    buckets: [...counts].toSorted(([a], [b]) => a - b),
  };
}
