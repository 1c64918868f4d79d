// A small Fanwise in memory, as a `fetch`: it keeps the service's rules about items, and answers by a function.

export const TOKEN = "a-token-of-tests";

const zero = Object.fromEntries(
  ["total", "pending", "queued", "running", "succeeded", "failed", "skipped", "cancelled"].map((name) => [name, 0]),
);
const usage = { calls: 0, input_tokens: 0, output_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
const OVER = ["succeeded", "partial", "failed", "cancelled"];

const json = (status, body, headers = {}) => new Response(JSON.stringify(body), { status, headers });

export const problem = (status, code, detail, errors = [], headers = {}) =>
  json(status, { type: "about:blank", title: "", status, detail, code, request_id: "req_1", errors }, headers);

export class Fake {
  answer = (item) => ({ tag: String(item.text).includes("crash") ? "bug" : "other", urgent: false });
  flags = {};
  /** How the next requests fail, the first of them first. */
  faults = [];
  /** The states that a job goes through, one for each look; the last one stays. */
  states = ["running", "succeeded"];
  halt = null;
  requests = [];
  bodies = [];
  keys = new Map();
  jobs = new Map();
  schedules = new Map();
  /** The ids of every item that was asked and paid. */
  asked = [];

  fetch = async (url, init) => {
    const { pathname, origin } = new URL(url);
    this.requests.push({ url, ...init });
    const fault = this.faults.shift();
    if (fault) return fault({ url, ...init });
    if (init.headers.authorization !== `Bearer ${TOKEN}`) return problem(401, "unauthorized", "The token is not known.");
    if (origin !== "https://fanwise.test") throw new TypeError("another host");
    const [, , kind, id, name] = pathname.split("/");
    const job = this.jobs.get(id);
    if (kind === "schedules") return this.schedule(init, id, name);
    if (kind === "estimates") return this.estimate(JSON.parse(init.body));
    if (kind !== "jobs") return problem(404, "not_found", "There is no such address.");
    if (init.method === "POST" && id === undefined) return this.submit(init);
    if (id === undefined) return json(200, { data: [...this.jobs.values()].map((known) => this.view(known)), next_cursor: null });
    if (!job) return problem(404, "not_found", "There is no such job.");
    if (init.method === "DELETE") {
      this.jobs.delete(id);
      return new Response(null, { status: 204 });
    }
    if (init.method === "PATCH") {
      this.bodies.push(JSON.parse(init.body));
      return json(200, this.view(job));
    }
    if (init.method === "POST") {
      job.states = { cancel: ["cancelled"], retry: ["running", "succeeded"] }[name] ?? ["succeeded"];
      return json(200, this.view(job));
    }
    if (name === "results") {
      if (new URL(url).searchParams.get("include") !== "input") throw new Error("results without their items");
      return json(200, { data: [...job.items].map(([key, item]) => this.line(job, key, item)), next_cursor: null });
    }
    if (name === "report") return this.report(job);
    if (job.states.length > 1) job.states.shift();
    return json(200, this.view(job));
  };

  async submit(init) {
    const form = typeof init.body === "string" ? null : init.body;
    const body = form ? JSON.parse(await form.get("spec").text()) : JSON.parse(init.body);
    if (form) body.input = { items: (await form.get("input").text()).split("\n").map((line) => JSON.parse(line)) };
    const key = init.headers["idempotency-key"];
    const known = this.keys.get(key);
    if (known) {
      if (known.text !== JSON.stringify(body)) return problem(409, "idempotency_key_reused", "Another body.");
      return json(200, this.view(this.jobs.get(known.id)));
    }
    this.bodies.push(body);
    const { items } = body.input;
    const faults = items.flatMap((item, place) => faultsOf(item, place));
    if (new Set(items.map((item) => item.id)).size < items.length) faults.push({ path: "input.items", message: "ids must differ" });
    if (faults.length > 0) return problem(422, "invalid_request", "The request has faults.", faults);
    const base = this.jobs.get(body.extends);
    const results = new Map();
    for (const item of items) {
      const same = base && JSON.stringify(base.items.get(item.id)) === JSON.stringify(item) && base.results.has(item.id);
      if (!same) this.asked.push(item.id);
      const output = same ? base.results.get(item.id) : this.answer(item);
      if (output !== null) results.set(item.id, output);
    }
    const id = `job_${this.jobs.size.toString(16).padStart(32, "0")}`;
    this.jobs.set(id, { id, body, items: new Map(items.map((item) => [item.id, item])), results, states: [...this.states] });
    this.keys.set(key, { text: JSON.stringify(body), id });
    return json(202, this.view(this.jobs.get(id)));
  }

  view(job) {
    const state = job.states[0];
    const [total, covered] = [job.items.size, job.results.size];
    const at = "2026-11-22T12:00:00.000Z";
    return {
      id: job.id, state, run: 1, mode: "static", task: job.body.task, created_at: at, updated_at: at, usage, metadata: {},
      progress: { tasks: zero, items: { total, covered, missing: total - covered } },
      cost: { spent_usd: 0.25, reserved_usd: 0, possibly_paid_usd: 0, saved_usd: 0, limit_usd: job.body.limits?.max_cost_usd ?? null },
      halt: state === "paused" || state === "awaiting_approval" ? this.halt : null,
      error: state === "failed" ? { code: "no_results", message: "No worker brought a result." } : null,
    };
  }

  line(job, id, { id: _, ...input }) {
    const flags = id in this.flags && OVER.includes(job.states[0]) ? [this.flags[id]] : [];
    if (!job.results.has(id)) {
      return { id, input, output: null, status: "missing", reason: OVER.includes(job.states[0]) ? "refused" : "pending", flags };
    }
    return { id, input, output: job.results.get(id), status: flags.length ? "flagged" : "ok", reason: flags.join(", ") || null, flags };
  }

  report(job) {
    if (!OVER.includes(job.states[0])) return problem(409, "conflict", "The job is not over.");
    const missing = [...job.items.keys()].filter((key) => !job.results.has(key)).map((id) => ({ id, reason: "refused" }));
    const flagged = Object.entries(this.flags).map(([id, flag]) => ({ id, flag }));
    const coverage = { total: job.items.size, covered: job.results.size, missing, flagged };
    return json(200, { synthesis: "All is well.", merged: { count_by: {}, stages: {}, results: job.results.size }, coverage });
  }

  estimate(body) {
    const span = { low: 1, high: 2 };
    const cost = { cost_usd: { low: 0.01, high: 0.4 }, likely_usd: 0.07, limits_known: false, stages: [] };
    const expected = { calls: span, input_tokens: span, output_tokens: span, seconds: span, ...cost };
    return json(200, { mode: "static", items: body.input.items.length, stages: [], expected, alternatives: [] });
  }

  schedule(init, id, name) {
    const at = "2026-11-22T12:00:00Z";
    if (init.method === "POST" && id === undefined) {
      const made = { id: `sched_${this.schedules.size}`, next_runs: [], last_runs: [], ...JSON.parse(init.body) };
      this.schedules.set(made.id, made);
      return json(201, made);
    }
    if (id === undefined) return json(200, { data: [...this.schedules.values()], next_cursor: null });
    if (name === "run") return json(202, { due_at: at, cause: "caller", state: "waiting" });
    if (init.method === "PATCH") Object.assign(this.schedules.get(id), JSON.parse(init.body));
    if (init.method === "DELETE") {
      this.schedules.delete(id);
      return new Response(null, { status: 204 });
    }
    return json(200, this.schedules.get(id));
  }
}

function faultsOf({ id, ...fields }, place) {
  const faults = [];
  if (typeof id !== "string" || id === "" || [...id].length > 128 || /\p{Cc}/u.test(id)) {
    faults.push({ path: `input.items[${place}].id`, message: "is no id" });
  }
  if (Object.values(fields).every((value) => value === null || (typeof value === "string" && value.trim() === ""))) {
    faults.push({ path: `input.items[${place}]`, message: "is empty" });
  }
  return faults;
}
