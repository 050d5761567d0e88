/**
 * tlsfarm beside nginx, HAProxy, hitch and stunnel: `npm run bench -- compare [options]`. What is
 * measured is in trials/, who in drivers/, how in runner.ts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { costTable, errorTable, rateTable } from './comparison.ts';
import { comparisonSvg } from './comparison-plots.ts';
import { haproxy, haproxyBalancer } from './drivers/haproxy.ts';
import { hitch } from './drivers/hitch.ts';
import { nginx, nginxBalancer } from './drivers/nginx.ts';
import { stunnel } from './drivers/stunnel.ts';
import { tlsfarm, tlsfarmBalancer } from './drivers/tlsfarm.ts';
import { Grounds } from './grounds.ts';
import type { Measured, Row, RunOptions } from './runner.ts';
import { measure } from './runner.ts';
import { balancerTrials } from './trials/balancers.ts';
import { terminatorTrials } from './trials/terminators.ts';

const TERMINATORS = [tlsfarm, nginx, haproxy, hitch, stunnel];
const BALANCERS = [tlsfarmBalancer, haproxyBalancer, nginxBalancer];
const TRIALS = [...terminatorTrials, ...balancerTrials];

const USAGE = `Usage: npm run bench -- compare [options]
  --rounds N     visits of every server in every row (7)
  --only ROW     rows whose key contains ROW; repeat
  --peers LIST   of nginx,haproxy,hitch,stunnel; tlsfarm is always there
  --slice-ms N   length of a visit (1500)
  --seed N       the order of visits (a new one, printed)
  --write        results to docs/performance/: compare.md, compare.json, SVG plots
Rows: ${TRIALS.map((trial) => trial.key).join(', ')}
`;

const { values } = parse();
const trials = TRIALS.filter(
  (trial) => values.only === undefined || values.only.some((part) => trial.key.includes(part)),
);
const wanted = values.peers?.split(',').filter((name) => name !== '');
const unknown = wanted?.find((name) => !TERMINATORS.some((driver) => driver.name === name));
if (trials.length === 0) stop(`No row is called ${values.only?.join(' or ')}.`);
if (unknown !== undefined) stop(`There is no peer ${unknown}.`);
const among = ({ name }: { readonly name: string }): boolean =>
  wanted === undefined || name.startsWith('tlsfarm') || wanted.includes(name.split(' ')[0] ?? '');

const options: RunOptions = {
  rounds: positive('rounds', values.rounds),
  sliceMs: positive('slice-ms', values['slice-ms']),
  seed:
    values.seed === undefined ? Math.floor(Math.random() * 2 ** 32) : positive('seed', values.seed),
  say: (text) => process.stderr.write(`${text}\n`),
};
process.on('SIGINT', () => process.exit(130));
process.on('SIGTERM', () => process.exit(143));

// What else runs on so few cores is in every figure.
const busyBefore = (loadavg()[0] ?? 0).toFixed(1);
options.say(`seed ${options.seed}, load average ${busyBefore}`);
const grounds = new Grounds();
try {
  await grounds.prepare();
  const measured = await measure(
    grounds,
    trials,
    TERMINATORS.filter(among),
    BALANCERS.filter(among),
    options,
  );
  for (const [title, table] of sections(measured))
    process.stdout.write(`${title}\n${draw(table)}\n`);
  process.stdout.write(`${Object.values(measured.versions).join('\n')}\n`);
  if (values.write) write(measured);
} finally {
  await grounds.stop();
}

function sections({ rows }: Measured): (readonly [string, string[][]])[] {
  return groups(rows).flatMap(([name, some]) => [
    [`${name}: cost, median (minimum–maximum)`, costTable(some)] as const,
    ...(some.every((row) => row.trial.unit === 'KiB per connection')
      ? []
      : [[`${name}: rate`, rateTable(some)] as const]),
    [`${name}: errors in connections`, errorTable(some)] as const,
  ]);
}

function groups(rows: readonly Row[]): [string, Row[]][] {
  const memory = (row: Row): boolean => row.trial.unit === 'KiB per connection';
  const balanced = (row: Row): boolean => row.trial.ground === 'balanced';
  const all: [string, Row[]][] = [
    ['Terminators', rows.filter((row) => !memory(row) && !balanced(row))],
    ['Memory', rows.filter(memory)],
    ['Balancers', rows.filter(balanced)],
  ];
  return all.filter(([, some]) => some.length > 0);
}

function write(measured: Measured): void {
  const folder = new URL('../docs/performance/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  const plots = groups(measured.rows).map(([name, some]) => {
    const file = `compare-${name.toLowerCase()}.svg`;
    writeFileSync(new URL(file, folder), comparisonSvg(`${name}: cost, best peer = 1`, some));
    return file;
  });
  const made = { ...machine(), ...options, trials: trials.map((trial) => trial.key) };
  writeFileSync(
    new URL('compare.json', folder),
    `${JSON.stringify({ format: 'tlsfarm-compare/1', made, ...measured }, null, 1)}\n`,
  );
  writeFileSync(new URL('compare.md', folder), page(measured, plots));
}

function page(measured: Measured, plots: readonly string[]): string {
  const { date, machine: on } = machine();
  const only = (values.only ?? []).map((part) => ` --only ${part}`).join('');
  return `# Beside others

CPU microseconds of **all the server's processes** by the scheduler's own accounting
(\`/proc/PID/task/*/schedstat\`), per connection or per megabyte (10⁶ bytes) received; median of
${options.rounds} slices of ${options.sliceMs / 1_000} s, minimum–maximum in parentheses. All rows and servers were
visited in one run in random order. One worker each on core 0; load generator, origin and, behind balancers,
two tlsfarm terminators on core 1. 64 clients, certificates verified, cipher AES-128-GCM, group X25519,
a page of 3 bytes where the row does not say otherwise. Sessions are kept by the server, and where the row
says ticket, by the client. Lower is better; *tlsfarm to best peer* below 1 means that tlsfarm is cheaper.

¹ did not do what the row says, or failed: the table of errors says how; not compared.
Rates are what one core of server and one of generator and origin did together: *generator-bound*
where the generator's core was the limit. Memory is the growth of all the server's processes (PSS)
per held idle connection, without the kernel's own.

${plots.map((file) => `![${file}](${file})`).join('\n\n')}

${sections(measured)
  .map(([title, table]) => `## ${title}\n\n${markdown(table)}`)
  .join('\n\n')}

## Versions

${Object.entries(measured.versions)
  .map(([name, version]) => `* ${name}: ${version}`)
  .join('\n')}
* ${date}, ${on}
* Made by \`npm run bench -- compare --rounds ${options.rounds}${only} --seed ${options.seed} --write\`

Peers run Debian's OpenSSL and tlsfarm runs Node's, which is newer: part of any difference is the library's.
hitch and stunnel choose their kinds of sessions themselves; stunnel has a thread for each connection.
`;
}

function machine(): { readonly date: string; readonly machine: string } {
  const cpu = cpus()[0]?.model ?? 'unknown CPU';
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: `${availableParallelism()} × ${cpu}, load average ${busyBefore} before the run`,
  };
}

function draw([head = [], ...body]: readonly string[][]): string {
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  table.push(...body);
  return table.toString();
}

function markdown([head = [], ...body]: readonly string[][]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...body.map(line)].join('\n');
}

function parse(): { values: Values } {
  try {
    return parseArgs({
      options: {
        rounds: { type: 'string', default: '7' },
        'slice-ms': { type: 'string', default: '1500' },
        only: { type: 'string', multiple: true },
        peers: { type: 'string' },
        seed: { type: 'string' },
        write: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    return stop((error as Error).message);
  }
}

interface Values {
  readonly rounds: string;
  readonly 'slice-ms': string;
  readonly only?: string[];
  readonly peers?: string;
  readonly seed?: string;
  readonly write: boolean;
}

function positive(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,9}$/.test(text)) stop(`--${name} has to be a whole number above zero.`);
  return Number(text);
}

function stop(why: string): never {
  process.stderr.write(`${why}\n${USAGE}`);
  process.exit(2);
}
