// A model's Markdown as elements. The parsing is marked's; what it finds becomes elements here, one by one, and every text a text node. HTML in
// the text is shown as the text it is. Links lead only to the web and say where; pictures are not loaded, they become their words.
// `[[T-7]]` becomes a button that opens the item.

import { h } from './dom.js';
import { lexer } from '../vendor/marked.js';
import { sortable } from './ui.js';

const CITATION = /\[\[([^[\]\n]{1,200})\]\]/g;
/** Deeper than anybody writes, shallower than the stack. */
const DEEPEST = 40;

/** Quotes and lists inside of each other: the parser reads the text again for each level. */
const MOST_NESTED = 20;
/** Characters that open something, in one run: the parser's work grows with the cube of a run of brackets. */
const LONG_RUN = /[[\](!<]{40}|[*_~`]{400}/;
/** Emphasis marks in one word: for each the parser looks through the rest of the word, and more than once. */
const MOST_MARKS = 100;

/** `cite(id)` is called when a citation is pressed. */
export function prose(markdown, cite) {
  const context = { cite, depth: 0 };
  if (!isPlainEnough(markdown)) return [h('pre', { tabindex: '0' }, cited(markdown, context))];
  try {
    return blocks(lexer(markdown), context);
  } catch {
    // A text that the parser cannot read is shown as it is.
    return [h('pre', { tabindex: '0' }, cited(markdown, context))];
  }
}

/** Whether the parser can read a text without running out of stack or time. */
export function isPlainEnough(markdown) {
  if (LONG_RUN.test(markdown)) return false;
  const marks = (word) => word.split(/[*_]/).length - 1;
  if (markdown.split(/\s+/).some((word) => marks(word) > MOST_MARKS)) return false;
  return markdown.split('\n').every((line) => {
    const marks = /^(?:[ \t]*(?:>|(?:[-+*]|\d{1,9}[.)])(?=[ \t]|$)))+/.exec(line);
    if (!marks) return true;
    // A list's item lies in as many others as it is indented by two.
    const indent = /^[ \t]*/.exec(line)[0].replaceAll('\t', '    ').length;
    const own = marks[0].replace(/[ \t\d]/g, '').length;
    return own + indent / 2 <= MOST_NESTED;
  });
}

function blocks(tokens, context) {
  if (context.depth > DEEPEST) return [];
  const inner = { ...context, depth: context.depth + 1 };
  return tokens.map((token) => block(token, inner));
}

function block(token, context) {
  switch (token.type) {
    case 'space': case 'def': return null;
    // The page has a heading of its own: those of the text begin one level below it.
    case 'heading': return h(`h${Math.min(6, token.depth + 1)}`, {}, spans(token.tokens, context));
    case 'paragraph': return h('p', {}, spans(token.tokens, context));
    case 'blockquote': return h('blockquote', {}, blocks(token.tokens, context));
    case 'list': return list(token, context);
    case 'code': return h('pre', { tabindex: '0' }, h('code', {}, token.text));
    case 'hr': return h('hr');
    case 'table': return table(token, context);
    case 'html': return h('p', {}, cited(token.raw.trim(), context));
    case 'text': return token.tokens ? h('span', {}, spans(token.tokens, context)) : cited(token.text, context);
    default: return h('p', {}, cited(token.raw ?? '', context));
  }
}

function list(token, context) {
  const items = token.items.map((item) => h('li', {},
    item.task ? h('input', { type: 'checkbox', disabled: true, checked: item.checked, 'aria-label': item.checked ? 'done' : 'not done' }) : null,
    blocks(item.tokens.filter((one) => one.type !== 'checkbox'), context)));
  return token.ordered ? h('ol', { start: token.start || null }, items) : h('ul', {}, items);
}

function table(token, context) {
  const columns = token.header.map((head, at) => {
    const numbers = token.rows.length > 0 && token.rows.every((row) => /^[\s~$€£+-]*[\d.,]+\s*%?$/.test(row[at].text));
    return {
      name: plain(head.tokens) || `Column ${at + 1}`,
      num: numbers,
      value: (row) => (numbers ? Number(row[at].text.replace(/[^\d.-]/g, '')) : row[at].text),
      show: (row) => h('span', {}, spans(row[at].tokens, context)),
    };
  });
  return sortable('Table of the report', columns, token.rows);
}

function spans(tokens, context) {
  if (context.depth > DEEPEST) return [];
  const inner = { ...context, depth: context.depth + 1 };
  return (tokens ?? []).map((token) => span(token, inner));
}

function span(token, context) {
  switch (token.type) {
    case 'strong': return h('strong', {}, spans(token.tokens, context));
    case 'em': return h('em', {}, spans(token.tokens, context));
    case 'del': return h('del', {}, spans(token.tokens, context));
    case 'codespan': return h('code', {}, token.text);
    case 'br': return h('br');
    case 'link': return link(token, context);
    case 'image': return h('span', { class: 'soft' }, `[picture: ${token.text || token.href}]`);
    case 'text': return token.tokens ? spans(token.tokens, context) : cited(plainText(token), context);
    case 'escape': return token.text;
    case 'html': return cited(token.raw, context);
    default: return cited(token.raw ?? '', context);
  }
}

function link(token, context) {
  let address = null;
  try {
    address = new URL(token.href);
  } catch {
    // No address: only the words are left.
  }
  if (!address || !['http:', 'https:', 'mailto:'].includes(address.protocol)) return h('span', {}, spans(token.tokens, context));
  return h('a', { href: address.href, rel: 'noopener noreferrer nofollow', target: '_blank', title: address.href }, spans(token.tokens, context));
}

function plainText(token) {
  return token.raw ?? token.text;
}

function plain(tokens) {
  return (tokens ?? []).map((token) => (token.tokens ? plain(token.tokens) : token.text ?? '')).join('');
}

/** A text, with its citations as buttons. */
function cited(text, { cite }) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(CITATION)) {
    parts.push(text.slice(end, match.index));
    const id = match[1].trim();
    parts.push(h('button', { type: 'button', class: 'cite', title: `Open ${id}`, onclick: () => cite(id) }, id));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}
