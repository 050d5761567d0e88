/** Runs the native load generator (native/src/load_generator.cc) and puts its numbers into words. */
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import type { LoadGeneratorOptions, LoadGeneratorResult, LoadHistogram } from '../native/index.ts';
import { native } from '../native/index.ts';
import type {
  Distribution,
  LoadOptions,
  LoadProgress,
  LoadResult,
  LoadSecond,
  LoadTarget,
} from './load.ts';

export interface LoadHooks {
  /** About ten times a second, and once at the end. */
  onProgress?(progress: LoadProgress): void;
  /** Ends the run early: nothing more is started, the grace time is kept, there is a result. */
  readonly signal?: AbortSignal;
}

const PROGRESS_MS = 100;
/** Descriptors that are not for connections under way: the process's own, and closes not yet answered. */
const SPARE_FILES = 1_024;
/** About as many as one source address has ports for one target. */
const MAX_OPEN = 28_000;

/**
 * Rejects if the options are refused (an OpenSSL list, a certificate, an address that is no literal).
 * What the network does is in the result. `started` is `completed` plus all errors.
 */
export async function runLoad(options: LoadOptions, hooks: LoadHooks = {}): Promise<LoadResult> {
  checkOptions(options);
  const counters = new Float64Array(native.loadCounterNames.length);
  const startedAt = new Date();
  const startMs = performance.now();
  const cpuBeforeNs = threadCpuNs();
  let progressTimer: NodeJS.Timeout | undefined;
  let stop = (): void => {};
  try {
    const result = await new Promise<LoadGeneratorResult>((resolve) => {
      const generator = native.startLoad({ ...nativeOptions(options), counters, done: resolve });
      stop = () => generator.stop();
      hooks.signal?.addEventListener('abort', stop);
      if (hooks.signal?.aborted) stop();
      const report = progressReporter(counters, startMs, hooks);
      if (report !== null) progressTimer = setInterval(report, PROGRESS_MS);
    });
    const cpuUs = (threadCpuNs() - cpuBeforeNs) / 1_000;
    progressReporter(counters, startMs, hooks)?.();
    return loadResult(options, startedAt, counters, result, cpuUs);
  } finally {
    clearInterval(progressTimer);
    hooks.signal?.removeEventListener('abort', stop);
  }
}

/** What only a programmer or a command line could get wrong, and C++ would not notice. */
function checkOptions(options: LoadOptions): void {
  if (options.ratePerS === 0 && !(options.clients >= 1)) {
    throw new RangeError('clients must be at least 1 in the closed loop');
  }
  for (const { path, port, serverName } of options.targets) {
    if (!(port >= 1 && port <= 65_535))
      throw new RangeError(`port must be 1 to 65535, not ${port}`);
    // They go into the request as they are.
    if (!/^\/[\x21-\x7e]*$/.test(path)) {
      throw new RangeError(
        `path must begin with / and be printable ASCII: ${JSON.stringify(path)}`,
      );
    }
    if (!/^[\x21-\x7e]*$/.test(serverName)) {
      throw new RangeError(`serverName must be printable ASCII: ${JSON.stringify(serverName)}`);
    }
  }
  for (const protocol of options.alpn) {
    const bytes = Buffer.byteLength(protocol);
    if (bytes < 1 || bytes > 255) throw new RangeError('an ALPN protocol name has 1 to 255 bytes');
  }
}

function nativeOptions(options: LoadOptions): Omit<LoadGeneratorOptions, 'counters' | 'done'> {
  const { resume, targets, ca, ...rest } = options;
  return {
    ...rest,
    targets: targets.map((target) => ({
      ...target,
      request: requestHead(target, options.uploadBytes, false),
      lastRequest: requestHead(target, options.uploadBytes, true),
    })),
    ca: ca ?? '',
    offer: resume.kind,
    fullEvery: resume.kind === 'always' ? resume.fullEvery : 0,
    offerRatio: resume.kind === 'ratio' ? resume.ratio : 1,
    maxOpen: Math.max(64, Math.min(MAX_OPEN, native.raiseFileLimit() - SPARE_FILES)),
  };
}

/** RFC 9112 section 3. */
function requestHead(target: LoadTarget, uploadBytes: number, last: boolean): string {
  const name = target.serverName || (isIPv6(target.host) ? `[${target.host}]` : target.host);
  return [
    `${uploadBytes > 0 ? 'POST' : 'GET'} ${target.path} HTTP/1.1`,
    `Host: ${target.port === 443 ? name : `${name}:${target.port}`}`,
    'User-Agent: tlsfarm-bench',
    ...(uploadBytes > 0
      ? [`Content-Length: ${uploadBytes}`, 'Content-Type: application/octet-stream']
      : []),
    ...(last ? ['Connection: close'] : []),
    '\r\n',
  ].join('\r\n');
}

/** Null when nobody listens. */
function progressReporter(
  counters: Float64Array,
  startMs: number,
  hooks: LoadHooks,
): (() => void) | null {
  if (hooks.onProgress === undefined) return null;
  let beforeMs = 0;
  let startedBefore = 0;
  return () => {
    const elapsedMs = performance.now() - startMs;
    const started = countOf(counters, 'started');
    hooks.onProgress?.({
      elapsedMs,
      started,
      completed: countOf(counters, 'completed'),
      resumed: countOf(counters, 'handshakesResumed'),
      errors: countOf(counters, 'errors'),
      active: countOf(counters, 'active'),
      ratePerS: ((started - startedBefore) * 1_000) / (elapsedMs - beforeMs),
    });
    beforeMs = elapsedMs;
    startedBefore = started;
  };
}

function loadResult(
  options: LoadOptions,
  startedAt: Date,
  counters: Float64Array,
  result: LoadGeneratorResult,
  cpuUs: number,
): LoadResult {
  const started = countOf(counters, 'started');
  return {
    startedAt: startedAt.toISOString(),
    elapsedMs: result.elapsedMs,
    seed: options.seed,
    started,
    completed: countOf(counters, 'completed'),
    handshakesFull: countOf(counters, 'handshakesFull'),
    handshakesResumed: countOf(counters, 'handshakesResumed'),
    offeredButFull: countOf(counters, 'offeredButFull'),
    requests: countOf(counters, 'requests'),
    bytesIn: countOf(counters, 'bytesIn'),
    bytesOut: countOf(counters, 'bytesOut'),
    errors: result.errors,
    negotiated: result.negotiated,
    perTarget: options.targets.map((target, i) => {
      const [targetStarted = 0, completed = 0, resumed = 0] = row(result.perTarget, 3, i);
      return { target: targetName(target), started: targetStarted, completed, resumed };
    }),
    perSecond: Array.from({ length: result.perSecond.length / 5 }, (_, second) =>
      loadSecond(second, row(result.perSecond, 5, second)),
    ),
    handshake: distribution(result.handshake),
    handshakeFull: distribution(result.handshakeFull),
    handshakeResumed: distribution(result.handshakeResumed),
    firstByte: distribution(result.firstByte),
    total: distribution(result.total),
    openLoop: options.ratePerS > 0,
    generatorBusy: result.elapsedMs > 0 ? cpuUs / 1_000 / result.elapsedMs : 0,
    generatorCpuUsPerConnection: started > 0 ? cpuUs / started : 0,
  };
}

function loadSecond(second: number, values: Float64Array): LoadSecond {
  const [started = 0, completed = 0, resumed = 0, errors = 0, bytesIn = 0] = values;
  return { second, started, completed, resumed, errors, bytesIn };
}

function row(values: Float64Array, width: number, index: number): Float64Array {
  return values.subarray(index * width, (index + 1) * width);
}

function targetName({ host, port, serverName }: LoadTarget): string {
  return `${serverName || (isIPv6(host) ? `[${host}]` : host)}:${port}`;
}

/** A misspelt name must not read as zero. */
function countOf(counters: Float64Array, name: string): number {
  const value = counters[native.loadCounterNames.indexOf(name)];
  if (value === undefined) throw new Error(`there is no counter ${name}`);
  return value;
}

export function distribution(histogram: LoadHistogram): Distribution {
  const { count, minUs, maxUs, sumUs } = histogram;
  const buckets: [number, number][] = [];
  for (let i = 0; i + 1 < histogram.buckets.length; i += 2) {
    buckets.push([histogram.buckets[i] ?? 0, histogram.buckets[i + 1] ?? 0]);
  }
  // Nearest rank: the smallest bucket that so many values do not exceed.
  const percentile = (share: number): number => {
    let left = Math.ceil(count * share);
    for (const [upperUs, n] of buckets) {
      left -= n;
      if (left <= 0) return Math.min(upperUs, maxUs);
    }
    return maxUs;
  };
  return {
    count,
    minUs,
    meanUs: count > 0 ? sumUs / count : 0,
    p50Us: percentile(0.5),
    p90Us: percentile(0.9),
    p99Us: percentile(0.99),
    p999Us: percentile(0.999),
    maxUs,
    buckets,
  };
}

/** The scheduler's own books for this thread, which runs the generator. */
function threadCpuNs(): number {
  return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[0]);
}
