// One schedule: the form that makes or changes it, its next runs, and what became of the last ones.

import { get, patch, post, remove } from '../api.js';
import { h, put } from '../dom.js';
import { moment } from '../format.js';
import { go, to } from '../router.js';
import { busy, confirm, field, problemNote, select, toast, waiting } from '../ui.js';
import { OVERLAPS } from '../words.js';
import { runState } from './schedules.js';

const USUAL = [['0 7 * * MON-FRI', 'Weekdays at 7:00'], ['0 7 * * *', 'Every day at 7:00'], ['0 8 * * MON', 'Mondays at 8:00'], ['0 * * * *', 'Every hour'], ['*/15 * * * *', 'Every 15 minutes']];
const FORMATS = [['', 'By its content type'], ['csv', 'CSV'], ['jsonl', 'JSON lines'], ['text', 'Text']];

export function open(address) {
  const id = address.parts[1];
  const element = h('div', {}, waiting('the schedule'));

  async function load() {
    try {
      put(element, draw(id === 'new' ? null : await get(`/v1/schedules/${id}`), (await get('/v1/recipes')).data));
    } catch (problem) {
      put(element, problemNote(problem, load));
    }
  }

  function draw(given, recipes) {
    const wrong = h('div');
    const inputs = {};
    const keep = (name, element) => {
      inputs[name] = element;
      return element;
    };
    const text = (name, value, attributes) => (fieldId) => keep(name, h('input', { id: fieldId, class: 'input', value: value ?? '', ...attributes }));
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
    const usual = (recipes.find((one) => one.name === 'support-tickets') ?? recipes[0])?.name;
    const job = given?.job ?? { recipe: usual, limits: { max_cost_usd: 5 } };
    const recipe = (fieldId) => select(fieldId, [['', 'As written below'], ...recipes.map((one) => [one.name, one.title])], given ? '' : usual, (name) => {
      if (name) inputs.job.value = JSON.stringify({ recipe: name, limits: { max_cost_usd: 5 } }, null, 2);
    });

    function body() {
      const value = {
        name: inputs.name.value.trim(), cron: inputs.cron.value.trim(), time_zone: inputs.zone.value.trim(), overlap: inputs.overlap.value,
        job: JSON.parse(inputs.job.value), input_url: inputs.url.value.trim() || null, input_format: inputs.format.value || null,
      };
      if (!value.name) delete value.name;
      return value;
    }

    const save = h('button', { class: 'button main', type: 'button', onclick: () => busy(save, async () => {
      put(wrong);
      try {
        const saved = given ? await patch(`/v1/schedules/${given.id}`, body()) : await post('/v1/schedules', body());
        toast('The schedule is saved.');
        if (given) put(element, draw(saved, recipes));
        else go(to('schedules', saved.id));
      } catch (problem) {
        put(wrong, problemNote(problem instanceof SyntaxError ? { message: `The job is not JSON: ${problem.message}` } : problem));
      }
    }) }, given ? 'Save the changes' : 'Make the schedule');
    const run = given ? h('button', { class: 'button', type: 'button', onclick: () => busy(run, async () => {
      await post(`/v1/schedules/${given.id}/run`, {});
      toast('A run is begun.');
      await load();
    }) }, 'Run now') : null;
    const pause = given ? h('button', { class: 'button', type: 'button', onclick: () => busy(pause, async () => {
      put(element, draw(await patch(`/v1/schedules/${given.id}`, { paused: !given.paused }), recipes));
    }) }, given.paused ? 'Resume' : 'Pause') : null;
    const away = given ? h('button', { class: 'button danger', type: 'button', onclick: () => busy(away, async () => {
      if (!await confirm({ title: 'Delete this schedule?', text: 'No further job comes of it. Jobs that it began stay.', yes: 'Delete the schedule', danger: true })) return;
      await remove(`/v1/schedules/${given.id}`);
      go(to('schedules'));
    }) }, 'Delete') : null;

    return h('div', {}, h('a', { class: 'crumb', href: to('schedules') }, '← Schedules'),
      h('div', { class: 'page-head' }, h('h1', {}, given ? given.name || 'Schedule' : 'New schedule'), h('div', { class: 'row' }, run, pause, away)),
      h('div', { class: given ? 'report-grid' : 'stack' },
        h('section', { class: 'card stack', 'aria-label': 'Schedule' },
          h('div', { class: 'fields' },
            field('Name', text('name', given?.name, { placeholder: 'Tickets of the day' })),
            field('When (cron)', text('cron', given?.cron ?? USUAL[0][0], { spellcheck: 'false' }), 'Minute, hour, day, month, weekday.'),
            field('Usual times', (fieldId) => select(fieldId, [['', 'Choose one'], ...USUAL], '', (cron) => {
              if (cron) inputs.cron.value = cron;
            })),
            field('Time zone', text('zone', given?.time_zone ?? zone, { spellcheck: 'false' })),
            field('If one is still at work, a run', (fieldId) => keep('overlap', select(fieldId, Object.entries(OVERLAPS), given?.overlap ?? 'skip')))),
          h('div', { class: 'fields' },
            field('Address of the input', text('url', given?.input_url, { type: 'url', placeholder: 'https://exports.example.com/tickets.csv', spellcheck: 'false' }), 'Read at each run. Empty: the job brings its own.'),
            field('It is read as', (fieldId) => keep('format', select(fieldId, FORMATS, given?.input_format ?? ''))),
            field('Recipe', recipe)),
          field('Job, as JSON', (fieldId) => keep('job', h('textarea', { id: fieldId, class: 'area code', rows: '10', spellcheck: 'false', value: JSON.stringify(job, null, 2) })), 'The body of a submit: a recipe or stages, a task, limits.'),
          wrong, h('div', { class: 'row' }, save)),
        given ? h('aside', { class: 'stack', 'aria-label': 'Runs' },
          h('section', { class: 'card stack-s', 'aria-label': 'Next runs' }, h('h2', {}, 'Next'), given.paused ? h('p', { class: 'soft' }, 'It is paused.') : h('ul', { class: 'list' }, given.next_runs.map((at) => h('li', {}, moment(at))))),
          h('section', { class: 'card stack-s', 'aria-label': 'Last runs' }, h('h2', {}, 'Last'), given.last_runs.length ? h('ul', { class: 'list runs' }, given.last_runs.map((one) => h('li', {}, h('div', { class: 'small soft' }, moment(one.due_at)), runState(one)))) : h('p', { class: 'soft' }, 'None yet.'))) : null));
  }

  load();
  return { title: id === 'new' ? 'New schedule' : 'Schedule', element };
}
