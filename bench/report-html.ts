/**
 * One page with everything in it: figures, plots, and echarts itself from node_modules. It loads
 * nothing and its policy forbids it to, so that it can be mailed, archived and opened in ten years.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Distribution, LoadError } from './load.ts';
import { LOAD_ERRORS } from './load.ts';
import type { Report } from './report-json.ts';
import { versions } from './report-json.ts';
import type { Plot } from './report-plots.ts';
import { plots } from './report-plots.ts';
import { bytes, describeRun, ms, number, percent, rate } from './result-table.ts';
import { errorCount, GENERATOR_BOUND, resumedShare } from './thresholds.ts';

export function reportHtml(report: Report): string {
  const { result } = report;
  const drawn = plots(result);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tlsfarm bench: ${escape(report.urls.join(' '))}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header>
<h1>${report.urls.map((url) => `<span>${escape(url)}</span>`).join(' ')}</h1>
<p>${escape(describeRun(report.options))}. Started ${escape(result.startedAt)}.</p>
</header>
${notices(report)}
${tiles(report)}
<div class="plots">
${drawn.map(figure).join('\n')}
</div>
<h2>Latency in milliseconds</h2>
${latencyTable(report)}
<div class="columns">
<section><h2>Counts</h2>${countTable(report)}</section>
<section><h2>Errors</h2>${errorTable(report)}</section>
<section><h2>Negotiated</h2>${negotiatedTable(report)}</section>
${result.perTarget.length > 1 ? `<section><h2>Targets</h2>${targetTable(report)}</section>` : ''}
</div>
<footer>${footer(report)}</footer>
</main>
<script>${library()}</script>
<script type="application/json" id="options">${embedded(drawn)}</script>
<script>${PAGE}</script>
</body>
</html>
`;
}

/** What must not be overlooked comes before any figure. */
function notices({ result, broken, interrupted }: Report): string {
  const texts = [
    ...(result.generatorBusy > GENERATOR_BOUND
      ? [
          `Generator-bound: the load generator used ${percent(result.generatorBusy)} of its core. Rates and latencies are its limits, not the server's.`,
        ]
      : []),
    ...(interrupted ? ['The run was ended early by a signal.'] : []),
    ...broken,
  ];
  return texts.map((text) => `<p class="notice">${escape(text)}</p>`).join('\n');
}

function tiles({ result }: Report): string {
  const seconds = result.elapsedMs / 1_000;
  const share = resumedShare(result);
  const failed = errorCount(result);
  const tile = (value: string, what: string, bad = false): string =>
    `<div class="tile${bad ? ' bad' : ''}"><b>${escape(value)}</b><span>${escape(what)}</span></div>`;
  return `<div class="tiles">${[
    tile(
      rate(result.completed, seconds),
      `connections per second, ${number(result.completed)} in ${seconds.toFixed(1)} s`,
    ),
    tile(number(failed), failed === 1 ? 'error' : 'errors', failed > 0),
    share === null
      ? tile('–', 'resumed: no session was offered')
      : tile(percent(share), 'of offered sessions resumed'),
    tile(`${ms(result.total.p50Us)} ms`, 'median, whole connection'),
    tile(`${ms(result.total.p99Us)} ms`, '99th percentile'),
  ].join('')}</div>`;
}

function figure({ id, title, caption }: Plot): string {
  return `<figure><h2>${escape(title)}</h2><div class="plot" id="${id}" role="img" aria-label="${escape(title)}"></div><figcaption>${escape(caption)}</figcaption></figure>`;
}

function latencyTable({ result }: Report): string {
  const rows: (readonly [string, Distribution])[] = [
    ['handshake, full', result.handshakeFull],
    ['handshake, resumed', result.handshakeResumed],
    ['handshake', result.handshake],
    ['first byte', result.firstByte],
    [result.openLoop ? 'connection, from intended start' : 'whole connection', result.total],
  ];
  return table(
    ['', 'count', 'min', 'mean', 'p50', 'p90', 'p99', 'p99.9', 'max'],
    rows
      .filter(([, { count }]) => count > 0)
      .map(([name, d]) => [
        name,
        number(d.count),
        ...[d.minUs, d.meanUs, d.p50Us, d.p90Us, d.p99Us, d.p999Us, d.maxUs].map(ms),
      ]),
  );
}

function countTable({ result }: Report): string {
  return table(
    ['', ''],
    [
      ['connections started', number(result.started)],
      ['connections completed', number(result.completed)],
      ['handshakes, full', number(result.handshakesFull)],
      ['handshakes, resumed', number(result.handshakesResumed)],
      ['offered a session, got full', number(result.offeredButFull)],
      ['requests', number(result.requests)],
      ['received', bytes(result.bytesIn)],
      ['sent', bytes(result.bytesOut)],
    ],
  );
}

function errorTable({ result }: Report): string {
  const rows = Object.entries(result.errors)
    .filter(([, count]) => count > 0)
    .toSorted(([, a], [, b]) => b - a)
    .map(([kind, count]) => [LOAD_ERRORS[kind as LoadError] ?? kind, number(count)]);
  return rows.length === 0 ? '<p>None.</p>' : table(['', ''], rows);
}

function negotiatedTable({ result }: Report): string {
  const rows = Object.entries(result.negotiated)
    .toSorted(([, a], [, b]) => b - a)
    .map(([what, count]) => [what, number(count)]);
  return rows.length === 0 ? '<p>Nothing.</p>' : table(['', ''], rows);
}

function targetTable({ result }: Report): string {
  return table(
    ['', 'started', 'completed', 'resumed'],
    result.perTarget.map((each) => [
      each.target,
      ...[each.started, each.completed, each.resumed].map(number),
    ]),
  );
}

function footer({ result }: Report): string {
  const { tlsfarm, node, openssl } = versions();
  return escape(
    `tlsfarm ${tlsfarm}, Node ${node}, OpenSSL ${openssl}; generator ${percent(result.generatorBusy)} of a core, ` +
      `${result.generatorCpuUsPerConnection.toFixed(0)} µs per connection; seed ${result.seed}.`,
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (tag: string, texts: readonly string[]): string =>
    texts.map((text) => `<${tag}>${escape(text)}</${tag}>`).join('');
  const top = head.every((text) => text === '')
    ? ''
    : `<thead><tr>${cells('th', head)}</tr></thead>`;
  const body = rows.map((row) => `<tr>${cells('td', row)}</tr>`).join('\n');
  return `<div class="scroll"><table>${top}<tbody>${body}</tbody></table></div>`;
}

export function escape(text: string): string {
  const names: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (character) => names[character] ?? character);
}

/** JSON that cannot end the script element it stands in. */
function embedded(drawn: readonly Plot[]): string {
  const options = Object.fromEntries(drawn.map(({ id, option }) => [id, option]));
  return JSON.stringify(options).replaceAll('<', String.raw`\u003c`);
}

function library(): string {
  const file = createRequire(import.meta.url).resolve('echarts/dist/echarts.common.min.js');
  return readFileSync(file, 'utf8').replaceAll('</script', String.raw`<\/script`);
}

const PAGE = String.raw`
'use strict';
const short = (ms) => String(Number(ms.toPrecision(3)));
const percentile = (x) => Number((100 - 100 / x).toPrecision(x < 1000 ? 3 : 6)) + ' %';
const functions = {
  '@ms': (value) => short(value) + ' ms',
  '@msAxis': (value) => short(value),
  '@msPointer': ({ value }) => short(value) + ' ms',
  '@percent': (value) => value.toFixed(2) + ' %',
  '@percentile': (value) => percentile(value),
  '@percentilePointer': ({ value }) => percentile(value),
  '@atLeastOne': ({ max }) => Math.max(1, max),
  '@whole': (value) => String(Math.round(value)),
};
const options = JSON.parse(document.getElementById('options').textContent, (_, value) =>
  typeof value === 'string' && Object.hasOwn(functions, value) ? functions[value] : value,
);
const charts = Object.entries(options).map(([id, option]) => {
  const chart = echarts.init(document.getElementById(id), null, { renderer: 'svg' });
  chart.setOption(option);
  return chart;
});
addEventListener('resize', () => charts.forEach((chart) => chart.resize()));
`;

const STYLE = `
:root { color-scheme: light; --line: #e5e7eb; --soft: #6b7280; }
body { margin: 0; background: #f9fafb; color: #111827; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px; }
h1 { font-size: 22px; margin: 0; } h1 span { overflow-wrap: anywhere; margin-right: 12px; }
h2 { font-size: 15px; margin: 0 0 8px; }
header p, figcaption, footer { color: var(--soft); } header p { margin: 4px 0 16px; }
.notice { background: #fef2f2; border-left: 4px solid #dc2626; padding: 8px 12px; margin: 0 0 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 12px; margin-bottom: 20px; }
.tile, figure, section, .scroll { background: #fff; border: 1px solid var(--line); border-radius: 8px; }
.tile { padding: 12px 16px; } .tile b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; } .tile.bad b { color: #dc2626; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 16px; margin-bottom: 24px; }
figure { margin: 0; padding: 16px; } figcaption { font-size: 13px; margin-top: 4px; }
.plot { height: 300px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 16px; margin-top: 24px; align-items: start; }
section { padding: 16px; } section .scroll { border: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } tbody tr:last-child td { border-bottom: 0; }
th { font-weight: 600; color: var(--soft); font-size: 13px; }
section td { padding-left: 0; }
footer { margin-top: 24px; font-size: 13px; }
@media (max-width: 560px) { .plots { grid-template-columns: 1fr; } }
`;
