// The recipes: ready plans for common kinds of jobs, each as a card with its stages.

import { get } from '../api.js';
import { chunkWords } from '../draw/plan-drawing.js';
import { h, put } from '../dom.js';
import { to } from '../router.js';
import { problemNote, waiting } from '../ui.js';
import { models } from '../words.js';

export function open() {
  const body = h('div', {}, waiting('the recipes'));

  async function load() {
    try {
      const { data } = await get('/v1/recipes');
      put(body, h('div', { class: 'grid-cards' }, data.map(card)));
    } catch (problem) {
      put(body, problemNote(problem, load));
    }
  }

  load();
  return {
    title: 'Recipes',
    element: h('div', {}, h('div', { class: 'page-head' }, h('div', {}, h('h1', {}, 'Recipes'), h('p', { class: 'lead' }, 'Ready plans: instructions, forms and chunks that work. Take one as it is, or change it before you start.'))), body),
  };
}

function card(recipe) {
  return h('section', { class: 'card stack-s recipe', 'aria-label': recipe.title },
    h('h2', {}, recipe.title), h('p', {}, recipe.summary),
    h('p', { class: 'small soft' }, recipe.input),
    h('ol', { class: 'recipe-stages' }, recipe.stages.map((stage) => h('li', {}, h('strong', {}, stage.name), h('span', { class: 'soft small' }, ` ${chunkWords(stage)}, ${models(stage)}`)))),
    h('div', { class: 'row recipe-foot' }, h('a', { class: 'button', href: to('jobs', 'new', { recipe: recipe.name }) }, 'Use it', h('span', { class: 'hush' }, ` ${recipe.title}`)), h('code', { class: 'soft' }, recipe.name)));
}
