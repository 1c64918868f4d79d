// All jobs, newest first: by state, page after page. While any of them is at work, what is shown is looked at again now and then.

import { get, query } from '../api.js';
import { advice } from '../deployment.js';
import { h, icon, put } from '../dom.js';
import { age, count, firstLine, money, shortId } from '../format.js';
import { go, to } from '../router.js';
import { bar, empty, jobPill, problemNote, waiting } from '../ui.js';
import { JOB_STATES, isOver } from '../words.js';

const PAGE = 30;
const LOOK_MS = 3000;

export function open(address) {
  const state = address.params.get('state') ?? '';
  const list = h('ul', { class: 'list' });
  const foot = h('div');
  const body = h('div', {}, waiting('jobs'));
  const stop = new AbortController();
  const jobs = [];
  let words = '';
  let next = null;
  let timer = null;

  const fetchPage = (cursor, limit = PAGE) => get(`/v1/jobs${query({ state, limit, cursor })}`, { signal: stop.signal });

  function draw() {
    const shown = jobs.filter((job) => `${job.task} ${job.id} ${job.recipe ?? ''}`.toLowerCase().includes(words));
    if (!jobs.length) {
      put(body, state ? empty('No such jobs', `None is ${JOB_STATES[state]?.[0].toLowerCase() ?? state} now.`, h('a', { class: 'button', href: to('jobs') }, 'All jobs'))
        : empty('No jobs yet', 'Give Fanwise a list (tickets, reviews, pages, rows) and a task. It splits the list, lets many workers call Claude side by side, and brings one answer back.',
          h('a', { class: 'button main', href: to('jobs', 'new') }, 'Your first job'), h('a', { class: 'button', href: to('recipes') }, 'Look at the recipes')));
      return;
    }
    put(list, shown.map(row));
    put(foot, next ? h('div', { class: 'row more' }, h('button', { class: 'button', type: 'button', onclick: more }, 'Show more')) : null,
      shown.length ? null : h('p', { class: 'soft none' }, 'None of the jobs shown has these words.'));
    if (!body.contains(list)) put(body, h('section', { class: 'card flush', 'aria-label': 'Jobs' }, head(), list, foot));
  }

  async function more() {
    const page = await fetchPage(next);
    const had = new Set(jobs.map((job) => job.id));
    jobs.push(...page.data.filter((job) => !had.has(job.id)));
    next = page.next_cursor;
    draw();
  }

  async function load() {
    try {
      const page = await fetchPage(null);
      jobs.splice(0, jobs.length, ...page.data);
      next = page.next_cursor;
      draw();
      look();
    } catch (problem) {
      if (problem.name !== 'AbortError') put(body, problemNote(problem, load));
    }
  }

  // The first page again: what is new stands there, and most of what moves.
  function look() {
    timer = setTimeout(async () => {
      if (!document.hidden) {
        try {
          const page = await fetchPage(null);
          const had = new Set(page.data.map((job) => job.id));
          const last = page.data.at(-1)?.created_at ?? '';
          const before = JSON.stringify(jobs);
          const older = page.next_cursor ? jobs.filter((job) => !had.has(job.id) && job.created_at <= last) : [];
          jobs.splice(0, jobs.length, ...page.data, ...older);
          if (jobs.length <= PAGE) next = page.next_cursor;
          if (JSON.stringify(jobs) !== before && !list.contains(document.activeElement)) draw();
        } catch (problem) {
          if (problem.name === 'AbortError') return;
        }
      }
      look();
    }, jobs.some((job) => !isOver(job.state)) ? LOOK_MS : LOOK_MS * 5);
  }

  load();
  const filter = h('select', { class: 'select', 'aria-label': 'Only jobs in this state', onchange: (event) => go(to('jobs', event.target.value ? { state: event.target.value } : {})) },
    h('option', { value: '' }, 'All states'),
    Object.entries(JOB_STATES).map(([key, [text]]) => h('option', { value: key, selected: key === state }, text)));
  const search = h('input', { class: 'input', type: 'search', placeholder: 'Filter by words', 'aria-label': 'Filter the jobs shown by words', oninput: () => {
    words = search.value.trim().toLowerCase();
    draw();
  } });
  return {
    title: 'Jobs',
    element: h('div', {},
      h('div', { class: 'page-head' }, h('h1', {}, 'Jobs'),
        h('div', { class: 'row' }, h('div', { class: 'search-box' }, search), h('div', {}, filter),
          h('a', { class: 'button main', href: to('jobs', 'new') }, icon('plus'), 'New job'))),
      advice(), body),
    leave() {
      stop.abort();
      clearTimeout(timer);
    },
  };
}

function head() {
  return h('div', { class: 'job-row list-head', 'aria-hidden': 'true' },
    h('span', {}, 'Job'), h('span', {}, 'State'), h('span', {}, 'Coverage'), h('span', {}, 'Cost'), h('span', { class: 'num' }, 'Age'));
}

function row(job) {
  const { covered, total } = job.progress.items;
  const over = isOver(job.state);
  return h('li', {}, h('a', { class: 'job-row', href: to('jobs', job.id) },
    h('div', { class: 'what' },
      h('div', { class: 'name clip' }, firstLine(job.task)),
      h('div', { class: 'small soft clip' }, [job.recipe, job.mode === 'dynamic' ? 'planned by Claude' : null, job.run > 1 ? `run ${job.run}` : null, shortId(job.id)].filter(Boolean).join(' · '))),
    h('div', { class: 'state' }, jobPill(job.state)),
    h('div', { class: 'cover' },
      h('div', { class: 'meter-label' }, h('span', {}, `${count(covered)} of ${count(total)}`), h('span', { class: 'soft' }, job.progress.tasks.failed ? `${count(job.progress.tasks.failed)} failed` : '')),
      bar([['done', total ? covered / total : 0], ['lost', over && total ? (total - covered) / total : 0]])),
    h('div', { class: 'cost' }, h('span', {}, money(job.cost.spent_usd)), job.cost.limit_usd !== null ? h('span', { class: 'small soft' }, ` of ${money(job.cost.limit_usd)}`) : null),
    h('div', { class: 'age num soft' }, age(job.created_at))));
}
