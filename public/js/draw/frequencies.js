// How often each value of a field came: a bar chart that is a list, largest first.

import { h, put } from '../dom.js';
import { count, percent, plural } from '../format.js';
import { bar } from '../ui.js';

const SHOWN = 10;

export function frequencies(name, counts) {
  const all = Object.entries(counts).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  const sum = all.reduce((total, [, n]) => total + n, 0);
  const most = all[0]?.[1] ?? 1;
  const list = h('ul', { class: 'freq' });
  const show = (n) => put(list, all.slice(0, n).map(([value, times]) => h('li', { class: 'line' },
    h('span', { class: 'clip', title: value }, value), h('strong', {}, count(times)), h('span', { class: 'soft' }, percent(times, sum)), bar([['spent', times / most]]))));
  show(SHOWN);
  const more = all.length > SHOWN ? h('button', { class: 'button small quiet', type: 'button', onclick: () => {
    show(500);
    more.remove();
  } }, `All ${plural(all.length, 'value')}`) : null;
  return h('section', { class: 'card stack-s', 'aria-label': `Frequencies of ${name}` }, h('h2', {}, name.replaceAll('_', ' ')), list, more);
}
