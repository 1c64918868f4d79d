// The start, and the change of rooms: which room an address opens, drawn into `main`. Without a token every address opens the
// sign-in, and leads on to where one wanted to go. Rooms are loaded when they are first entered.

import { onRefused } from './api.js';
import { h, put } from './dom.js';
import { here, to } from './router.js';
import { signOut, token } from './session.js';
import { drawTop } from './shell.js';
import { empty, problemNote, toast } from './ui.js';

const main = document.getElementById('main');
const top = document.getElementById('top');

/** Address → the module of its room, and what tells it from the same room elsewhere. */
function roomOf({ parts }) {
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
  const [nav, name, key] = signedIn ? roomOf(address) : ['', 'sign-in', ''];
  if (current?.name === name && current.key === key && current.room.update) {
    current.room.update(address);
    return;
  }
  current?.room.leave?.();
  current = null;
  drawTop(top, nav, signedIn ? leave : null);
  if (!name) {
    show({ element: h('div', {}, h('h1', { class: 'hush' }, 'Not found'), empty('There is nothing here', 'The address leads to no room of this page.', h('a', { class: 'button', href: to('jobs') }, 'To the jobs'))), title: 'Not found' });
    return;
  }
  let room;
  try {
    const module = await import(`./rooms/${name}.js`);
    if (mine !== turn) return;
    room = module.open(address, enter);
  } catch (error) {
    if (mine !== turn) return;
    show({ element: problemNote({ message: `This room could not be opened: ${error.message}` }, () => location.reload()), title: 'Error' });
    return;
  }
  current = { name, key, room };
  show(room);
}

/** Puts a room in place; who reads with a screen reader, or goes by keyboard, is taken along. */
function show(room) {
  document.title = room.title ? `${room.title} · Fanwise` : 'Fanwise';
  put(main, room.element);
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
