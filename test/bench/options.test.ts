/** Flags of `tlsfarm bench` to what the generator is asked. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Command } from 'commander';
import type { LoadOptions } from '../../bench/load.ts';
import type { BenchFlags } from '../../cli/bench.ts';
import { addBenchCommand, loadOptions, thresholds } from '../../cli/bench.ts';
import type { Target } from '../../cli/bench-values.ts';

interface Parsed {
  readonly options: LoadOptions;
  readonly flags: BenchFlags;
}

async function parse(...args: string[]): Promise<Parsed> {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  addBenchCommand(program);
  const bench = program.commands[0];
  assert.ok(bench !== undefined);
  let parsed: Promise<Parsed> | null = null;
  bench.exitOverride().configureOutput({ writeErr: () => {} });
  bench.action((targets: readonly Target[], flags: BenchFlags) => {
    parsed = loadOptions(targets, flags).then((options) => ({ options, flags }));
  });
  await program.parseAsync(['bench', ...args], { from: 'user' });
  assert.ok(parsed !== null);
  return parsed;
}

const PAGE = 'https://127.0.0.1:8443/a?b';

describe('options', () => {
  test('an address needs only its URL', async () => {
    const { options } = await parse(PAGE, '--insecure');
    assert.deepEqual(options.targets, [
      { host: '127.0.0.1', port: 8443, serverName: '', path: '/a?b' },
    ]);
    assert.equal(options.durationMs, 10_000);
    assert.equal(options.requestsPerConnection, 1);
    assert.deepEqual(options.resume, { kind: 'never' });
    assert.equal(options.ca, null);
  });

  test('names are resolved, and sent and verified as they were written', async () => {
    const { options } = await parse('https://LOCALHOST/', '--insecure');
    const [target] = options.targets;
    assert.match(target?.host ?? '', /^(127\.0\.0\.1|::1)$/);
    assert.equal(target?.port, 443);
    assert.equal(target?.serverName, 'localhost');
  });

  test('several URLs are several targets, and --sni is for all of them', async () => {
    const { options } = await parse(PAGE, 'https://[::1]:9/', '--sni', 'farm.test', '--insecure');
    assert.deepEqual(
      options.targets.map(({ host, serverName }) => [host, serverName]),
      [
        ['127.0.0.1', 'farm.test'],
        ['::1', 'farm.test'],
      ],
    );
  });

  test('without --insecure there is somebody to trust', async () => {
    const { options } = await parse(PAGE);
    assert.match(options.ca ?? '', /BEGIN CERTIFICATE/);
  });

  test('--connections alone sets no time', async () => {
    const { options } = await parse(PAGE, '--connections', '500');
    assert.deepEqual([options.connections, options.durationMs], [500, 0]);
    const both = await parse(PAGE, '--connections', '500', '--duration', '1m');
    assert.deepEqual([both.options.connections, both.options.durationMs], [500, 60_000]);
  });

  test('every flag arrives', async () => {
    const { options, flags } = await parse(
      ...[PAGE, '--clients', '7', '--rate', '500', '--ramp', '2s', '--requests', '3'],
      ...['--upload', '64k', '--tls', '1.2', '--ciphers', 'A', '--ciphersuites', 'B'],
      ...['--groups', 'C', '--sigalgs', 'D', '--alpn', 'h2,http/1.1', '--insecure'],
      ...['--resume', 'always', '--full-every', '10', '--mechanism', 'ticket', '--seed', '9'],
      ...['--connect-timeout', '1s', '--handshake-timeout', '2s', '--response-timeout', '3s'],
      ...['--grace', '4s', '--min-resumed', '0.99', '--max-errors', '0', '--p99', '800us'],
    );
    assert.deepEqual(options, {
      targets: [{ host: '127.0.0.1', port: 8443, serverName: '', path: '/a?b' }],
      clients: 7,
      ratePerS: 500,
      rampMs: 2_000,
      durationMs: 10_000,
      connections: 0,
      requestsPerConnection: 3,
      uploadBytes: 65_536,
      tlsVersion: '1.2',
      ciphers: 'A',
      ciphersuites: 'B',
      groups: 'C',
      signatureAlgorithms: 'D',
      alpn: ['h2', 'http/1.1'],
      ca: null,
      resume: { kind: 'always', fullEvery: 10 },
      mechanism: 'ticket',
      connectTimeoutMs: 1_000,
      handshakeTimeoutMs: 2_000,
      responseTimeoutMs: 3_000,
      graceMs: 4_000,
      seed: 9,
    });
    assert.deepEqual(thresholds(flags), { minResumed: 0.99, maxErrors: 0, p99Us: 800 });
  });

  test('a ratio is a ratio, and handshake-only asks for nothing', async () => {
    const { options } = await parse(PAGE, '--resume', '0.9', '--handshake-only');
    assert.deepEqual(options.resume, { kind: 'ratio', ratio: 0.9 });
    assert.equal(options.requestsPerConnection, 0);
  });
});

const wrong: Readonly<Record<string, readonly [readonly string[], RegExp]>> = {
  'plain http': [
    ['http://localhost:8443/'],
    /Write an https URL, such as https:\/\/localhost:8443\//,
  ],
  'an address without a scheme': [['localhost:8443'], /such as https:\/\/localhost:8443/],
  'a password in the URL': [['https://a:b@localhost/'], /leave them out/],
  'no URL': [[], /missing required argument 'url'/],
  'a name that nobody knows': [['https://x.invalid/'], /x\.invalid cannot be resolved/],
  'a ratio above one': [[PAGE, '--resume', '1.5'], /never, always, or a ratio/],
  'an upload of nothing': [[PAGE, '--upload', '0'], /a size such as 65536/],
  'a latency of nothing': [[PAGE, '--p99', '0'], /a time such as 800us/],
  'handshakes that ask': [[PAGE, '--handshake-only', '--requests', '2'], /asks for nothing/],
  'two kinds of trust': [[PAGE, '--insecure', '--cacert', 'x'], /--insecure verifies nothing/],
  'a CA that is none': [[PAGE, '--cacert', 'package.json'], /no PEM certificate/],
  'a CA that is not there': [[PAGE, '--cacert', 'nope'], /--cacert nope does not exist/],
  'exceptions from nothing': [[PAGE, '--full-every', '10'], /add that flag/],
  'a share of nothing': [[PAGE, '--min-resumed', '0.9'], /add --resume always/],
  'a page to standard output': [[PAGE, '--html', '-'], /--html writes a file/],
};

describe('wrong flags contain their fix', () => {
  for (const [what, [args, says]] of Object.entries(wrong)) {
    test(what, async () => {
      await assert.rejects(parse(...args), says);
    });
  }
});
