// What was pasted or dropped: which kind it looks like, its items for a preview and an estimate, and the body of a submit. The service reads
// files by itself, so what is read here decides nothing but what is shown. Pure, but for reading files.

export const KINDS = {
  csv: 'Table (CSV with a header)',
  jsonl: 'JSON, one object a line',
  json: 'JSON list',
  lines: 'One item a line',
  text: 'One long text',
  urls: 'Addresses, one a line',
  documents: 'Several documents',
};
/** Files that the service takes as they are. */
const TYPES = { csv: 'text/csv', jsonl: 'application/x-ndjson', text: 'text/plain' };
/** Above this an estimate would send too much: the plan is looked at after the upload. */
export const ESTIMATE_BYTES = 12_000_000;

const MARKS = [[[0xff, 0xfe], 'utf-16le'], [[0xfe, 0xff], 'utf-16be'], [[0xef, 0xbb, 0xbf], 'utf-8']];
/** How files begin that are no text. The service knows more of them, and names each. */
const BINARY = [['PK\u0003\u0004', 'a workbook (.xlsx) or an archive'], ['%PDF', 'a PDF'], ['\u00d0\u00cf\u0011\u00e0', 'an old Office document'], ['\u001f\u008b', 'a gzip archive']];

/** A file's text, whatever its encoding; throws where it is no text, before anything of it is sent. */
export async function textOf(name, blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const head = bytes.subarray(0, 4096);
  const begin = String.fromCharCode(...head.subarray(0, 4));
  const binary = BINARY.find(([mark]) => begin.startsWith(mark));
  if (binary) throw new Error(`${name} is ${binary[1]}; save it as CSV or plain text.`);
  const marked = MARKS.find(([mark]) => mark.every((byte, at) => head[at] === byte));
  const zeros = [0, 0];
  head.forEach((byte, at) => { zeros[at % 2] += byte === 0 ? 1 : 0; });
  const [even, odd] = zeros;
  if (!marked && even + odd && even < odd * 4 && odd < even * 4) throw new Error(`${name} is a binary file; save it as CSV or plain text.`);
  const encoding = marked ? marked[1] : odd > even ? 'utf-16le' : even > odd ? 'utf-16be' : 'utf-8';
  return new TextDecoder(encoding).decode(bytes);
}

/** Ids of documents by the names of their files: each satisfies the service's rule for ids and differs from the others. */
export function fileIds(names) {
  const known = new Set();
  const ending = (name, suffix) => {
    const letters = [...name];
    const room = 128 - suffix.length;
    return (letters.length > room ? `…${letters.slice(letters.length + 1 - room).join('')}` : name) + suffix;
  };
  return names.map((name) => {
    const plain = name.replace(/\p{Cc}/gu, '_').replace(/#(\d+)$/, '_$1');
    let id = ending(plain, '');
    for (let count = 2; known.has(id); count += 1) id = ending(plain, `-${count}`);
    known.add(id);
    return id;
  });
}

/** The kind that a text looks like, with the name of its file as a hint. */
export function guess(text, name = '') {
  const extension = name.toLowerCase().split('.').pop();
  if (extension === 'csv') return 'csv';
  if (['jsonl', 'ndjson'].includes(extension)) return 'jsonl';
  const head = text.slice(0, 20_000).trim();
  if (head.startsWith('[')) return 'json';
  const lines = head.split(/\r?\n/).filter((line) => line.trim());
  if (lines.length && lines.slice(0, 3).every((line) => line.startsWith('{'))) return 'jsonl';
  if (['md', 'txt', 'html', 'log'].includes(extension)) return 'text';
  if (lines.length && lines.every((line) => /^https?:\/\/\S+$/.test(line.trim()))) return 'urls';
  if (/^"?sep=.\r?\n/.test(head) || ['tsv', 'tab'].includes(extension)) return 'csv';
  const rows = table(head).slice(0, 5);
  const header = rows[0] ?? [];
  if (rows.length > 1 && header.length > 1 && header.every((cell) => /^[\w .-]{1,40}$/.test(cell)) && rows.slice(1, 4).every((row) => row.length === header.length)) return 'csv';
  return lines.length > 1 ? 'lines' : 'text';
}

/** What stands between the columns: what gives the first two lines the same number of fields, and most of them. */
function delimiter(text) {
  const named = /^"?sep=(.)"?(?:\r?\n|\r)/.exec(text);
  if (named) return { between: named[1], from: named[0].length };
  const head = text.slice(0, 20_000);
  const score = (between) => {
    const [header = [], first] = cells(head, between, 2);
    const agrees = header.length > 1 && (!first || first.length === header.length);
    return (agrees ? 100_000 : 0) + header.length;
  };
  const best = [',', ';', '\t'].reduce((best, one) => (score(one) > score(best) ? one : best));
  return { between: best, from: 0 };
}

/** Rows and cells of a table, for a preview: the service reads the file itself, by the same rules. Blank rows are left out. */
export function table(text) {
  const plain = text.replace(/^\ufeff/, '');
  const { between, from } = delimiter(plain);
  return cells(plain.slice(from), between).filter((row) => !isBlank(row));
}

const isBlank = (row) => row.every((cell) => !cell.trim());

/** How many rows of a table have blank cells alone. */
export function blankRows(text) {
  const plain = text.replace(/^\ufeff/, '');
  const { between, from } = delimiter(plain);
  return cells(plain.slice(from), between).filter(isBlank).length;
}

function cells(text, between, most = Infinity) {
  const rows = [];
  let row = [];
  let cell = '';
  let quoted = false;
  for (let at = 0; at < text.length && rows.length < most; at += 1) {
    const letter = text[at];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[at + 1] === '"') {
        cell += '"';
        at += 1;
      } else quoted = false;
    } else if (letter === '"' && cell === '') quoted = true;
    else if (letter === between) {
      row.push(cell);
      cell = '';
    } else if (letter === '\n' || letter === '\r') {
      if (letter === '\r' && text[at + 1] === '\n') at += 1;
      row.push(cell);
      cell = '';
      if (row.length > 1 || row[0] !== '') rows.push(row);
      row = [];
    } else cell += letter;
  }
  row.push(cell);
  if (rows.length < most && (row.length > 1 || row[0] !== '')) rows.push(row);
  return rows;
}

/** The `input` of a submit; throws where the text is not of that kind. */
export function read(text, kind, documents = []) {
  const lines = () => text.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
  switch (kind) {
    case 'csv': {
      const [header = [], ...rows] = table(text);
      const names = header.map((name) => name.trim());
      const twice = names.find((name, at) => name && names.indexOf(name) !== at);
      if (twice) throw new Error(`The header names "${twice}" twice.`);
      const fields = (row) => names.map((name, at) => [name, row[at] ?? '']).filter(([name]) => name);
      return { items: rows.map((row) => Object.fromEntries(fields(row))) };
    }
    case 'jsonl': return { items: lines().map((line, at) => parse(line, `line ${at + 1}`)) };
    case 'json': {
      const value = parse(text, 'the text');
      if (!Array.isArray(value)) throw new Error('A JSON list is wanted: [ … ].');
      return { items: value };
    }
    case 'urls': return { urls: lines() };
    case 'text': return { text };
    case 'documents': return { documents };
    default: return { items: lines() };
  }
}

function parse(text, where) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${where} is not JSON: ${error.message}`);
  }
}

/** The items as a list, whatever the kind. */
export function itemsOf(input) {
  if (input.text !== undefined) return [{ id: 'text', text: input.text }];
  return input.items ?? input.urls ?? input.documents ?? [];
}

/** The body of a submit: in parts where the service reads the input by itself, pasted or dropped, else one JSON. */
export function submitBody(spec, { text, kind, file, documents }) {
  const type = TYPES[kind];
  if (kind === 'json') {
    // As it was written: numbers keep their digits.
    read(text, kind);
    const head = JSON.stringify({ ...spec, input: null }).slice(0, -'null}'.length);
    return { body: new Blob([head, '{"items":', text, '}}'], { type: 'application/json' }) };
  }
  if (!type) return { json: { ...spec, input: read(text, kind, documents) } };
  const parts = new FormData();
  parts.append('spec', new Blob([JSON.stringify(spec)], { type: 'application/json' }));
  parts.append('input', new Blob([file ?? text], { type }), 'input');
  return { body: parts };
}
