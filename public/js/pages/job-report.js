// The report: what the synthesis wrote, the frequencies as charts, the coverage with what is missing and flagged, and the downloads.
// Citations open the task of the item they name.

import { get } from '../api.js';
import { frequencies } from '../draw/frequencies.js';
import { h, icon, put } from '../dom.js';
import { count, money, plural } from '../format.js';
import { prose } from '../prose.js';
import { bar, busy, empty, problemNote, sortable, toast, waiting } from '../ui.js';
import { flag, isOver, model, reason } from '../words.js';
import { data, taskOf } from './task.js';

const SHOWN = 200;

export function open(jobPage) {
  const element = h('div', {}, waiting('the report'));
  let run = null;

  async function load() {
    const job = jobPage.job();
    if (!isOver(job.state)) {
      run = null;
      put(element, empty('The report is not there yet', 'It is written when the last task is in. This tab shows it as soon as it is there; the results so far stand under Results.'));
      return;
    }
    if (run === job.run) return;
    run = job.run;
    try {
      const report = await get(`/v1/jobs/${jobPage.id}/report`);
      put(element, draw(report, jobPage));
    } catch (problem) {
      run = null;
      put(element, problemNote(problem, load));
    }
  }

  load();
  return { element, state: load, job: load };
}

/** Opens the task that has an item. */
function jump(jobPage) {
  return async (id) => {
    const task = await taskOf(jobPage.id, id);
    if (task === null) toast(`No item of this job has the id ${id}.`, 'bad');
    else jobPage.pick(task, id);
  };
}

function draw(report, jobPage) {
  const cite = jump(jobPage);
  const { synthesis, merged, coverage } = report;
  const text = synthesis === null
    ? h('p', { class: 'soft' }, 'This job has no written report. The findings are at the side, and under Results.')
    : typeof synthesis === 'string' ? prose(synthesis, cite) : data(synthesis);
  const stages = Object.entries(merged.stages ?? {});
  const earlier = stages.slice(0, -1).filter(([, merge]) => Object.keys(merge.count_by).length);
  return h('div', { class: 'report-grid' },
    h('article', { class: 'card prose', 'aria-label': 'Report' }, text),
    h('aside', { class: 'stack', 'aria-label': 'Figures and downloads' },
      downloads(jobPage),
      cover(coverage, cite),
      (report.cascades ?? []).map(cascade),
      Object.entries(merged.count_by).map(([name, counts]) => frequencies(name, counts)),
      merged.distinct === undefined ? null : h('p', { class: 'soft' }, `${count(merged.distinct)} distinct results`),
      earlier.map(([stage, merge]) => Object.entries(merge.count_by).map(([name, counts]) => frequencies(`${stage}: ${name}`, counts)))));
}

function downloads(jobPage) {
  const get = (text, path, name, headers) => {
    const button = h('button', { class: 'button small', type: 'button', onclick: () => busy(button, () => jobPage.download(`/v1/jobs/${jobPage.id}/${path}`, `${jobPage.id}-${name}`, headers)) }, icon('down'), text);
    return button;
  };
  return h('section', { class: 'card', 'aria-label': 'Downloads' }, h('header', {}, h('h2', {}, 'Downloads')),
    h('div', { class: 'row' },
      get('Report, Markdown', 'report', 'report.md', { accept: 'text/markdown' }),
      get('Results, CSV', 'results?format=csv&include=input', 'results.csv'),
      get('Results, Excel', 'results?format=xlsx&include=input', 'results.xlsx'),
      get('Results, JSON lines', 'results?format=jsonl&include=input', 'results.jsonl'),
      get('Results, JSON', 'results?format=json&include=input', 'results.json')));
}

/** What each model of a cascade gave and cost. */
function cascade(one) {
  const saved = one.saved_usd >= 0 ? `Saved ${money(one.saved_usd)} by asking the cheapest first.` : `Asking the cheapest first cost ${money(-one.saved_usd)} more.`;
  return h('section', { class: 'card stack-s', 'aria-label': `Models of ${one.stage}` }, h('h2', {}, `${one.stage}: models`),
    h('ul', { class: 'freq' }, one.models.map((share) => h('li', { class: 'line' },
      h('span', {}, model(share.model)), h('strong', {}, plural(share.results, 'result')), h('span', { class: 'soft' }, `${plural(share.calls, 'call')}, ${money(share.cost_usd)}`), bar([['spent', share.share]])))),
    h('p', { class: 'small soft' }, saved));
}

function cover(coverage, cite) {
  const { total, covered, missing, flagged, note, blank_rows: blank } = coverage;
  const id = (one) => h('button', { class: 'link mono', type: 'button', onclick: () => cite(one.id) }, one.id);
  const table = (name, rows, words) => (rows.length ? h('details', { class: 'stage-edit' }, h('summary', {}, `${name}: ${count(rows.length)}`),
    sortable(name, [{ name: 'Item', value: (one) => one.id, show: id }, { name: 'Why', value: words }], rows.slice(0, SHOWN)),
    rows.length > SHOWN ? h('p', { class: 'soft small inside' }, `The first ${SHOWN} of ${count(rows.length)}; all of them stand in the report that you can download.`) : null) : null);
  return h('section', { class: 'card stack-s', 'aria-label': 'Coverage' }, h('h2', {}, 'Coverage'),
    h('p', {}, `${count(covered)} of ${count(total)} items have a result.`),
    bar([['done', total ? covered / total : 0], ['lost', total ? missing.length / total : 0]]),
    blank ? h('p', { class: 'small soft' }, `${plural(blank, 'blank row')} of the table ${blank === 1 ? 'was' : 'were'} passed over.`) : null,
    note ? h('p', { class: 'small soft' }, `${note}.`) : null,
    table('Missing', missing, (one) => reason(one.reason)),
    table('Flagged', flagged, (one) => flag(one.flag)));
}
