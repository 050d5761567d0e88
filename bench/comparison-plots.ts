/** A comparison as SVG: bars of the medians with whiskers from minimum to maximum. */
import * as echarts from 'echarts';
import { isOwn } from './comparison.ts';
import type { Row } from './runner.ts';

const OWN_COLOR = '#2563eb';
const PEER_COLORS = ['#9ca3af', '#d97706', '#16a34a', '#7c3aed'];
const BAR_PX = 16;

/** Rows relative to the best peer in them: 1 is the best peer, below it is cheaper. */
export function comparisonSvg(title: string, rows: readonly Row[]): string {
  const shown = rows.filter((row) => bestPeer(row) !== null);
  const drivers = [...new Set(shown.flatMap((row) => Object.keys(row.outcomes)))];
  const height = 110 + shown.length * (drivers.length * BAR_PX + 18);
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 900, height });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: title, left: 12, top: 8, textStyle: { fontSize: 15 } },
    legend: { top: 34, left: 8, data: drivers },
    grid: { left: 280, right: 40, top: 66, bottom: 44 },
    xAxis: { type: 'value', min: 0, name: 'of the best peer', nameLocation: 'middle', nameGap: 24 },
    yAxis: {
      type: 'category',
      inverse: true,
      data: shown.map((row) => row.trial.title),
      axisLabel: { width: 250, overflow: 'break' },
    },
    series: drivers.flatMap((driver, at) => seriesOf(driver, at, shown, drivers.length)),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

function seriesOf(
  driver: string,
  at: number,
  rows: readonly Row[],
  drivers: number,
): echarts.SeriesOption[] {
  const color = isOwn(driver) ? OWN_COLOR : PEER_COLORS[at % PEER_COLORS.length];
  const cells = rows.map((row) => {
    const outcome = row.outcomes[driver];
    const best = bestPeer(row);
    if (outcome?.kind !== 'measured' || best === null) return null;
    const { median, min, max } = outcome.cell;
    return { median: median / best, min: min / best, max: max / best };
  });
  return [
    {
      name: driver,
      type: 'bar',
      barWidth: BAR_PX - 4,
      barGap: `${(4 / (BAR_PX - 4)) * 100}%`,
      itemStyle: { color: color ?? '#9ca3af' },
      data: cells.map((cell) => cell?.median ?? null),
      label: {
        show: true,
        position: 'insideLeft',
        color: '#ffffff',
        fontSize: 10,
        formatter: ({ value }: { value?: unknown }) =>
          typeof value === 'number' ? value.toFixed(2) : '',
      },
      ...(at === 0
        ? {
            markLine: {
              symbol: 'none',
              silent: true,
              label: { show: false },
              lineStyle: { color: '#111827', type: 'dashed' as const },
              data: [{ xAxis: 1 }],
            },
          }
        : {}),
    },
    whiskers(cells, at, drivers),
  ];
}

interface Span {
  readonly min: number;
  readonly max: number;
}

function whiskers(
  cells: readonly (Span | null)[],
  at: number,
  drivers: number,
): echarts.SeriesOption {
  return {
    type: 'custom',
    // Both ends belong to the picture.
    encode: { x: [0, 2], y: 1 },
    silent: true,
    z: 10,
    data: cells.flatMap((cell, row) => (cell === null ? [] : [[cell.min, row, cell.max]])),
    renderItem: (_params, api) => {
      const row = api.value(1);
      const offset = (at - (drivers - 1) / 2) * BAR_PX;
      const [x1 = 0, y = 0] = api.coord([api.value(0), row]);
      const [x2 = 0] = api.coord([api.value(2), row]);
      return {
        type: 'line',
        shape: { x1, y1: y + offset, x2, y2: y + offset },
        style: { stroke: '#111827', lineWidth: 1.2 },
      };
    },
  };
}

function bestPeer(row: Row): number | null {
  const medians = Object.entries(row.outcomes).flatMap(([name, outcome]) =>
    outcome.kind === 'measured' && !isOwn(name) ? [outcome.cell.median] : [],
  );
  return medians.length === 0 ? null : Math.min(...medians);
}
