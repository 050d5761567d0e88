/** What people and programs read of a load run. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { reportHtml } from '../../bench/report-html.ts';
import type { Report } from '../../bench/report-json.ts';
import { reportJson } from '../../bench/report-json.ts';
import { cumulative, percentiles, wholeSeconds } from '../../bench/report-plots.ts';
import { bytes, describeRun, percent, resultTable } from '../../bench/result-table.ts';
import { distribution, noErrors, sampleOptions, sampleResult } from './sample-result.ts';

const report: Report = {
  urls: ['https://localhost:8443/'],
  options: sampleOptions({ ca: 'PEM' }),
  thresholds: { minResumed: 0.99, maxErrors: null, p99Us: null },
  result: sampleResult(),
  interrupted: false,
  broken: [],
};

describe('the table', () => {
  test('has every error by kind, and no table of errors without any', () => {
    const text = resultTable(sampleResult(), sampleOptions());
    assert.match(text, /12 ERRORS/);
    assert.match(text, /connectRefused +│ +5 │ the TCP connect was refused/);
    const clean = resultTable(sampleResult({ errors: noErrors() }), sampleOptions());
    assert.match(clean, /no errors/);
    assert.doesNotMatch(clean, /│ error /);
  });

  test('marks a run that its generator limited', () => {
    const busy = resultTable(sampleResult({ generatorBusy: 0.93 }), sampleOptions());
    assert.match(busy, /GENERATOR-BOUND/);
    assert.doesNotMatch(resultTable(sampleResult(), sampleOptions()), /GENERATOR-BOUND/);
  });

  test('says from when latencies count in the open loop', () => {
    const text = resultTable(sampleResult({ openLoop: true }), sampleOptions({ ratePerS: 500 }));
    assert.match(text, /open loop, 500 connections started per second/);
    assert.match(text, /connection, from intended start/);
  });

  test('lists targets when there are several', () => {
    const target = { started: 1, completed: 1, resumed: 0 };
    const perTarget = ['a:1', 'b:2'].map((name) => ({ target: name, ...target }));
    assert.match(resultTable(sampleResult({ perTarget }), sampleOptions()), /│ b:2 /);
  });

  test('does not round up to perfection', () => {
    assert.equal(percent(0.9999), '99.9 %');
    assert.equal(percent(1), '100.0 %');
    assert.equal(bytes(1_536), '1.50 KiB');
  });

  test('describes what was asked', () => {
    const always = { kind: 'always', fullEvery: 10 } as const;
    const options = sampleOptions({ resume: always, tlsVersion: '1.2', requestsPerConnection: 0 });
    assert.equal(
      describeRun(options),
      'closed loop, 64 clients, TLS 1.2, sessions offered (session ID), every 10th full, handshake only, until 10 s',
    );
  });
});

describe('the JSON', () => {
  test('has the documented fields, and the CAs are not in it', () => {
    const parsed = JSON.parse(reportJson(report)) as Record<string, Record<string, unknown>>;
    assert.equal(parsed['format'], 'tlsfarm-bench/1');
    assert.equal(parsed['options']?.['verified'], true);
    assert.equal(parsed['options']?.['ca'], undefined);
    assert.deepEqual(parsed['result'], JSON.parse(JSON.stringify(report.result)));
    assert.equal(parsed['resumedShare'], 20_100 / 20_110);
  });
});

describe('the page', () => {
  test('loads nothing from anywhere', () => {
    const html = reportHtml(report);
    assert.ok(html.includes(`Content-Security-Policy" content="default-src 'none'`));
    const markup = html.replaceAll(/<script[^>]*>[^]*?<\/script>/g, '');
    assert.doesNotMatch(markup, /<(script|link|img|iframe)|src=|href=|url\(/);
    assert.ok(!/<script[^>]*src=/.test(html.slice(0, html.indexOf('<script>') + 20)));
  });

  test('has the plots, the figures and what broke', () => {
    const html = reportHtml({ ...report, broken: ['--max-errors 0: there were 12.'] });
    for (const id of ['percentiles', 'cumulative', 'rate', 'errors']) {
      assert.ok(html.includes(`class="plot" id="${id}"`));
    }
    assert.ok(html.includes('<p class="notice">--max-errors 0: there were 12.</p>'));
    assert.ok(html.includes('<td>handshake, resumed</td><td>20,100</td>'));
  });

  test('keeps a URL from becoming markup', () => {
    const negotiated = { '</script><script>alert(1)</script>': 1 };
    const html = reportHtml({
      ...report,
      urls: ['https://x/?"><script>alert(1)</script>'],
      result: sampleResult({ negotiated }),
    });
    assert.ok(!html.includes('<script>alert'));
  });
});

describe('plots', () => {
  const four = distribution([1_000, 2_000, 3_000, 100_000]);

  test('the cumulative one begins at nothing and ends at everything', () => {
    const points = cumulative(four);
    assert.deepEqual(points[0], [1, 0]);
    assert.deepEqual(points.at(-1), [100, 100]);
  });

  test('the percentile one puts the slowest of n where one in n is', () => {
    const points = percentiles(four);
    assert.deepEqual(points.at(-1), [4, 100]);
    assert.equal(points.at(-2)?.[0], 4);
  });

  test('a second that was cut short is no fall of the rate', () => {
    assert.equal(wholeSeconds(sampleResult()).at(-1)?.second, 9);
  });

  test('an empty distribution draws nothing and breaks nothing', () => {
    const empty = distribution([]);
    const result = sampleResult({
      handshake: empty,
      handshakeFull: empty,
      handshakeResumed: empty,
      firstByte: empty,
      total: empty,
      completed: 0,
      perSecond: [],
    });
    assert.match(reportHtml({ ...report, result }), /tlsfarm bench/);
  });
});
