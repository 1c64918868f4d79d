// Every task of a stage as a cell on a canvas, which changes colour with its state. Where there are more tasks than cells of a
// readable size fit in, a cell stands for several of them and is filled in layers, by the share of each state, and what failed is always
// to be seen. Only cells that change are painted, and nothing while nothing changes; so a hundred thousand tasks cost what
// moves of them.

import { fresh, h, say } from '../dom.js';
import { count } from '../format.js';
import { LETTERS, TASK_STATES } from '../words.js';

/** Layers of a cell from the bottom up. */
const LAYERS = ['succeeded', 'failed', 'skipped', 'cancelled', 'running', 'queued', 'pending'];
const CODE = Object.fromEntries(LAYERS.map((state, at) => [state, at]));
/** Cell and gap in pixels: from a handful of tasks to thousands; below the smallest it is density. */
const SIZES = [[26, 4], [20, 3], [15, 3], [11, 2], [8, 2], [6, 1], [4, 1]];
const DENSE = [9, 2];
const MOST_HEIGHT = 330;
const FADE_MS = 450;

/** `4s2f` as codes, put into `into` from `at` on. */
function spell(runs, into, at) {
  let place = at;
  for (const [, n, letter] of runs.matchAll(/(\d+)([a-z])/g)) {
    const end = place + Number(n);
    into.fill(CODE[LETTERS[letter]] ?? CODE.cancelled, place, end);
    place = end;
  }
}

function lengthOf(runs) {
  let sum = 0;
  for (const [, n] of runs.matchAll(/(\d+)[a-z]/g)) sum += Number(n);
  return sum;
}

/** The tasks of the parts of a stage: their numbers, and their states as codes. */
export function unfold(parts) {
  const sizes = parts.map((part) => lengthOf(part.states));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const codes = new Uint8Array(total);
  const numbers = new Uint32Array(total);
  let at = 0;
  parts.forEach((part, place) => {
    spell(part.states, codes, at);
    for (let n = 0; n < sizes[place]; n += 1) numbers[at + n] = part.first + n;
    at += sizes[place];
  });
  return { codes, numbers };
}

/** A field of cells; `onpick` is told the number of a task. */
export class Cells {
  constructor(name, onpick) {
    this.name = name;
    this.onpick = onpick;
    this.codes = new Uint8Array(0);
    this.numbers = new Uint32Array(0);
    this.cursor = -1;
    this.changed = new Map();
    this.frame = 0;
    /** How many frames were painted; tests and the curious read it. */
    this.frames = 0;
    const help = fresh('cells');
    this.canvas = h('canvas', { class: 'cells', tabindex: '0', role: 'application', 'aria-label': `Tasks of ${name}`, 'aria-describedby': help });
    this.tip = h('div', { class: 'tip', hidden: true });
    this.voice = h('div', { class: 'hush', role: 'status' });
    this.strip = h('div', { class: 'strip', hidden: true });
    this.element = h('div', { class: 'cells-box' },
      h('p', { class: 'hush', id: help }, 'Arrow keys move from task to task, Enter opens one.'),
      this.canvas, this.tip, this.voice, this.strip);
    this.context = this.canvas.getContext('2d');
    this.canvas.cells = this;
    this.canvas.addEventListener('pointermove', (event) => this.point(event));
    this.canvas.addEventListener('pointerleave', () => this.mark(-1));
    this.canvas.addEventListener('click', (event) => this.pick(this.at(event)));
    this.canvas.addEventListener('keydown', (event) => this.key(event));
    this.canvas.addEventListener('blur', () => this.mark(-1));
    this.sizes = new ResizeObserver(() => this.layOut());
    this.sizes.observe(this.element);
    this.recolour = () => this.layOut(true);
    window.addEventListener('scheme', this.recolour);
    this.dark = matchMedia('(prefers-color-scheme: dark)');
    this.dark.addEventListener('change', this.recolour);
  }

  close() {
    this.sizes.disconnect();
    cancelAnimationFrame(this.frame);
    window.removeEventListener('scheme', this.recolour);
    this.dark.removeEventListener('change', this.recolour);
  }

  /** New states of all tasks. */
  set(parts) {
    const { codes, numbers } = unfold(parts);
    const before = this.codes;
    this.codes = codes;
    this.numbers = numbers;
    if (codes.length !== before.length) {
      this.layOut(true);
      return;
    }
    const now = performance.now();
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    for (let n = 0; n < codes.length; n += 1) {
      if (codes[n] !== before[n]) this.changed.set(Math.floor(n / this.each), calm ? 0 : now);
    }
    this.describe();
    this.ask();
  }

  describe() {
    const sums = this.sums(0, this.codes.length);
    this.canvas.setAttribute('aria-label', `Tasks of ${this.name}: ${words(sums)}`);
  }

  /** How large cells are, how many in a row, and how many tasks each stands for. */
  layOut(anyway = false) {
    const width = Math.floor(this.element.clientWidth);
    const total = this.codes.length;
    if (!width) return;
    const rows = (size, gap, cells) => Math.ceil(cells / Math.floor((width + gap) / (size + gap)));
    let chosen = SIZES.find(([size, gap]) => rows(size, gap, total) * (size + gap) <= (total <= 400 ? 120 : MOST_HEIGHT));
    let each = 1;
    if (!chosen) {
      chosen = DENSE;
      const [size, gap] = DENSE;
      const fit = Math.floor((width + gap) / (size + gap)) * Math.floor(MOST_HEIGHT / (size + gap));
      each = Math.ceil(total / fit);
    }
    const [size, gap] = chosen;
    const across = Math.max(1, Math.floor((width + gap) / (size + gap)));
    const cells = Math.ceil(total / each);
    const high = Math.max(1, Math.ceil(cells / across)) * (size + gap) - gap;
    const scale = window.devicePixelRatio || 1;
    const same = this.width === width && this.high === high && this.scale === scale && this.size === size && this.each === each;
    if (same && !anyway) return;
    Object.assign(this, { width, high, scale, size, gap, across, cells, each });
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(high * scale);
    this.canvas.style.height = `${high}px`;
    this.canvas.classList.toggle('dense', each > 1);
    // A pair by light-dark() is resolved by a property that is a colour.
    this.colours = LAYERS.map((state) => resolved(this.element, `var(--s-${state})`));
    this.ink = resolved(this.element, 'var(--ink)');
    this.flash = resolved(this.element, 'var(--card)');
    this.all = true;
    this.describe();
    this.ask();
  }

  ask() {
    if (!this.frame) this.frame = requestAnimationFrame((now) => this.paint(now));
  }

  paint(now) {
    this.frame = 0;
    this.frames += 1;
    const { context } = this;
    context.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    if (this.all) {
      context.clearRect(0, 0, this.width, this.high);
      for (let cell = 0; cell < this.cells; cell += 1) this.cell(cell, 0);
      this.all = false;
    }
    for (const [cell, since] of this.changed) {
      const left = since ? 1 - (now - since) / FADE_MS : 0;
      this.cell(cell, Math.max(0, left));
      if (left <= 0) this.changed.delete(cell);
    }
    if (this.cursor >= 0) this.ring(this.cursor);
    if (this.changed.size) this.ask();
  }

  /** One cell; `glow` from 1 down to 0 after a change. */
  cell(cell, glow) {
    const { context, size, gap, across, each } = this;
    const x = (cell % across) * (size + gap);
    const y = Math.floor(cell / across) * (size + gap);
    const half = gap / 2;
    context.clearRect(x - half, y - half, size + gap, size + gap);
    const from = cell * each;
    if (each === 1) {
      context.fillStyle = this.colours[this.codes[from]];
      box(context, x, y, size, size);
    } else {
      const sums = this.sums(from, Math.min(from + each, this.codes.length));
      let top = size;
      sums.forEach((n, layer) => {
        if (!n) return;
        const height = Math.max(layer === CODE.failed ? 2 : 0, (n / each) * size);
        top -= height;
        context.fillStyle = this.colours[layer];
        context.fillRect(x, y + Math.max(0, top), size, height);
      });
    }
    if (glow > 0) {
      context.globalAlpha = glow * 0.75;
      context.fillStyle = this.flash;
      box(context, x, y, size, size);
      context.globalAlpha = 1;
    }
  }

  ring(cell) {
    const { context, size, gap, across } = this;
    const x = (cell % across) * (size + gap);
    const y = Math.floor(cell / across) * (size + gap);
    context.lineWidth = 2;
    context.strokeStyle = this.ink;
    context.strokeRect(x + 1, y + 1, size - 2, size - 2);
  }

  /** How many of the tasks from `from` to `to` are in each state, by layer. */
  sums(from, to) {
    const sums = new Array(LAYERS.length).fill(0);
    for (let n = from; n < to; n += 1) sums[this.codes[n]] += 1;
    return sums;
  }

  at(event) {
    const frame = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - frame.left) / (this.size + this.gap));
    const row = Math.floor((event.clientY - frame.top) / (this.size + this.gap));
    const cell = row * this.across + column;
    return column < this.across && cell >= 0 && cell < this.cells ? cell : -1;
  }

  point(event) {
    const cell = this.at(event);
    this.mark(cell);
  }

  /** Shows which cell is meant, and what it is. */
  mark(cell) {
    if (cell === this.cursor) return;
    if (this.cursor >= 0) this.changed.set(this.cursor, 0);
    this.cursor = cell;
    this.tip.hidden = cell < 0;
    if (cell >= 0) {
      say(this.tip, this.meaning(cell));
      const x = (cell % this.across) * (this.size + this.gap);
      const y = Math.floor(cell / this.across) * (this.size + this.gap);
      const room = Math.max(0, this.width - this.tip.offsetWidth);
      this.tip.style.left = `${Math.min(x, room)}px`;
      this.tip.style.top = `${y + this.size + 8}px`;
    }
    this.ask();
  }

  meaning(cell) {
    const from = cell * this.each;
    const to = Math.min(from + this.each, this.codes.length);
    if (to - from <= 1) return `Task ${count(this.numbers[from])}: ${LAYERS[this.codes[from]]}`;
    return `Tasks ${count(this.numbers[from])} to ${count(this.numbers[to - 1])}: ${words(this.sums(from, to))}`;
  }

  /** Opens the task of a cell; where it stands for several, shows them one by one. */
  pick(cell) {
    if (cell < 0) return;
    const from = cell * this.each;
    if (this.each === 1) {
      this.onpick(this.numbers[from]);
      return;
    }
    const to = Math.min(from + this.each, this.codes.length);
    const buttons = [];
    for (let n = from; n < to; n += 1) {
      const number = this.numbers[n];
      const state = LAYERS[this.codes[n]];
      buttons.push(h('button', { type: 'button', class: 'link', onclick: () => this.onpick(number) }, h('i', { class: `swatch ${state}` }), ` ${number}`, h('span', { class: 'hush' }, ` ${state}`)));
    }
    this.strip.replaceChildren(h('span', { class: 'soft small' }, `${this.meaning(cell)}. Open one:`), ...buttons);
    this.strip.hidden = false;
    buttons[0].focus();
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.across, ArrowUp: -this.across, Home: -this.cells, End: this.cells }[event.key];
    if (step !== undefined && this.cells) {
      event.preventDefault();
      // The first press shows where one is.
      const to = this.cursor < 0 && event.key !== 'End' ? 0 : this.cursor + step;
      this.mark(Math.min(this.cells - 1, Math.max(0, to)));
      say(this.voice, this.meaning(this.cursor));
    } else if ((event.key === 'Enter' || event.key === ' ') && this.cursor >= 0) {
      event.preventDefault();
      this.pick(this.cursor);
    }
  }
}

function box(context, x, y, width, height) {
  if (width < 8) {
    context.fillRect(x, y, width, height);
    return;
  }
  context.beginPath();
  context.roundRect(x, y, width, height, width > 14 ? 4 : 2.5);
  context.fill();
}

/** A colour as the style has it now. */
function resolved(element, colour) {
  const probe = h('i', { style: { color: colour } });
  element.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function words(sums) {
  const named = TASK_STATES.map((state) => [state, sums[CODE[state]]]).filter(([, n]) => n);
  return named.length ? named.map(([state, n]) => `${count(n)} ${state}`).join(', ') : 'none yet';
}
