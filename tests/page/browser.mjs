// Chromium for the tests of the page and for its pictures: started with nothing of its own that calls home, in a new profile; every page is
// listened to for errors and for what the Content-Security-Policy refuses.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

export const URL_ = process.env.FANWISE_URL;
export const TOKEN = process.env.FANWISE_TOKEN;
export const STANDIN = process.env.STANDIN_URL;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** The browser; `close()` it. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** A page with what went wrong in it: `faults`. */
export async function newPage(browser, { width = 1280, height = 900, scheme = 'light', scale = 1, calm = true, touch = false } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, deviceScaleFactor: scale, reducedMotion: calm ? 'reduce' : 'no-preference', hasTouch: touch, acceptDownloads: true, locale: 'en-GB', timezoneId: 'UTC' });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) page.faults.push(`console: ${message.text()}`);
  });
  await page.addInitScript(() => {
    window.refusedByPolicy = [];
    document.addEventListener('securitypolicyviolation', (event) => window.refusedByPolicy.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
  });
  return page;
}

/** What the policy refused on this page since it was loaded. */
export function refused(page) {
  return page.evaluate(() => window.refusedByPolicy);
}

/** Comes in by the door, as a person does. */
export async function signIn(page, hash = '#/jobs') {
  await page.goto(`${URL_}/${hash}`);
  await page.getByLabel('Token').fill(TOKEN);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Pages' }).waitFor();
}

/** What axe finds, a line each. */
export async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target.join(' ')}: ${node.failureSummary.split('\n').slice(1, 3).join(' ')}`));
}

export async function api(method, path, body) {
  const response = await fetch(URL_ + path, { method, headers: { authorization: `Bearer ${TOKEN}`, ...(body ? { 'content-type': 'application/json' } : {}) }, body: body && JSON.stringify(body) });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response.status === 204 ? null : response.json();
}

/** How the stand-in behaves from now on. */
export async function claude(changes) {
  const response = await fetch(`${STANDIN}/control/config`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(changes) });
  if (!response.ok) throw new Error(`stand-in: ${response.status} ${await response.text()}`);
}

/** Asks until the answer is yes. A test that waits for ever is ended by its own bound. */
export async function until(what, ask, most = 120_000) {
  const end = Date.now() + most;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`${what} did not come about within ${most / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

export function over(job) {
  return ['succeeded', 'partial', 'failed', 'cancelled'].includes(job.state);
}

const STAGES = [
  { name: 'classify', kind: 'map', output: 'item', chunk: { items: 1 }, instructions: 'Say which category the ticket belongs to.', output_schema: { type: 'object', properties: { category: { type: 'string', enum: ['billing', 'bug', 'shipping', 'other'] }, urgency: { type: 'string', enum: ['low', 'high'] } }, required: ['category', 'urgency'], additionalProperties: false }, merge: { count_by: ['category', 'urgency'] } },
  { name: 'report', kind: 'synthesis', instructions: 'Write three sentences on what to mend first.', citations: true },
];

/** A job by the API: so many tickets, one a task. */
export function submit(count, { limits = {}, ...more } = {}) {
  const kinds = ['I was charged twice for my plan.', 'The app crashes when I upload a photo.', 'My parcel is marked delivered but is not here.'];
  const items = Array.from({ length: count }, (_, n) => ({ id: `T-${n + 1}`, text: `${kinds[n % 3]} (case ${n + 1})` }));
  return api('POST', '/v1/jobs', { task: 'Find out what our customers complain about', input: { items }, stages: STAGES, reuse: false, limits: { max_cost_usd: 5, ...limits }, ...more });
}
