// The API, called with the token. What it refuses becomes a `Problem` with the words of its problem document; an answer of 401
// ends the session. Nothing here knows what is shown.

import { signOut, token } from './session.js';

/** What the API said no with. `errors` names each place and what is wrong there. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? `The service answered ${status}.`);
    this.status = status;
    this.code = document.code ?? 'unknown';
    this.errors = document.errors ?? [];
    this.requestId = document.request_id ?? null;
  }
}

/** Called when a token is refused. */
let refused = () => {};
export function onRefused(listener) {
  refused = listener;
}

/** One request; the response, once it is known to be good. */
export async function send(path, { method = 'GET', json, body, headers = {}, signal, as } = {}) {
  const all = { ...headers };
  const bearer = as ?? token();
  if (bearer) all.authorization = `Bearer ${bearer}`;
  if (json !== undefined) {
    all['content-type'] = 'application/json';
    body = JSON.stringify(json);
  }
  let response;
  try {
    response = await fetch(path, { method, headers: all, body, signal, cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, { code: 'unreachable', detail: 'The service cannot be reached. Is there a network, and does it run?' });
  }
  if (response.ok) return response;
  const text = await response.text();
  let document = {};
  try {
    document = JSON.parse(text);
  } catch {
    // Not ours: a proxy answered. The status says enough.
  }
  const problem = new Problem(response.status, document ?? {});
  if (response.status === 401 && as === undefined) {
    signOut();
    refused(problem);
  }
  throw problem;
}

/** An answer as JSON; null where there is none. */
export async function get(path, options) {
  const response = await send(path, options);
  return response.status === 204 ? null : response.json();
}

export function post(path, json, options) {
  return get(path, { method: 'POST', json, ...options });
}

export function patch(path, json) {
  return get(path, { method: 'PATCH', json });
}

export function put(path, json) {
  return get(path, { method: 'PUT', json });
}

export function remove(path) {
  return get(path, { method: 'DELETE' });
}

/** A query string of what is set. */
export function query(parameters) {
  const set = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const text = new URLSearchParams(set).toString();
  return text ? `?${text}` : '';
}

/** Saves an answer as a file: a link cannot send a token. */
export async function download(path, name, headers) {
  const response = await send(path, { headers });
  const address = URL.createObjectURL(await response.blob());
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** The lines of a streamed answer, at most so many; whether there were more. */
export async function lines(path, most, signal) {
  const stop = new AbortController();
  signal?.addEventListener('abort', () => stop.abort());
  const response = await send(path, { signal: stop.signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const found = [];
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? '';
    const parts = rest.split('\n');
    rest = done ? '' : parts.pop();
    for (const part of parts) if (part.trim()) found.push(JSON.parse(part));
    if (found.length > most) {
      stop.abort();
      return { found: found.slice(0, most), more: true };
    }
    if (done) return { found, more: false };
  }
}
