// The search of the documents: headings that hold every word typed, best first.

const MOST = 12;
const field = document.getElementById('search');
const list = document.getElementById('results');
const found = document.getElementById('found');
const contents = document.getElementById('contents');
let headings;

// On a phone the list of pages begins closed.
if (matchMedia('(max-width: 760px)').matches) contents.open = false;

async function load() {
  headings ??= fetch('/docs/search.json').then((answer) => answer.json());
  return headings;
}

/** Lower is better: the heading begins with the words, holds them, or only its page does. */
function rank(entry, words) {
  const heading = entry.heading.toLowerCase();
  const page = entry.page.toLowerCase();
  if (!words.every((word) => heading.includes(word) || page.includes(word))) return null;
  if (heading.startsWith(words[0])) return 0;
  return words.every((word) => heading.includes(word)) ? 1 : 2;
}

function show(entries) {
  list.replaceChildren(...entries.map((entry) => {
    const item = document.createElement('li');
    const link = document.createElement('a');
    const page = document.createElement('span');
    link.href = entry.url;
    link.textContent = entry.heading;
    page.textContent = entry.page;
    link.append(page);
    item.append(link);
    return item;
  }));
  list.hidden = entries.length === 0;
}

async function search() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) {
    found.textContent = '';
    return show([]);
  }
  const ranked = (await load())
    .map((entry) => [rank(entry, words), entry])
    .filter(([place]) => place !== null)
    .sort(([a], [b]) => a - b);
  found.textContent = `${ranked.length} headings found`;
  return show(ranked.slice(0, MOST).map(([, entry]) => entry));
}

field.addEventListener('input', search);
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && document.activeElement !== field) {
    event.preventDefault();
    field.focus();
  } else if (event.key === 'Escape') {
    field.value = '';
    show([]);
  } else if (event.key === 'Enter' && document.activeElement === field) {
    list.querySelector('a')?.click();
  }
});
