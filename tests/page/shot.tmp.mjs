import { launch, newPage, signIn, api, submit, claude, refused, until, over } from './browser.mjs';
const b = await launch();
const shots = process.argv.slice(2);
for (const spec of shots) {
  // name|hash|scheme|width|wait
  const [name, hash, scheme='light', width='1280', wait='1500', full='1'] = spec.split('|');
  const p = await newPage(b, { scheme, width: Number(width), height: Number(width) < 500 ? 800 : 860, scale: 1 });
  try {
  await signIn(p, hash);
  await p.waitForTimeout(Number(wait));
  await p.screenshot({ path: `/tmp/page/${name}.png`, fullPage: full === '1' });
  } catch (e) { console.log(name, e.message.slice(0, 600)); await p.screenshot({ path: `/tmp/page/${name}.png` }); }
  console.log(name, JSON.stringify(await refused(p).catch(()=>0)), p.faults);
  await p.context().close();
}
await b.close();
