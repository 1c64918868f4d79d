// A job while it runs, and how it ran: gauges, every task as a cell, calls over time with their faults, coverage with reasons. What
// comes is written into elements that stay, so that nothing jumps and little is laid out anew.

import { Cells } from '../draw/cells.js';
import { deliveryNote } from '../draw/delivery.js';
import { timelineDrawing } from '../draw/timeline.js';
import { get } from '../api.js';
import { h, put, s, say } from '../dom.js';
import { compact, count, duration, money, percent, plural, time } from '../format.js';
import { bar, setBar } from '../ui.js';
import { TASK_STATES, isAtWork, isOver, model, reason } from '../words.js';
import { to } from '../router.js';

/** The stretch over which a rate is taken. */
const RATE_MS = 20_000;

export function open(jobPage) {
  const gauges = makeGauges();
  const flow = makeFlow(jobPage);
  const calls = makeCalls(jobPage);
  const cover = makeCover(jobPage);
  const rates = makeRates(jobPage);
  const sent = makeDelivery(jobPage);
  const show = (job) => {
    gauges.show(job);
    cover.show(job);
  };
  const tick = setInterval(() => gauges.tick(jobPage.job()), 1000);
  show(jobPage.job());
  if (jobPage.seen.states) {
    flow.show(jobPage.seen.states);
    cover.reasons(jobPage.seen.states);
  }
  if (jobPage.seen.timeline) calls.show(jobPage.seen.timeline);
  if (jobPage.seen.limits) rates.show(jobPage.seen.limits);
  return {
    element: h('div', { class: 'stack' }, gauges.element, sent.element, flow.element, h('div', { class: 'two' }, calls.element, h('div', { class: 'stack' }, cover.element, rates.element))),
    job: show,
    progress: (_, job) => show(job),
    states(states) {
      flow.show(states);
      cover.reasons(states);
    },
    timeline: calls.show,
    limits: rates.show,
    state: sent.look,
    leave() {
      sent.close();
      clearInterval(tick);
      flow.close();
    },
  };
}

function gauge(name, extra) {
  const big = h('div', { class: 'big' });
  const under = h('div', { class: 'under' });
  const element = h('div', { class: 'gauge' }, h('div', { class: 'what' }, name), big, extra, under);
  return { element, big, under };
}

function makeGauges() {
  const bars = { cover: bar([]), flight: bar([]), spent: bar([]), tokens: bar([]) };
  const line = s('path', {});
  const spark = s('svg', { class: 'spark', viewBox: '0 0 100 20', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, line);
  const cover = gauge('Coverage', bars.cover);
  const flight = gauge('In flight', bars.flight);
  const rate = gauge('Rate', spark);
  const spent = gauge('Spent', bars.spent);
  const tokens = gauge('Tokens', bars.tokens);
  const clock = gauge('Time');
  let looks = [];
  let most = 0;

  /** Calls a minute over the last stretch. */
  function rateOf(job) {
    const now = Date.now();
    const last = looks.at(-1);
    if (!last || last.calls !== job.usage.calls || now - last.at > 1000) looks.push({ at: now, calls: job.usage.calls });
    looks = looks.filter((look) => now - look.at <= RATE_MS + 2000);
    const first = looks[0];
    const span = now - first.at;
    return span < 1500 ? null : ((job.usage.calls - first.calls) / span) * 60_000;
  }

  function drawSpark() {
    const steps = looks.slice(1).map((look, n) => (look.calls - looks[n].calls) / Math.max(1, look.at - looks[n].at));
    const top = Math.max(...steps, 1e-9);
    const points = steps.map((step, n) => `${((n / Math.max(1, steps.length - 1)) * 100).toFixed(1)} ${(18 - (step / top) * 16).toFixed(1)}`);
    line.setAttribute('d', points.length > 1 ? `M${points.join('L')}` : '');
  }

  function show(job) {
    const { tasks, items } = job.progress;
    const over = isOver(job.state);
    say(cover.big, percent(items.covered, items.total));
    say(cover.under, `${count(items.covered)} of ${plural(items.total, 'item')}`);
    setBar(bars.cover, [['done', items.total ? items.covered / items.total : 0], ['lost', over && items.total ? items.missing / items.total : 0]]);
    most = Math.max(most, tasks.running);
    say(flight.big, count(tasks.running));
    say(flight.under, over ? 'nothing is under way' : `${count(tasks.queued + tasks.pending)} waiting, peak ${count(most)}`);
    setBar(bars.flight, [['spent', most ? tasks.running / most : 0]]);
    const { spent_usd: paid, reserved_usd: held, limit_usd: cap } = job.cost;
    put(spent.big, money(paid), cap === null ? null : h('small', {}, ` of ${money(cap)}`));
    setBar(bars.spent, cap ? [['spent', paid / cap], ['held', held / cap]] : [['spent', paid ? 1 : 0]]);
    const end = over || !job.cost.likely_usd ? '' : `likely ${money(job.cost.likely_usd)} in the end`;
    say(spent.under, [end, savings(job.cost)].filter(Boolean).join('; ') || (cap === null ? 'no cap' : `${percent(paid, cap)} of the cap`));
    const { input_tokens: fresh, output_tokens: out, cache_read_input_tokens: read, cache_creation_input_tokens: written } = job.usage;
    const all = fresh + read + written;
    put(tokens.big, compact(all + out));
    setBar(bars.tokens, [['done', all ? read / (all + out) : 0], ['spent', all ? (fresh + written) / (all + out) : 0]]);
    say(tokens.under, `${compact(all)} in${read ? `, ${percent(read, all)} from the cache` : ''}; ${compact(out)} out`);
    tick(job);
  }

  function tick(job) {
    const begun = Date.parse(job.created_at);
    if (isOver(job.state)) {
      const took = Date.parse(job.finished_at) - begun;
      say(clock.big, duration(took));
      say(clock.under, `ended ${time(job.finished_at)}`);
      say(rate.big, compact((job.usage.calls / Math.max(1, took)) * 60_000));
      say(rate.under, `calls a minute; ${count(job.usage.calls)} in all`);
      line.setAttribute('d', '');
      return;
    }
    const now = rateOf(job);
    put(rate.big, now === null ? '–' : compact(now), h('small', {}, ' / min'));
    say(rate.under, `${plural(job.usage.calls, 'call')} so far`);
    drawSpark();
    say(clock.big, duration(Date.now() - begun));
    const done = job.progress.tasks.succeeded;
    const left = job.progress.tasks.pending + job.progress.tasks.queued + job.progress.tasks.running;
    const eta = now && done && isAtWork(job.state) ? (left / now) * 60_000 : null;
    say(clock.under, eta === null ? `began ${time(job.created_at)}` : `about ${duration(eta)} left`);
  }

  return {
    element: h('section', { class: 'gauges', 'aria-label': 'Gauges' }, [cover, flight, rate, spent, tokens, clock].map((one) => one.element)),
    show,
    tick,
  };
}

/** What is held and what was saved; what was written into the prompt cache costs more than it saves until it is read. */
function savings({ reserved_usd: held, possibly_paid_usd: perhaps, saved_usd: reused, cache_saved_usd: cached }) {
  // Less than the last place that is shown is nothing yet.
  const most = Math.abs(cached) < 0.00005 ? null : cached > 0 ? `${money(cached)} saved by the prompt cache` : `${money(-cached)} put into the prompt cache`;
  return [held ? `${money(held)} reserved` : null, perhaps ? `${money(perhaps)} possibly paid` : null, reused ? `${money(reused)} saved by reuse` : null, most].filter(Boolean).join(', ');
}

/** How its calls go out, where that was to be chosen. It is settled when the work begins. */
function makeDelivery(jobPage) {
  const element = h('div', { class: 'delivery-note' });
  const stop = new AbortController();
  let asked;
  /** Asked before the work of a run begins, and once more when it has begun: nothing else changes it. */
  async function look() {
    const { state, run } = jobPage.job();
    const now = `${run} ${['queued', 'planning', 'awaiting_approval'].includes(state)}`;
    if (now === asked) return;
    asked = now;
    try {
      const plan = await get(`/v1/jobs/${jobPage.id}/plan`, { signal: stop.signal });
      put(element, deliveryNote(plan.delivery));
    } catch {
      // Beside the rest it is a word in passing; the tab of the plan says what is wrong.
    }
    element.hidden = !element.hasChildNodes();
  }
  element.hidden = true;
  look();
  return { element, look, close: () => stop.abort() };
}

/** Stages one under the other, each with all its tasks. */
function makeFlow(jobPage) {
  const list = h('ol', { class: 'flow' });
  const legend = h('ul', { class: 'legend' });
  const stages = new Map();

  function make(stage) {
    const cells = new Cells(stage.stage, (task) => jobPage.pick(task));
    const sum = h('span', { class: 'soft small' });
    const side = h('div', { class: 'stack-s' });
    const element = h('li', {}, h('span', { class: 'dot', 'aria-hidden': 'true' }),
      h('div', { class: 'stage-head' }, h('h3', {}, stage.stage), h('span', { class: 'tag' }, stage.kind === 'map' ? 'fan-out' : stage.kind === 'plan' ? 'planning' : 'fan-in'), sum), cells.element, side);
    list.append(element);
    return { element, cells, sum, side, others: new Map() };
  }

  function show({ stages: all }) {
    const sums = Object.fromEntries(TASK_STATES.map((state) => [state, 0]));
    for (const stage of all) {
      if (!stages.has(stage.stage)) stages.set(stage.stage, make(stage));
      const one = stages.get(stage.stage);
      if (one.element.className !== stage.state) one.element.className = stage.state;
      const own = stage.parts.filter((part) => part.purpose === 'work');
      one.cells.element.hidden = !own.length;
      one.cells.set(own);
      say(one.sum, own.length ? plural(one.cells.codes.length, 'task') : stage.state === 'done' ? 'nothing to do' : 'not begun');
      // Checks and readers of the tree have fields of their own beneath.
      for (const purpose of new Set(stage.parts.map((part) => part.purpose).filter((name) => name !== 'work'))) {
        if (!one.others.has(purpose)) {
          const field = new Cells(`${stage.stage}, ${purpose}`, (task) => jobPage.pick(task));
          one.others.set(purpose, field);
          one.side.append(h('div', { class: 'small soft' }, { verify: 'Results that are judged', redo: 'Asked for once more', reduce: 'Results brought down to what one call can read' }[purpose] ?? purpose), field.element);
        }
        one.others.get(purpose).set(stage.parts.filter((part) => part.purpose === purpose));
      }
      const names = ['succeeded', 'failed', 'skipped', 'cancelled', 'running', 'queued', 'pending'];
      for (const code of one.cells.codes) sums[names[code]] += 1;
    }
    put(legend, TASK_STATES.filter((state) => sums[state]).map((state) => h('li', {}, h('i', { class: `swatch ${state}` }), state, h('b', {}, count(sums[state])))));
    const dense = [...stages.values()].find((one) => one.cells.each > 1);
    if (dense) legend.append(h('li', {}, `one cell: ${count(dense.cells.each)} tasks`));
  }

  const element = h('section', { class: 'card', 'aria-label': 'Tasks' }, h('header', {}, h('h2', {}, 'Tasks'), h('div', { class: 'row-end' }, legend)), list);
  return {
    element,
    show,
    close() {
      for (const one of stages.values()) {
        one.cells.close();
        for (const other of one.others.values()) other.close();
      }
    },
  };
}

function makeCalls(jobPage) {
  const drawing = timelineDrawing();
  const faults = h('div', { class: 'faults', tabindex: '0', role: 'region', 'aria-label': 'Faults' });
  let shown = '';
  return {
    element: h('section', { class: 'card', 'aria-label': 'Calls over time' }, h('header', {}, h('h2', {}, 'Calls over time'), h('span', { class: 'small soft' }, h('i', { class: 'swatch succeeded' }), ' ended well  ', h('i', { class: 'swatch failed' }), ' failed')), drawing.element, faults),
    show(timeline) {
      const key = JSON.stringify(timeline.faults);
      drawing.set(timeline);
      if (key === shown || faults.contains(document.activeElement)) return;
      shown = key;
      if (!timeline.faults.length) {
        put(faults, h('p', { class: 'soft small' }, timeline.from ? 'No call has failed.' : 'No call has ended yet.'));
        return;
      }
      put(faults, h('table', { class: 'table small' }, h('caption', { class: 'hush' }, 'The last calls that failed'),
        h('thead', {}, h('tr', {}, ['Time', 'Task', 'Fault'].map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', {}, timeline.faults.map((fault) => h('tr', {}, h('td', {}, time(fault.at)),
          h('td', {}, h('button', { class: 'link', type: 'button', onclick: () => jobPage.pick(fault.task) }, `${fault.task}`), h('span', { class: 'soft' }, ` call ${fault.number}`)),
          h('td', {}, h('div', {}, reason(fault.error_class), h('span', { class: 'soft' }, ` · ${[fault.status, model(fault.model)].filter(Boolean).join(' · ')}`)),
            fault.error ? h('div', { class: 'cell soft' }, fault.error) : null))))));
    },
  };
}

function makeCover(jobPage) {
  const line = bar([]);
  const text = h('p', {});
  const list = h('ul', { class: 'reasons' });
  return {
    element: h('section', { class: 'card', 'aria-label': 'Coverage' }, h('header', {}, h('h2', {}, 'Coverage')), h('div', { class: 'stack-s' }, text, line), list),
    show(job) {
      const { covered, total, missing } = job.progress.items;
      const over = isOver(job.state);
      say(text, over ? (missing ? `${count(covered)} of ${count(total)} items have a result, ${count(missing)} ${missing === 1 ? 'has' : 'have'} none.` : `All ${count(total)} items have a result.`) : `${count(covered)} of ${count(total)} items have a result so far.`);
      setBar(line, [['done', total ? covered / total : 0], ['lost', over && total ? missing / total : 0]]);
    },
    reasons({ reasons }) {
      put(list, reasons.map((one) => h('li', {}, h('span', {}, reason(one.code)), h('strong', {}, plural(one.items, 'item')),
        h('a', { class: 'small', href: to('jobs', jobPage.id, 'tasks', { state: one.code === 'budget' || one.code === 'deadline' ? 'skipped' : one.code === 'cancelled' ? 'cancelled' : 'failed' }) }, plural(one.tasks, 'task')))));
    },
  };
}

/** The governor's gauges for this job's classes. */
export function makeRates() {
  const list = h('div', { class: 'stack-s' });
  return {
    element: h('section', { class: 'card', 'aria-label': 'Rate limits' }, h('header', {}, h('h2', {}, 'Rate limits'), h('a', { class: 'small row-end', href: to('limits') }, 'All')), list),
    show(limits) {
      const known = limits.classes.filter((one) => one.seen || one.in_flight);
      put(list, known.length ? known.map(classGauge) : h('p', { class: 'soft small' }, 'Not known before the first answer.'));
    },
  };
}

export function classGauge(one) {
  const line = (name, bucket) => h('div', {},
    h('div', { class: 'meter-label' }, h('span', {}, name), h('span', { class: 'soft' }, bucket.limit_per_minute ? `${compact(Math.max(0, bucket.free))} free, ${compact(bucket.limit_per_minute)} a minute` : 'no limit known')),
    bar([[bucket.free < bucket.capacity * 0.1 ? 'warn' : 'free', bucket.capacity ? Math.max(0, bucket.free / bucket.capacity) : 0]]));
  return h('div', { class: 'stack-s' },
    h('div', { class: 'row' }, h('strong', {}, one.class), h('span', { class: 'soft small' }, `${count(one.in_flight)} in flight${one.window === null ? '' : `, at most ${count(one.window)}`}${one.refused ? `, ${count(one.refused)} refused` : ''}`)),
    one.slow_until ? h('p', { class: 'small' }, `Waits until ${time(one.slow_until)}, as Claude asked.`) : null,
    line('Requests', one.requests), line('Input tokens', one.input_tokens), line('Output tokens', one.output_tokens));
}
