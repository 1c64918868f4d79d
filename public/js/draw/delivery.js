// How a job's calls go out, live or in batches, what was asked for, what was chosen and why, with time and money of both ways.

import { h } from '../dom.js';
import { duration, moment, money, range } from '../format.js';
import { note } from '../ui.js';

const HOW = { live: 'Calls go out live', batch: 'Calls go out in batches' };
const WAY = { live: 'Live', batch: 'Batches' };

/** Without a choice a job is plainly live. */
const LIVE = { asked: 'live', chosen: 'live', why: 'each call by itself, answered at once', live: null, batch: null, live_from: null };

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

/** A word on it beside a job at work; nothing where there was nothing to choose. */
export function deliveryNote(choice) {
  if (!choice) return null;
  return note('', h('div', { class: 'grow' }, h('strong', {}, `${HOW[choice.chosen]}. `), sentence(choice.why)));
}

/** All of it, in a plan. `level` is that of its heading. */
export function delivery(given, level = 'h2') {
  const choice = given ?? LIVE;
  const ways = ['live', 'batch'].filter((name) => choice[name]);
  return h('section', { class: 'delivery stack-s', 'aria-label': 'Delivery' },
    h('div', { class: 'row' }, h(level, {}, HOW[choice.chosen]), choice.asked === 'auto' ? h('span', { class: 'tag' }, 'chosen by time and money') : null),
    h('p', { class: 'soft' }, sentence(choice.why)),
    ways.length ? h('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'Both ways' }, h('table', { class: 'table' }, h('caption', { class: 'hush' }, 'What both ways take'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Way'), h('th', { scope: 'col', class: 'num' }, 'Cost'), h('th', { scope: 'col', class: 'num' }, 'Time'))),
      h('tbody', {}, ways.map((name) => {
        const { cost_usd: cost, seconds } = choice[name];
        return h('tr', { class: name === choice.chosen ? 'chosen' : null }, h('td', {}, WAY[name]),
          h('td', { class: 'num' }, range(cost.low, cost.high, money)), h('td', { class: 'num' }, range(Math.max(1, seconds.low) * 1000, seconds.high * 1000, duration)));
      })))) : null,
    choice.live_from ? h('p', { class: 'soft small' }, `What batches have not brought by ${moment(choice.live_from)} goes out live.`) : null);
}

/** The figures that hold for a plan, with the time that the way chosen takes as a rule. */
export function expectedBy(expected, choice) {
  const way = choice?.[choice.chosen];
  return expected && way ? { ...expected, seconds: way.seconds } : expected;
}
