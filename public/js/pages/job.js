// One job: its head with what can be done to it, and its tabs. The job is watched here, whatever tab is open; a tab is told what comes.

import { download, patch, post, remove } from '../api.js';
import { h, icon, put, say } from '../dom.js';
import { age, firstLine, moment, money, plural, shortId } from '../format.js';
import { here, go, replace, to } from '../router.js';
import { busy, confirm, dialog, field, jobPill, note, problemNote, toast, waiting } from '../ui.js';
import { watch } from '../watch.js';
import { HALTS, isAtWork, isOver } from '../words.js';
import { openTask } from './task.js';

const TABS = [['live', 'Live'], ['report', 'Report'], ['results', 'Results'], ['tasks', 'Tasks'], ['plan', 'Plan']];

export function open(address) {
  const id = address.parts[1];
  const head = h('div', { class: 'job-head' });
  const banner = h('div', { class: 'stack banner' });
  const tabs = h('nav', { class: 'tabs', 'aria-label': 'Parts of the job' });
  const body = h('div', {}, waiting('the job'));
  const element = h('div', {}, h('a', { class: 'crumb', href: to('jobs') }, '← Jobs'), head, banner, tabs, body);
  let job = null;
  let tab = null;
  let tabName = null;
  let sheet = null;
  const seen = { states: null, timeline: null, limits: null };

  const watched = watch(id, {
    job(next) {
      take(next);
      drawHead();
      tab?.job?.(job);
    },
    progress(progress, next) {
      if (!next) return;
      if (take(next)) drawHead();
      tab?.progress?.(progress, job);
    },
    states(states) {
      seen.states = states;
      tab?.states?.(states);
    },
    timeline(timeline) {
      seen.timeline = timeline;
      tab?.timeline?.(timeline);
    },
    limits(limits) {
      seen.limits = limits;
      tab?.limits?.(limits);
    },
    fault(fault) {
      tab?.fault?.(fault);
    },
    trouble(problem) {
      if (!job && problem) {
        put(element, h('a', { class: 'crumb', href: to('jobs') }, '← Jobs'), problemNote(problem, problem.status === 404 ? null : () => location.reload()));
        return;
      }
      say(link, problem ? 'The connection is gone; trying again.' : '');
    },
  });
  const link = h('span', { class: 'small soft', role: 'status' });

  /** The job as it is now; whether its state has changed. Where the address names no tab, the state chooses it. */
  function take(next) {
    const before = job?.state;
    job = next;
    if (before === job.state) return false;
    if (before === undefined || !here().parts[2]) route(here());
    if (before !== undefined) tab?.state?.(job);
    return true;
  }

  /** Runs a command that answers with the job. */
  const command = (name, body = {}) => async () => watched.moved(await post(`/v1/jobs/${id}/${name}`, body));

  function actions() {
    const button = (text, kind, act, picture) => {
      const one = h('button', { class: `button ${kind}`, type: 'button', onclick: () => busy(one, act) }, picture ? icon(picture) : null, text);
      return one;
    };
    const sure = (question, act) => async () => {
      if (await confirm(question)) await act();
    };
    const cancel = sure({ title: 'Cancel this job?', text: 'No new call begins. Calls in flight end, are paid, and their results are kept.', yes: 'Cancel the job', danger: true }, command('cancel'));
    const shown = [];
    if (isAtWork(job.state)) shown.push(button('Pause', '', command('pause'), 'pause'));
    if (job.state === 'paused') shown.push(button('Resume', 'main', command('resume'), 'play'));
    if (!isOver(job.state)) shown.push(button('Limits', '', limits), button('Cancel', 'danger', cancel));
    if (['partial', 'failed', 'cancelled'].includes(job.state)) shown.push(button('Retry', 'main', retry, 'again'));
    if (isOver(job.state)) {
      shown.push(button('Delete', 'danger', sure({ title: 'Delete this job?', text: 'Everything of it goes: input, results, report. This cannot be undone.', yes: 'Delete the job', danger: true }, async () => {
        await remove(`/v1/jobs/${id}`);
        toast('The job is deleted.');
        go(to('jobs'));
      })));
    }
    return shown;
  }

  /** New limits: for a job at work, or for its next run. What is left empty stays. */
  function limitFields() {
    const number = (key, attributes) => (fieldId) => h('input', { id: fieldId, class: 'input', type: 'number', name: key, min: '0', step: 'any', ...attributes });
    const cap = job.cost.limit_usd;
    const fields = h('div', { class: 'stack' },
      field('Most it may cost, in dollars', number('max_cost_usd', { value: cap ?? '' }), `${money(job.cost.spent_usd)} is spent. A cap can be moved, not taken away.`),
      field('Calls side by side', number('concurrency', { min: '1', max: '1000', step: '1' }), 'Empty: as it is.'),
      field('Deadline, in seconds', number('deadline_seconds', { min: '1', step: '1' }), 'From the submit, or the retry, on. Empty: as it is.'));
    const read = () => {
      const limits = {};
      for (const input of fields.querySelectorAll('input')) {
        if (input.value !== '' && !(input.name === 'max_cost_usd' && Number(input.value) === cap)) limits[input.name] = Number(input.value);
      }
      return limits;
    };
    return [fields, read];
  }

  async function limits() {
    const [fields, read] = limitFields();
    await dialog('Limits of this job', [fields], [['Save', 'main', async () => {
      const next = read();
      if (Object.keys(next).length) watched.moved(await patch(`/v1/jobs/${id}`, { limits: next }));
      return true;
    }]]);
  }

  async function retry() {
    const [fields, read] = limitFields();
    await dialog('Retry what is missing', [h('p', { class: 'soft' }, 'Results that exist stay and cost nothing again. What is missing is done, and the report is written anew.'), fields],
      [['Retry', 'main', async () => {
        await command('retry', { limits: read() })();
        return true;
      }]]);
  }

  function drawHead() {
    const focused = document.activeElement?.closest('.job-head') ? document.activeElement.textContent : null;
    put(head,
      h('div', {}, h('h1', {}, firstLine(job.task)),
        h('div', { class: 'meta' }, jobPill(job.state),
          job.recipe ? h('span', {}, `Recipe ${job.recipe}`) : job.mode === 'dynamic' ? h('span', {}, 'Planned by Claude') : null,
          job.run > 1 ? h('span', {}, `Run ${job.run}`) : null,
          job.progress.items.blank_rows ? h('span', {}, `${plural(job.progress.items.blank_rows, 'blank row')} passed over`) : null,
          h('span', { title: moment(job.created_at) }, `Begun ${age(job.created_at) === 'just now' ? 'just now' : `${age(job.created_at)} ago`}`),
          h('span', { class: 'mono', title: job.id }, shortId(job.id)), link)),
      h('div', { class: 'row' }, actions()));
    // A button that was pressed is drawn anew: the keyboard stays where it was.
    if (focused) ([...head.querySelectorAll('button')].find((one) => one.textContent === focused) ?? head.querySelector('button'))?.focus();
    put(banner, banners());
    document.title = `${firstLine(job.task)} · Fanwise`;
  }

  function banners() {
    const shown = [];
    if (job.halt) {
      const halt = job.halt;
      shown.push(note('warn', h('div', { class: 'grow' }, h('strong', {}, `${HALTS[halt.reason] ?? halt.reason}. `), halt.reason === 'approval' ? 'Until then it can be read and changed, and nothing of it is paid.' : halt.detail, halt.resumes_at ? ` Goes on by itself at ${moment(halt.resumes_at)}.` : ''),
        halt.reason === 'approval' && tabName !== 'plan' ? h('a', { class: 'button small', href: to('jobs', id, 'plan') }, 'Look at the plan') : null,
        halt.reason === 'budget' ? h('button', { class: 'button small', type: 'button', onclick: limits }, 'Raise the cap') : null));
    }
    if (job.error) shown.push(note('bad', h('div', {}, h('strong', {}, `${job.error.code.replaceAll('_', ' ')}: `), job.error.message)));
    if (['succeeded', 'partial'].includes(job.state) && tabName === 'live') {
      const missing = job.progress.items.missing;
      shown.push(note(job.state === 'succeeded' ? 'ok' : 'warn',
        h('div', { class: 'grow' }, h('strong', {}, job.state === 'succeeded' ? 'Done: every item is covered.' : `Done, but ${plural(missing, 'item')} ${missing === 1 ? 'has' : 'have'} no result.`)),
        h('a', { class: 'button main small', href: to('jobs', id, 'report') }, 'Read the report')));
    }
    return shown;
  }

  async function route(next) {
    if (!job) return;
    const asked = next.parts[2] ?? (job.state === 'awaiting_approval' ? 'plan' : 'live');
    const name = TABS.some(([key]) => key === asked) ? asked : 'live';
    if (name !== tabName) {
      tab?.leave?.();
      tab = null;
      tabName = name;
      put(tabs, TABS.map(([key, text]) => h('a', { href: to('jobs', id, key), 'aria-current': key === name ? 'page' : null }, text)));
      put(banner, banners());
      put(body, waiting(name));
      const module = await import(`./job-${name}.js`);
      if (tabName !== name) return;
      tab = module.open({ id, job: () => job, seen, watched, pick: (task, item) => go(to('jobs', id, name, { task, item })), download });
      put(body, tab.element);
    }
    tab?.params?.(next.params);
    task(next.params);
  }

  /** The task that the address names, in a sheet over the tab. */
  function task(params) {
    const number = params.get('task');
    if (number === null) {
      sheet?.close();
      sheet = null;
      return;
    }
    const goTo = (n) => replace(to('jobs', id, tabName, n === null ? {} : { task: n }));
    if (sheet) sheet.show(Number(number), params.get('item'));
    else sheet = openTask(id, Number(number), params.get('item'), goTo);
  }

  return {
    title: 'Job',
    element,
    update: route,
    leave() {
      watched.stop();
      tab?.leave?.();
      sheet?.close();
    },
  };
}
