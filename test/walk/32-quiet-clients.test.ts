/** Clients that send a hello and then nothing: no event of theirs may be what brings the others on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTerminator } from './farm.ts';
import { startOrigin } from './origin.ts';
import { isServerHello, RawClient, recordedHello } from './raw-client.ts';

/** Far above what six handshakes take on a busy machine, far below --handshake-timeout. */
const ANSWER_MS = 4_000;
const ROUNDS = 4;
const hellos = ['node24-tls13', 'openssl-tls12', 'chromium-tls13', 'openssl-tls13'].map(
  recordedHello,
);

for (const { device, fibers, clients } of [
  { device: 'test:1', fibers: 1, clients: 4 },
  { device: 'test:4', fibers: 2, clients: 6 },
]) {
  test(`--device ${device} --max-fibers ${fibers}: clients that only wait get their ServerHello`, async (t) => {
    const origin = await startOrigin(t, { kind: 'silent' });
    const terminator = await startTerminator(t, origin.address, [
      ...['--workers', '1', '--device', device, '--max-fibers', `${fibers}`],
    ]);
    const [son] = await terminator.sonPids();
    if (son === undefined) throw new Error('no son');
    for (let round = 0; round < ROUNDS; round++) {
      const quiet = await Promise.all(
        Array.from({ length: clients }, () => RawClient.open(terminator.port)),
      );
      // All hellos in one turn of its loop, and no event after it. Nobody asks for `stats` either: that
      // would wake the son up.
      process.kill(son, 'SIGSTOP');
      await Promise.all(
        quiet.map(
          ({ socket }, i) =>
            new Promise((sent) => socket.write(hellos[i % hellos.length] ?? '', sent)),
        ),
      );
      const startedAt = performance.now();
      process.kill(son, 'SIGCONT');
      const impatience = setTimeout(() => {
        for (const { socket } of quiet) socket.destroy();
      }, ANSWER_MS);
      const answers = await Promise.all(quiet.map((client) => client.answer()));
      clearTimeout(impatience);
      const ms = Math.round(performance.now() - startedAt);
      t.diagnostic(`round ${round}: ${ms} ms`);
      assert.deepEqual(answers.map(isServerHello), new Array(clients).fill(true));
      for (const client of quiet) client.reset();
      await Promise.all(quiet.map((client) => client.ended()));
    }
  });
}
