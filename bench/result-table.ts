/** A load run for people: tables of what happened, errors first among equals. */
import Table from 'cli-table3';
import type { Distribution, LoadError, LoadOptions, LoadResult } from './load.ts';
import { LOAD_ERRORS } from './load.ts';
import { errorCount, GENERATOR_BOUND, resumedShare } from './thresholds.ts';

export function resultTable(result: LoadResult, options: LoadOptions): string {
  const parts = [
    headline(result, options),
    counts(result),
    latencies(result),
    errors(result),
    negotiated(result),
    targets(result),
    generator(result),
  ];
  return `${parts.filter((part) => part !== '').join('\n')}\n`;
}

/** What was asked, in one line. */
export function describeRun(options: LoadOptions): string {
  const loop =
    options.ratePerS > 0
      ? `open loop, ${options.ratePerS} connections started per second`
      : `closed loop, ${options.clients} clients`;
  const requests =
    options.requestsPerConnection === 0
      ? 'handshake only'
      : `${options.requestsPerConnection} ${options.uploadBytes > 0 ? `POST of ${bytes(options.uploadBytes)}` : 'GET'} per connection`;
  const version = options.tlsVersion === 'any' ? 'TLS 1.2 or 1.3' : `TLS ${options.tlsVersion}`;
  const limits = [
    options.durationMs > 0 ? `${options.durationMs / 1_000} s` : '',
    options.connections > 0 ? `${options.connections} connections` : '',
  ].filter((text) => text !== '');
  const parts = [loop, version, describeResume(options), requests, `until ${limits.join(' or ')}`];
  return parts.join(', ');
}

function describeResume({ resume, mechanism, tlsVersion }: LoadOptions): string {
  if (resume.kind === 'never') return 'every handshake full';
  const by = tlsVersion === '1.3' ? 'PSK' : mechanism === 'id' ? 'session ID' : 'session ticket';
  const how = tlsVersion === 'any' ? `${by} or PSK` : by;
  if (resume.kind === 'ratio') return `${percent(resume.ratio)} offer a session (${how})`;
  if (resume.fullEvery === 0) return `sessions always offered (${how})`;
  return `sessions offered (${how}), every ${resume.fullEvery}th full`;
}

function headline(result: LoadResult, options: LoadOptions): string {
  const seconds = result.elapsedMs / 1_000;
  const failed = errorCount(result);
  return (
    `${describeRun(options)}\n` +
    `${number(result.completed)} connections in ${seconds.toFixed(1)} s: ` +
    `${rate(result.completed, seconds)} per second, ${failed === 0 ? 'no errors' : `${number(failed)} ERRORS`}`
  );
}

function counts(result: LoadResult): string {
  const seconds = result.elapsedMs / 1_000;
  const share = resumedShare(result);
  const row = (what: string, count: number, note = ''): string[] => [
    what,
    number(count),
    rate(count, seconds),
    note,
  ];
  return draw(
    ['', 'count', 'per second', ''],
    [
      row('connections started', result.started),
      row('connections completed', result.completed),
      row('handshakes, full', result.handshakesFull),
      row(
        'handshakes, resumed',
        result.handshakesResumed,
        share === null ? 'none offered a session' : `${percent(share)} of those that offered one`,
      ),
      row('offered a session, got full', result.offeredButFull),
      row('requests', result.requests),
      ['bytes received', bytes(result.bytesIn), bytes(perSecond(result.bytesIn, seconds)), ''],
      ['bytes sent', bytes(result.bytesOut), bytes(perSecond(result.bytesOut, seconds)), ''],
    ],
    ['left', 'right', 'right', 'left'],
  );
}

function latencies(result: LoadResult): string {
  const whole = result.openLoop ? 'connection, from intended start' : 'whole connection';
  const rows: (readonly [string, Distribution])[] = [
    ['handshake, full', result.handshakeFull],
    ['handshake, resumed', result.handshakeResumed],
    ['handshake', result.handshake],
    ['first byte', result.firstByte],
    [whole, result.total],
  ];
  return draw(
    ['latency, ms', 'count', 'min', 'mean', 'p50', 'p90', 'p99', 'p99.9', 'max'],
    rows
      .filter(([, { count }]) => count > 0)
      .map(([name, d]) => [
        name,
        number(d.count),
        ...[d.minUs, d.meanUs, d.p50Us, d.p90Us, d.p99Us, d.p999Us, d.maxUs].map(ms),
      ]),
    ['left', ...Array.from({ length: 8 }, () => 'right' as const)],
  );
}

function errors(result: LoadResult): string {
  const rows = Object.entries(result.errors)
    .filter(([, count]) => count > 0)
    .toSorted(([, a], [, b]) => b - a)
    .map(([kind, count]) => [kind, number(count), LOAD_ERRORS[kind as LoadError] ?? '']);
  return draw(['error', 'count', 'meaning'], rows, ['left', 'right', 'left']);
}

function negotiated(result: LoadResult): string {
  const rows = Object.entries(result.negotiated)
    .toSorted(([, a], [, b]) => b - a)
    .map(([what, count]) => [what, number(count)]);
  return draw(['negotiated', 'handshakes'], rows, ['left', 'right']);
}

function targets(result: LoadResult): string {
  if (result.perTarget.length < 2) return '';
  const rows = result.perTarget.map((each) => [
    each.target,
    ...[each.started, each.completed, each.resumed].map(number),
  ]);
  return draw(['target', 'started', 'completed', 'resumed'], rows, [
    'left',
    'right',
    'right',
    'right',
  ]);
}

function generator(result: LoadResult): string {
  const busy = `The generator used ${percent(result.generatorBusy)} of a core, ${result.generatorCpuUsPerConnection.toFixed(0)} µs per connection; seed ${result.seed}.`;
  return result.generatorBusy > GENERATOR_BOUND
    ? `GENERATOR-BOUND: rates and latencies are the generator's limits, not the server's.\n${busy}`
    : busy;
}

type Align = 'left' | 'right';

function draw(head: string[], rows: string[][], colAligns: Align[]): string {
  if (rows.length === 0) return '';
  const style = { head: [], border: [], compact: true };
  const table = new Table({ head, colAligns, style });
  table.push(...rows);
  return table.toString();
}

export function ms(us: number): string {
  const value = us / 1_000;
  return value.toFixed(value < 1 ? 3 : value < 100 ? 2 : 0);
}

export function number(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

export function percent(share: number): string {
  // Rounded down: 99.96 % is not "100.0 %".
  return `${(Math.floor(share * 1_000) / 10).toFixed(1)} %`;
}

export function bytes(count: number): string {
  if (count < 1_024) return `${Math.round(count)} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = count / 1_024;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit++;
  }
  return `${value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

export function rate(count: number, seconds: number): string {
  const value = perSecond(count, seconds);
  return value > 0 && value < 10 ? value.toFixed(1) : number(value);
}

function perSecond(count: number, seconds: number): number {
  return seconds > 0 ? count / seconds : 0;
}
