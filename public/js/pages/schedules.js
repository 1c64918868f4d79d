// Schedules: jobs that come in by themselves. A list with what is due next and how the last run went, page after page.

import { get, patch, post, query } from '../api.js';
import { h, icon, put } from '../dom.js';
import { moment } from '../format.js';
import { to } from '../router.js';
import { busy, empty, problemNote, toast, waiting } from '../ui.js';

const PAGE = 50;

export function open() {
  const body = h('div', {}, waiting('the schedules'));
  let all = [];
  let next = null;

  async function load(more) {
    try {
      const page = await get(`/v1/schedules${query({ limit: PAGE, cursor: more ? next : null })}`);
      all = more ? [...all, ...page.data] : page.data;
      next = page.next_cursor;
      draw();
    } catch (problem) {
      put(body, problemNote(problem, () => load(false)));
    }
  }

  function draw() {
    put(body, all.length ? h('section', { class: 'card flush', 'aria-label': 'Schedules' }, h('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'List of schedules' }, h('table', { class: 'table cards' },
      h('caption', { class: 'hush' }, 'Schedules'),
      h('thead', {}, h('tr', {}, ['Name', 'When', 'Next', 'Last run', ''].map((name) => h('th', { scope: 'col' }, name || h('span', { class: 'hush' }, 'Actions'))))),
      h('tbody', {}, all.map(row)))), next ? h('div', { class: 'row more' }, h('button', { class: 'button', type: 'button', onclick: () => load(true) }, 'Show more')) : null)
      : empty('No schedules yet', 'A schedule submits a job by itself: every morning, every Monday, every five minutes. Its input is fetched from an address, or is the same each time.', h('a', { class: 'button main', href: to('schedules', 'new') }, 'Your first schedule')));
  }

  function row(one) {
    const last = one.last_runs[0];
    const run = h('button', { class: 'button small', type: 'button', onclick: () => busy(run, async () => {
      await post(`/v1/schedules/${one.id}/run`, {});
      toast('A run is begun.');
      await load(false);
    }) }, 'Run now', h('span', { class: 'hush' }, ` ${one.name || one.cron}`));
    const pause = h('button', { class: 'button small', type: 'button', onclick: () => busy(pause, async () => {
      await patch(`/v1/schedules/${one.id}`, { paused: !one.paused });
      await load(false);
    }) }, one.paused ? 'Resume' : 'Pause', h('span', { class: 'hush' }, ` ${one.name || one.cron}`));
    return h('tr', {},
      h('td', { 'data-name': 'Name' }, h('a', { href: to('schedules', one.id) }, one.name || 'Without a name')),
      h('td', { 'data-name': 'When' }, h('div', {}, h('code', {}, one.cron), h('div', { class: 'small soft' }, one.time_zone))),
      h('td', { 'data-name': 'Next' }, one.paused ? h('span', { class: 'pill warn' }, 'paused') : moment(one.next_runs[0])),
      h('td', { 'data-name': 'Last run' }, last ? runState(last) : '–'),
      h('td', { 'data-name': '' }, h('div', { class: 'row' }, run, pause)));
  }

  load(false);
  return {
    title: 'Schedules',
    element: h('div', {}, h('div', { class: 'page-head' }, h('h1', {}, 'Schedules'), h('a', { class: 'button main', href: to('schedules', 'new') }, icon('plus'), 'New schedule')), body),
  };
}

/** A run in words, with the job that it began. */
export function runState(run) {
  const tone = { started: 'ok', failed: 'bad', skipped: 'warn' }[run.state] ?? '';
  return h('div', {}, h('div', { class: 'row' }, h('span', { class: `pill ${tone}` }, run.state.replaceAll('_', ' ')), run.job ? h('a', { class: 'small', href: to('jobs', run.job), 'aria-label': `The job of ${moment(run.due_at)}` }, 'job') : null),
    run.reason ? h('div', { class: 'small soft cell' }, run.reason.message) : null);
}
