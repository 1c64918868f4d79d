// Calls over time: for each stretch a column of those that ended well, and below the line one of those that failed. Drawn from at most
// some 120 stretches, however many calls there were.

import { h, put, s } from '../dom.js';
import { compact, count, duration, money } from '../format.js';
import { reason } from '../words.js';

const HIGH = 150;
const BASE = 104;

export function timelineDrawing() {
  const box = h('div', { class: 'timeline' });
  const said = h('p', { class: 'small soft timeline-said' }, ' ');
  let data = null;
  const draw = () => {
    const width = Math.floor(box.clientWidth);
    if (!width || !data) return;
    put(box, picture(data, width, said), said);
  };
  new ResizeObserver(draw).observe(box);
  return {
    element: box,
    set(next) {
      data = next;
      draw();
    },
  };
}

function picture(data, width, said) {
  const { buckets } = data;
  const slots = Math.max(30, (buckets.at(-1)?.bucket ?? 0) + 1);
  const step = width / slots;
  const failed = (bucket) => Object.values(bucket.faults).reduce((sum, n) => sum + n, 0);
  const most = Math.max(1, ...buckets.map((bucket) => bucket.calls - failed(bucket)));
  const worst = Math.max(1, ...buckets.map(failed));
  const parts = [s('path', { class: 't-line', d: `M0 ${BASE + 0.5}H${width}` })];
  const calls = buckets.reduce((sum, bucket) => sum + bucket.calls, 0);
  const lost = buckets.reduce((sum, bucket) => sum + failed(bucket), 0);
  for (const bucket of buckets) {
    const x = bucket.bucket * step;
    const wide = Math.max(1, step - Math.min(2, step * 0.2));
    const bad = failed(bucket);
    const good = ((bucket.calls - bad) / most) * (BASE - 16);
    if (good > 0) parts.push(s('rect', { class: 't-good', x, y: BASE - Math.max(1, good), width: wide, height: Math.max(1, good), rx: Math.min(2, wide / 3) }));
    if (bad) parts.push(s('rect', { class: 't-bad', x, y: BASE + 2, width: wide, height: Math.max(3, (bad / Math.max(worst, most / 3)) * (HIGH - BASE - 22)), rx: Math.min(2, wide / 3) }));
    const hit = s('rect', { class: 't-hit', x, y: 0, width: step, height: HIGH - 16 });
    hit.addEventListener('pointerenter', () => put(said, meaning(bucket, data.bucket_ms)));
    parts.push(hit);
  }
  const end = slots * data.bucket_ms;
  parts.push([0, 0.5, 1].map((share) => s('text', { class: 't-text', x: share * width, y: HIGH - 2, 'text-anchor': ['start', 'middle', 'end'][share * 2] }, share ? duration(end * share) : 'start')));
  parts.push(s('text', { class: 't-text', x: width, y: 10, 'text-anchor': 'end' }, `up to ${compact(most)} in ${duration(data.bucket_ms)}`));
  return s('svg', { width, height: HIGH, viewBox: `0 0 ${width} ${HIGH}`, role: 'img', 'aria-label': `${count(calls)} calls over time, ${count(lost)} of them failed` }, parts);
}

function meaning(bucket, ms) {
  const faults = Object.entries(bucket.faults).map(([code, n]) => `${count(n)} × ${reason(code).toLowerCase()}`);
  return `After ${duration(bucket.bucket * ms)}: ${count(bucket.calls)} calls ended, ${money(bucket.cost_usd)}, ${compact(bucket.input_tokens + bucket.output_tokens)} tokens${faults.length ? `; ${faults.join(', ')}` : ''}`;
}
