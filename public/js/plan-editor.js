// Stages as a form: what people change often as fields, the schema as JSON, and the whole plan as JSON for the rest. It keeps whatever
// it has no field for. `onchange` is told the stages whenever they are sound enough to be sent.

import { fresh, h, put } from './dom.js';
import { field, select } from './ui.js';
import { chunkWords, onlyWords } from './draw/plan-drawing.js';
import { models } from './words.js';

const MODELS = [['', 'Default'], ['claude-haiku-5-5', 'Haiku 5.5: fast and small'], ['claude-sonnet-5-5', 'Sonnet 5.5: balanced'], ['claude-opus-5-5', 'Opus 5.5: strongest']];
const EFFORTS = [['', 'Default'], ['low', 'Low'], ['medium', 'Medium'], ['high', 'High'], ['xhigh', 'Very high'], ['max', 'Most']];

export const BLANK = [
  { name: 'read', kind: 'map', output: 'item', chunk: { items: 1 }, instructions: 'Say in one sentence what this is about.' },
  { name: 'report', kind: 'synthesis', instructions: 'Write a report in Markdown: what recurs, what is unusual, what to do.', citations: true },
];

/** The editor of these stages. */
export function planEditor(given, onchange) {
  let stages = structuredClone(given);
  let asJson = false;
  const box = h('div', { class: 'stack-s' });
  const open = new Set();

  const changed = () => onchange(structuredClone(stages));

  function draw() {
    put(box, asJson ? json() : stages.map(stage), h('div', { class: 'row' },
      asJson ? null : [add('Add a fan-out', 'map'), stages.some((one) => one.kind === 'synthesis') ? null : add('Add a report', 'synthesis')],
      h('button', { class: 'button small quiet row-end', type: 'button', onclick: () => {
        asJson = !asJson;
        draw();
      } }, asJson ? 'Edit as a form' : 'Edit as JSON')));
  }

  function add(text, kind) {
    return h('button', { class: 'button small', type: 'button', onclick: () => {
      const base = structuredClone(BLANK[kind === 'map' ? 0 : 1]);
      while (stages.some((one) => one.name === base.name)) base.name = fresh(kind === 'map' ? 'stage' : 'report');
      const at = kind === 'map' && stages.at(-1)?.kind === 'synthesis' ? stages.length - 1 : stages.length;
      stages.splice(at, 0, base);
      open.add(base);
      draw();
      changed();
    } }, text);
  }

  function json() {
    const wrong = h('p', { class: 'small', role: 'status' });
    return h('div', { class: 'stack-s' }, field('Stages, as JSON', (id) => h('textarea', { id, class: 'area code', rows: '24', spellcheck: 'false', value: JSON.stringify(stages, null, 2), oninput: (event) => {
      try {
        const read = JSON.parse(event.target.value);
        if (!Array.isArray(read)) throw new Error('a list of stages is wanted');
        stages = read;
        put(wrong);
        changed();
      } catch (error) {
        put(wrong, `Not read yet: ${error.message}`);
      }
    } })), wrong);
  }

  function stage(one, at) {
    const summary = h('span', { class: 'soft small' });
    const title = h('span');
    const head = () => {
      put(title, one.name);
      put(summary, [one.kind === 'map' ? 'fan-out' : 'fan-in', chunkWords(one), onlyWords(one), models(one)].filter(Boolean).join(', '));
    };
    const set = (key, value) => {
      if (value === '' || value === null || value === undefined) delete one[key];
      else one[key] = value;
      head();
      changed();
    };
    const text = (key) => (id) => h('input', { id, class: 'input', value: one[key] ?? '', spellcheck: 'false', oninput: (event) => set(key, event.target.value.trim()) });
    const number = (value, write, attributes) => (id) => h('input', { id, class: 'input', type: 'number', value: value ?? '', ...attributes, oninput: (event) => write(event.target.value === '' ? null : Number(event.target.value)) });
    const chunk = (key) => (value) => {
      const next = { ...one.chunk };
      if (value === null) delete next[key];
      else next[key] = value;
      set('chunk', Object.keys(next).length ? next : null);
    };
    const choose = (part) => {
      const next = { ...one.of, ...part };
      if (!next.values?.length) delete next.values;
      set('of', next.field || next.values || next.flagged ? next : null);
    };
    const list = (value) => value.split(',').map((word) => word.trim()).filter(Boolean);
    const map = one.kind === 'map';
    head();
    const element = h('details', { class: 'stage-edit', open: open.has(one), ontoggle: () => (element.open ? open.add(one) : open.delete(one)) },
      h('summary', {}, title, summary),
      h('div', { class: 'inside' },
        field('Instructions', (id) => h('textarea', { id, class: 'area', rows: String(Math.min(16, Math.max(4, (one.instructions ?? '').split('\n').length + 1))), value: one.instructions ?? '', oninput: (event) => set('instructions', event.target.value) }),
          map ? 'The instructions for each worker; its items come with them. {{task}} becomes the task; without instructions, the task itself is the work.' : 'The instructions for the report over all results.'),
        h('div', { class: 'fields' },
          field('Name', text('name')),
          one.models ? field('Models, the cheapest first', (id) => h('input', { id, class: 'input', value: one.models.join(', '), spellcheck: 'false', oninput: (event) => set('models', list(event.target.value)) }), 'The next one gets what the one before could not do.') : field('Model', (id) => select(id, MODELS.some(([key]) => key === (one.model ?? '')) ? MODELS : [...MODELS, [one.model, one.model]], one.model ?? '', (value) => set('model', value))),
          field('Effort', (id) => select(id, EFFORTS, one.effort ?? '', (value) => set('effort', value))),
          field('Most tokens of an answer', number(one.max_tokens, (value) => set('max_tokens', value), { min: '1', step: '1' })),
          map && !one.group_by ? [
            field('Items a task', number(one.chunk?.items, chunk('items'), { min: '1', max: '1000' })),
            field('Tokens a task', number(one.chunk?.tokens, chunk('tokens'), { min: '50', max: '200000' }), 'Long texts are cut to it.')] : null,
          map ? [
            field('One result for', (id) => select(id, [['item', 'each item'], ['chunk', 'the whole task']], one.output ?? 'item', (value) => set('output', value))),
            field('Group by', text('group_by'), 'A field: one task for each of its values.'),
            at > 0 ? [
              field('Only results whose field', (id) => h('input', { id, class: 'input', value: one.of?.field ?? '', spellcheck: 'false', oninput: (event) => choose({ field: event.target.value.trim() || undefined }) }), 'Of the stage before; the others go on as they are.'),
              field('is one of', (id) => h('input', { id, class: 'input', value: (one.of?.values ?? []).join(', '), spellcheck: 'false', oninput: (event) => choose({ values: list(event.target.value) }) }))] : null,
            field('Count by', (id) => h('input', { id, class: 'input', value: (one.merge?.count_by ?? []).join(', '), spellcheck: 'false', oninput: (event) => set('merge', { ...one.merge, count_by: list(event.target.value) }) }), 'Fields whose values are counted.'),
            field('Share that is judged', number(one.verify?.sample, (value) => set('verify', value === null ? null : { sample: value }), { min: '0', max: '1', step: '0.05' }), 'By a second call: 0.1 is a tenth.')] : null),
        map && at > 0 ? h('label', { class: 'check' }, h('input', { type: 'checkbox', checked: one.of?.flagged, onchange: (event) => choose({ flagged: event.target.checked || undefined }) }), 'Only results that a check flagged') : null,
        map && at > 0 ? h('label', { class: 'check' }, h('input', { type: 'checkbox', checked: one.with_input, onchange: (event) => set('with_input', event.target.checked || null) }), 'Workers see each item beside its result') : null,
        map ? null : h('label', { class: 'check' }, h('input', { type: 'checkbox', checked: one.citations, onchange: (event) => set('citations', event.target.checked || null) }), 'Claims name the items they rest on'),
        schema(one, set),
        h('div', { class: 'row' },
          h('button', { class: 'button small', type: 'button', disabled: at === 0, onclick: () => move(at, -1) }, 'Up'),
          h('button', { class: 'button small', type: 'button', disabled: at === stages.length - 1, onclick: () => move(at, 1) }, 'Down'),
          h('button', { class: 'button small danger row-end', type: 'button', disabled: stages.length === 1, onclick: () => {
            stages.splice(at, 1);
            draw();
            changed();
          } }, `Remove ${one.name}`))));
    return element;
  }

  function schema(one, set) {
    const wrong = h('p', { class: 'small', role: 'status' });
    return h('div', {}, field('Form of a result, as JSON Schema', (id) => h('textarea', { id, class: 'area code', rows: one.output_schema ? '10' : '3', spellcheck: 'false', value: one.output_schema ? JSON.stringify(one.output_schema, null, 2) : '', oninput: (event) => {
      try {
        const read = event.target.value.trim() ? JSON.parse(event.target.value) : null;
        put(wrong);
        set('output_schema', read);
      } catch (error) {
        put(wrong, `Not read yet: ${error.message}`);
      }
    } }), 'Empty: a text.'), wrong);
  }

  function move(at, by) {
    const [one] = stages.splice(at, 1);
    stages.splice(at + by, 0, one);
    draw();
    changed();
  }

  draw();
  return box;
}
