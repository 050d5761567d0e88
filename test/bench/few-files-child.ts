/** A run in a process of its own, for run-load.test.ts to limit: PORT OPTIONS → result, both JSON. */
import type { LoadOptions } from '../../bench/load.ts';
import { defaultLoadOptions } from '../../bench/load-defaults.ts';
import { runLoad } from '../../bench/run-load.ts';

const [port, options = '{}'] = process.argv.slice(2);
const target = { host: '127.0.0.1', port: Number(port), serverName: '', path: '/' };
const result = await runLoad({
  ...defaultLoadOptions(target),
  durationMs: 0,
  resume: { kind: 'never' },
  handshakeTimeoutMs: 300,
  ...(JSON.parse(options) as Partial<LoadOptions>),
});
process.stdout.write(JSON.stringify(result));
