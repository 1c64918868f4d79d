// The governor: what the account allows, by class of models, how much of it is free now, and whether calls may go out at all.

import { get } from '../api.js';
import { advice } from '../deployment.js';
import { h, put } from '../dom.js';
import { moment } from '../format.js';
import { classGauge } from './job-live.js';
import { empty, note, problemNote, waiting } from '../ui.js';

const LOOK_MS = 2000;
const BREAKER = { open: 'No call goes out', half_open: 'One call is tried before others may go' };

export function open() {
  const body = h('div', {}, waiting('the limits'));
  let timer = null;
  let over = false;

  async function look() {
    if (over) return;
    if (!document.hidden) {
      try {
        draw(await get('/v1/limits'));
      } catch (problem) {
        if (over) return;
        put(body, problemNote(problem, look));
        return;
      }
    }
    timer = setTimeout(look, LOOK_MS);
  }

  function draw({ classes, breaker }) {
    put(body, h('div', { class: 'stack' },
      breaker.state === 'closed' ? null : note('bad', h('div', {}, h('strong', {}, `${BREAKER[breaker.state]}. `), breaker.reason ?? '', breaker.until ? ` Tried again at ${moment(breaker.until)}.` : '')),
      classes.length ? h('div', { class: 'grid-cards' }, classes.map((one) => h('section', { class: 'card', 'aria-label': one.class }, classGauge(one),
        one.seen ? null : h('p', { class: 'small soft spaced' }, 'Its limits are learned from the first answer.'))))
        : empty('No limits known yet', 'They are learned from the headers of Claude’s answers: run a job, and they appear here.')));
  }

  look();
  return {
    title: 'Limits',
    element: h('div', {}, h('div', { class: 'page-head' }, h('div', {}, h('h1', {}, 'Limits'), h('p', { class: 'lead' }, 'One account for all jobs. Each class of models refills all the time; a call waits here until there is room, and waiting costs nothing.'))), advice(), body),
    leave() {
      over = true;
      clearTimeout(timer);
    },
  };
}
