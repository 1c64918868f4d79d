// Figures as people read them: money, counts, times, sizes. Pure.

const whole = new Intl.NumberFormat('en');
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export function count(n) {
  return whole.format(Math.round(n));
}

/** 12,400 as 12.4K, where there is little room. */
export function compact(n) {
  return Math.abs(n) < 10_000 ? count(n) : short.format(n);
}

/** Dollars with as many places as they need: $12.30, $0.042, $0.0009. */
export function money(usd) {
  if (usd === null || usd === undefined) return '–';
  if (usd === 0) return '$0';
  if (usd < 0) return `−${money(-usd)}`;
  if (usd >= 1) return `$${usd.toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  const places = Math.min(8, Math.max(2, 1 - Math.floor(Math.log10(usd))));
  return `$${usd.toFixed(places)}`;
}

/** From low to high, or one of them where they look alike. */
export function range(low, high, write = count) {
  const [from, to] = [write(low), write(high)];
  return from === to ? from : `${from} – ${to}`;
}

export function percent(part, total) {
  if (!total) return '0 %';
  const share = (part / total) * 100;
  // Neither "all" nor "nothing" is said before it is true.
  const rounded = share > 99 && share < 100 ? Math.floor(share * 10) / 10 : share < 1 && share > 0 ? Math.ceil(share * 10) / 10 : Math.round(share);
  return `${rounded} %`;
}

/** 95,000 ms as "1 min 35 s". */
export function duration(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  const seconds = Math.round(s);
  if (seconds < 60) return `${seconds} s`;
  const m = Math.floor(seconds / 60);
  if (m < 60) return `${m} min${m < 10 && seconds % 60 ? ` ${seconds % 60} s` : ''}`;
  const hours = Math.floor(m / 60);
  return hours < 48 ? `${hours} h ${m % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** How long ago, in a word or two. */
export function age(at, now = Date.now()) {
  const s = Math.max(0, now - Date.parse(at)) / 1000;
  if (s < 45) return 'just now';
  if (s < 3600) return `${Math.max(1, Math.round(s / 60))} min`;
  if (s < 86_400) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

const day = new Intl.DateTimeFormat('en', { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const clock = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

export function moment(at) {
  return at ? day.format(new Date(at)) : '–';
}

export function time(at) {
  return at ? clock.format(new Date(at)) : '–';
}

export function bytes(n) {
  if (n < 1000) return `${n} bytes`;
  if (n < 1e6) return `${Math.round(n / 1000)} kB`;
  return `${(n / 1e6).toFixed(1)} MB`;
}

/** Enough of an id to tell it from others. */
export function shortId(id) {
  return id.length > 14 ? `${id.slice(0, 4)}…${id.slice(-6)}` : id;
}

/** The first line of a text, for a title. */
export function firstLine(text) {
  return text.split('\n', 1)[0].trim();
}

export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}
