/** The father with real sons of a fake role: what it does about starts, deaths, reloads and stops. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { OperatorError } from '../../config/operator-error.ts';
import type { FatherOptions, MakePayload } from '../../native/father.ts';
import { Father } from '../../native/father.ts';
import { native } from '../../native/index.ts';
import type { FakePayload } from './fake-role.ts';

interface Line {
  readonly msg: string;
  readonly [field: string]: unknown;
}

interface Watched {
  readonly father: Father;
  readonly lines: readonly Line[];
  until(msg: string, count?: number): Promise<Line>;
}

function watch(
  t: TestContext,
  payload: FakePayload,
  options: Partial<FatherOptions> = {},
): Watched {
  const lines: Line[] = [];
  const logger = pino(
    { level: 'debug', base: null },
    { write: (text: string) => void lines.push(JSON.parse(text) as Line) },
  );
  const father = new Father(native, {
    role: 'balancer',
    module: new URL('./fake-role.ts', import.meta.url).href,
    slots: 2,
    listen: { host: '127.0.0.1', port: 0 },
    backlog: 64,
    sessionSlots: null,
    makePayload: () => payload,
    reload: () => Promise.resolve(() => payload),
    drainTimeoutMs: 1_000,
    logger,
    onServing: () => {},
    ...options,
  });
  t.after(async () => {
    father.stop('the test is over');
    father.stop('the test is over');
    if (lines.some((line) => line.msg === 'listening')) await father.stopped;
  });
  const until = async (msg: string, count = 1): Promise<Line> => {
    for (let patience = 0; patience < 1_000; patience++) {
      const found = lines.filter((line) => line.msg === msg)[count - 1];
      if (found !== undefined) return found;
      await sleep(10);
    }
    throw new Error(`no '${msg}' in ${JSON.stringify(lines)}`);
  };
  return { father, lines, until };
}

/** What a son says to a new connection, which is then left open or closed. */
function ask(father: Father, keep?: (socket: { destroy(): void }) => void): Promise<string> {
  const address = father.address;
  if ('path' in address) throw new Error('a port is expected');
  return new Promise((resolve, reject) => {
    const socket = connect(address);
    socket.once('error', reject);
    socket.once('data', (data) => {
      if (keep === undefined) socket.destroy();
      else keep(socket);
      resolve(data.toString().trim());
    });
  });
}

async function pids(watched: Watched): Promise<number[]> {
  const before = watched.lines.filter((line) => line.msg === 'stats').length;
  await watched.father.logStats();
  return (await watched.until('stats', before + 1))['sonPids'] as number[];
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('all sons are ready before it says so, and it stops with nothing left', async (t) => {
  const watched = watch(t, { word: 'hello' });
  await watched.father.start();
  assert.match(await ask(watched.father), /^hello \d+$/);
  const sons = await pids(watched);
  assert.equal(sons.length, 2);
  watched.father.stop('enough');
  await watched.father.stopped;
  assert.deepEqual(sons.filter(alive), []);
  assert.equal(watched.lines.at(-1)?.msg, 'stopped');
  const stats = watched.lines.findLast((line) => line.msg === 'stats');
  assert.deepEqual(stats?.['counters'], { accepted: 1 }, 'the last words of the dead are counted');
});

test('a son that refuses to start makes the whole start fail with its own sentence', async (t) => {
  const { father } = watch(t, { word: '', fails: 'operator' });
  await assert.rejects(father.start(), { code: 'fake-code', message: 'Fake: mend it.' });
});

for (const fails of ['crash', 'exit'] as const) {
  test(`a son that ends at start by ${fails} makes the whole start fail`, async (t) => {
    const { father } = watch(t, { word: '', fails });
    await assert.rejects(father.start(), {
      code: 'son-failed',
      message: fails === 'crash' ? /fake crash/ : /exit status 7/,
    });
  });
}

test('a killed son is replaced at once on the same socket, and again after a while', async (t) => {
  const watched = watch(t, { word: 'x' }, { slots: 1 });
  await watched.father.start();
  const [first = 0] = await pids(watched);
  process.kill(first, 'SIGKILL');
  // The queue of the socket waits for the successor: no refusal in between.
  assert.match(await ask(watched.father), /^x \d+$/);
  assert.equal((await watched.until('son replaced'))['delayMs'], 0);
  const [second = 0] = await pids(watched);
  process.kill(second, 'SIGKILL');
  assert.match(await ask(watched.father), /^x \d+$/);
  assert.equal((await watched.until('son replaced', 2))['delayMs'], 100);
});

test('SIGTERM to a son: a successor is ready before it drains, and what it serves is finished', async (t) => {
  const watched = watch(t, { word: 'x' }, { slots: 1 });
  await watched.father.start();
  const [first = 0] = await pids(watched);
  let open: { destroy(): void } | null = null;
  await ask(watched.father, (socket) => {
    open = socket;
  });
  process.kill(first, 'SIGTERM');
  await watched.until('son asked to leave');
  for (let patience = 0; (await pids(watched))[0] === first && patience < 500; patience++) {
    await sleep(10);
  }
  assert.ok(alive(first), 'it still has a connection');
  (open as unknown as { destroy(): void }).destroy();
  assert.equal((await watched.until('son left'))['son'], first);
});

test('reload: all sons are new, and have what was read', async (t) => {
  const watched = watch(
    t,
    { word: 'old' },
    { reload: () => Promise.resolve(() => ({ word: 'new' })) },
  );
  await watched.father.start();
  const before = await pids(watched);
  await watched.father.reload();
  await watched.until('reloaded');
  const after = await pids(watched);
  assert.deepEqual(
    before.filter((pid) => after.includes(pid)),
    [],
  );
  await watched.until('son left', 2);
  assert.match(await ask(watched.father), /^new /);
});

const bad: Readonly<Record<string, { reload: () => Promise<MakePayload>; line: string }>> = {
  'a reload that cannot read its files leaves every son where it is': {
    reload: () => Promise.reject(new OperatorError('x', 'Say why.')),
    line: 'reload refused',
  },
  'a reload whose sons cannot start leaves every son where it is': {
    reload: () => Promise.resolve(() => ({ word: '', fails: 'operator' })),
    line: 'reload failed',
  },
};
for (const [promise, { reload, line }] of Object.entries(bad)) {
  test(promise, async (t) => {
    const watched = watch(t, { word: 'old' }, { reload });
    await watched.father.start();
    const before = await pids(watched);
    await watched.father.reload();
    const said = await watched.until(line);
    assert.ok(String(said['reason']).length > 0);
    assert.deepEqual(await pids(watched), before);
    assert.match(await ask(watched.father), /^old /);
  });
}

test('a stop waits for connections up to drainTimeoutMs', async (t) => {
  const watched = watch(t, { word: 'x' }, { drainTimeoutMs: 300 });
  await watched.father.start();
  await ask(watched.father, () => {});
  const startedAt = performance.now();
  watched.father.stop('enough');
  await watched.father.stopped;
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs >= 290 && tookMs < 2_000, `${tookMs} ms`);
});

test('a second stop waits for nobody', async (t) => {
  const watched = watch(t, { word: 'x' }, { drainTimeoutMs: 60_000 });
  await watched.father.start();
  await ask(watched.father, () => {});
  watched.father.stop('enough');
  watched.father.stop('now');
  await watched.father.stopped;
});

test('a frozen son is killed in the end', async (t) => {
  const watched = watch(t, { word: 'x' }, { drainTimeoutMs: 60_000 });
  await watched.father.start();
  const [first = 0] = await pids(watched);
  process.kill(first, 'SIGSTOP');
  watched.father.stop('enough');
  watched.father.stop('now');
  await watched.father.stopped;
  assert.equal(alive(first), false);
  assert.equal((await watched.until('son killed'))['son'], first);
});
