// The results, item by item, as a table that sorts by any field; while the job runs, those that are there so far.

import { lines } from '../api.js';
import { h, icon, put } from '../dom.js';
import { count } from '../format.js';
import { busy, empty, problemNote, select, sortable, waiting } from '../ui.js';
import { get } from '../api.js';

/** More rows than this make a page slow and a person tired; the file has all of them. */
const MOST = 500;
const COLUMNS = 12;

export function open(jobPage) {
  const stop = new AbortController();
  const body = h('div', {}, waiting('the results'));
  const head = h('div', { class: 'row' });
  let stage = '';

  async function load() {
    put(body, waiting('the results'));
    try {
      const path = `/v1/jobs/${jobPage.id}/results?format=jsonl${stage ? `&stage=${encodeURIComponent(stage)}` : ''}`;
      const { found, more } = await lines(path, MOST, stop.signal);
      put(body, found.length ? [h('section', { class: 'card flush', 'aria-label': 'Results' }, table(found)), more ? h('p', { class: 'soft small' }, `The first ${count(MOST)} results; the files have all of them.`) : null]
        : empty('No results yet', 'They appear here as tasks succeed.', h('button', { class: 'button', type: 'button', onclick: load }, 'Look again')));
    } catch (problem) {
      if (problem.name !== 'AbortError') put(body, problemNote(problem, load));
    }
  }

  function table(found) {
    const fields = new Map();
    for (const line of found) {
      const output = line.output;
      if (output && typeof output === 'object' && !Array.isArray(output)) for (const key of Object.keys(output)) fields.set(key, (fields.get(key) ?? true) && (output[key] === null || typeof output[key] === 'number'));
    }
    const id = (line) => line.id ?? line.label ?? (line.ids ?? []).join(', ');
    const open = (line) => h('button', { class: 'link mono', type: 'button', onclick: () => jobPage.pick(line.task, line.id) }, id(line));
    const columns = [{ name: 'Item', value: id, show: open }];
    if (fields.size) {
      for (const [key, num] of [...fields].slice(0, COLUMNS)) columns.push({ name: key, num, value: (line) => of(line.output?.[key]) });
    } else columns.push({ name: 'Result', value: (line) => of(line.output) });
    return sortable('Results', columns, found);
  }

  const file = (format, name) => {
    const button = h('button', { class: 'button small', type: 'button', onclick: () => busy(button, () => jobPage.download(`/v1/jobs/${jobPage.id}/results?format=${format}&include=input${stage ? `&stage=${encodeURIComponent(stage)}` : ''}`, `${jobPage.id}-results.${format}`)) }, icon('down'), name);
    return button;
  };

  async function stages() {
    const plan = await get(`/v1/jobs/${jobPage.id}/plan`, { signal: stop.signal }).catch(() => null);
    const maps = (plan?.stages ?? []).filter((one) => one.kind === 'map').map((one) => one.name);
    put(head, maps.length > 1 ? h('label', { class: 'row' }, 'Stage', select(null, maps.map((name) => [name, name]), maps.at(-1), (next) => {
      stage = next;
      load();
    })) : null, h('button', { class: 'button small', type: 'button', onclick: load }, icon('again'), 'Look again'),
    h('div', { class: 'row row-end' }, file('csv', 'CSV'), file('xlsx', 'Excel'), file('jsonl', 'JSON lines'), file('json', 'JSON')));
  }

  stages();
  load();
  return { element: h('div', { class: 'stack' }, head, body), state: load, leave: () => stop.abort() };
}

function of(value) {
  if (value === null || value === undefined) return '–';
  if (Array.isArray(value) && value.every((one) => typeof one !== 'object')) return value.join(', ');
  return typeof value === 'object' ? JSON.stringify(value) : typeof value === 'number' ? value : String(value);
}
