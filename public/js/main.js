// The start, and the change of pages: the page that an address opens, drawn into `main`. Without a token every address opens the
// sign-in first. Pages are loaded when they are first opened.

import { onRefused } from './api.js';
import { h, put } from './dom.js';
import { here, to } from './router.js';
import { signOut, token } from './session.js';
import { drawTop } from './shell.js';
import { empty, problemNote, toast } from './ui.js';

const main = document.getElementById('main');
const top = document.getElementById('top');

/** Address → the module of its page, and a key that differs between pages of the same module. */
function pageOf({ parts }) {
  const [first = 'jobs', second] = parts;
  if (first === 'jobs' && second === 'new') return ['jobs', 'new-job', ''];
  if (first === 'jobs' && second) return ['jobs', 'job', second];
  if (['jobs', 'schedules', 'recipes', 'limits'].includes(first) && !second) return [first, first, ''];
  if (first === 'schedules') return ['schedules', 'schedule', second];
  return [null, null, ''];
}

let current = null;
let turn = 0;

async function enter() {
  turn += 1;
  const mine = turn;
  const address = here();
  const signedIn = token() !== null;
  const [nav, name, key] = signedIn ? pageOf(address) : ['', 'sign-in', ''];
  if (current?.name === name && current.key === key && current.page.update) {
    current.page.update(address);
    return;
  }
  current?.page.leave?.();
  current = null;
  drawTop(top, nav, signedIn ? leave : null);
  if (!name) {
    show({ element: h('div', {}, h('h1', { class: 'hush' }, 'Not found'), empty('There is nothing here', 'There is no page at this address.', h('a', { class: 'button', href: to('jobs') }, 'To the jobs'))), title: 'Not found' });
    return;
  }
  let page;
  try {
    const module = await import(`./pages/${name}.js`);
    if (mine !== turn) return;
    page = module.open(address, enter);
  } catch (error) {
    if (mine !== turn) return;
    show({ element: problemNote({ message: `This page could not be opened: ${error.message}` }, () => location.reload()), title: 'Error' });
    return;
  }
  current = { name, key, page };
  show(page);
}

/** Puts a page in place and moves the focus to it, for screen readers and keyboards. */
function show(page) {
  document.title = page.title ? `${page.title} · Fanwise` : 'Fanwise';
  put(main, page.element);
  window.scrollTo(0, 0);
  // At the start the keyboard begins at the top, as on any page.
  if (turn > 1 && !main.contains(document.activeElement)) main.focus({ preventScroll: true });
}

function leave() {
  signOut();
  enter();
}

onRefused((problem) => {
  toast(problem.message, 'bad');
  enter();
});
window.addEventListener('hashchange', enter);
enter();
