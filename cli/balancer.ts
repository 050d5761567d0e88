import { type Command, Option } from 'commander';
import type { BalancerRequest } from '../balancer/main.ts';
import { ALGORITHMS } from '../balancer/pick.ts';
import type { Algorithm } from '../balancer/pick.ts';
import type { Address } from '../config/address.ts';
import {
  DEFAULT_BACKLOG,
  DEFAULT_BALANCER_WORKERS,
  DEFAULT_DRAIN_TIMEOUT_MS,
  DEFAULT_LIMITS,
  DEFAULT_MAX_PIPES,
  DEFAULT_TIMEOUTS,
} from '../config/defaults.ts';
import { logLevelOption, openLogger } from './logger.ts';
import { routingKeyOption } from './routing-key-option.ts';
import { address, needed, targets, time, timeS, whole } from './values.ts';

/** `tlsfarm balancer`: send every client to the terminator that knows its session. */
export function addBalancerCommand(program: Command): void {
  program
    .command('balancer')
    .summary('send every client to the terminator that knows its TLS session')
    .description(
      'Reads the first bytes of each connection, decrypts nothing, and sends the client to the ' +
        'terminator that knows its TLS session; new clients go by --balance. A terminator that ' +
        'refuses, or is silent, is passed over without the client noticing. It needs no ' +
        'certificate; with the routing key of the terminators it can read whose a session is.',
    )
    .option('--listen <address>', 'where to accept: host:port, [v6]:port or unix:/path', address)
    .option('--terminator <address>', 'a terminator, by the name it advertises; repeat', targets)
    .addOption(routingKeyOption())
    .addOption(
      new Option('--balance <algorithm>', 'for clients without a session')
        .choices(ALGORITHMS)
        .default('rendezvous'),
    )
    .option('--workers <n>', 'sons, each on a core', whole(1, 256), DEFAULT_BALANCER_WORKERS)
    .optionsGroup('Advanced:')
    .option('--max-connections <n>', 'per son', whole(1, 10_000_000), DEFAULT_LIMITS.maxConnections)
    .option(
      '--max-hellos <n>',
      'incomplete first messages per son',
      whole(1, 1_000_000),
      DEFAULT_LIMITS.maxUndecidedHellos,
    )
    .option(
      '--max-pipes <n>',
      'pipes per son for large flows; 0: always copy',
      whole(0, 100_000),
      DEFAULT_MAX_PIPES,
    )
    .addOption(
      time(
        '--hello-timeout <time>',
        "for the client's first message",
        DEFAULT_TIMEOUTS.helloTimeoutMs,
      ),
    )
    .addOption(
      time(
        '--connect-timeout <time>',
        'for a terminator to accept',
        DEFAULT_TIMEOUTS.connectTimeoutMs,
      ),
    )
    .addOption(
      time(
        '--first-byte-timeout <time>',
        'for its first byte',
        DEFAULT_TIMEOUTS.firstByteTimeoutMs,
      ),
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

Example: one balancer before two terminators
  $ tlsfarm balancer --listen 127.0.0.1:8443 --routing-key-file routing.key \\
      --terminator 127.0.0.1:9443 --terminator 127.0.0.1:9444`,
    )
    .action(async (flags: BalancerFlags) => {
      const { runBalancer } = await import('../balancer/main.ts');
      await runBalancer(balancerRequest(flags), openLogger('balancer', flags.logLevel));
    });
}

export interface BalancerFlags {
  readonly listen?: Address;
  readonly terminator?: readonly Address[];
  readonly routingKeyFile?: string;
  readonly balance: Algorithm;
  readonly workers: number;
  readonly maxConnections: number;
  readonly maxHellos: number;
  readonly maxPipes: number;
  readonly helloTimeout: number;
  readonly connectTimeout: number;
  readonly firstByteTimeout: number;
  readonly idleTimeout: number;
  readonly lingerTimeout: number;
  readonly tcpUserTimeout: number;
  readonly keepalive: number;
  readonly drainTimeout: number;
  readonly backlog: number;
  readonly logLevel: string;
}

export function balancerRequest(flags: BalancerFlags): BalancerRequest {
  return {
    listen: needed(flags.listen, '--listen', '127.0.0.1:8443'),
    terminators: needed(flags.terminator, '--terminator', '127.0.0.1:9443'),
    routingKeyFile: flags.routingKeyFile ?? null,
    balance: flags.balance,
    workers: flags.workers,
    backlog: flags.backlog,
    limits: { maxConnections: flags.maxConnections, maxUndecidedHellos: flags.maxHellos },
    timeouts: {
      ...DEFAULT_TIMEOUTS,
      helloTimeoutMs: flags.helloTimeout,
      connectTimeoutMs: flags.connectTimeout,
      firstByteTimeoutMs: flags.firstByteTimeout,
      idleTimeoutMs: flags.idleTimeout,
      lingerTimeoutMs: flags.lingerTimeout,
      tcpUserTimeoutMs: flags.tcpUserTimeout,
      keepAliveIdleS: flags.keepalive,
    },
    maxPipes: flags.maxPipes,
    drainTimeoutMs: flags.drainTimeout,
  };
}
