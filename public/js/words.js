// What states, reasons and error classes mean, in words; and what may be done to a job in each state.

export const TASK_STATES = ['succeeded', 'running', 'queued', 'pending', 'failed', 'skipped', 'cancelled'];
/** The letters of `GET …/states`. */
export const LETTERS = { p: 'pending', q: 'queued', r: 'running', s: 'succeeded', f: 'failed', k: 'skipped', c: 'cancelled' };

export const JOB_STATES = {
  queued: ['Queued', 'go'],
  planning: ['Planning', 'go'],
  awaiting_approval: ['Waits for approval', 'warn'],
  running: ['Running', 'go'],
  synthesizing: ['Writing the report', 'go'],
  paused: ['Paused', 'warn'],
  succeeded: ['Succeeded', 'ok'],
  partial: ['Partial', 'warn'],
  failed: ['Failed', 'bad'],
  cancelled: ['Cancelled', ''],
};

export const isOver = (state) => ['succeeded', 'partial', 'failed', 'cancelled'].includes(state);
export const isAtWork = (state) => ['queued', 'planning', 'running', 'synthesizing'].includes(state);

export const TASK_TONE = { succeeded: 'ok', running: 'go', failed: 'bad', skipped: 'warn' };

const REASONS = {
  budget: 'The rest did not fit the cap',
  deadline: 'The deadline passed',
  cancelled: 'The job was cancelled',
  crashed: 'The workers on it died again and again',
  pending: 'Not done yet',
  not_started: 'The job ended before it began',
  dead_link: 'The server has no such page, or does not give it',
  url_refused: 'An address that must not be asked',
  too_many_redirects: 'The page redirects too often',
  page_too_large: 'The page is too large',
  wrong_type: 'Not a page of text: a PDF, a picture or the like',
  empty_page: 'A page without text, mostly one that only a browser can show',
  unreadable_page: 'The page cannot be read as text',
  site_unavailable: 'The server could not answer',
  fetch_timed_out: 'The server took too long',
  unreachable: 'The server cannot be reached',
  rate_limited: 'The rate limiter refused the call',
  ramp_limited: 'Calls grew faster than the account may',
  overloaded: 'Claude was overloaded',
  request_timeout: 'Claude took too long to take the call',
  conflict: 'A conflict at Claude',
  server_error: 'A fault at Claude',
  unavailable: 'Claude was unavailable',
  gateway_timeout: 'A gateway on the way took too long',
  request_blocked: 'The call was blocked on the way',
  connection_lost: 'The connection broke',
  timed_out: 'No answer in time',
  stream_invalid: 'The answer’s stream was broken',
  invalid_response: 'The answer was not one of Claude’s',
  stream_cut: 'The answer ended too soon',
  invalid_output: 'The answer did not have the form it was asked for',
  invalid_json: 'The answer was not JSON',
  truncated: 'The answer was cut off at its largest size',
  refused: 'The model refused',
  schema_refused: 'Claude could not take the schema',
  part_refused: 'The endpoint does not take a part of the call',
  invalid_request: 'Claude found a fault in the call',
  prompt_too_long: 'The prompt was too long',
  request_too_large: 'The call was too large',
  model_not_found: 'No such model',
  authentication_failed: 'The API key was refused',
  billing_failed: 'The account cannot pay',
  permission_denied: 'The account may not do this',
  spend_limit_reached: 'The account’s spending limit is reached',
  unknown_end: 'The end of the call was not seen; it is possibly paid',
  not_sent: 'It was never sent',
};

export function reason(code) {
  return REASONS[code] ?? code.replaceAll('_', ' ');
}

const FLAGS = {
  empty: 'The result says nothing',
  short: 'Far shorter than the others',
  same_text: 'The same text is in another item’s result',
  invented_id: 'A worker gave a result for an id that is no item',
  failed_verification: 'A second call found it wrong',
  not_followed_up: 'It was to be looked at once more, and was not: it is as it was before',
  unsure: 'A field of it says “unsure”',
  unknown_citation: 'The report names an id that no item has',
};

export function flag(code) {
  return FLAGS[code] ?? code.replaceAll('_', ' ');
}

export const HALTS = {
  user: 'Paused by hand',
  budget: 'The cap is reached',
  quota: 'The account’s quota is used up',
  approval: 'The plan waits for your approval',
};

export const OVERLAPS = { skip: 'is left out', queue: 'waits for it', parallel: 'starts beside it' };

/** A model's id without what all of them have. */
export function model(id) {
  return id ? id.replace(/^claude-/, '') : 'default model';
}

/** Who works on a stage: one model, or several, the cheapest first. */
export function models(stage) {
  return stage.models?.length ? stage.models.map(model).join(', then ') : model(stage.model);
}

export function label(state) {
  return state.replaceAll('_', ' ');
}
