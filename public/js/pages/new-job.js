// A new job in three steps: the input, what to do with it, and the plan with its cost, to be changed and started. A plan that Claude makes is
// looked at after the submit, where it waits for approval.

import { get, post } from '../api.js';
import { delivery, expectedBy } from '../draw/delivery.js';
import { planDrawing, totals, ways } from '../draw/plan-drawing.js';
import { h, icon, put } from '../dom.js';
import { bytes, money, plural, range } from '../format.js';
import { ESTIMATE_BYTES, KINDS, blankRows, fileIds, guess, itemsOf, read, submitBody, textOf } from '../input.js';
import { BLANK, planEditor } from '../plan-editor.js';
import { go, to } from '../router.js';
import { busy, field, note, problemNote, select, toast, waiting } from '../ui.js';

const SOON_MS = 500;
const DELIVERIES = [['live', 'Live, each call at once'], ['batch', 'In batches, at half the price'], ['auto', 'By time and money']];
/** Of a large file only so much is read here, for the preview. */
const PREVIEW_BYTES = 200_000;

export function open(address) {
  const draft = { text: '', kind: null, file: null, documents: [], size: 0, name: '', source: null, recipe: null, stages: null, task: '', ownTask: false, delivery: 'live' };
  const planBox = h('div');
  const preview = h('div', { 'aria-live': 'polite' });
  const options = h('div', { class: 'options', role: 'radiogroup', 'aria-label': 'Who makes the plan' }, waiting('the recipes'));
  const limits = { max_cost_usd: 5, concurrency: null, deadline_seconds: null };
  let timer = null;
  let asked = 0;
  let editorShown = null;

  // 1: the input.
  const area = h('textarea', { class: 'area code', rows: '7', 'aria-label': 'Input as text', placeholder: 'Paste a table, JSON lines, a list with one item a line, addresses, or one long text', spellcheck: 'false', oninput: () => {
    Object.assign(draft, { text: area.value, file: null, documents: [], name: '', size: area.value.length, kind: area.value.trim() ? guess(area.value) : null });
    inputChanged();
  } });
  const files = h('input', { type: 'file', multiple: true, hidden: true, 'aria-label': 'Files', accept: '.csv,.jsonl,.ndjson,.json,.txt,.md,.html,text/*,application/json', onchange: () => take([...files.files]) });
  const drop = h('div', { class: 'drop' }, icon('up'), h('div', {}, h('strong', {}, 'Drop a file here'), ', or ', h('button', { class: 'link', type: 'button', onclick: () => files.click() }, 'choose one'), ', or ', h('button', { class: 'link', type: 'button', onclick: sample }, 'try a sample of 300 tickets')),
    h('div', { class: 'small soft' }, 'CSV, JSON lines, JSON or text, up to 100 MB and 100,000 items. Several text files are several documents.'), files);
  for (const name of ['dragover', 'dragleave', 'drop']) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', name === 'dragover');
      if (name === 'drop') take([...event.dataTransfer.files]);
    });
  }

  async function take(list) {
    if (!list.length) return;
    try {
      if (list.length > 1) {
        const ids = fileIds(list.map((file) => file.name));
        const documents = await Promise.all(list.map(async (file, at) => ({ id: ids[at], text: await textOf(file.name, file) })));
        Object.assign(draft, { documents, text: '', file: null, kind: 'documents', name: plural(list.length, 'file'), size: list.reduce((sum, file) => sum + file.size, 0) });
      } else {
        const [file] = list;
        const large = file.size > ESTIMATE_BYTES;
        const text = await textOf(file.name, large ? file.slice(0, PREVIEW_BYTES) : file);
        Object.assign(draft, { text, file, documents: [], name: file.name, size: file.size, kind: guess(text, file.name) });
      }
      area.value = '';
      inputChanged();
    } catch (error) {
      toast(`The file could not be read: ${error.message}`, 'bad');
    }
  }

  async function sample() {
    const response = await fetch('vendor/sample.jsonl');
    await take([new File([await response.text()], 'support-tickets.jsonl')]);
    await ready;
    const recipe = recipes.find((one) => one.name === 'support-tickets');
    if (recipe) choose('recipe', recipe);
  }

  const large = () => draft.size > ESTIMATE_BYTES;

  function inputChanged() {
    put(preview);
    if (draft.kind) {
      const kinds = draft.kind === 'documents' ? ['documents'] : Object.keys(KINDS).filter((key) => key !== 'documents' && (!large() || ['csv', 'jsonl', 'text'].includes(key)));
      put(preview, h('div', { class: 'stack-s spaced' },
        h('div', { class: 'row' }, h('strong', {}, draft.name || 'Pasted'), h('span', { class: 'soft small' }, bytes(draft.size)),
          h('div', {}, select(null, kinds.map((key) => [key, KINDS[key]]), draft.kind, (kind) => {
            draft.kind = kind;
            inputChanged();
          })),
          h('button', { class: 'button small quiet', type: 'button', onclick: () => {
            Object.assign(draft, { text: '', file: null, documents: [], kind: null, size: 0, name: '' });
            area.value = '';
            files.value = '';
            inputChanged();
          } }, 'Take it away')),
        look()));
      preview.querySelector('select').setAttribute('aria-label', 'What it is');
    }
    soon();
  }

  /** The first items as they are read. */
  function look() {
    try {
      const text = large() ? draft.text.slice(0, draft.text.lastIndexOf('\n')) : draft.text;
      const items = itemsOf(read(text, draft.kind, draft.documents));
      const blank = draft.kind === 'csv' && !large() ? blankRows(text) : 0;
      const shown = items.slice(0, 4).map((item) => h('div', { class: 'item-box small' }, h('div', { class: 'cell' }, typeof item === 'string' ? item : Object.entries(item).map(([key, value]) => [h('span', { class: 'soft' }, `${key} `), `${typeof value === 'string' ? value.slice(0, 300) : JSON.stringify(value)}  `]))));
      return h('div', { class: 'stack-s' }, h('p', { class: 'small' }, large() ? 'The beginning:' : draft.kind === 'text' ? 'One document. It is cut into slices at natural boundaries.' : `${plural(items.length, 'item')}${blank ? `, and ${plural(blank, 'blank row')} that ${blank === 1 ? 'is' : 'are'} passed over` : ''}. The first:`), shown);
    } catch (error) {
      return note('bad', h('span', { role: 'alert' }, error.message));
    }
  }

  // 2: what to do.
  const task = h('textarea', { class: 'area', rows: '3', oninput: () => {
    draft.task = task.value;
    draft.ownTask = task.value.trim() !== '';
    soon();
  } });
  let recipes = [];

  function choose(source, recipe) {
    Object.assign(draft, { source, recipe: recipe?.name ?? null, stages: source === 'claude' ? null : structuredClone(recipe?.stages ?? draft.given ?? BLANK) });
    if (!draft.ownTask) {
      draft.task = recipe?.task ?? '';
      task.value = draft.task;
    }
    for (const input of options.querySelectorAll('input')) input.checked = input.value === (recipe?.name ?? source);
    editorShown = null;
    soon(0);
  }

  const option = (value, title, text, act) => h('label', { class: 'option' }, h('input', { type: 'radio', name: 'plan', value, onchange: act }), h('b', {}, title), h('span', { class: 'small soft' }, text));

  async function start() {
    try {
      recipes = (await get('/v1/recipes')).data;
    } catch (problem) {
      put(options, problemNote(problem, start));
      return;
    }
    const from = address.params.get('from');
    const given = from ? await get(`/v1/jobs/${from}/plan`).catch(() => null) : null;
    draft.given = given?.stages;
    put(options,
      given ? option('given', 'The plan of that job', 'Its stages, to be used again or changed.', () => choose('given')) : null,
      option('claude', 'Claude plans it', 'Say what you want. You see the plan and its cost, and approve it.', () => choose('claude')),
      recipes.map((one) => option(one.name, one.title, one.summary, () => choose('recipe', one))),
      option('blank', 'From scratch', 'One fan-out and a report, for you to write.', () => choose('blank')));
    const wanted = recipes.find((one) => one.name === address.params.get('recipe'));
    if (wanted) choose('recipe', wanted);
    else if (given) choose('given');
  }

  // 3: the plan, its cost, and the start.
  function spec() {
    const set = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== null));
    // A recipe that was changed is a plan of one's own: what was taken out of it must not come back.
    const recipe = recipes.find((one) => one.name === draft.recipe);
    const asItIs = recipe && JSON.stringify(recipe.stages) === JSON.stringify(draft.stages);
    const plan = asItIs ? { recipe: recipe.name } : draft.stages ? { stages: draft.stages } : { mode: 'dynamic' };
    const sent = draft.delivery === 'live' ? {} : { delivery: draft.delivery };
    return { task: draft.task.trim(), ...plan, ...sent, limits: set };
  }

  function soon(ms = SOON_MS) {
    clearTimeout(timer);
    timer = setTimeout(plan, ms);
  }

  async function plan() {
    asked += 1;
    const mine = asked;
    const missing = [draft.kind ? null : 'an input', draft.source ? null : 'who makes the plan', draft.task.trim() || !draft.source ? null : 'a task'].filter(Boolean);
    if (missing.length) {
      put(planBox, h('p', { class: 'soft' }, `Still wanted: ${missing.join(', ')}.`));
      return;
    }
    if (draft.source === 'claude') {
      put(planBox, h('div', { class: 'stack' }, h('p', {}, 'Claude looks at the task and at a sample of the input, and makes a plan. The job then waits: nothing else is paid before you have seen the plan and approved it.'), limitFields(), startRow('Have Claude plan it', null)));
      return;
    }
    if (large()) {
      put(planBox, h('div', { class: 'stack' }, h('p', {}, 'The file is large: it is uploaded first. The job then waits, and you see its plan and cost before you approve it.'), editor(), limitFields(), startRow('Upload, then look at the plan', null)));
      return;
    }
    if (!planBox.querySelector('.plan-drawing')) put(planBox, waiting('the plan'));
    try {
      const estimate = await post('/v1/estimates', { ...spec(), input: read(draft.text, draft.kind, draft.documents) });
      if (mine === asked) drawPlan(estimate, null);
    } catch (problem) {
      if (mine === asked) drawPlan(null, problem);
    }
  }

  const drawing = h('div');
  const below = h('div');
  function drawPlan(estimate, problem) {
    const expected = estimate && expectedBy(estimate.expected, estimate.delivery);
    put(drawing, problem ? problemNote(problem) : [planDrawing(estimate, estimate.items), totals(expected), estimate.delivery ? delivery(estimate.delivery, 'h3') : null, ways(estimate.alternatives)]);
    put(below, startRow(estimate ? `Start for ${range(expected.cost_usd.low, expected.cost_usd.high, money)}` : 'Start', problem));
    // The form stays as it is while it is typed into.
    if (planBox.querySelector('.keep') && editorShown === draft.stages) return;
    put(planBox, h('div', { class: 'stack keep' }, drawing, editor(), limitFields(), below));
  }

  function editor() {
    const element = h('details', { class: 'stage-edit' }, h('summary', {}, 'Change the plan', h('span', { class: 'soft small' }, plural(draft.stages.length, 'stage'))),
      h('div', { class: 'inside' }, planEditor(draft.stages, (next) => {
        draft.stages = next;
        editorShown = next;
        soon();
      })));
    editorShown = draft.stages;
    return element;
  }

  function limitFields() {
    const number = (key, attributes) => (id) => h('input', { id, class: 'input', type: 'number', value: limits[key] ?? '', ...attributes, oninput: (event) => {
      limits[key] = event.target.value === '' ? null : Number(event.target.value);
      soon();
    } });
    return h('div', { class: 'fields' },
      field('Most it may cost, in dollars', number('max_cost_usd', { min: '0', step: 'any' }), 'Never passed. Empty: no cap.'),
      field('Calls side by side', number('concurrency', { min: '1', max: '1000', placeholder: '50' }), 'Empty: 50, or as configured.'),
      field('How calls go out', (id) => select(id, DELIVERIES, draft.delivery, (value) => {
        draft.delivery = value;
        soon(0);
      }), 'Batches take up to a day, most within the hour. Plan and report go live.'),
      field('Deadline, in seconds', number('deadline_seconds', { min: '1', step: '1', placeholder: 'none' }), 'What batches have not brought in time goes out live.'),
      h('label', { class: 'check wide' }, h('input', { type: 'checkbox', checked: draft.approval, onchange: (event) => {
        draft.approval = event.target.checked;
      } }), 'Wait for approval before anything is paid'));
  }

  function startRow(text, problem) {
    const wrong = h('div');
    // Pressed twice, it is still one job.
    const key = crypto.randomUUID();
    const button = h('button', { class: 'button main', type: 'button', disabled: problem !== null, onclick: () => busy(button, async () => {
      put(wrong);
      const approval = draft.source === 'claude' || large() || Boolean(draft.approval);
      try {
        const job = await post('/v1/jobs', undefined, { ...submitBody({ ...spec(), approval }, draft), headers: { 'idempotency-key': key } });
        go(to('jobs', job.id));
      } catch (failure) {
        put(wrong, problemNote(failure));
      }
    }) }, icon('play'), text);
    return h('div', { class: 'stack-s' }, wrong, h('div', { class: 'row' }, button, h('span', { class: 'small soft' }, draft.kind ? `${draft.name || 'Pasted'}, ${bytes(draft.size)}` : '')));
  }

  const ready = start();
  plan();
  const step = (title, ...children) => h('section', { class: 'card stack-s', 'aria-label': title }, h('h2', { class: 'step-title' }, title), ...children);
  return {
    title: 'New job',
    element: h('div', {}, h('a', { class: 'crumb', href: to('jobs') }, '← Jobs'), h('div', { class: 'page-head' }, h('h1', {}, 'New job')),
      h('div', { class: 'steps' },
        step('Input', drop, area, preview),
        step('What to do', field('Task', (id) => {
          task.id = id;
          return task;
        }, 'What you want to know, in your own words.'), options),
        step('Plan and cost', planBox))),
    leave() {
      clearTimeout(timer);
      asked += 1;
    },
  };
}
