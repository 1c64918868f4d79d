// The door: a token, tried once before it is kept.

import { get } from '../api.js';
import { h, put } from '../dom.js';
import { signIn } from '../session.js';
import { busy, field, problemNote } from '../ui.js';

export function open(_, enter) {
  const wrong = h('div');
  const input = h('input', { class: 'input', type: 'password', autocomplete: 'current-password', spellcheck: 'false', required: true });
  const button = h('button', { class: 'button main', type: 'submit' }, 'Sign in');
  const submit = (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    put(wrong);
    busy(button, async () => {
      try {
        await get('/v1/jobs?limit=1', { as: text });
      } catch (problem) {
        // A token for running alone is good, too.
        if (problem.status !== 403) {
          put(wrong, problemNote(problem));
          input.focus();
          return;
        }
      }
      signIn(text);
      enter();
    });
  };
  const form = h('form', { class: 'stack', onsubmit: submit },
    field('Token', (id) => {
      input.id = id;
      return input;
    }, 'The one in the secret FANWISE_TOKEN, or one that was made with it. It is kept for this tab alone.'),
    wrong, button);
  setTimeout(() => input.focus());
  return {
    title: 'Sign in',
    element: h('div', { class: 'sign' }, h('section', { class: 'card', 'aria-labelledby': 'sign-title' },
      h('div', { class: 'brand' }, h('img', { src: 'icon.svg', alt: '' }), h('h1', { id: 'sign-title' }, 'Fanwise')),
      form)),
  };
}
