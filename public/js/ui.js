// Small parts of pages, as functions from what they show to elements: pills, bars, notes, empty and waiting states,
// dialogs, tables that sort.

import { fresh, h, icon, put, s } from './dom.js';
import { JOB_STATES, TASK_TONE, label } from './words.js';

export function jobPill(state) {
  const [text, tone] = JOB_STATES[state] ?? [label(state), ''];
  return h('span', { class: `pill ${tone}` }, text);
}

export function taskPill(state) {
  return h('span', { class: `pill ${TASK_TONE[state] ?? ''}` }, label(state));
}

/** A bar of shares: `[['done', 0.8], ['lost', 0.1]]`. Its meaning stands in the text beside it, so it is hidden from readers. */
export function bar(shares) {
  const element = h('div', { class: 'bar', 'aria-hidden': 'true' });
  setBar(element, shares);
  return element;
}

export function setBar(element, shares) {
  while (element.children.length < shares.length) element.append(document.createElement('i'));
  shares.forEach(([kind, share], at) => {
    const part = element.children[at];
    if (part.className !== kind) part.className = kind;
    // What is there is seen, however little it is.
    const width = share > 0 ? Math.max(share * 100, 0.6) : 0;
    part.style.width = `${Math.min(100, width)}%`;
  });
}

/** What went wrong, each fault with its place; `again` is what a button does. */
export function problemNote(problem, again) {
  const rows = (problem.errors ?? []).map((fault) =>
    h('li', {}, fault.path ? h('span', { class: 'path' }, `${fault.path} `) : null, fault.message));
  return h('div', { class: 'note bad', role: 'alert' },
    h('div', { class: 'grow' },
      h('strong', {}, problem.message),
      rows.length ? h('ul', {}, rows) : null,
      problem.requestId ? h('p', { class: 'small soft' }, `Request ${problem.requestId}`) : null),
    again ? h('button', { class: 'button small', type: 'button', onclick: again }, 'Try again') : null);
}

export function note(tone, ...children) {
  return h('div', { class: `note ${tone}` }, ...children);
}

export function waiting(what) {
  return h('div', { class: 'wait', role: 'status' }, h('i'), h('i'), h('i'), h('span', { class: 'hush' }, `Loading ${what}`));
}

/** A page with nothing in it, and what to do about it. */
export function empty(title, text, ...actions) {
  const line = (d, opacity) => s('path', { d, opacity });
  return h('div', { class: 'empty' },
    s('svg', { viewBox: '0 0 132 84', fill: 'none', stroke: 'var(--line-strong)', 'stroke-width': '2', 'stroke-linecap': 'round', 'aria-hidden': 'true' },
      line('M12 42C50 42 46 10 88 10', '.35'), line('M12 42C50 42 46 26 88 26', '.6'), line('M12 42H88', '1'),
      line('M12 42C50 42 46 58 88 58', '.6'), line('M12 42C50 42 46 74 88 74', '.35'),
      [10, 26, 42, 58, 74].map((y) => s('rect', { x: '94', y: y - 5, width: '26', height: '10', rx: '3', fill: 'var(--sunk)' })),
      s('circle', { cx: '9', cy: '42', r: '5', fill: 'var(--accent)', stroke: 'none' })),
    h('h2', {}, title), h('p', { class: 'lead' }, text), h('div', { class: 'row' }, actions));
}

/** Runs what a button does: it cannot be pressed twice meanwhile, and what goes wrong is said. */
export async function busy(button, work) {
  if (button.getAttribute('aria-disabled') === 'true') return;
  button.setAttribute('aria-disabled', 'true');
  try {
    await work();
  } catch (problem) {
    toast(sentence(problem), 'bad');
  } finally {
    button.removeAttribute('aria-disabled');
  }
}

export function sentence(problem) {
  const first = problem.errors?.[0];
  return first ? `${first.path}: ${first.message}` : problem.message;
}

export function toast(text, tone = '') {
  const element = h('div', { class: `toast ${tone}` }, text);
  document.getElementById('toasts').append(element);
  setTimeout(() => element.remove(), tone === 'bad' ? 9000 : 4500);
}

/** Asks; true where the answer is yes. */
export function confirm({ title, text, yes, danger = false }) {
  return dialog(title, [h('p', {}, text)], [[yes, danger ? 'danger' : 'main', () => true]]);
}

/** A dialog with buttons `[text, kind, onpress]`; what a press returns ends it (undefined keeps it open), Cancel ends it with null. */
export function dialog(title, body, buttons, cancel = 'Cancel') {
  return new Promise((resolve) => {
    const name = fresh('dialog');
    let answer = null;
    const press = (button, act) => busy(button, async () => {
      const result = await act();
      if (result === undefined) return;
      answer = result;
      box.close();
    });
    const box = h('dialog', { 'aria-labelledby': name },
      h('h2', { id: name }, title),
      h('div', { class: 'stack-s dialog-body' }, body),
      h('div', { class: 'foot' },
        h('button', { class: 'button', type: 'button', onclick: () => box.close() }, cancel),
        buttons.map(([text, kind, act]) => {
          const button = h('button', { class: `button ${kind}`, type: 'button', onclick: () => press(button, act) }, text);
          return button;
        })));
    box.addEventListener('close', () => {
      box.remove();
      resolve(answer);
    });
    document.body.append(box);
    box.showModal();
  });
}

/** A labelled field. `make(id)` gives the input. */
export function field(name, make, hint) {
  const id = fresh('field');
  const input = make(id);
  if (hint) input.setAttribute('aria-describedby', `${id}-hint`);
  return h('div', { class: 'field' },
    h('label', { for: id }, name), input, hint ? h('span', { class: 'hint', id: `${id}-hint` }, hint) : null);
}

/** Choices side by side, of which one holds. `options`: [value, text]. */
export function choice(legend, options, value, onchange) {
  const name = fresh('choice');
  return h('div', { class: 'choice', role: 'radiogroup', 'aria-label': legend }, options.map(([key, text]) =>
    h('label', {},
      h('input', { type: 'radio', name, value: key, checked: key === value, onchange: () => onchange(key) }),
      h('span', {}, text))));
}

export function select(id, options, value, onchange) {
  return h('select', { id, class: 'select', onchange: (event) => onchange?.(event.target.value) },
    options.map(([key, text]) => h('option', { value: key, selected: key === value }, text)));
}

/** A table that sorts by any of its columns: `{name, value(row), show?(row), num?}`. */
export function sortable(caption, columns, rows, first) {
  const body = h('tbody');
  let by = first ?? { at: -1, down: false };
  const heads = columns.map((column, at) => h('th', { scope: 'col', class: column.num ? 'num' : null },
    h('button', { class: 'sort', type: 'button', onclick: () => sort({ at, down: by.at === at ? !by.down : Boolean(column.num) }) }, column.name)));
  function sort(next) {
    by = next;
    heads.forEach((head, at) => {
      if (at === by.at) head.setAttribute('aria-sort', by.down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
    const column = columns[by.at];
    const sorted = column ? [...rows].sort((a, b) => compare(column.value(a), column.value(b)) * (by.down ? -1 : 1)) : rows;
    put(body, sorted.map((row) => h('tr', {}, columns.map((one) => {
      const shown = one.show ? one.show(row) : one.value(row);
      return h('td', { class: one.num ? 'num' : null }, shown instanceof Node ? shown : h('div', { class: 'cell' }, shown ?? '–'));
    }))));
  }
  sort(by);
  return h('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': caption },
    h('table', { class: 'table' }, h('caption', { class: 'hush' }, caption), h('thead', {}, h('tr', {}, heads)), body));
}

function compare(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a ?? '').localeCompare(String(b ?? ''), 'en', { numeric: true });
}

export function closeButton(onclick) {
  return h('button', { class: 'button quiet icon', type: 'button', 'aria-label': 'Close', onclick }, icon('close'));
}
