// What an operator should change about the deployment, by a deep look at it: wrong variables, no daily cap. A token without the
// scope `admin` sees nothing of it.

import { get } from './api.js';
import { h, put } from './dom.js';
import { note } from './ui.js';

/** An element that stays empty where nothing is to be said. */
export function advice() {
  const place = h('div');
  get('/healthz?deep=1').then(({ checks }) => {
    const problems = checks.filter((check) => check.problem);
    if (problems.length) put(place, note('warn', h('ul', {}, problems.map((check) => h('li', {}, h('strong', {}, check.name), ` ${check.problem}`)))));
  }).catch((problem) => {
    if (problem.status === 503) put(place, note('bad', 'Something is wrong with this deployment: GET /healthz?deep=1 names it.'));
  });
  return place;
}
