// One picture of a terminal's screen, which comes as a page of its own: the page and the picture are the arguments. Wants CHROMIUM.

import { readFile } from 'node:fs/promises';
import { launch } from './browser.mjs';

const [from, to] = process.argv.slice(2);
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1400, height: 1000 }, deviceScaleFactor: 1.5, javaScriptEnabled: false });
await page.setContent(await readFile(from, 'utf8'));
await page.locator('.terminal').screenshot({ path: to, omitBackground: true });
console.log(to.split('/').at(-1));
await browser.close();
