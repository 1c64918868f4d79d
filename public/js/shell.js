// The bar at the top: where one is, the colour scheme, the way out.

import { h, icon, put } from './dom.js';
import { to } from './router.js';

const PAGES = [['jobs', 'Jobs'], ['schedules', 'Schedules'], ['recipes', 'Recipes'], ['limits', 'Limits']];
const SCHEMES = ['auto', 'light', 'dark'];
const PICTURES = { auto: 'auto', light: 'sun', dark: 'moon' };

/** Draws the bar; without `signOut` nobody is signed in. */
export function drawTop(top, page, signOut) {
  put(top, h('div', { class: 'top-in' },
    h('a', { class: 'brand', href: to('jobs') }, h('img', { src: 'icon.svg', alt: '' }), 'Fanwise'),
    signOut ? h('nav', { class: 'nav-box', 'aria-label': 'Pages' }, h('ul', { class: 'nav' }, PAGES.map(([name, text]) =>
      h('li', {}, h('a', { href: to(name), 'aria-current': name === page ? 'page' : null }, text))))) : null,
    h('div', { class: 'top-end' },
      h('a', { class: 'button quiet', href: '/docs/' }, 'Help'),
      schemeButton(),
      signOut ? h('button', { class: 'button quiet icon', type: 'button', 'aria-label': 'Sign out', title: 'Sign out', onclick: signOut }, icon('out')) : null)));
}

function scheme() {
  const chosen = localStorage.getItem('fanwise.theme');
  return SCHEMES.includes(chosen) ? chosen : 'auto';
}

/** Auto, light, dark, and round again. Drawings ask the style for their colours, so they are told. */
function schemeButton() {
  const button = h('button', { class: 'button quiet icon', type: 'button' });
  const show = () => {
    const text = `Colour scheme: ${scheme()}`;
    button.setAttribute('aria-label', text);
    button.title = text;
    put(button, icon(PICTURES[scheme()]));
  };
  button.addEventListener('click', () => {
    const next = SCHEMES[(SCHEMES.indexOf(scheme()) + 1) % SCHEMES.length];
    if (next === 'auto') {
      localStorage.removeItem('fanwise.theme');
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem('fanwise.theme', next);
      document.documentElement.dataset.theme = next;
    }
    show();
    window.dispatchEvent(new Event('scheme'));
  });
  show();
  return button;
}
