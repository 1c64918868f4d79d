// One task whole, in a sheet at the side: what the worker was given, what it brought, and every call to Claude, from request to cost.
// All of it is data: it is shown as text, whatever stands in it.

import { get } from '../api.js';
import { h, icon, put } from '../dom.js';
import { count, duration, money, plural, time } from '../format.js';
import { closeButton, problemNote, taskPill, waiting } from '../ui.js';
import { model, reason } from '../words.js';

/** Opens the sheet; `goTo(number)` changes the address, null closes. */
export function openTask(job, number, item, goTo) {
  const head = h('div', { class: 'sheet-head' });
  const body = h('div', { class: 'sheet-body', tabindex: '-1' });
  const sheet = h('dialog', { class: 'sheet', 'aria-label': 'Task' }, head, body);
  let shown = null;
  let closing = false;

  async function show(next, meant) {
    if (next === shown) return;
    shown = next;
    const step = (by, name, text) => h('button', { class: 'button quiet icon', type: 'button', 'aria-label': text, title: text, disabled: next + by < 0, onclick: () => goTo(next + by) }, icon(name));
    put(head, h('h2', {}, `Task ${count(next)}`), h('span', { class: 'where row' }),
      h('div', { class: 'task-tools' }, step(-1, 'back', 'The task before'), step(1, 'next', 'The next task'), closeButton(() => sheet.close())));
    put(body, waiting('the task'));
    try {
      const task = await get(`/v1/jobs/${job}/tasks/${next}`);
      if (shown !== next) return;
      put(head.querySelector('.where'), taskPill(task.state), h('span', { class: 'soft' }, task.purpose === 'work' ? task.stage : `${task.stage}, ${task.purpose}`));
      put(body, whole(task, meant));
      body.querySelector('.meant')?.scrollIntoView({ block: 'center' });
    } catch (problem) {
      if (shown === next) put(body, problemNote(problem));
    }
  }

  sheet.addEventListener('close', () => {
    sheet.remove();
    if (!closing) goTo(null);
  });
  // A press beside the sheet closes it.
  sheet.addEventListener('click', (event) => {
    if (event.target === sheet) sheet.close();
  });
  document.body.append(sheet);
  sheet.showModal();
  show(number, item);
  return {
    show,
    close() {
      closing = true;
      if (sheet.open) sheet.close();
    },
  };
}

function whole(task, meant) {
  return h('div', { class: 'stack' },
    task.error ? h('div', { class: 'note bad' }, h('div', {}, h('strong', {}, `${reason(task.error.code)}. `), task.error.message)) : null,
    pairs(task, meant),
    h('section', { class: 'stack-s', 'aria-label': 'Attempts' },
      h('h3', {}, task.attempts.length ? plural(task.attempts.length, 'attempt') : 'No attempts'),
      task.attempts.length ? null : h('p', { class: 'soft' }, task.state === 'succeeded' ? 'Its answer was paid for before and came from the ledger.' : 'Claude was not asked yet.'),
      task.attempts.map(attempt)));
}

/** Input and output; item beside result where there is one result for each item. */
function pairs(task, meant) {
  const items = Array.isArray(task.input) ? task.input : null;
  const results = Array.isArray(task.output) ? new Map(task.output.map((line) => [line.id, line.output])) : null;
  if (!items) {
    return [section('Input', task.input === null ? 'None' : data(task.input)), section('Output', task.output === null ? 'None yet' : data(task.output?.output ?? task.output))];
  }
  const chunk = results === null && task.output !== null;
  return h('section', { class: 'stack-s', 'aria-label': 'Items and results' },
    h('h3', {}, plural(items.length, 'item')),
    chunk ? h('div', { class: 'item-box' }, h('h4', {}, 'Result for all of them'), data(task.output?.output ?? task.output)) : null,
    items.map((item) => {
      const { id, ...rest } = item;
      const only = Object.keys(rest);
      const result = results?.get(id);
      return h('div', { class: `item-box ${id === meant || id?.startsWith(`${meant}#`) ? 'meant' : ''}` },
        h('div', { class: 'two even' },
          h('div', {}, h('h4', {}, id), only.length === 1 && typeof rest[only[0]] === 'string' ? data(rest[only[0]]) : data(rest)),
          chunk ? null : h('div', {}, h('h4', {}, 'Result'), result === undefined ? h('span', { class: 'soft' }, 'None') : data(result))));
    }));
}

function section(name, content) {
  return h('section', { class: 'stack-s', 'aria-label': name }, h('h3', {}, name), content instanceof Node ? h('div', { class: 'item-box' }, content) : h('p', { class: 'soft' }, content));
}

/** Any value, for reading: texts as they are, objects as facts, the rest as JSON. */
export function data(value) {
  if (typeof value === 'string') return h('div', { class: 'text' }, value);
  if (value === null || typeof value !== 'object') return h('span', {}, String(value));
  if (Array.isArray(value)) {
    if (!value.length) return h('span', { class: 'soft' }, 'none');
    if (value.every((one) => typeof one !== 'object')) return h('span', {}, value.join(', '));
    return h('div', { class: 'stack-s' }, value.map((one) => h('div', { class: 'item-box' }, data(one))));
  }
  const entries = Object.entries(value);
  if (!entries.length) return h('span', { class: 'soft' }, 'nothing');
  return h('dl', { class: 'facts' }, entries.map(([key, one]) => [h('dt', {}, key), h('dd', {}, data(one))]));
}

function attempt(one) {
  const took = one.finished_at ? duration(Date.parse(one.finished_at) - Date.parse(one.started_at)) : 'under way';
  const fine = one.state === 'done' && !one.error_class;
  const cached = one.cache_read_input_tokens + one.cache_creation_input_tokens;
  return h('div', { class: 'attempt' },
    h('div', { class: 'row' },
      h('strong', {}, `${one.number}. ${one.role}`),
      h('span', { class: `pill ${fine ? 'ok' : one.state === 'open' ? 'go' : 'bad'}` }, fine ? 'done' : one.state === 'open' ? 'under way' : one.error_class ?? one.state),
      h('span', { class: 'soft small' }, [model(one.model), `${time(one.started_at)}, ${took}`, one.status ? `HTTP ${one.status}` : null, one.stop_reason].filter(Boolean).join(' · '))),
    h('div', { class: 'soft small' }, `${count(one.input_tokens + cached)} tokens in${cached ? ` (${count(one.cache_read_input_tokens)} from the cache)` : ''}, ${count(one.output_tokens)} out, ${money(one.cost_usd)}${one.state === 'unknown' ? ' at worst: its end was not seen' : ''}`),
    one.error_class ? h('p', {}, h('strong', {}, `${reason(one.error_class)}. `), one.error) : null,
    one.response ? more('What came back', () => h('pre', {}, pretty(one.response))) : null,
    one.request ? more('What was sent', () => h('pre', {}, JSON.stringify(one.request, null, 2))) : null,
    one.request_id ? h('div', { class: 'small soft mono' }, one.request_id) : null);
}

/** Drawn when it is first opened: a request may be long. */
function more(name, make) {
  const inside = h('div', { class: 'code-box', tabindex: '0', role: 'region', 'aria-label': name });
  return h('details', { ontoggle: (event) => {
    if (event.target.open && !inside.hasChildNodes()) put(inside, make());
  } }, h('summary', {}, name), inside);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The task that has an item: where it is looked at. */
export async function taskOf(id, item) {
  const page = await get(`/v1/jobs/${id}/tasks?${new URLSearchParams({ item, limit: '1' })}`);
  return page.data[0]?.index ?? null;
}
