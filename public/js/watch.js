// A job that is watched: its events as they come (by EventSource, with a ticket), and beside them the two answers that are drawn, fetched
// when events say that something has moved. How often depends on how much there is to read; nothing is fetched while nobody
// looks or nothing moves.

import { get, post } from './api.js';
import { isOver } from './words.js';

const LOOK_MS = 1000;
/** A thousand tasks more: so much longer between two looks at all of them. */
const EACH_THOUSAND_MS = 60;
const LIMITS_MS = 3000;
const RETRY_MS = 5000;

/** Watches until `stop()`. `on` has: job, states, timeline, limits, progress, fault, trouble. */
export function watch(id, on) {
  const stopped = new AbortController();
  const { signal } = stopped;
  const at = `/v1/jobs/${id}`;
  let source = null;
  let job = null;
  let dirty = true;
  let looking = false;
  const timers = new Set();

  const later = (ms, act) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, ms);
    timers.add(timer);
  };

  let troubled = false;
  const trouble = (problem) => {
    if (problem || troubled) on.trouble(problem);
    troubled = problem !== null;
  };

  const quiet = (work) => work.then(() => trouble(null), (problem) => {
    if (problem.name === 'AbortError' || signal.aborted) return;
    // What could not be read is read again.
    dirty = true;
    trouble(problem);
  });

  async function refresh() {
    job = await get(at, { signal });
    on.job(job);
  }

  /** All that is drawn, once; then again when something has moved. */
  async function look() {
    if (signal.aborted || looking) return;
    if (dirty && !document.hidden) {
      looking = true;
      dirty = false;
      await quiet(Promise.all([
        get(`${at}/states`, { signal }).then(on.states),
        get(`${at}/timeline`, { signal }).then(on.timeline),
      ]));
      looking = false;
    }
    if (!job || isOver(job.state)) {
      if (dirty) later(LOOK_MS, look);
      return;
    }
    later(LOOK_MS + (job.progress.tasks.total / 1000) * EACH_THOUSAND_MS, look);
  }

  async function limits() {
    if (signal.aborted || !job) return;
    if (!document.hidden) await quiet(get('/v1/limits', { signal }).then(on.limits));
    if (!isOver(job.state)) later(LIMITS_MS, limits);
  }

  async function connect() {
    if (signal.aborted) return;
    let ticket;
    try {
      ticket = await post(`${at}/events`, {}, { signal });
    } catch (problem) {
      if (problem.name === 'AbortError') return;
      trouble(problem);
      if (problem.status === 0 || problem.status >= 500) later(RETRY_MS, connect);
      return;
    }
    // Of the address only what is ours: the origin is this page's own.
    const { pathname, search } = new URL(ticket.url, location.href);
    source = new EventSource(pathname + search);
    source.addEventListener('open', () => trouble(null));
    source.addEventListener('progress', (event) => {
      const progress = JSON.parse(event.data);
      if (job) job = { ...job, state: progress.state, run: progress.run, stage: progress.stage, progress: { tasks: progress.tasks, items: progress.items }, cost: progress.cost, usage: progress.usage };
      dirty = true;
      on.progress(progress, job);
    });
    source.addEventListener('state', () => {
      dirty = true;
      quiet(refresh());
    });
    source.addEventListener('task_failed', (event) => on.fault(JSON.parse(event.data)));
    source.addEventListener('done', () => {
      source.close();
      dirty = true;
      quiet(refresh().then(look));
    });
    source.addEventListener('error', () => {
      // It connects again by itself, unless the ticket has run out.
      if (source.readyState === EventSource.CLOSED && !(job && isOver(job.state))) later(RETRY_MS, connect);
    });
  }

  async function begin() {
    await refresh();
    look();
    limits();
    if (!isOver(job.state)) connect();
  }

  quiet(begin());
  const seen = () => {
    if (!document.hidden) look();
  };
  document.addEventListener('visibilitychange', seen);

  return {
    /** After a command: the job as it answered, and everything anew. */
    moved(next) {
      const wasOver = job && isOver(job.state);
      job = next;
      dirty = true;
      on.job(job);
      if (isOver(job.state)) later(0, look);
      else if (wasOver || !source || source.readyState === EventSource.CLOSED) {
        look();
        limits();
        connect();
      }
    },
    stop() {
      stopped.abort();
      source?.close();
      for (const timer of timers) clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    },
  };
}
