// SPDX-License-Identifier: Apache-2.0
// A line chart of the last hour (uPlot), with its figures in a table below for those who do not
// see it, and in the colours of the theme.
import { html, useEffect, useRef } from './lib.js';
import uPlot from '../vendor/uplot.js';
import { UNKNOWN } from './format.js';
import { theme } from './store.js';

const COLOURS = 8;
const BINARY = Array.from({ length: 45 }, (none, i) => 2 ** i);
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3]];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// A colour of CSS, light-dark() and all, as the canvas wants it.
function resolved(name) {
  const probe = document.createElement('span');
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value || colour(name);
}

function optionsOf({ width, height, series, show, max, binary }) {
  const axis = {
    stroke: resolved('--text-2'),
    font: '12px Inter, sans-serif',
    grid: { stroke: resolved('--line'), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false } },
    padding: [8, 20, 0, 0],
    scales: {
      x: { time: true },
      y: { range: (u, low, high) => [0, max ?? Math.max(1, (high ?? 0) * 1.1)] },
    },
    axes: [
      {
        ...axis,
        size: 30,
        values: (u, ticks) => ticks.map((t) => new Date(t * 1000).toTimeString().slice(0, 5)),
      },
      {
        ...axis,
        size: 66,
        ...(binary ? { incrs: BINARY } : {}),
        values: (u, ticks) => ticks.map((t) => show(t)),
      },
    ],
    series: [
      {},
      ...series.map((line, i) => ({
        label: line.name,
        width: 1.75,
        stroke: resolved(`--series-${(i % COLOURS) + 1}`),
        dash: DASHES[Math.floor(i / COLOURS) % DASHES.length],
        points: { show: false },
        spanGaps: false,
      })),
    ],
  };
}

function figuresOf(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (!known.length) return { last: null, mean: null, max: null };
  const total = known.reduce((sum, value) => sum + value, 0);
  return { last: values.at(-1) ?? null, mean: total / known.length, max: Math.max(...known) };
}

function Key({ index }) {
  return html`<svg class=${`key series-${(index % COLOURS) + 1}`} viewBox="0 0 20 8"
    aria-hidden="true">
    <line x1="0" y1="4" x2="20" y2="4"
      stroke-dasharray=${DASHES[Math.floor(index / COLOURS) % DASHES.length].join(' ')} /></svg>`;
}

function Figures({ label, series, show }) {
  const cell = (value) => (value === null ? UNKNOWN : show(value));
  return html`<div class="table-box"><table class="figures" aria-label=${`${label}: figures`}>
    <thead><tr><th scope="col">Line</th>
    <th scope="col" class="number">Now</th><th scope="col" class="number">Mean</th><th scope="col"
      class="number">Most</th></tr></thead>
    <tbody>${series.map((line, i) => {
      const { last, mean, max } = figuresOf(line.values);
      return html`<tr key=${line.name}><th scope="row"><${Key} index=${i} />${line.name}</th>
        <td class="number">${cell(last)}</td><td class="number">${cell(mean)}</td><td
          class="number">${cell(max)}</td></tr>`;
    })}</tbody></table></div>`;
}

/**
 * series: [{name, values: one for each of times, null where unknown}]; show: a value as text;
 * binary: steps of powers of two.
 */
export function Chart({ label, times, series, show, max, binary, height = 180 }) {
  const box = useRef(null);
  const plot = useRef(null);
  const names = series.map((line) => line.name).join('\n');
  const scheme = theme.value;
  const empty = times.length < 2 || series.length === 0;

  useEffect(() => {
    if (empty) return undefined;
    const frame = box.current;
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(
        optionsOf({ width: frame.clientWidth, height, series, show, max, binary }),
        [times, ...series.map((line) => line.values)],
        frame,
      );
    };
    make();
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const resize = new ResizeObserver(([entry]) =>
      plot.current?.setSize({ width: entry.contentRect.width, height }),
    );
    resize.observe(frame);
    dark.addEventListener('change', make);
    return () => {
      resize.disconnect();
      dark.removeEventListener('change', make);
      plot.current.destroy();
      plot.current = null;
    };
  }, [names, scheme, empty]);
  useEffect(() => {
    plot.current?.setData([times, ...series.map((line) => line.values)]);
  }, [times, series]);

  if (empty)
    return html`<p
    class="quiet">Not enough samples yet: the first lines appear within a minute.</p>`;
  return html`<figure class="chart"><div ref=${box} class="plot" role="img"
    aria-label=${`${label}. The figures are in the table that follows.`}></div>
    <${Figures} label=${label} series=${series} show=${show} /></figure>`;
}
