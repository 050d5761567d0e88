/**
 * A first look at cost: scheduler CPU per connection of a tlsfarm terminator beside nginx, driven by
 * `openssl s_time`, one connection at a time. Interleaved in one run, random order, medians: the
 * machines are noisy and absolute figures drift. `npm run bench -- first-look [--rounds N] [--write]`.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import Table from 'cli-table3';
import { writeCertificates } from '../cli/cert.ts';
import { makeCertificates } from '../cli/development-certificates.ts';
import { cpuTimeNs, median, processTree } from './cpu-time.ts';
import { startNginx } from './drivers/nginx.ts';
import type { Server, Site } from './drivers/server.ts';
import { freePort } from './drivers/server.ts';
import { startTlsfarm } from './drivers/tlsfarm.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    write: { type: 'boolean', default: false },
  },
});
const ROUNDS = Number(values.rounds);
const SLICE_S = 2;
const SERVER_CORE = 0;
const LOAD_CORE = availableParallelism() > 1 ? 1 : 0;
const run = promisify(execFile);

interface Row {
  readonly name: string;
  readonly flags: readonly string[];
}

const ROWS: readonly Row[] = [
  { name: 'full, ECDHE-RSA-2048, TLS 1.2', flags: ['-tls1_2', '-new'] },
  { name: 'resumed by ID, TLS 1.2', flags: ['-tls1_2', '-reuse'] },
  { name: 'full, RSA-2048, TLS 1.3', flags: ['-tls1_3', '-new'] },
];

interface Sample {
  readonly connections: number;
  readonly cpuUs: number;
}

const folder = mkdtempSync(join(tmpdir(), 'tlsfarm-bench-'));
const origin = createServer((_, response) => response.end('hi\n'));
await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
const servers: Server[] = [];
try {
  writeCertificates(folder, await makeCertificates([], 2, new Date()), false);
  const site: Site = {
    cert: join(folder, 'rsa.crt'),
    key: join(folder, 'rsa.key'),
    originPort: (origin.address() as AddressInfo).port,
    folder,
    core: SERVER_CORE,
    tickets: false,
  };
  servers.push(
    await startTlsfarm(site, await freePort()),
    await startNginx(site, await freePort()),
  );
  const samples = await measure();
  const table = render(samples);
  process.stdout.write(`${table}\n`);
  if (values.write) {
    writeFileSync(new URL('../docs/performance/first-look.md', import.meta.url), page(samples));
  }
} finally {
  for (const server of servers) await server.stop();
  origin.close();
  rmSync(folder, { recursive: true, force: true });
}

async function measure(): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>();
  for (let round = 0; round < ROUNDS; round++) {
    const visits = ROWS.flatMap((row) => servers.map((server) => ({ row, server })));
    for (const { row, server } of visits.toSorted(() => Math.random() - 0.5)) {
      const key = `${row.name} ${server.name}`;
      samples.set(key, [...(samples.get(key) ?? []), await slice(row, server)]);
    }
    process.stderr.write(`round ${round + 1} of ${ROUNDS}\n`);
  }
  return samples;
}

async function slice(row: Row, server: Server): Promise<Sample> {
  const pids = processTree(server.pid);
  const before = cpuTimeNs(pids);
  const { stdout } = await run('taskset', [
    ...['-c', String(LOAD_CORE), 'openssl', 's_time', '-connect', `127.0.0.1:${server.port}`],
    ...['-time', String(SLICE_S), '-www', '/', ...row.flags],
  ]);
  const used = cpuTimeNs(pids) - before;
  // With -reuse one full handshake comes first and is not in the number: it is below a thousandth.
  const connections = Number(/(\d+) connections in \d+ real/.exec(stdout)?.[1] ?? Number.NaN);
  if (!(connections > 0)) throw new Error(`s_time made no connection to ${server.name}: ${stdout}`);
  return { connections, cpuUs: used / 1000 / connections };
}

function cell(samples: Map<string, Sample[]>, row: Row, server: Server): number[] {
  return (samples.get(`${row.name} ${server.name}`) ?? []).map((sample) => sample.cpuUs);
}

function figures(samples: Map<string, Sample[]>): string[][] {
  return ROWS.map((row) => {
    const each = servers.map((server) => cell(samples, row, server));
    const medians = each.map(median);
    const count = servers.reduce(
      (sum, server) =>
        sum +
        (samples.get(`${row.name} ${server.name}`) ?? []).reduce((n, s) => n + s.connections, 0),
      0,
    );
    return [
      row.name,
      ...each.map((cpu, i) => {
        const spread = `${Math.min(...cpu).toFixed(0)}–${Math.max(...cpu).toFixed(0)}`;
        return `${medians[i]?.toFixed(0)} (${spread})`;
      }),
      ((medians[0] ?? Number.NaN) / (medians[1] ?? Number.NaN)).toFixed(2),
      String(count),
    ];
  });
}

function head(): string[] {
  return ['row', ...servers.map((server) => server.name), 'ratio', 'connections'];
}

function render(samples: Map<string, Sample[]>): string {
  const table = new Table({ head: head(), style: { head: [] } });
  table.push(...figures(samples));
  return table.toString();
}

function page(samples: Map<string, Sample[]>): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return `# A first look at cost

CPU microseconds per connection of all the server's processes (scheduler accounting), median of
${ROUNDS} interleaved rounds of ${SLICE_S} s in random order, minimum–maximum in parentheses. One worker each,
server on one core, \`openssl s_time\` (one connection at a time, GET of a 3-byte page) and the origin on the
other. *ratio* is tlsfarm to nginx: below 1 is cheaper. No threshold hangs on it. s_time reports failures by
ending without a count; a slice without connections ends the run.

${line(head())}
${line(head().map(() => '---'))}
${figures(samples).map(line).join('\n')}

* ${servers.map((server) => server.version).join('\n* ')}
* ${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown CPU'}
* Made by \`npm run bench -- first-look --rounds ${ROUNDS} --write\`

The peers run Debian's OpenSSL and we run Node's, which is newer: part of any difference is the library's.
`;
}
