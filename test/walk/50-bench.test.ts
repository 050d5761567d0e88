/** The load generator as people start it, before real terminators. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { LoadResult } from '../../bench/load.ts';
import { run, startTerminator } from './farm.ts';
import { testFiles } from './files.ts';
import { startOrigin } from './origin.ts';

interface Json {
  readonly format: string;
  readonly broken: readonly string[];
  readonly interrupted: boolean;
  readonly resumedShare: number | null;
  readonly result: LoadResult;
}

const PROGRAM = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));
const { folder } = await testFiles();
const CA = ['--cacert', join(folder, 'ca.crt')];
const PAGE = { kind: 'page', name: 'one' } as const;
const SMALL = ['--clients', '8', '--json', '-', ...CA];

async function bench(
  ...args: string[]
): Promise<{ status: number | null; json: Json; stderr: string }> {
  const { status, stdout, stderr } = await run(['bench', ...args, ...SMALL]);
  assert.notEqual(stdout, '', stderr);
  return { status, json: JSON.parse(stdout) as Json, stderr };
}

function failures({ errors }: LoadResult): number {
  return Object.values(errors).reduce((sum, count) => sum + count, 0);
}

describe('a load run', () => {
  for (const version of ['1.2', '1.3']) {
    test(`TLS ${version}: every connection is counted, nearly all resume`, async (t) => {
      const origin = await startOrigin(t, PAGE);
      const { port } = await startTerminator(t, origin.address);
      const { status, json } = await bench(
        ...[`https://localhost:${port}/`, '--connections', '300', '--tls', version],
        ...['--resume', 'always', '--min-resumed', '0.99', '--max-errors', '0'],
      );
      assert.deepEqual(json.broken, []);
      assert.equal(status, 0);
      assert.equal(json.format, 'tlsfarm-bench/1');
      const { result } = json;
      assert.equal(result.started, 300);
      assert.equal(result.completed + failures(result), 300);
      assert.equal(result.handshakesFull + result.handshakesResumed, 300);
      assert.equal(result.handshakesFull, 8, 'the first of each client');
      assert.equal(result.total.count, 300);
      assert.match(Object.keys(result.negotiated).join(), new RegExp(`TLSv${version}`));
    });
  }

  test('two terminators that share nothing are told apart by --min-resumed', async (t) => {
    const origin = await startOrigin(t, PAGE);
    const one = await startTerminator(t, origin.address);
    const two = await startTerminator(t, origin.address);
    const { status, json, stderr } = await bench(
      ...[`https://localhost:${one.port}/`, `https://localhost:${two.port}/`, '--tls', '1.2'],
      ...['--connections', '200', '--resume', 'always', '--min-resumed', '0.99'],
    );
    assert.equal(status, 1);
    assert.match(stderr, /--min-resumed 0\.99: 0\.\d+ of the connections .* did not\./);
    assert.equal(json.result.perTarget.length, 2);
    assert.equal(failures(json.result), 0);
  });

  test('a latency that cannot be kept breaks its threshold, in a sentence', async (t) => {
    const origin = await startOrigin(t, PAGE);
    const { port } = await startTerminator(t, origin.address);
    const { status, stderr } = await bench(
      ...[`https://localhost:${port}/`, '--connections', '50', '--p99', '1us'],
    );
    assert.equal(status, 1);
    assert.match(stderr, /tlsfarm: --p99 0\.001 ms: it was .* ms\./);
  });

  test('errors are counted by kind: nobody there, and a certificate of somebody else', async (t) => {
    const nobody = await bench('https://localhost:9/', '--connections', '20');
    assert.equal(nobody.status, 1);
    assert.equal(nobody.json.result.errors.connectRefused, 20);
    const origin = await startOrigin(t, PAGE);
    const { port } = await startTerminator(t, origin.address);
    const stranger = await bench(
      ...[`https://localhost:${port}/`, '--connections', '20', '--sni', 'other.test'],
      ...['--max-errors', '0'],
    );
    assert.equal(stranger.status, 1);
    assert.equal(stranger.json.result.errors.handshakeVerify, 20);
  });

  test('the page and the JSON are written to files', async (t) => {
    const origin = await startOrigin(t, PAGE);
    const { port } = await startTerminator(t, origin.address);
    const [html, json] = [join(folder, 'r.html'), join(folder, 'r.json')];
    const { status, stdout } = await run([
      ...['bench', `https://localhost:${port}/`, '--connections', '50', ...CA],
      ...['--html', html, '--json', json],
    ]);
    assert.equal(status, 0);
    assert.match(stdout, /50 connections in .* no errors/);
    assert.ok(readFileSync(html, 'utf8').includes('<!doctype html>'));
    assert.equal((JSON.parse(readFileSync(json, 'utf8')) as Json).result.completed, 50);
  });

  test('Ctrl-C ends it early, and it still reports', async (t) => {
    const origin = await startOrigin(t, PAGE);
    const { port } = await startTerminator(t, origin.address);
    const file = join(folder, 'early.json');
    const child = spawn(
      process.execPath,
      [
        ...[PROGRAM, 'bench', `https://localhost:${port}/`, '--duration', '10m', '--clients', '4'],
        ...['--json', file, ...CA],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    t.after(() => void child.kill('SIGKILL'));
    // The first progress line, after 5 s: it runs.
    await once(child.stderr, 'data');
    child.kill('SIGINT');
    const [status] = (await once(child, 'exit')) as [number | null];
    assert.equal(status, 0);
    assert.ok(existsSync(file));
    const json = JSON.parse(readFileSync(file, 'utf8')) as Json;
    assert.equal(json.interrupted, true);
    assert.ok(json.result.completed > 0);
  });

  test('wrong flags start nothing', async () => {
    const { status, stdout, stderr } = await run([
      'bench',
      'https://127.0.0.1:9/',
      '--groups',
      'NO',
    ]);
    assert.equal(status, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /^tlsfarm: .*"NO".*\n$/);
  });
});
