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
  const rows = table(head).slice(0, 5);
  const header = rows[0] ?? [];
  if (rows.length > 1 && header.length > 1 && header.every((cell) => /^[\w .-]{1,40}$/.test(cell)) && rows.slice(1, 4).every((row) => row.length === header.length)) return 'csv';
  return lines.length > 1 ? 'lines' : 'text';
}

/** Rows and cells of a CSV (RFC 4180). */
export function table(text) {
  const rows = [];
  let row = [];
  let cell = '';
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[at + 1] === '"') {
        cell += '"';
        at += 1;
      } else quoted = false;
    } else if (letter === '"' && cell === '') quoted = true;
    else if (letter === ',') {
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
  if (row.length > 1 || row[0] !== '') rows.push(row);
  return rows;
}

/** The `input` of a submit; throws where the text is not of that kind. */
export function read(text, kind, documents = []) {
  const lines = () => text.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
  switch (kind) {
    case 'csv': {
      const [header, ...rows] = table(text.replace(/^\ufeff/, ''));
      return { items: rows.map((row) => Object.fromEntries((header ?? []).map((name, at) => [name, row[at] ?? '']))) };
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

/** The body of a submit: in parts where the input is a file that the service reads by itself, else one JSON. */
export function submitBody(spec, { text, kind, file, documents }) {
  const type = TYPES[kind];
  if (!type || (!file && text.length < 200_000)) return { json: { ...spec, input: read(text, kind, documents) } };
  const parts = new FormData();
  parts.append('spec', new Blob([JSON.stringify(spec)], { type: 'application/json' }));
  parts.append('input', new Blob([file ?? text], { type }), 'input');
  return { body: parts };
}
