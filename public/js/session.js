// The token: kept for this tab alone, in session storage, and forgotten when the tab closes or the API refuses it.

const KEY = 'fanwise.token';

export function token() {
  return sessionStorage.getItem(KEY);
}

export function signIn(text) {
  sessionStorage.setItem(KEY, text);
}

export function signOut() {
  sessionStorage.removeItem(KEY);
}
