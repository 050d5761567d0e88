import { type Command, Option } from 'commander';
import type { Address } from '../config/address.ts';
import {
  DEFAULT_BACKLOG,
  DEFAULT_CIPHERS,
  DEFAULT_CIPHERSUITES,
  DEFAULT_DEVICE,
  DEFAULT_DRAIN_TIMEOUT_MS,
  DEFAULT_GROUPS,
  DEFAULT_LIMITS,
  DEFAULT_MAX_FIBERS,
  DEFAULT_SECURITY_LEVEL,
  DEFAULT_SESSION_MAX_AGE_S,
  DEFAULT_SESSION_SLOTS,
  DEFAULT_TERMINATOR_WORKERS,
  DEFAULT_TIMEOUTS,
  DEFAULT_TLS_MIN,
} from '../config/defaults.ts';
import { OperatorError } from '../config/operator-error.ts';
import type { DeviceOptions } from '../native/index.ts';
import type { TerminatorRequest } from '../terminator/main.ts';
import type { CertificateFiles } from '../terminator/tls-options.ts';
import { logLevelOption, openLogger } from './logger.ts';
import { routingKeyOption } from './routing-key-option.ts';
import { address, device, needed, target, texts, time, timeS, whole } from './values.ts';

/** `tlsfarm terminator`: finish handshakes, speak plaintext to the upstream. */
export function addTerminatorCommand(program: Command): void {
  program
    .command('terminator')
    .summary('finish TLS handshakes and pass plaintext to an upstream')
    .description(
      'Finishes TLS handshakes and passes plaintext to the upstream. Its sons share one session ' +
        'table, so that any of them resumes what another began; with a routing key, session IDs ' +
        'tell balancers to which terminator a returning client belongs. SIGHUP reads certificates ' +
        'and keys again without losing a connection, SIGUSR1 logs statistics, SIGTERM stops after ' +
        'the connections have finished.',
    )
    .option('--listen <address>', 'where to accept: host:port, [v6]:port or unix:/path', address)
    .option(
      '--cert <file>',
      'PEM certificate chain, leaf first; repeat for a second key type',
      texts,
    )
    .option('--key <file>', 'PEM private key of the --cert in the same place', texts)
    .option('--upstream <address>', 'where plaintext goes: host:port or unix:/path', target)
    .option('--workers <n>', 'sons, each on a core', whole(1, 256), DEFAULT_TERMINATOR_WORKERS)
    .option(
      '--advertise <host:port>',
      'the name balancers have in --terminator (default: --listen)',
      target,
    )
    .addOption(routingKeyOption())
    .option(
      '--session-slots <n>',
      'sessions kept for this node',
      whole(64, 100_000_000),
      DEFAULT_SESSION_SLOTS,
    )
    .addOption(
      new Option('--tls-min <version>', 'oldest TLS version')
        .choices(['1.2', '1.3'])
        .default(DEFAULT_TLS_MIN),
    )
    .addOption(
      new Option('--ciphers <list>', 'TLS 1.2 ciphers, best first').default(
        DEFAULT_CIPHERS,
        'Mozilla intermediate',
      ),
    )
    .addOption(
      new Option('--ciphersuites <list>', 'TLS 1.3 cipher suites, best first').default(
        DEFAULT_CIPHERSUITES,
        'AES-128-GCM, AES-256-GCM, ChaCha20',
      ),
    )
    .option('--groups <list>', 'key exchange groups, best first', DEFAULT_GROUPS)
    .option('--seclevel <n>', "OpenSSL's security level", whole(0, 5), DEFAULT_SECURITY_LEVEL)
    .optionsGroup('Advanced:')
    .addOption(
      timeS(
        '--session-max-age <time>',
        'how long after its full handshake a session resumes',
        DEFAULT_SESSION_MAX_AGE_S,
      ),
    )
    .addOption(
      new Option('--device <device>', 'private-key operations: inline, or test[:polls]')
        .argParser(device)
        .default(DEFAULT_DEVICE, 'inline'),
    )
    .option('--max-connections <n>', 'per son', whole(1, 10_000_000), DEFAULT_LIMITS.maxConnections)
    .option(
      '--max-fibers <n>',
      'handshakes in flight per son',
      whole(1, 30_000),
      DEFAULT_MAX_FIBERS,
    )
    .addOption(
      time(
        '--handshake-timeout <time>',
        'from accept to the finished handshake',
        DEFAULT_TIMEOUTS.handshakeTimeoutMs,
      ),
    )
    .addOption(
      time('--connect-timeout <time>', 'for the upstream', DEFAULT_TIMEOUTS.connectTimeoutMs),
    )
    .addOption(time('--idle-timeout <time>', 'no byte either way', DEFAULT_TIMEOUTS.idleTimeoutMs))
    .addOption(
      time(
        '--linger-timeout <time>',
        "for the peer's end after ours",
        DEFAULT_TIMEOUTS.lingerTimeoutMs,
      ),
    )
    .addOption(
      time(
        '--tcp-user-timeout <time>',
        'for unacknowledged bytes',
        DEFAULT_TIMEOUTS.tcpUserTimeoutMs,
      ),
    )
    .addOption(
      timeS(
        '--keepalive <time>',
        'before the first keepalive probe',
        DEFAULT_TIMEOUTS.keepAliveIdleS,
      ),
    )
    .addOption(
      time(
        '--drain-timeout <time>',
        'what connections get to finish at a stop',
        DEFAULT_DRAIN_TIMEOUT_MS,
      ),
    )
    .option('--backlog <n>', "the kernel's accept queue per son", whole(1, 65_535), DEFAULT_BACKLOG)
    .addOption(logLevelOption())
    .addHelpText(
      'after',
      `
Times are 500ms, 10s, 5m; a plain number is milliseconds.

Example: two certificates, so that ECDSA clients cost less and RSA-only ones are served too
  $ tlsfarm cert --out certs
  $ tlsfarm secret routing --out routing.key
  $ tlsfarm terminator --listen 127.0.0.1:9443 --upstream 127.0.0.1:9000 \\
      --cert certs/rsa.crt --key certs/rsa.key --cert certs/ec.crt --key certs/ec.key \\
      --routing-key-file routing.key`,
    )
    .action(async (flags: TerminatorFlags) => {
      const request = terminatorRequest(flags);
      const { runTerminator } = await import('../terminator/main.ts');
      await runTerminator(request, openLogger('terminator', flags.logLevel));
    });
}

export interface TerminatorFlags {
  readonly listen?: Address;
  readonly cert?: readonly string[];
  readonly key?: readonly string[];
  readonly upstream?: Address;
  readonly workers: number;
  readonly advertise?: Address;
  readonly routingKeyFile?: string;
  readonly sessionSlots: number;
  readonly tlsMin: '1.2' | '1.3';
  readonly ciphers: string;
  readonly ciphersuites: string;
  readonly groups: string;
  readonly seclevel: number;
  readonly sessionMaxAge: number;
  readonly device: DeviceOptions;
  readonly maxConnections: number;
  readonly maxFibers: number;
  readonly handshakeTimeout: number;
  readonly connectTimeout: number;
  readonly idleTimeout: number;
  readonly lingerTimeout: number;
  readonly tcpUserTimeout: number;
  readonly keepalive: number;
  readonly drainTimeout: number;
  readonly backlog: number;
  readonly logLevel: string;
}

export function terminatorRequest(flags: TerminatorFlags): TerminatorRequest {
  return {
    listen: needed(flags.listen, '--listen', '127.0.0.1:9443'),
    upstream: needed(flags.upstream, '--upstream', '127.0.0.1:9000'),
    tls: {
      certificates: pair(
        needed(flags.cert, '--cert', 'certs/rsa.crt'),
        needed(flags.key, '--key', 'certs/rsa.key'),
      ),
      minVersion: flags.tlsMin,
      ciphers: flags.ciphers,
      ciphersuites: flags.ciphersuites,
      groups: flags.groups,
      securityLevel: flags.seclevel,
      sessionMaxAgeS: flags.sessionMaxAge,
    },
    advertise: flags.advertise ?? null,
    routingKeyFile: flags.routingKeyFile ?? null,
    workers: flags.workers,
    backlog: flags.backlog,
    sessionSlots: flags.sessionSlots,
    limits: { ...DEFAULT_LIMITS, maxConnections: flags.maxConnections },
    timeouts: {
      ...DEFAULT_TIMEOUTS,
      handshakeTimeoutMs: flags.handshakeTimeout,
      connectTimeoutMs: flags.connectTimeout,
      idleTimeoutMs: flags.idleTimeout,
      lingerTimeoutMs: flags.lingerTimeout,
      tcpUserTimeoutMs: flags.tcpUserTimeout,
      keepAliveIdleS: flags.keepalive,
    },
    maxFibers: flags.maxFibers,
    device: flags.device,
    drainTimeoutMs: flags.drainTimeout,
  };
}

function pair(certs: readonly string[], keys: readonly string[]): CertificateFiles[] {
  if (certs.length !== keys.length) {
    throw new OperatorError(
      'cert-key-pairs',
      `There are ${certs.length} --cert and ${keys.length} --key: give each --cert its --key, in the same order.`,
    );
  }
  return certs.map((cert, index) => ({ cert, key: keys[index] ?? '' }));
}
