import { isIP } from 'node:net';
import { getCACertificates } from 'node:tls';
import { Argument, type Command, Option } from 'commander';
import type { LoadOptions, LoadTarget, Mechanism, Resume } from '../bench/load.ts';
import type { Thresholds } from '../bench/thresholds.ts';
import { OperatorError } from '../config/operator-error.ts';
import { readOperatorFile } from '../config/operator-file.ts';
import { resolveAddress } from '../config/resolve.ts';
import type { Target } from './bench-values.ts';
import { byteCount, httpsUrl, latencyUs, protocols, ratio, resume } from './bench-values.ts';
import { durationMs, time, whole } from './values.ts';

const DEFAULT_DURATION_MS = 10_000;

/** `tlsfarm bench`: a load generator that knows about sessions. */
export function addBenchCommand(program: Command): void {
  program
    .command('bench')
    .summary('put load on https servers and see how many sessions resume')
    .description(
      'Opens TLS connections to the URLs as fast as its clients get through (closed loop), or at a ' +
        'fixed rate whatever the server does (--rate, latencies from the intended start), asks each ' +
        'for its page, and reports rates, full and resumed handshakes, latencies and every error by ' +
        'kind. With several URLs a client takes them in turn and offers at each the session that ' +
        'another one gave: the resumed share then says whether they share their sessions.',
    )
    .addArgument(
      new Argument(
        '<url...>',
        'https://host[:port][/path]; clients take several in turn',
      ).argParser(httpsUrl),
    )
    .optionsGroup('Load:')
    .option('--clients <n>', 'closed loop: that many at a time', whole(1, 1_000_000), 64)
    .option('--rate <n>', 'open loop: connections started per second', whole(1, 10_000_000))
    .option('--ramp <time>', 'grow to the full load over this time', durationMs)
    .option(
      '--duration <time>',
      'stop starting connections after it (default: 10s, unless --connections is given)',
      durationMs,
    )
    .option('--connections <n>', 'stop after so many connections', whole(1, 1_000_000_000))
    .option('--handshake-only', 'close after the handshake, ask for nothing', false)
    .option(
      '--requests <n>',
      'on each connection, one after the other (default: 1)',
      whole(1, 1_000_000),
    )
    .option(
      '--upload <bytes>',
      'POST a body of this size instead of GET: 65536, 64k, 1m',
      byteCount,
    )
    .optionsGroup('TLS:')
    .addOption(
      new Option('--tls <version>', 'what to offer').choices(['1.2', '1.3', 'any']).default('any'),
    )
    .option('--ciphers <list>', "TLS 1.2 ciphers, in OpenSSL's words")
    .option('--ciphersuites <list>', 'TLS 1.3 cipher suites')
    .option('--groups <list>', 'key exchange groups, such as X25519MLKEM768:X25519:P-256')
    .option('--sigalgs <list>', 'signature algorithms, such as ECDSA+SHA256:RSA-PSS+SHA256')
    .option('--sni <name>', "name to send and to verify (default: the URL's, if it is a name)")
    .addOption(
      new Option('--alpn <list>', 'protocols to offer, with commas between')
        .argParser(protocols)
        .default(['http/1.1'], 'http/1.1'),
    )
    .option('--cacert <file>', 'PEM of CAs to trust (default: those of the system)')
    .option('--insecure', 'do not verify certificates', false)
    .optionsGroup('Sessions:')
    .addOption(
      new Option('--resume <when>', 'offer the last session: never, always, or a ratio such as 0.9')
        .argParser(resume)
        .default({ kind: 'never' }, 'never'),
    )
    .option(
      '--full-every <n>',
      "with --resume always: forget it at each client's n-th connection",
      whole(2, 1_000_000),
    )
    .addOption(
      new Option('--mechanism <how>', 'TLS 1.2 resumes by (1.3: always PSK)')
        .choices(['id', 'ticket'])
        .default('id'),
    )
    .option('--seed <n>', 'for the ratio (default: a new one, printed)', whole(0, 0xffff_ffff))
    .optionsGroup('Report:')
    .option('--json <file>', 'write the result as JSON; - is standard output (docs/bench-json.md)')
    .option('--html <file>', 'write one self-contained page with plots')
    .option('--min-resumed <share>', 'of those that offered a session; less: exit status 1', ratio)
    .option('--max-errors <n>', 'more: exit status 1', whole(0, 1_000_000_000))
    .option('--p99 <time>', 'of the whole connection; longer: exit status 1', latencyUs)
    .optionsGroup('Time-outs:')
    .addOption(time('--connect-timeout <time>', 'for TCP', 5_000))
    .addOption(time('--handshake-timeout <time>', 'for TLS', 10_000))
    .addOption(time('--response-timeout <time>', 'for each whole response', 30_000))
    .addOption(time('--grace <time>', 'for connections under way at the end', 2_000))
    .addHelpText(
      'after',
      `
Times are 500ms, 10s, 5m; a plain number is milliseconds. Ctrl-C ends early and still reports.
Exit status: 0 as wanted; 1 a threshold broken, or nothing completed; 2 wrong flags.

Example: how many full handshakes a farm does, no error forgiven
  $ tlsfarm bench https://localhost:8443/ --cacert certs/ca.crt --tls 1.3 --max-errors 0

Example: do two terminators share their sessions? The resumed share says so
  $ tlsfarm bench https://10.0.0.1:9443/ https://10.0.0.2:9443/ --insecure --sni farm.test \\
      --tls 1.2 --resume always --min-resumed 0.99

Example: visitors as they are, nine in ten returning, 500 a second, whatever the server does
  $ tlsfarm bench https://localhost:8443/ --cacert certs/ca.crt --rate 500 --ramp 5s \\
      --duration 1m --resume 0.9 --p99 50ms --html report.html

Example: large pages over connections that are kept
  $ tlsfarm bench https://localhost:8443/large --cacert certs/ca.crt --clients 8 --requests 100`,
    )
    .action(async (targets: readonly Target[], flags: BenchFlags) => {
      const request = {
        urls: targets.map(({ url }) => url),
        options: await loadOptions(targets, flags),
        thresholds: thresholds(flags),
        json: flags.json ?? null,
        html: flags.html ?? null,
      };
      const { runBench } = await import('./bench-run.ts');
      // Not exitCode: see cli/main.ts. Standard output may be a pipe that is still being written.
      const status = await runBench(request);
      if (status !== 0) process.exit(status);
    });
}

export interface BenchFlags {
  readonly clients: number;
  readonly rate?: number;
  readonly ramp?: number;
  readonly duration?: number;
  readonly connections?: number;
  readonly handshakeOnly: boolean;
  readonly requests?: number;
  readonly upload?: number;
  readonly tls: LoadOptions['tlsVersion'];
  readonly ciphers?: string;
  readonly ciphersuites?: string;
  readonly groups?: string;
  readonly sigalgs?: string;
  readonly sni?: string;
  readonly alpn: readonly string[];
  readonly cacert?: string;
  readonly insecure: boolean;
  readonly resume: Resume;
  readonly fullEvery?: number;
  readonly mechanism: Mechanism;
  readonly seed?: number;
  readonly json?: string;
  readonly html?: string;
  readonly minResumed?: number;
  readonly maxErrors?: number;
  readonly p99?: number;
  readonly connectTimeout: number;
  readonly handshakeTimeout: number;
  readonly responseTimeout: number;
  readonly grace: number;
}

/** Everything checked and resolved: nothing is started with half of it wrong. */
export async function loadOptions(
  targets: readonly Target[],
  flags: BenchFlags,
): Promise<LoadOptions> {
  refuseContradictions(flags);
  const unlimited = flags.duration === undefined && flags.connections === undefined;
  return {
    targets: await Promise.all(targets.map((target) => loadTarget(target, flags.sni))),
    clients: flags.clients,
    ratePerS: flags.rate ?? 0,
    rampMs: flags.ramp ?? 0,
    durationMs: unlimited ? DEFAULT_DURATION_MS : (flags.duration ?? 0),
    connections: flags.connections ?? 0,
    requestsPerConnection: flags.handshakeOnly ? 0 : (flags.requests ?? 1),
    uploadBytes: flags.upload ?? 0,
    tlsVersion: flags.tls,
    ciphers: flags.ciphers ?? '',
    ciphersuites: flags.ciphersuites ?? '',
    groups: flags.groups ?? '',
    signatureAlgorithms: flags.sigalgs ?? '',
    alpn: flags.alpn,
    ca: trusted(flags),
    resume: withFullEvery(flags),
    mechanism: flags.mechanism,
    connectTimeoutMs: flags.connectTimeout,
    handshakeTimeoutMs: flags.handshakeTimeout,
    responseTimeoutMs: flags.responseTimeout,
    graceMs: flags.grace,
    seed: flags.seed ?? Math.floor(Math.random() * 2 ** 32),
  };
}

export function thresholds(flags: BenchFlags): Thresholds {
  return {
    minResumed: flags.minResumed ?? null,
    maxErrors: flags.maxErrors ?? null,
    p99Us: flags.p99 ?? null,
  };
}

function refuseContradictions(flags: BenchFlags): void {
  const refuse = (code: string, sentence: string): never => {
    throw new OperatorError(code, sentence);
  };
  if (flags.handshakeOnly && (flags.requests !== undefined || flags.upload !== undefined)) {
    refuse(
      'handshake-only',
      '--handshake-only asks for nothing: leave it out, or --requests and --upload.',
    );
  }
  if (flags.insecure && flags.cacert !== undefined) {
    refuse('insecure-cacert', '--insecure verifies nothing: leave it out, or --cacert.');
  }
  if (flags.fullEvery !== undefined && flags.resume.kind !== 'always') {
    refuse('full-every', '--full-every makes exceptions from --resume always: add that flag.');
  }
  if (flags.minResumed !== undefined && flags.resume.kind === 'never') {
    refuse('min-resumed', '--min-resumed needs clients that offer sessions: add --resume always.');
  }
  if (flags.html === '-') {
    refuse('html-stdout', '--html writes a file: name one, such as report.html.');
  }
}

async function loadTarget(target: Target, sni: string | undefined): Promise<LoadTarget> {
  const found = await resolveAddress('URL', { host: target.host, port: target.port });
  if ('path' in found) throw new Error('a URL has no unix path');
  const serverName = sni ?? (isIP(target.host) === 0 ? target.host : '');
  return { host: found.host, port: found.port, serverName, path: target.path };
}

function trusted(flags: BenchFlags): string | null {
  if (flags.insecure) return null;
  if (flags.cacert === undefined) {
    // A slim container has none of its own; an empty list would verify nothing.
    const own = getCACertificates('system');
    return (own.length > 0 ? own : getCACertificates('bundled')).join('\n');
  }
  const pem = readOperatorFile(`--cacert ${flags.cacert}`, flags.cacert);
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) {
    throw new OperatorError(
      'cacert-invalid',
      `--cacert ${flags.cacert}: no PEM certificate in it: give the CA's certificate, such as certs/ca.crt.`,
    );
  }
  return pem;
}

function withFullEvery(flags: BenchFlags): Resume {
  if (flags.resume.kind !== 'always' || flags.fullEvery === undefined) return flags.resume;
  return { kind: 'always', fullEvery: flags.fullEvery };
}
