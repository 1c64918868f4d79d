// The tasks of a job as a list, by state, page after page: the same that the live drawing shows, for who wants words.

import { get, query } from '../api.js';
import { h, put } from '../dom.js';
import { count, plural } from '../format.js';
import { replace, to } from '../router.js';
import { choice, empty, problemNote, taskPill, waiting } from '../ui.js';
import { reason } from '../words.js';

const PAGE = 100;

export function open(jobPage) {
  const stop = new AbortController();
  const body = h('div', {}, waiting('the tasks'));
  const head = h('div', { class: 'row' });
  let state = null;
  let next = null;
  let rows = null;

  async function load(more) {
    try {
      const page = await get(`/v1/jobs/${jobPage.id}/tasks${query({ state, limit: PAGE, cursor: more ? next : null })}`, { signal: stop.signal });
      next = page.next_cursor;
      if (!more) {
        rows = h('tbody');
        put(body, page.data.length ? h('section', { class: 'card flush', 'aria-label': 'Tasks' }, h('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'List of tasks' }, h('table', { class: 'table cards' },
          h('caption', { class: 'hush' }, 'Tasks'),
          h('thead', {}, h('tr', {}, ['Task', 'Stage', 'State', 'Items', 'Calls', 'Why'].map((name) => h('th', { scope: 'col' }, name)))), rows)), foot)
          : empty('No such tasks', state ? `None is ${state}.` : 'They are made when the job begins to run.'));
      }
      rows.append(...page.data.map(row));
      put(foot, next ? h('button', { class: 'button', type: 'button', onclick: () => load(true) }, 'Show more') : null);
    } catch (problem) {
      if (problem.name !== 'AbortError') put(body, problemNote(problem, () => load(false)));
    }
  }

  const foot = h('div', { class: 'row more' });
  const row = (task) => h('tr', {},
    h('td', { 'data-name': 'Task' }, h('button', { class: 'link', type: 'button', onclick: () => jobPage.pick(task.index) }, count(task.index))),
    h('td', { 'data-name': 'Stage' }, task.purpose === 'work' ? task.stage : `${task.stage}, ${task.purpose}`),
    h('td', { 'data-name': 'State' }, taskPill(task.state)),
    h('td', { 'data-name': 'Items' }, h('div', { class: 'cell' }, task.item_ids.length > 4 ? `${task.item_ids.slice(0, 3).join(', ')} and ${plural(task.item_ids.length - 3, 'more', 'more')}` : task.item_ids.join(', '))),
    h('td', { 'data-name': 'Calls' }, count(task.attempts)),
    h('td', { 'data-name': 'Why' }, task.error ? h('div', { class: 'cell' }, `${reason(task.error.code)}. `, h('span', { class: 'soft' }, task.error.message)) : '–'));

  return {
    element: h('div', { class: 'stack' }, head, body),
    params(params) {
      const wanted = params.get('state') ?? '';
      if (wanted === state) return;
      state = wanted;
      put(head, choice('Only tasks in this state', [['', 'All'], ['running', 'Running'], ['succeeded', 'Succeeded'], ['failed', 'Failed'], ['skipped', 'Skipped'], ['pending', 'Pending'], ['cancelled', 'Cancelled']], state,
        (chosen) => replace(to('jobs', jobPage.id, 'tasks', chosen ? { state: chosen } : {}))));
      load(false);
    },
    state: () => load(false),
    leave: () => stop.abort(),
  };
}
