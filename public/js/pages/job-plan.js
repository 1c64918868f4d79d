// A job's plan: the drawing, what it was expected to take, why it is as it is; and while it waits for approval, the form to change it.

import { get, post, put as replacePlan } from '../api.js';
import { delivery, expectedBy } from '../draw/delivery.js';
import { planDrawing, totals, ways } from '../draw/plan-drawing.js';
import { h, icon, put } from '../dom.js';
import { moment, money, range } from '../format.js';
import { planEditor } from '../plan-editor.js';
import { go, to } from '../router.js';
import { busy, empty, problemNote, toast, waiting } from '../ui.js';

const SOURCES = { caller: 'Given with the job', recipe: 'From a recipe', orchestrator: 'Made by Claude', default: 'The plain plan, because no usable one came' };

export function open(jobPage) {
  const stop = new AbortController();
  const element = h('div', {}, waiting('the plan'));
  let shown = '';

  async function load() {
    try {
      const plan = await get(`/v1/jobs/${jobPage.id}/plan`, { signal: stop.signal });
      const key = JSON.stringify(plan);
      // What is being edited is not drawn over.
      if (key === shown) return;
      shown = key;
      put(element, draw(plan));
    } catch (problem) {
      if (problem.name !== 'AbortError') put(element, problemNote(problem, load));
    }
  }

  function draw(plan) {
    const job = jobPage.job();
    if (!plan.stages.length) return empty('The plan is being made', 'Claude looks at the task and at a sample of the input. This takes some seconds.');
    const waits = plan.state === 'awaiting_approval';
    return h('div', { class: 'stack' },
      h('section', { class: 'card', 'aria-label': 'Plan' },
        h('header', {}, h('h2', {}, 'Plan'), h('span', { class: 'soft small' }, SOURCES[plan.source] ?? ''),
          h('a', { class: 'button small row-end', href: to('jobs', 'new', { from: jobPage.id }) }, icon('plus'), 'New job with this plan')),
        h('div', { class: 'item-box text spaced-below' }, job.task),
        plan.rationale ? h('p', { class: 'lead' }, plan.rationale) : null,
        planDrawing(plan, job.progress.items.total), totals(expectedBy(plan.expected, plan.delivery)), delivery(plan.delivery, 'h3'), ways(plan.alternatives)),
      waits ? editor(plan) : h('section', { class: 'card', 'aria-label': 'Stages' }, h('header', {}, h('h2', {}, 'Stages')), h('div', { class: 'stack-s' }, plan.stages.map(readOnly))),
      plan.rounds.length > 1 || plan.rounds.some((round) => round.faults.length) ? h('section', { class: 'card', 'aria-label': 'How it came about' }, h('header', {}, h('h2', {}, 'How it came about')), plan.rounds.map(round)) : null);
  }

  function editor(plan) {
    let stages = plan.stages;
    let edited = false;
    const wrong = h('div');
    const save = h('button', { class: 'button', type: 'button', disabled: true, onclick: () => busy(save, async () => {
      put(wrong);
      try {
        const next = await replacePlan(`/v1/jobs/${jobPage.id}/plan`, { stages });
        toast('The plan is changed.');
        shown = JSON.stringify(next);
        put(element, draw(next));
      } catch (problem) {
        put(wrong, problemNote(problem));
      }
    }) }, 'Save the changes');
    const approve = h('button', { class: 'button main', type: 'button', onclick: () => busy(approve, async () => {
      put(wrong);
      try {
        if (edited) await replacePlan(`/v1/jobs/${jobPage.id}/plan`, { stages });
        jobPage.watched.moved(await post(`/v1/jobs/${jobPage.id}/approve`, {}));
        go(to('jobs', jobPage.id, 'live'));
      } catch (problem) {
        put(wrong, problemNote(problem));
      }
    }) }, icon('play'), 'Approve and start');
    return h('section', { class: 'card', 'aria-label': 'Change the plan' }, h('header', {}, h('h2', {}, 'Stages'), h('span', { class: 'soft small' }, 'Nothing of the plan is paid before you approve it.')),
      planEditor(stages, (next) => {
        stages = next;
        edited = true;
        save.disabled = false;
      }), wrong, h('div', { class: 'row spaced' }, save, approve));
  }

  load();
  return { element, state: load, leave: () => stop.abort() };
}

function readOnly(stage) {
  const { name, kind, instructions, output_schema: schema, ...rest } = stage;
  const words = (value) => (typeof value === 'object' ? JSON.stringify(value).replace(/["{}]/g, '').replaceAll(',', ', ').replaceAll(':', ': ') : String(value));
  return h('details', { class: 'stage-edit' }, h('summary', {}, name, h('span', { class: 'soft small' }, kind === 'map' ? 'fan-out' : 'fan-in')),
    h('div', { class: 'inside' }, h('pre', {}, instructions),
      h('dl', { class: 'facts' }, Object.entries(rest).map(([key, value]) => [h('dt', {}, key.replaceAll('_', ' ')), h('dd', {}, words(value))])),
      schema ? h('div', { class: 'code-box', tabindex: '0', role: 'region', 'aria-label': `Schema of ${name}` }, h('pre', {}, JSON.stringify(schema, null, 2))) : null));
}

function round(one) {
  return h('div', { class: 'item-box' }, h('div', { class: 'row' }, h('strong', {}, one.round === 0 ? 'At the beginning' : `Round ${one.round}`), h('span', { class: 'soft small' }, `${SOURCES[one.source] ?? one.source}, ${moment(one.at)}`)),
    one.stages.length ? h('p', {}, `Stages: ${one.stages.join(', ')}`, one.expected ? h('span', { class: 'soft small' }, `, expected at ${range(one.expected.cost_usd.low, one.expected.cost_usd.high, money)}`) : null) : null,
    one.rationale ? h('p', { class: 'soft' }, one.rationale) : null,
    one.faults.length ? h('ul', {}, one.faults.map((fault) => h('li', { class: 'small' }, fault))) : null);
}
