// Addresses within the page: `#/jobs/ID/report?task=7`. Reading and changing them. A page's module
// gives `{element, title, update?, leave?}`; `update` takes a new address of the same page without drawing it anew.

/** Path segments and parameters of the address now. */
export function here() {
  const text = location.hash.replace(/^#\/?/, '');
  const at = text.indexOf('?');
  const path = at < 0 ? text : text.slice(0, at);
  const parts = path.split('/').filter(Boolean).map(decode);
  return { parts, params: new URLSearchParams(at < 0 ? '' : text.slice(at + 1)) };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    // A broken address leads nowhere, but breaks nothing.
    return text;
  }
}

/** An address: `to('jobs', id, 'live')`, parameters as a last object. */
export function to(...parts) {
  const params = typeof parts.at(-1) === 'object' ? parts.pop() : {};
  const set = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
  const query = set.length ? `?${new URLSearchParams(set)}` : '';
  return `#/${parts.map(encodeURIComponent).join('/')}${query}`;
}

export function go(address) {
  if (location.hash === address) window.dispatchEvent(new HashChangeEvent('hashchange'));
  else location.hash = address;
}

/** The same address without leaving a step in the history. */
export function replace(address) {
  history.replaceState(null, '', address);
  window.dispatchEvent(new HashChangeEvent('hashchange'));
}
