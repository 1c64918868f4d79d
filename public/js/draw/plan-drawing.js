// A plan as a drawing: the input, then a box for each stage, as wide as its fan-out (by the power of ten), joined by fans. Beside each box
// its model, its chunks, its expected calls and cost. On a wide screen it runs from left to right, on a narrow one downwards.

import { h, put, s } from '../dom.js';
import { compact, duration, money, plural, range } from '../format.js';
import { models } from '../words.js';

/** Half of what a single task, and the input as a whole, is wide. */
const POINT = 12;

/** About how wide a letter is, and so how many fit beside one another. */
const LETTER = 7.4;

/** From one task to a hundred thousand: 1 → 0, 100,000 → 1; the first ten already a third of it. */
function breadth(tasks) {
  return Math.min(1, Math.log10(Math.max(1, tasks)) / 5) ** 0.6;
}

/** Which of the results before it a condition chooses. */
function chosenWords({ field, values = [], in: among = [], not_in: not = [], min, max, exists, flagged, any = [], all = [] }) {
  const together = (list, between) => (list.length ? `(${list.map(chosenWords).join(between)})` : '');
  const named = [...values, ...among];
  return [
    field && named.length ? `${field} is ${named.join(' or ')}` : '',
    field && not.length ? `${field} is not ${not.join(' or ')}` : '',
    min === undefined ? '' : `${field} is at least ${min}`,
    max === undefined ? '' : `${field} is at most ${max}`,
    exists === undefined ? '' : `${exists ? 'has' : 'has no'} ${field}`,
    flagged === undefined ? '' : flagged ? 'flagged' : 'not flagged',
    together(any, ' or '), together(all, ' and '),
  ].filter(Boolean).join(', ');
}

export function chunkWords(stage) {
  if (stage.kind === 'synthesis') return 'all results';
  if (stage.group_by) return `one task for each ${stage.group_by}`;
  const { items, tokens } = stage.chunk ?? {};
  return tokens ? `${compact(tokens)} tokens a task` : items === 1 ? '1 item a task' : `${compact(items ?? 1)} items a task`;
}

/** Which of the results before it a stage reads, where that is not all of them. */
export function onlyWords(stage) {
  const choice = stage.of ?? stage.where;
  return choice ? `only ${chosenWords(choice)}` : '';
}

function cut(text, letters) {
  return text.length > letters ? `${text.slice(0, Math.max(1, letters - 1))}…` : text;
}

/** What is expected of a stage: of a cascade, what its later models are handed is calls and money of the same stage. */
function figuresOf(stage, parts) {
  const own = parts.find((part) => part.stage === stage.name);
  if (!own) return null;
  const handed = parts.filter((part) => stage.models?.some((id) => part.stage === `${stage.name} (${id})`));
  const sum = (of) => handed.reduce((all, part) => ({ low: all.low + of(part).low, high: all.high + of(part).high }), of(own));
  return { ...own, calls: sum((part) => part.calls), cost_usd: sum((part) => part.cost_usd) };
}

/** What is drawn of each stage: its own fields, and what is expected of it. */
export function steps(plan, items) {
  // What was added later is expected by the round that added it.
  const parts = [plan, ...(plan.rounds ?? []).slice(1)].flatMap((one) => one.expected?.stages ?? []);
  const known = plan.stages.map((stage) => ({ stage, expected: figuresOf(stage, parts) }));
  let flow = items;
  return known.map(({ stage, expected: figures }) => {
    const tasks = stage.kind === 'synthesis' ? 1 : figures?.tasks.high ?? Math.ceil(flow / (stage.chunk?.items ?? 1));
    if (stage.output === 'chunk') flow = tasks;
    return { stage, figures, tasks };
  });
}

/** The drawing; it follows the width that it has. */
export function planDrawing(plan, items) {
  const all = steps(plan, items);
  const box = h('div', { class: 'plan-drawing' });
  const draw = () => {
    const width = Math.floor(box.clientWidth);
    if (!width) return;
    const text = `Plan: ${compact(items)} items; ${all.map((step) => `${step.stage.name}, ${step.stage.kind}, ${compact(step.tasks)} tasks by ${models(step.stage)}`).join('; ')}`;
    put(box, width / (all.length + 1) < 150 ? down(all, items, width, text) : across(all, items, width, text));
  };
  const sizes = new ResizeObserver(draw);
  sizes.observe(box);
  draw();
  return box;
}

function label(x, y, lines, anchor) {
  return lines.filter(Boolean).map(([text, kind], at) =>
    s('text', { x, y: y + at * 19, 'text-anchor': anchor, class: kind }, text));
}

/** What stands beside a box, in lines of at most so many letters. */
function wordsOf({ stage, figures, tasks }, letters) {
  const only = onlyWords(stage);
  return [
    [cut(stage.name, letters), 'd-name'],
    [cut(models(stage), letters), 'd-soft'],
    [cut(chunkWords(stage), letters), 'd-soft'],
    only ? [cut(only, letters), 'd-soft'] : null,
    [figures ? `${range(figures.calls.low, figures.calls.high, compact)} calls` : `${compact(tasks)} tasks`, 'd-soft'],
    figures ? [range(figures.cost_usd.low, figures.cost_usd.high, money), 'd-cost'] : null,
  ];
}

/** A fan between two breadths: a pale band and some of its ribs. Along x; `turn` swaps the axes. */
function fan(from, to, a, b, middle, ribs, turn) {
  const point = (u, v) => (turn ? `${v} ${u}` : `${u} ${v}`);
  const half = (from + to) / 2;
  const curve = (v, w) => `C${point(half, v)} ${point(half, w)} ${point(to, w)}`;
  const back = (v, w) => `C${point(half, v)} ${point(half, w)} ${point(from, w)}`;
  const band = `M${point(from, middle - a)}${curve(middle - a, middle - b)}L${point(to, middle + b)}${back(middle + b, middle + a)}Z`;
  const lines = [];
  for (let n = 0; n < ribs; n += 1) {
    const share = ribs === 1 ? 0 : (n / (ribs - 1)) * 2 - 1;
    lines.push(s('path', { class: 'd-rib', d: `M${point(from, middle + share * a)}${curve(middle + share * a, middle + share * b)}` }));
  }
  return [s('path', { class: 'd-band', d: band }), lines];
}

function lanes(tasks) {
  return Math.max(1, Math.min(14, tasks));
}

/** As many ribs as the wider of both ends has lanes. */
function ribsOf(before, node) {
  return Math.max(lanes(node.step.tasks), before.input ? 1 : lanes(before.step.tasks));
}

function across(all, items, width, text) {
  const most = 84;
  const edge = 78;
  const column = (width - edge - 20) / all.length;
  const thick = Math.min(104, column * 0.36);
  const parts = [];
  const nodes = [{ half: POINT, x: 8, w: 14, input: true },
    ...all.map((step, at) => ({ half: Math.max(POINT, breadth(step.tasks) * most), x: 20 + column * (at + 1) - thick / 2, w: thick, step }))];
  const widest = Math.max(...nodes.map((node) => node.half));
  const middle = widest + 8;
  const words = middle + widest + 30;
  const high = words + (all.some((step) => onlyWords(step.stage)) ? 5 : 4) * 19 + 12;
  nodes.forEach((node, at) => {
    const before = nodes[at - 1];
    if (before) parts.push(fan(before.x + before.w, node.x, before.half, node.half, middle, ribsOf(before, node), false));
  });
  nodes.forEach((node) => {
    if (node.input) {
      parts.push(s('rect', { class: 'd-input', x: node.x, y: middle - node.half, width: node.w, height: node.half * 2, rx: 4 }));
      parts.push(label(node.x, words, [[compact(items), 'd-name'], [items === 1 ? 'item' : 'items', 'd-soft']], 'start'));
      return;
    }
    const n = lanes(node.step.tasks);
    parts.push(s('rect', { class: `d-box ${node.step.stage.kind}`, x: node.x, y: middle - node.half, width: node.w, height: node.half * 2, rx: 8 }));
    for (let lane = 1; lane < n; lane += 1) {
      const y = middle - node.half + (lane / n) * node.half * 2;
      parts.push(s('path', { class: 'd-lane', d: `M${node.x + 6} ${y}H${node.x + node.w - 6}` }));
    }
    parts.push(label(node.x + node.w / 2, words, wordsOf(node.step, Math.floor(column / LETTER)), 'middle'));
  });
  return s('svg', { width, height: high, viewBox: `0 0 ${width} ${high}`, role: 'img', 'aria-label': text }, parts);
}

function down(all, items, width, text) {
  const step = 128;
  const most = Math.min(86, width * 0.22);
  const middle = most + 6;
  const thick = 46;
  const high = 60 + all.length * step;
  const parts = [];
  const nodes = [{ half: POINT, y: 8, t: 14, input: true },
    ...all.map((one, at) => ({ half: Math.max(POINT, breadth(one.tasks) * most), y: 74 + at * step, t: thick, step: one }))];
  nodes.forEach((node, at) => {
    const before = nodes[at - 1];
    if (before) parts.push(fan(before.y + before.t, node.y, before.half, node.half, middle, ribsOf(before, node), true));
  });
  nodes.forEach((node) => {
    if (node.input) {
      parts.push(s('rect', { class: 'd-input', x: middle - node.half, y: node.y, width: node.half * 2, height: node.t, rx: 4 }));
      parts.push(label(middle * 2 + 14, 22, [[`${compact(items)} items`, 'd-name']], 'start'));
      return;
    }
    parts.push(s('rect', { class: `d-box ${node.step.stage.kind}`, x: middle - node.half, y: node.y, width: node.half * 2, height: node.t, rx: 8 }));
    parts.push(label(middle * 2 + 14, node.y + 2, wordsOf(node.step, Math.floor((width - middle * 2 - 14) / LETTER)), 'start'));
  });
  return s('svg', { width, height: high, viewBox: `0 0 ${width} ${high}`, role: 'img', 'aria-label': text }, parts);
}

/** The figures of the whole plan in one line of facts. */
export function totals(expected) {
  if (!expected) return null;
  const fact = (name, value) => h('div', { class: 'total' }, h('span', { class: 'soft small' }, name), h('strong', {}, value));
  return h('div', { class: 'totals' },
    expected.likely_usd ? fact(expected.earlier_calls ? `Likely cost, from ${plural(expected.earlier_calls, 'earlier call')}` : 'Likely cost', money(expected.likely_usd)) : null,
    fact('Cost', range(expected.cost_usd.low, expected.cost_usd.high, money)),
    fact('Calls', range(expected.calls.low, expected.calls.high, compact)),
    fact('Time', range(Math.max(1, expected.seconds.low) * 1000, expected.seconds.high * 1000, duration)),
    fact('Input tokens', range(expected.input_tokens.low, expected.input_tokens.high, compact)),
    fact('Output tokens', range(expected.output_tokens.low, expected.output_tokens.high, compact)));
}

const WAYS = { live: 'Each call by itself, at once', cached: 'With the shared part cached', batch: 'As batches, within a day a stage', cascade: 'The cheap model first' };

/** What the same would cost in other ways; they are chosen in the plan. */
export function ways(alternatives) {
  if (!alternatives?.length) return null;
  return h('details', { class: 'stage-edit spaced' }, h('summary', {}, 'What it would cost in other ways'),
    h('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'Other ways' }, h('table', { class: 'table' }, h('caption', { class: 'hush' }, 'What the same costs in other ways'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Way'), h('th', { scope: 'col', class: 'num' }, 'Cost'), h('th', { scope: 'col', class: 'num' }, 'Time'))),
      h('tbody', {}, alternatives.map((one) => h('tr', {}, h('td', {}, WAYS[one.way] ?? one.way),
        h('td', { class: 'num' }, range(one.cost_usd.low, one.cost_usd.high, money)), h('td', { class: 'num' }, range(Math.max(1, one.seconds.low) * 1000, one.seconds.high * 1000, duration))))))));
}
