// The page as people meet it, in headless Chromium against the built Worker: each check is a promise of the README's section on the page.
// Wants FANWISE_URL, FANWISE_TOKEN, STANDIN_URL and CHROMIUM; `cargo xtask test --only page` sets them. A word as argument plays only the
// checks whose name has it.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { TOKEN, URL_, api, axe, claude, launch, newPage, over, refused, signIn, submit, until } from './browser.mjs';

const checks = [];
const check = (name, play, options) => checks.push({ name, play, options });
const CALM = { latency_ms: 150, jitter: 0, faults: {}, rules: [] };
const jobAt = (page) => page.url().match(/job_[0-9a-f]{32}/)?.[0];
const finished = (id) => until(`the end of ${id}`, async () => over(await api('GET', `/v1/jobs/${id}`)));

check('from the token to the report', async (page) => {
  await page.goto(URL_);
  assert.equal(await page.title(), 'Sign in · Fanwise');
  await page.getByLabel('Token').fill('wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').filter({ hasText: 'token' }).waitFor();
  await page.getByLabel('Token').fill(TOKEN);
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'New job', exact: true }).click();
  await page.getByRole('button', { name: 'try a sample of 300 tickets' }).click();
  await page.getByText('300 items. The first:').waitFor();
  await until('the recipe', () => page.getByRole('radio', { name: /Support tickets/ }).isChecked());
  const drawing = page.getByRole('img', { name: /^Plan: 300 items; classify, map, 30 tasks by/ });
  await drawing.waitFor();
  // The plan is changed: other chunks, more tasks, in the drawing and in the job.
  await page.getByText('Change the plan').click();
  await page.locator('.stage-edit .stage-edit summary').first().click();
  await page.getByLabel('Items a task').fill('5');
  await page.getByRole('img', { name: /classify, map, 60 tasks by/ }).waitFor();
  await page.getByLabel('Most it may cost').fill('2');
  await page.getByRole('button', { name: /^Start for \$/ }).click();
  await page.getByText('Done: every item is covered.').waitFor({ timeout: 120_000 });
  const job = await api('GET', `/v1/jobs/${jobAt(page)}`);
  assert.deepEqual([job.state, job.progress.tasks.total, job.cost.limit_usd], ['succeeded', 60, 2]);
  await page.getByRole('link', { name: 'Read the report' }).click();
  const article = page.getByRole('article', { name: 'Report' });
  await article.waitFor();
  const report = await api('GET', `/v1/jobs/${job.id}/report`);
  assert.ok((await article.innerText()).includes(report.synthesis.trim().split('\n')[0].replace(/^[#>]+ /, '').slice(0, 30)));
  // Counts stand as charts.
  const chart = page.getByRole('region', { name: 'Frequencies of primary_category' });
  for (const [value, n] of Object.entries(report.merged.count_by.primary_category)) {
    assert.match(await chart.locator('li', { hasText: value }).innerText(), new RegExp(`\\b${n}\\b`));
  }
  // Downloads hold what the API gives.
  for (const [button, path, accept] of [['Report, Markdown', 'report', 'text/markdown'], ['Results, CSV', 'results?format=csv&include=input'], ['Results, JSON lines', 'results?format=jsonl&include=input'], ['Results, JSON', 'results?format=json&include=input']]) {
    const coming = page.waitForEvent('download');
    await page.getByRole('button', { name: button, exact: true }).click();
    const text = await readFile(await (await coming).path(), 'utf8');
    const answer = await fetch(`${URL_}/v1/jobs/${job.id}/${path}`, { headers: { authorization: `Bearer ${TOKEN}`, accept: accept ?? '*/*' } });
    assert.equal(text, await answer.text());
  }
});

check('a failing job shows its faults, its reasons and its tasks', async (page) => {
  await claude({ ...CALM, faults: { 500: 0.4, malformed: 0.2 }, seed: 3 });
  const { id } = await submit(40, { limits: { max_attempts: 2 } });
  await finished(id);
  const job = await api('GET', `/v1/jobs/${id}`);
  assert.equal(job.state, 'partial');
  await signIn(page, `#/jobs/${id}`);
  const states = await api('GET', `/v1/jobs/${id}/states`);
  const cover = page.getByRole('region', { name: 'Coverage' });
  await cover.getByText(`${job.progress.items.missing} have none`).waitFor();
  for (const reason of states.reasons) await cover.getByText(`${reason.items} item${reason.items === 1 ? '' : 's'}`).first().waitFor();
  const timeline = await api('GET', `/v1/jobs/${id}/timeline`);
  const rows = page.getByRole('region', { name: 'Faults' }).locator('tbody tr');
  await until('all faults', async () => (await rows.count()) === timeline.faults.length);
  // From a fault to its task: input, calls, what went wrong.
  // A synthesis has results to read, and no items.
  const tasks = await Promise.all(timeline.faults.map((fault) => api('GET', `/v1/jobs/${id}/tasks/${fault.task}`)));
  const at = tasks.findIndex((task) => task.input[0]?.text);
  const task = tasks[at];
  await rows.nth(at).getByRole('button').click();
  const sheet = page.getByRole('dialog', { name: 'Task' });
  await sheet.getByRole('heading', { name: `Task ${timeline.faults[at].task}`, exact: true }).waitFor();
  await sheet.getByText(task.input[0].text).waitFor();
  await sheet.getByText('What was sent').first().click();
  await sheet.getByText('"model"').waitFor();
  await page.keyboard.press('Escape');
  await until('the sheet to close', async () => !page.url().includes('task='));
  // From the reasons to the list of tasks.
  await cover.getByRole('link', { name: /task/ }).first().click();
  await page.getByRole('radio', { name: 'Failed' }).waitFor();
  await until('the failed tasks', async () => (await page.locator('tbody tr').count()) === job.progress.tasks.failed);
  // Retry does what is missing.
  await claude(CALM);
  await page.getByRole('button', { name: 'Retry' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Retry' }).click();
  await page.getByText('Run 2').waitFor();
  await finished(id);
  await page.getByText('Succeeded').first().waitFor();
});

check('every button of a job does what it says', async (page) => {
  await claude({ ...CALM, latency_ms: 1500 });
  const { id } = await submit(400, { limits: { concurrency: 4 } });
  await signIn(page, `#/jobs/${id}`);
  const state = (wanted) => until(wanted, async () => (await api('GET', `/v1/jobs/${id}`)).state === wanted);
  await page.getByText('Running', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await state('paused');
  await page.getByText('Paused by hand').waitFor();
  await page.getByRole('button', { name: 'Limits' }).click();
  await page.getByRole('dialog').getByLabel('Most it may cost').fill('7');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await page.getByText('of $7.00').waitFor();
  await page.getByRole('button', { name: 'Resume' }).click();
  await state('running');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel', exact: true }).click();
  assert.equal((await api('GET', `/v1/jobs/${id}`)).state, 'running');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Cancel the job' }).click();
  await state('cancelled');
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('button', { name: 'Delete the job' }).click();
  await page.getByRole('heading', { name: 'Jobs', exact: true }).waitFor();
  const gone = await fetch(`${URL_}/v1/jobs/${id}`, { headers: { authorization: `Bearer ${TOKEN}` } });
  assert.equal(gone.status, 404);
});

check('a plan that Claude makes is seen, changed and approved', async (page) => {
  await claude(CALM);
  await signIn(page, '#/jobs/new');
  await page.getByLabel('Input as text').fill('The parcel came late\nThe app crashes at start\nI was charged twice');
  await page.getByText('3 items. The first:').waitFor();
  await page.getByRole('radio', { name: /Claude plans it/ }).check();
  await page.getByLabel('Task', { exact: true }).fill('Find out what our customers complain about');
  await page.getByRole('button', { name: 'Have Claude plan it' }).click();
  await page.getByRole('button', { name: 'Approve and start' }).waitFor({ timeout: 60_000 });
  const id = jobAt(page);
  assert.equal((await api('GET', `/v1/jobs/${id}`)).state, 'awaiting_approval');
  await page.getByRole('region', { name: 'Change the plan' }).locator('summary').first().click();
  await page.getByLabel('Instructions').first().fill('Say in three words what it is about.');
  await page.getByRole('button', { name: 'Save the changes' }).click();
  await page.getByText('The plan is changed.').waitFor();
  assert.equal((await api('GET', `/v1/jobs/${id}/plan`)).stages[0].instructions, 'Say in three words what it is about.');
  await page.getByRole('button', { name: 'Approve and start' }).click();
  await page.getByText('Done: every item is covered.').waitFor({ timeout: 60_000 });
});

check('what was used and saved, and how calls go out, is to be seen', async (page) => {
  await claude(CALM);
  const rules = Array.from({ length: 900 }, (_, n) => `Rule ${n}: a ticket about topic ${n} belongs to category c${n % 7}.`).join(' ');
  const long = await submit(30, { context: rules });
  await finished(long.id);
  const { usage, cost } = await api('GET', `/v1/jobs/${long.id}`);
  assert.ok(usage.cache_read_input_tokens > 0 && cost.cache_saved_usd > 0, JSON.stringify([usage, cost]));
  await signIn(page, `#/jobs/${long.id}/live`);
  const gauges = page.getByRole('region', { name: 'Gauges' });
  await gauges.getByText(`$${cost.cache_saved_usd.toFixed(1 - Math.floor(Math.log10(cost.cache_saved_usd)))} saved by the prompt cache`).waitFor();
  const input = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
  const share = Math.round((usage.cache_read_input_tokens / input) * 100);
  assert.ok(share > 50 && share < 99, `${share}`);
  await gauges.getByText(`in, ${share} % from the cache; ${usage.output_tokens.toLocaleString('en')} out`).waitFor();
  // Plainly live: there was nothing to choose.
  assert.equal(await page.getByText('Calls go out').count(), 0);
  await page.getByRole('link', { name: 'Plan', exact: true }).click();
  await page.getByRole('region', { name: 'Delivery' }).getByRole('heading', { name: 'Calls go out live' }).waitFor();

  // What was chosen stands in the plan and beside the job while it waits, and its figures are those of that way.
  const { id } = await submit(30, { delivery: 'auto', limits: { deadline_seconds: 20_000 } });
  await until('the work to begin', async () => !['queued', 'planning'].includes((await api('GET', `/v1/jobs/${id}`)).state));
  const { delivery } = await api('GET', `/v1/jobs/${id}/plan`);
  assert.deepEqual([delivery.asked, delivery.chosen], ['auto', 'batch']);
  await page.evaluate((to) => { location.hash = to; }, `#/jobs/${id}/live`);
  await page.getByText(delivery.why.slice(1)).waitFor();
  await page.getByRole('link', { name: 'Plan', exact: true }).click();
  const shown = page.getByRole('region', { name: 'Delivery' });
  await shown.getByRole('heading', { name: 'Calls go out in batches' }).waitFor();
  await shown.getByText('chosen by time and money').waitFor();
  await shown.getByText(delivery.why.slice(1)).waitFor();
  assert.match(await shown.locator('tr.chosen').innerText(), /^Batches/);
  // The plan goes on at the price of batches, up to what it would be if none of them came by the deadline.
  const total = await page.locator('.total', { has: page.getByText('Cost', { exact: true }) }).locator('strong').innerText();
  const [least, most] = total.split(' – ');
  assert.ok((await shown.locator('tr.chosen').innerText()).includes(`${least} – `), total);
  assert.ok((await shown.locator('tr', { hasText: 'Live' }).innerText()).includes(` – ${most}`), total);

  // And it can be chosen where a job begins.
  await page.evaluate(() => { location.hash = '#/jobs/new?recipe=support-tickets'; });
  await page.getByLabel('Input as text').fill('The parcel came late\nThe app crashes at start\nI was charged twice');
  await page.getByRole('button', { name: /^Start for/ }).waitFor();
  assert.equal(await page.getByRole('region', { name: 'Delivery' }).count(), 0);
  await page.getByLabel('How calls go out').selectOption('auto');
  await page.getByLabel('Deadline, in seconds').fill('60');
  await page.getByRole('heading', { name: 'Calls go out live' }).waitFor();
  await page.getByLabel('How calls go out').selectOption('batch');
  await page.getByRole('heading', { name: 'Calls go out in batches' }).waitFor();
  await page.getByRole('button', { name: /^Start for/ }).click();
  await until('the job', () => jobAt(page));
  const made = await api('GET', `/v1/jobs/${jobAt(page)}/plan`);
  assert.deepEqual([made.delivery.asked, made.delivery.chosen], ['batch', 'batch']);
});

check('a cascade is drawn with all that it may cost', async (page) => {
  await claude(CALM);
  const { id } = await submit(60, { stages: [{ name: 'sort', kind: 'map', output: 'item', chunk: { items: 1 }, instructions: 'Sort.', models: ['haiku', 'sonnet'] }], approval: true });
  await until('the plan', async () => (await api('GET', `/v1/jobs/${id}`)).state === 'awaiting_approval');
  const { expected } = await api('GET', `/v1/jobs/${id}/plan`);
  assert.ok(expected.stages.length === 2 && expected.stages[0].calls.high < expected.calls.high);
  await signIn(page, `#/jobs/${id}/plan`);
  const drawing = page.getByRole('img', { name: /^Plan: 60 items; sort, map, 60 tasks by haiku-5-5, then sonnet-5-5/ });
  await drawing.getByText(`${expected.calls.low} – ${expected.calls.high} calls`).waitFor();
  await api('POST', `/v1/jobs/${id}/cancel`, {});
});

check('kinds of input are told apart and read', async (page) => {
  await signIn(page, '#/jobs/new');
  const area = page.getByLabel('Input as text');
  const kind = page.getByLabel('What it is');
  for (const [text, expected, said] of [
    ['id,text\nA,"one, two"\nB,"say ""hi"""\n', 'csv', '2 items'],
    ['{"id":"a","text":"x"}\n{"id":"b","text":"y"}\n', 'jsonl', '2 items'],
    ['["a","b","c"]', 'json', '3 items'],
    ['https://example.com/a\nhttps://example.com/b', 'urls', '2 items'],
    ['first\nsecond', 'lines', '2 items'],
    ['one long text', 'text', 'One document'],
  ]) {
    await area.fill(text);
    await page.getByText(said).first().waitFor();
    assert.equal(await kind.inputValue(), expected);
  }
  await area.fill('{"a":1}\nbroken');
  await kind.selectOption('jsonl');
  await page.getByRole('alert').filter({ hasText: 'line 2 is not JSON' }).waitFor();
});

check('files are taken, and a plan is edited as a form and as JSON', async (page) => {
  await claude(CALM);
  await signIn(page, '#/jobs/new');
  const files = page.getByLabel('Files', { exact: true });
  const named = (name, text) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(text) });
  await files.setInputFiles([named('a.md', '# A'), named('b.md', '# B')]);
  assert.equal(await page.getByLabel('What it is').inputValue(), 'documents');
  await page.getByRole('button', { name: 'Take it away' }).click();
  await files.setInputFiles([named('tickets.csv', 'id,text,plan\nA,"late, again",pro\nB,crashes,free\nC,fine,pro\n')]);
  await page.getByText('3 items. The first:').waitFor();
  await page.getByRole('radio', { name: /From scratch/ }).check();
  await page.getByLabel('Task', { exact: true }).fill('What is it about?');
  await page.getByRole('img', { name: /^Plan: 3 items; read, map, 3 tasks by .*; report, synthesis/ }).waitFor();
  await page.getByText('Change the plan').click();
  await page.getByRole('button', { name: 'Add a fan-out' }).click();
  await page.getByRole('img', { name: /read, map.*; stage-\d+, map, .*; report, synthesis/ }).waitFor();
  await page.getByRole('button', { name: /^Remove stage-/ }).click();
  await page.getByRole('button', { name: 'Edit as JSON' }).click();
  const json = page.getByLabel('Stages, as JSON');
  const stages = JSON.parse(await json.inputValue());
  assert.deepEqual(stages.map((stage) => stage.name), ['read', 'report']);
  stages[0].group_by = 'plan';
  stages[0].output = 'chunk';
  delete stages[0].chunk;
  await json.fill('[');
  await page.getByText('Not read yet').waitFor();
  await json.fill(JSON.stringify([{ ...stages[0], max_tokens: 0 }, stages[1]]));
  await page.getByRole('alert').filter({ hasText: 'stages[0].max_tokens' }).waitFor();
  assert.ok(await page.getByRole('button', { name: 'Start' }).isDisabled());
  await json.fill(JSON.stringify(stages));
  await page.getByText('one task for each plan', { exact: true }).waitFor();
  await page.getByRole('button', { name: /^Start for/ }).click();
  await page.getByText('Done: every item is covered.').waitFor({ timeout: 60_000 });
  const id = jobAt(page);
  const found = await api('GET', `/v1/jobs/${id}/tasks?item=C`);
  assert.deepEqual(found.data.map((task) => task.item_ids), [['A', 'C']]);
  // Results open their tasks, and tasks lead to their neighbours.
  await page.getByRole('link', { name: 'Results', exact: true }).click();
  await page.getByRole('button', { name: /^pro#/ }).click();
  const sheet = page.getByRole('dialog', { name: 'Task' });
  await sheet.getByText('late, again', { exact: true }).waitFor();
  await sheet.getByRole('button', { name: found.data[0].index === 0 ? 'The next task' : 'The task before' }).click();
  await sheet.getByText('crashes').first().waitFor();
  await sheet.getByRole('button', { name: 'Close' }).click();
  await page.getByRole('link', { name: 'Plan', exact: true }).click();
  await page.getByRole('link', { name: 'New job with this plan' }).click();
  await until('the plan to be taken', () => page.getByRole('radio', { name: /The plan of that job/ }).isChecked());
});

check('a large file is uploaded first and its plan approved after', async (page) => {
  await claude({ ...CALM, latency_ms: 1500 });
  await signIn(page, '#/jobs/new?recipe=support-tickets');
  const rows = Array.from({ length: 1300 }, (_, n) => `T-${n},${'the parcel came late '.repeat(480)}`);
  await page.getByLabel('Files', { exact: true }).setInputFiles([{ name: 'large.csv', mimeType: 'text/csv', buffer: Buffer.from(`id,text\n${rows.join('\n')}\n`) }]);
  await page.getByRole('button', { name: 'Upload, then look at the plan' }).click();
  await page.getByRole('img', { name: /^Plan: 1,300 items; classify, map, 130 tasks/ }).waitFor({ timeout: 60_000 });
  assert.equal((await api('GET', `/v1/jobs/${jobAt(page)}`)).state, 'awaiting_approval');
  await page.getByRole('button', { name: 'Approve and start' }).click();
  await page.getByRole('application', { name: /^Tasks of classify: / }).waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Cancel the job' }).click();
  await page.getByText('Cancelled').first().waitFor();
});

check('what a model or a customer wrote is text, whatever it looks like', async (page) => {
  await claude(CALM);
  const evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>';
  const { id } = await api('POST', '/v1/jobs', { task: `<b>Task</b> ${evil}`, input: { items: [{ id: 'T-7', text: evil }] }, stages: [{ name: 'read', kind: 'map', instructions: 'Sum it up.' }, { name: 'report', kind: 'synthesis', instructions: 'Sum it up.' }] });
  await finished(id);
  const markdown = [`# Findings ${evil}`, '', evil, '', '[bad](javascript:window.owned=1) [good](https://example.com/) ![pic](https://example.com/x.png)', '', `As [[T-7]] says, and [[T-99]]. **bold** \`<i>\``, '', '| name | count |', '| --- | ---: |', '| a | 10 |', `| ${'<b>b</b>'} | 9 |`, '| c | 100 |', '', '- one', '  - two', '', '```', evil, '```'].join('\n');
  await page.route('**/report', async (route) => {
    const report = await (await route.fetch()).json();
    await route.fulfill({ json: { ...report, synthesis: markdown } });
  });
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await signIn(page, `#/jobs/${id}/report`);
  const article = page.getByRole('article', { name: 'Report' });
  await article.getByText('Findings').waitFor();
  assert.equal(await article.locator('img, script, b, i, iframe').count(), 0);
  assert.ok((await article.innerText()).includes(evil));
  assert.equal(await article.getByRole('link').count(), 1);
  assert.equal(await article.getByRole('link').getAttribute('href'), 'https://example.com/');
  // The table sorts by number.
  await article.getByRole('button', { name: 'count' }).click();
  assert.deepEqual(await article.locator('tbody td:last-child').allInnerTexts(), ['100', '10', '9']);
  await article.getByRole('button', { name: 'count' }).click();
  assert.deepEqual(await article.locator('tbody td:last-child').allInnerTexts(), ['9', '10', '100']);
  // A citation leads to its item; one that names none says so.
  await article.getByRole('button', { name: 'T-99' }).click();
  await page.getByText('No item of this job has the id T-99.').waitFor();
  await article.getByRole('button', { name: 'T-7' }).click();
  await page.locator('.item-box.meant', { hasText: evil }).waitFor();
  assert.equal(await page.evaluate(() => window.owned), undefined);
  assert.deepEqual(asked.filter((url) => !url.startsWith(URL_)), []);
});

check('ten thousand tasks, live', async (page) => {
  await claude({ ...CALM, latency_ms: 400 });
  const { id } = await submit(10_000, { limits: { concurrency: 200 } });
  await signIn(page, `#/jobs/${id}`);
  const count = () => page.evaluate(() => ({ nodes: document.querySelectorAll('*').length, frames: document.querySelector('canvas.cells')?.cells.frames ?? 0 }));
  const canvas = page.getByRole('application', { name: /^Tasks of classify:.*succeeded/ });
  await canvas.waitFor({ timeout: 180_000 });
  await until('all tasks', async () => (await canvas.evaluate((one) => one.cells.codes.length)) === 10_000, 180_000);
  const before = await count();
  const done = () => canvas.evaluate((one) => one.cells.codes.reduce((sum, code) => sum + (code === 0), 0));
  const first = await done();
  const tokens = async () => Number((await page.getByRole('region', { name: 'Gauges' }).getByText(/ in.*; .* out$/).innerText()).match(/; ([\d.,]+)(K?) out/).slice(1).join('').replace(',', '').replace('K', 'e3'));
  const used = await tokens();
  await until('a thousand more', async () => (await done()) >= first + 1000, 300_000);
  assert.ok((await tokens()) > used, 'the tokens stand still');
  const after = await count();
  // However many tasks there are, the page is as large as ever, and what moves is painted and nothing else.
  assert.ok(after.nodes < 900 && Math.abs(after.nodes - before.nodes) < 200, JSON.stringify([before, after]));
  assert.ok(after.frames > before.frames);
  // It answers meanwhile: a cell, the keyboard, a button.
  await canvas.focus();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await page.getByText('Task 1: ').first().waitFor();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: 'Task' }).getByRole('heading', { name: 'Task 1', exact: true }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Cancel the job' }).click();
  await page.getByText('Cancelled').first().waitFor({ timeout: 60_000 });
}, { calm: false });

check('a hundred thousand tasks are density', async (page) => {
  await claude(CALM);
  const { id } = await submit(3);
  await finished(id);
  await page.route('**/states', (route) => route.fulfill({ json: { stages: [{ stage: 'classify', kind: 'map', state: 'running', parts: [{ purpose: 'work', first: 0, states: '40000s1f20000s400r39599p' }] }], reasons: [] } }));
  await signIn(page, `#/jobs/${id}`);
  const canvas = page.getByRole('application', { name: 'Tasks of classify: 60,000 succeeded, 400 running, 39,599 pending, 1 failed' });
  await canvas.waitFor();
  const field = await canvas.evaluate((one) => ({ each: one.cells.each, cells: one.cells.cells, high: one.clientHeight, node: document.querySelectorAll('*').length }));
  assert.ok(field.each > 1 && field.each * field.cells >= 100_000 && field.high <= 340 && field.node < 900, JSON.stringify(field));
  // The one that failed is to be seen among its neighbours: red pixels in its cell.
  const red = await canvas.evaluate((one) => {
    const { cells } = one;
    const cell = Math.floor(40_000 / cells.each);
    const [x, y] = [(cell % cells.across) * (cells.size + cells.gap), Math.floor(cell / cells.across) * (cells.size + cells.gap)];
    const { data } = cells.context.getImageData(x * cells.scale, y * cells.scale, cells.size * cells.scale, cells.size * cells.scale);
    let found = 0;
    for (let at = 0; at < data.length; at += 4) if (data[at] > 180 && data[at + 1] < 120) found += 1;
    return found;
  });
  assert.ok(red >= 9, `${red} red pixels`);
  await canvas.focus();
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: '99999 pending' }).waitFor();
});

check('schedules are made, run, paused, changed and deleted', async (page) => {
  await claude(CALM);
  await signIn(page, '#/schedules');
  await page.getByRole('link', { name: 'Your first schedule' }).or(page.getByRole('link', { name: 'New schedule' })).first().click();
  await page.getByLabel('Name').fill('Tickets of the day');
  await page.getByLabel('Job, as JSON').fill('{"task": 1}');
  await page.getByRole('button', { name: 'Make the schedule' }).click();
  await page.getByRole('alert').filter({ hasText: 'task' }).waitFor();
  await page.getByLabel('Job, as JSON').fill(JSON.stringify({ recipe: 'support-tickets', input: { items: ['The parcel came late'] } }));
  await page.getByLabel('Usual times').selectOption('0 * * * *');
  await page.getByRole('button', { name: 'Make the schedule' }).click();
  await page.getByRole('heading', { name: 'Tickets of the day' }).waitFor();
  assert.equal(await page.getByRole('region', { name: 'Next runs' }).locator('li').count(), 5);
  await page.getByRole('button', { name: 'Run now' }).click();
  await page.getByRole('region', { name: 'Last runs' }).locator('li').waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByText('It is paused.').waitFor();
  await page.getByLabel('Name').fill('Renamed');
  await page.getByRole('button', { name: 'Save the changes' }).click();
  await page.getByRole('heading', { name: 'Renamed' }).waitFor();
  await page.getByRole('link', { name: '← Schedules' }).click();
  await page.getByRole('button', { name: 'Resume Renamed' }).click();
  await page.getByRole('button', { name: 'Pause Renamed' }).waitFor();
  await page.getByRole('button', { name: 'Run now Renamed' }).click();
  await page.getByText('A run is begun.').waitFor();
  await page.getByRole('link', { name: 'Renamed', exact: true }).click();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('button', { name: 'Delete the schedule' }).click();
  await page.getByText('No schedules yet').waitFor();
});

check('files of any encoding are read, and what is no text is refused by name', async (page) => {
  await signIn(page, '#/jobs/new');
  const files = page.getByLabel('Files', { exact: true });
  await files.setInputFiles({ name: 'book.xlsx', mimeType: 'application/octet-stream', buffer: Buffer.from('PK\u0003\u0004 and so on', 'latin1') });
  await page.getByText('book.xlsx is a workbook').waitFor();
  const table = 'id\ttext\r\nA-1\tCafé\r\n\t\r\nA-2\tTea\r\n';
  await files.setInputFiles({ name: 'unicode.txt.tsv', mimeType: 'text/plain', buffer: Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(table, 'utf16le')]) });
  await page.getByText('2 items, and 1 blank row that is passed over').waitFor();
  await page.getByText('Café').waitFor();
});

check('a report costs no more than its size', async (page) => {
  await signIn(page, '#/jobs');
  const units = ['_a', '**a', '_.', '_a*b', `${'_a'.repeat(99)} `, '>', '> ', '- ', '[', '[a](', '[a](b) ', '![a](', '<a ', '`a', '~~a', '&amp;', '|a|\n|-|\n', '[[T]]', '- a\n  ', '>a\nb\n'];
  const times = await page.evaluate(async (kinds) => {
    const { prose } = await import('/js/prose.js');
    const time = (text) => Math.min(...[1, 2, 3].map(() => {
      const from = performance.now();
      prose(text, () => {});
      return performance.now() - from;
    }));
    return kinds.map((unit) => [1, 8].map((times) => time(unit.repeat(Math.ceil(4000 / unit.length) * times))));
  }, units);
  for (const [at, [small, large]] of times.entries()) assert.ok(large <= 16 * Math.max(small, 25), `${units[at]}: ${small} ms, then ${large} ms`);
});

check('limits, recipes, filters and pages', async (page) => {
  await claude(CALM);
  for (let n = 0; n < 32; n += 1) await submit(1);
  await signIn(page, '#/limits');
  await page.getByText('ACCOUNT_DAILY_USD').waitFor();
  await page.getByText('Input tokens').first().waitFor();
  await page.getByRole('link', { name: 'Recipes' }).click();
  await page.getByRole('link', { name: 'Use it Code review over files' }).click();
  assert.ok(await page.getByRole('radio', { name: /Code review/ }).isChecked());
  await page.getByRole('link', { name: 'Jobs', exact: true }).first().click();
  await until('thirty jobs', async () => (await page.locator('.list > li').count()) === 30);
  await page.getByRole('button', { name: 'Show more' }).click();
  await until('more jobs', async () => (await page.locator('.list > li').count()) > 30);
  await page.getByLabel('Only jobs in this state').selectOption('planning');
  await page.getByText('No such jobs').waitFor();
});

check('the way in and out is by keyboard, too', async (page) => {
  await page.goto(URL_);
  await page.getByLabel('Token').fill(TOKEN);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Jobs' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Jobs' }).waitFor();
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  for (const name of ['Fanwise', 'Jobs', 'Schedules', 'Recipes', 'Limits']) {
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), name);
  }
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Limits' }).waitFor();
  for (const scheme of ['light', 'dark', 'auto']) {
    await page.getByRole('button', { name: /^Colour scheme/ }).click();
    await page.getByRole('button', { name: `Colour scheme: ${scheme}` }).waitFor();
  }
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Token').waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.getItem('fanwise.token')), null);
});

for (const scheme of ['light', 'dark']) {
  check(`nothing that axe objects to, ${scheme}`, async (page) => {
    await claude({ ...CALM, faults: { 500: 0.3 }, seed: 2 });
    const { id } = await submit(30, { limits: { max_attempts: 1 } });
    await finished(id);
    await claude(CALM);
    const batch = await submit(3, { delivery: 'auto' });
    await page.goto(URL_);
    await page.getByLabel('Token').waitFor();
    const found = [...(await axe(page)).map((one) => `sign in: ${one}`)];
    await signIn(page);
    for (const [hash, wait] of [['#/jobs', '.job-row'], ['#/jobs/new?recipe=support-tickets', '.option'], [`#/jobs/${id}/live`, '.faults tr'], [`#/jobs/${id}/report`, 'article'], [`#/jobs/${id}/results`, 'tbody td'], [`#/jobs/${id}/tasks`, 'tbody td'], [`#/jobs/${id}/plan`, '.plan-drawing svg'], [`#/jobs/${id}/live?task=0`, '.attempt'], [`#/jobs/${batch.id}/live`, '.delivery-note strong'], [`#/jobs/${batch.id}/plan`, '.delivery table'], ['#/schedules/new', '.fields'], ['#/schedules', '.empty'], ['#/limits', '.bar'], ['#/recipes', '.recipe'], ['#/nowhere', '.empty']]) {
      await page.evaluate((to) => { location.hash = to; }, hash);
      await page.locator(wait).first().waitFor();
      found.push(...(await axe(page)).map((one) => `${hash}: ${one}`));
    }
    assert.deepEqual(found, []);
  }, { scheme });
}

check('it fits a phone', async (page) => {
  const { id } = await submit(30);
  await finished(id);
  const batch = await submit(3, { delivery: 'auto' });
  await signIn(page);
  for (const hash of [`#/jobs/${batch.id}/live`, `#/jobs/${batch.id}/plan`, '#/jobs', '#/jobs/new?recipe=support-tickets', `#/jobs/${id}/live`, `#/jobs/${id}/report`, `#/jobs/${id}/results`, `#/jobs/${id}/tasks`, `#/jobs/${id}/plan`, `#/jobs/${id}/live?task=0`, '#/schedules/new', '#/limits', '#/recipes']) {
    await page.evaluate((to) => { location.hash = to; }, hash);
    await until('the room', async () => (await page.locator('main .wait').count()) === 0);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 375, `${hash} is ${wide} wide`);
  }
}, { width: 375, height: 740, touch: true });

check('the first view is small, and comes from here alone', async (page) => {
  const loaded = [];
  page.on('response', async (response) => loaded.push(response));
  await signIn(page);
  await page.waitForLoadState('networkidle');
  let bytes = 0;
  for (const response of loaded) {
    const url = response.url();
    assert.ok(url.startsWith(URL_), url);
    if (!url.includes('/v1/')) bytes += gzipSync(await response.body()).length;
  }
  assert.ok(bytes > 5_000 && bytes < 100_000, `${bytes} bytes`);
  console.log(`     ${bytes} bytes gzipped, ${loaded.length} answers`);
  const head = (await page.request.get(URL_)).headers();
  assert.match(head['content-security-policy'], /default-src 'none'.*require-trusted-types-for 'script'/);
  assert.equal(head['x-content-type-options'], 'nosniff');
  // Addresses that are no file are the Worker's, and files do not stand in front of the API.
  for (const [path, status, code] of [['/nowhere', 404, 'not_found'], ['/v1/jobs', 401, 'unauthorized'], ['/v1/index.html', 401, 'unauthorized'], ['/mcp', 401, 'unauthorized']]) {
    const answer = await page.request.get(URL_ + path);
    assert.deepEqual([answer.status(), (await answer.json()).code], [status, code], path);
  }
});

const only = process.argv[2] ?? '';
const browser = await launch();
let passed = 0;
let all = 0;
for (const { name, play, options } of checks.filter((one) => one.name.includes(only))) {
  all += 1;
  const page = await newPage(browser, options);
  try {
    await play(page);
    assert.deepEqual(await refused(page), [], 'refused by the Content-Security-Policy');
    assert.deepEqual(page.faults, [], 'errors in the page');
    passed += 1;
    console.log(`ok   ${name}`);
  } catch (error) {
    console.log(`FAIL ${name}\n     ${error.stack.replaceAll('\n', '\n     ')}`);
    if (process.env.FANWISE_PICTURE_OF_FAILURE) await page.screenshot({ path: process.env.FANWISE_PICTURE_OF_FAILURE, fullPage: true }).catch(() => {});
  }
  await page.context().close();
}
await browser.close();
console.log(`${passed} of ${all} checks passed`);
process.exit(passed === all && all > 0 ? 0 : 1);
