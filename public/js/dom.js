// Making elements. Texts become text nodes and nothing else: no function here, or anywhere in this page, takes HTML. Styles are set
// as properties, because the Content-Security-Policy knows no style attributes.

const SVG = 'http://www.w3.org/2000/svg';

/** An element: `h('p', {class: 'soft'}, 'text', child)`. Properties that begin with `on` are listeners. */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same in an SVG. */
export function s(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'style') for (const [key, to] of Object.entries(value)) element.style.setProperty(key, to);
    else if (name === 'value' && 'value' in element) element.value = value;
    else if (name === 'checked') element.checked = Boolean(value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, children);
  return element;
}

/** Adds children: elements, texts, numbers, lists of them; what is null, undefined or false is left out. */
export function append(element, children) {
  for (const child of children) {
    if (child === undefined || child === null || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Puts children in the place of all that was there. */
export function put(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** Sets a text only where it differs, so that nothing is laid out for nothing. */
export function say(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

let count = 0;
/** An id that nothing else on the page has. */
export function fresh(prefix) {
  count += 1;
  return `${prefix}-${count}`;
}

const PATHS = {
  sun: 'M12 4V2M12 22v-2M4 12H2M22 12h-2M5.6 5.6 4.2 4.200M19.800 19.800l-1.400-1.400M5.600 18.400l-1.400 1.400M19.800 4.200l-1.400 1.400M12 7.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9Z',
  moon: 'M20.500 14.200A8.500 8.500 0 1 1 9.800 3.500a7 7 0 0 0 10.700 10.700Z',
  auto: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM12 3v18M12 7.500a4.500 4.500 0 0 1 0 9',
  out: 'M10 4H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h4M15 8l4 4-4 4M19 12H9',
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6 6 18',
  next: 'M9 5l7 7-7 7',
  back: 'M15 5l-7 7 7 7',
  down: 'M12 4v11M7 11l5 5 5-5M5 20h14',
  pause: 'M9 5v14M15 5v14',
  play: 'M8 5.500v13l10-6.500z',
  again: 'M20 12a8 8 0 1 1-2.500-5.800M20 3v4.500h-4.500',
  up: 'M12 16V5M7 9l5-5 5 5M5 20h14',
};

/** A small drawing that means nothing by itself: whatever holds it has a name of its own. */
export function icon(name) {
  return s('svg', { viewBox: '0 0 24 24', fill: 'none', stroke: 'currentColor', 'stroke-width': '1.800', 'stroke-linecap': 'round', 'stroke-linejoin': 'round', 'aria-hidden': 'true' },
    s('path', { d: PATHS[name] }));
}
