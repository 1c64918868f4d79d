// The README's pictures of the page: a job of 2,400 tickets half-way, its report, its plan, and a phone in the dark. Wants what the tests want,
// and the folder for the pictures as argument.

import { join } from 'node:path';
import { api, claude, launch, newPage, over, signIn, submit, until } from './browser.mjs';

const folder = process.argv[2];
const SIZE = { width: 1280, height: 860 };
const browser = await launch();
const shoot = async (page, name) => {
  await page.mouse.move(0, 0);
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await page.screenshot({ path: join(folder, `page-${name}.png`) });
  console.log(`page-${name}.png`);
};

await claude({ latency_ms: 1500, jitter: 0.5, faults: { 500: 0.04, 529: 0.03, malformed: 0.04 }, seed: 4 });
const { id } = await submit(2400, { limits: { concurrency: 120, max_attempts: 2 } });
const live = await newPage(browser, SIZE);
await signIn(live, `#/jobs/${id}/live`);
const phone = await newPage(browser, { width: 390, height: 780, scheme: 'dark', touch: true });
await signIn(phone, `#/jobs/${id}/live`);
const covered = async () => (await api('GET', `/v1/jobs/${id}`)).progress.items.covered;
await until('half of the job', async () => (await covered()) > 1300, 300_000);
await shoot(live, 'live');
await phone.evaluate(() => document.querySelector('.flow').scrollIntoView({ block: 'center' }));
await shoot(phone, 'phone');
await until('the end', async () => over(await api('GET', `/v1/jobs/${id}`)), 300_000);
await live.evaluate((to) => { location.hash = to; }, `#/jobs/${id}/report`);
await live.getByRole('article', { name: 'Report' }).waitFor();
await shoot(live, 'report');

const plan = await newPage(browser, SIZE);
await signIn(plan, '#/jobs/new');
await plan.getByRole('button', { name: 'try a sample of 300 tickets' }).click();
await plan.getByRole('img', { name: /^Plan/ }).waitFor();
await plan.getByRole('region', { name: 'Plan and cost' }).evaluate((one) => one.scrollIntoView({ block: 'end' }));
await plan.mouse.wheel(0, 200);
await shoot(plan, 'plan');
await browser.close();
