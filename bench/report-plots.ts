/**
 * The plots of a load run as echarts options: data, no functions, so that they can stand in a page as
 * JSON. A formatter that begins with `@` is a function that the page has (bench/report-html.ts).
 */
import type { Distribution, LoadResult } from './load.ts';

export const COLORS = {
  full: '#2563eb',
  resumed: '#16a34a',
  firstByte: '#d97706',
  whole: '#7c3aed',
  errors: '#dc2626',
} as const;

export interface Plot {
  readonly id: string;
  readonly title: string;
  /** What to look for, for somebody who sees such a plot for the first time. */
  readonly caption: string;
  readonly option: Readonly<Record<string, unknown>>;
}

type Point = readonly [number, number];

interface Curve {
  readonly name: string;
  readonly color: string;
  readonly distribution: Distribution;
}

export function plots(result: LoadResult): Plot[] {
  const curves = curvesOf(result);
  const seconds = wholeSeconds(result);
  return [
    {
      id: 'percentiles',
      title: 'Latency by percentile',
      caption:
        'How long the slowest had to wait. Flat to the right is good; a curve that climbs at 99 % means ' +
        'that one visitor in a hundred waits far longer than the others.',
      option: percentilePlot(curves),
    },
    {
      id: 'cumulative',
      title: 'Latency, cumulative',
      caption:
        'The share that was done within a time. Resumed handshakes belong to the left of full ones.',
      option: cumulativePlot(curves),
    },
    {
      id: 'rate',
      title: 'Handshakes per second',
      caption: 'Of completed connections, resumed and full ones on top of each other.',
      option: ratePlot(seconds),
    },
    {
      id: 'errors',
      title: 'Errors per second',
      caption: 'When they happened; the table of errors says what they were.',
      option: errorPlot(seconds),
    },
  ];
}

function curvesOf(result: LoadResult): Curve[] {
  const whole = result.openLoop ? 'connection, from intended start' : 'whole connection';
  const all: Curve[] = [
    { name: 'handshake, full', color: COLORS.full, distribution: result.handshakeFull },
    { name: 'handshake, resumed', color: COLORS.resumed, distribution: result.handshakeResumed },
    { name: 'first byte', color: COLORS.firstByte, distribution: result.firstByte },
    { name: whole, color: COLORS.whole, distribution: result.total },
  ];
  return all.filter(({ distribution }) => distribution.count > 0);
}

/** [milliseconds, per cent done by then]. */
export function cumulative(distribution: Distribution): Point[] {
  const points: Point[] = [[distribution.minUs / 1_000, 0]];
  let done = 0;
  for (const [upperUs, count] of distribution.buckets) {
    done += count;
    points.push([Math.min(upperUs, distribution.maxUs) / 1_000, (done / distribution.count) * 100]);
  }
  return points;
}

/** [1 / (1 - share), milliseconds]: 90 %, 99 % and 99.9 % are equally far apart. */
export function percentiles(distribution: Distribution): Point[] {
  const points: Point[] = [[1, distribution.minUs / 1_000]];
  let done = 0;
  for (const [upperUs, count] of distribution.buckets) {
    done += count;
    const left = distribution.count - done;
    // The slowest one has nobody behind it: it stands where one in `count` is.
    const at = left === 0 ? distribution.count : distribution.count / left;
    points.push([at, Math.min(upperUs, distribution.maxUs) / 1_000]);
  }
  return points;
}

interface Second {
  readonly second: number;
  readonly full: number;
  readonly resumed: number;
  readonly errors: number;
}

/** Without the last second if it was cut short: its rate would look like a fall. */
export function wholeSeconds(result: LoadResult): Second[] {
  const cut = result.perSecond.length > 2 ? Math.floor(result.elapsedMs / 1_000) : Infinity;
  return result.perSecond
    .filter(({ second, errors }) => second < cut || errors > 0)
    .map(({ second, completed, resumed, errors }) => ({
      second,
      // A handshake and the end of its connection may fall into different seconds.
      full: Math.max(0, completed - resumed),
      resumed: Math.min(resumed, completed),
      errors,
    }));
}

function percentilePlot(curves: readonly Curve[]): Record<string, unknown> {
  return {
    ...common('axis', '@ms'),
    xAxis: {
      ...axis('log', 'percentile'),
      min: 1,
      axisLabel: { formatter: '@percentile' },
      axisPointer: { label: { formatter: '@percentilePointer' } },
    },
    yAxis: { ...axis('log', 'ms'), ...range(curves), axisLabel: { formatter: '@msAxis' } },
    series: curves.map(({ name, color, distribution }) =>
      line(name, color, thinned(percentiles(distribution))),
    ),
  };
}

function cumulativePlot(curves: readonly Curve[]): Record<string, unknown> {
  return {
    ...common('axis', '@percent'),
    xAxis: {
      ...axis('log', 'ms'),
      ...range(curves),
      axisLabel: { formatter: '@msAxis' },
      axisPointer: { label: { formatter: '@msPointer' } },
    },
    yAxis: { ...axis('value', ''), max: 100, axisLabel: { formatter: '{value} %' } },
    series: curves.map(({ name, color, distribution }) =>
      line(name, color, thinned(cumulative(distribution))),
    ),
  };
}

function ratePlot(seconds: readonly Second[]): Record<string, unknown> {
  const area = (name: string, color: string, data: Point[]): Record<string, unknown> => ({
    ...line(name, color, data),
    stack: 'handshakes',
    areaStyle: { opacity: 0.35 },
  });
  return {
    ...common('axis', '@whole'),
    xAxis: { ...axis('value', 'seconds'), min: 0, max: lastSecond(seconds), minInterval: 1 },
    yAxis: axis('value', ''),
    series: [
      area(
        'resumed',
        COLORS.resumed,
        seconds.map(({ second, resumed }) => [second, resumed]),
      ),
      area(
        'full',
        COLORS.full,
        seconds.map(({ second, full }) => [second, full]),
      ),
    ],
  };
}

function errorPlot(seconds: readonly Second[]): Record<string, unknown> {
  return {
    ...common('axis', '@whole'),
    xAxis: { ...axis('value', 'seconds'), min: 0, max: lastSecond(seconds), minInterval: 1 },
    // An empty plot still has an axis to be empty on.
    yAxis: { ...axis('value', ''), minInterval: 1, max: '@atLeastOne' },
    series: [
      {
        name: 'errors',
        type: 'bar',
        barMaxWidth: 12,
        itemStyle: { color: COLORS.errors },
        data: seconds.map(({ second, errors }) => [second, errors]),
      },
    ],
  };
}

function common(trigger: string, formatter: string): Record<string, unknown> {
  return {
    animation: false,
    grid: { left: 8, right: 24, top: 40, bottom: 28, containLabel: true },
    legend: { top: 0, left: 0, icon: 'roundRect', itemWidth: 12, itemHeight: 12 },
    tooltip: { trigger, valueFormatter: formatter },
  };
}

function axis(type: string, name: string): Record<string, unknown> {
  return {
    type,
    name,
    nameLocation: 'middle',
    nameGap: 30,
    splitLine: { lineStyle: { color: '#e5e7eb' } },
  };
}

/** Whole decades cost half of the picture. */
function range(curves: readonly Curve[]): { min: number; max: number } {
  const ms = curves.flatMap(({ distribution: d }) => [d.minUs / 1_000, d.maxUs / 1_000]);
  const low = Math.max(0.001, Math.min(...ms));
  return {
    min: steps(low).findLast((step) => step <= low) ?? low,
    max: steps(Math.max(low, ...ms)).find((step) => step >= Math.max(low, ...ms)) ?? 1,
  };
}

/** 1, 2, 5 and 10 times the power of ten below it. */
function steps(value: number): number[] {
  const decade = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((times) => Number((times * decade).toPrecision(3)));
}

function lastSecond(seconds: readonly Second[]): number {
  return Math.max(1, seconds.at(-1)?.second ?? 0);
}

function line(name: string, color: string, data: readonly Point[]): Record<string, unknown> {
  return {
    name,
    type: 'line',
    showSymbol: data.length < 3,
    symbolSize: 5,
    itemStyle: { color },
    lineStyle: { width: 2 },
    data,
  };
}

const MAX_POINTS = 600;

/** Thousands of buckets say no more than hundreds; the last, the maximum, always stays. */
function thinned(points: readonly Point[]): Point[] {
  const step = Math.ceil(points.length / MAX_POINTS);
  return points.filter((_, index) => index % step === 0 || index === points.length - 1);
}
