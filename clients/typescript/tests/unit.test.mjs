// The client against a small Fanwise in memory.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mock, test } from "node:test";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { saysNothing, toId, toJson } from "../dist/cells.js";
import { submit } from "../dist/http.js";
import { ApiError, Fanwise, InvalidInput, JobFailed, JobHalted, Unreachable, WaitTimeout } from "../dist/index.js";
import { Into } from "../dist/into.js";
import { Fake, TOKEN, problem } from "./fake.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const Tag = z.object({ tag: z.enum(["bug", "other"]), urgent: z.boolean() });

/** A client of a new fake whose waits end at once, and are counted. */
function start(t) {
  const fake = new Fake();
  fake.waits = [];
  mock.method(globalThis, "setTimeout", (done, ms) => {
    fake.waits.push(ms);
    queueMicrotask(done);
  });
  t.after(() => mock.restoreAll());
  return { fake, fw: new Fanwise({ url: "https://fanwise.test/", token: TOKEN, fetch: fake.fetch }) };
}

const lost = () => {
  throw new TypeError("fetch failed", { cause: new Error("ECONNREFUSED") });
};
const away = () => problem(503, "unavailable", "Try again.");

const TICKETS = [
  { ticketId: 7, message: "It crashes.", plan: "pro" },
  { ticketId: 8, message: "   ", plan: "free" },
  { ticketId: null, message: "Thank you.", plan: Number.NaN },
];

test("worst cells have one form each", () => {
  const cells = [
    ["=SUM(A1)", "=SUM(A1)"],
    ['a,"b"\n\tc\u0000', 'a,"b"\n\tc\u0000'],
    ["half \ud800", "half \ufffd"],
    ["👩‍👩‍👧", "👩‍👩‍👧"],
    [Number.NaN, undefined],
    [Infinity, "Infinity"],
    [-Infinity, "-Infinity"],
    [undefined, undefined],
    [null, undefined],
    [2n ** 53n, "9007199254740992"],
    [7n, 7],
    [new Date(0), "1970-01-01T00:00:00.000Z"],
    [new Date(Number.NaN), undefined],
    [new Map([["a", [1, Number.NaN]]]), { a: [1, null] }],
    [new Set([1, undefined]), [1, null]],
    [new TextEncoder().encode("text"), "text"],
    [new Uint8Array([255, 0]), "/wA="],
    [new Float64Array([1, Number.NaN]), [1, null]],
    [{ toJSON: () => "12.30" }, "12.30"],
    [{ nested: { day: new Date(0), none: undefined } }, { nested: { day: "1970-01-01T00:00:00.000Z", none: null } }],
    [() => 1, undefined],
  ];
  for (const [given, expected] of cells) assert.deepEqual(toJson(given), expected);
  for (const blank of [undefined, null, "", " \t\n\u0085\u3000"]) assert.ok(saysNothing(blank));
  for (const said of [0, false, [], {}, "x"]) assert.ok(!saysNothing(said));
});

test("ids are texts, and what can be none is none", () => {
  const ids = [["T-1", "T-1"], [7, "7"], [7n, "7"], [true, "true"], [Number.NaN, undefined], ["", undefined], ["a\tb", undefined]];
  for (const [given, id] of [...ids, ["😀".repeat(128), "😀".repeat(128)], ["x".repeat(129), undefined], [[1], undefined]]) {
    assert.equal(toId(given), id);
  }
});

test("only the named fields are sent, and every row has a fate", async (t) => {
  const { fake, fw } = start(t);
  const options = { id: "ticketId", text: "message", ask: "Tag it.", into: Tag, maxUsd: 5, report: "Sum up.", countBy: ["tag"] };
  const job = await fw.map(TICKETS, options).wait();
  const [body] = fake.bodies;
  assert.deepEqual(body.input.items, [{ id: "7", text: "It crashes." }, { id: "item-3", text: "Thank you." }]);
  assert.deepEqual(body.limits, { max_cost_usd: 5 });
  assert.deepEqual(body.stages[0], {
    name: "answer", kind: "map", output: "item", instructions: "Tag it.", merge: { count_by: ["tag"] },
    output_schema: {
      type: "object", required: ["tag", "urgent"],
      properties: { tag: { type: "string", enum: ["bug", "other"] }, urgent: { type: "boolean" } },
    },
  });
  assert.deepEqual(body.stages[1], { name: "report", kind: "synthesis", instructions: "Sum up." });
  assert.deepEqual(await job.table(), [
    { ...TICKETS[0], tag: "bug", urgent: false, _status: "ok", _reason: null },
    { ...TICKETS[1], tag: null, urgent: null, _status: "skipped", _reason: "blank" },
    { ...TICKETS[2], tag: "other", urgent: false, _status: "ok", _reason: null },
  ]);
  assert.equal((await job.report()).synthesis, "All is well.");
});

test("each status is told apart", async (t) => {
  const { fake, fw } = start(t);
  const good = { tag: "bug", urgent: true };
  fake.answer = ({ text }) => ({ ok: good, flagged: good, gone: null, odd: { tag: "new" } })[text];
  fake.flags = { "item-2": "short" };
  fake.states = ["running", "partial"];
  const job = await fw.map(["ok", "flagged", "gone", "odd", null], { ask: "?", into: Tag }).start();
  assert.deepEqual((await job.rows()).map(({ status }) => status), ["ok", "ok", "pending", "invalid", "skipped"]);
  await job.wait();
  const rows = await job.rows();
  assert.deepEqual(rows.map(({ status }) => status), ["ok", "flagged", "missing", "invalid", "skipped"]);
  assert.deepEqual(rows.slice(0, 3).map(({ reason }) => reason), [null, "short", "refused"]);
  assert.match(rows[3].reason, /^tag: Invalid option/);
  assert.deepEqual((await job.table({ flags: true }))[1], {
    text: "flagged", tag: "bug", urgent: true, _flags: ["short"], _status: "flagged", _reason: "short",
  });
});

test("names that are in use get out_ before them", async (t) => {
  const { fw } = start(t);
  const job = await fw.map([{ tag: "mine", text: "x", _status: "old", out_tag: 1 }], { text: "text", ask: "?", into: Tag }).wait();
  assert.deepEqual(Object.keys((await job.table())[0]), ["tag", "text", "_status", "out_tag", "out_out_tag", "urgent", "out__status", "_reason"]);
});

test("what cannot be a job is refused before anything is sent", (t) => {
  const { fake, fw } = start(t);
  const faults = [
    [[], {}, /no rows/],
    [["", null], {}, /Every row is blank/],
    [["x"], { text: "message" }, /No row has a field `message`; there are `text`/],
    [[{ k: 1, t: "a" }, { k: "1", t: "b" }], { id: "k" }, /Rows 0 and 1 \(from 0\) have the same id "1"/],
    ["x", {}, /must be an array/],
    [[3], {}, /Row 0 is number/],
    [["x"], { ask: " " }, /`ask` is empty/],
    [["x"], { into: { "~standard": { version: 1, vendor: "other", validate: () => ({}) } } }, /use zod 4\.2/],
  ];
  for (const [rows, options, says] of faults) {
    assert.throws(() => fw.map(rows, { ask: "?", ...options }), (error) => error instanceof InvalidInput && says.test(error.message));
  }
  assert.equal(fake.requests.length, 0);
});

test("schemas of all kinds", async () => {
  const word = new Into(z.enum(["a", "b"]));
  assert.deepEqual(word.schema, {
    type: "object", properties: { value: { type: "string", enum: ["a", "b"] } }, required: ["value"], additionalProperties: false,
  });
  assert.deepEqual(await word.read({ value: "a" }), { value: "a" });
  assert.deepEqual(word.cells("a"), { value: "a" });
  const day = new Into(z.object({ day: z.iso.date().transform((text) => new Date(text)) }));
  assert.deepEqual(await day.read({ day: "2026-11-30" }), { value: { day: new Date("2026-11-30") } });
  const plain = { type: "object", properties: { x: {} } };
  assert.equal(new Into(plain).schema, plain);
  assert.deepEqual(new Into(plain).fields(), ["x"]);
  assert.deepEqual(new Into(undefined).fields(), ["text"]);
});

test("a trial is taken over, and is off the cap", async (t) => {
  const { fake, fw } = start(t);
  const texts = Array.from({ length: 100 }, (_, n) => `text ${n}`);
  const job = fw.map(texts, { ask: "?", into: Tag, maxUsd: 5, report: "Sum up.", rowsPerCall: 25 });
  const trial = await job.tryRows(5);
  assert.deepEqual((await trial.rows()).map(({ status }) => status), Array(5).fill("ok"));
  assert.deepEqual(fake.bodies[0].stages.map(({ kind }) => kind), ["map"]);
  const smaller = await job.tryRows(3);
  assert.equal(smaller.id, trial.id);
  assert.equal((await smaller.rows()).length, 3);
  const larger = await job.tryRows(20);
  assert.notEqual(larger.id, trial.id);
  assert.equal(fake.asked.length, 20);
  await job.wait();
  assert.deepEqual([...fake.asked].sort(), texts.map((_, n) => `item-${n + 1}`).sort());
  assert.equal(fake.bodies.at(-1).extends, larger.id);
  assert.deepEqual(fake.bodies.map(({ limits }) => limits.max_cost_usd), [5, 4.75, 4.5]);
  const places = (await larger.rows()).map(({ id }) => Number(id.slice(5)));
  assert.deepEqual(places, places.toSorted((a, b) => a - b));
  assert.ok(places[0] < 25 && places.at(-1) > 75);
  await assert.rejects(job.tryRows(1), /a trial comes before it/);
});

test("a trial without answers is not extended, but counts", async (t) => {
  const { fake, fw } = start(t);
  const { answer } = fake;
  const job = fw.map(["a", "b"], { ask: "?", maxUsd: 5 });
  Object.assign(fake, { states: ["failed"], answer: () => null });
  await assert.rejects(job.tryRows(1), JobFailed);
  Object.assign(fake, { states: ["succeeded"], answer });
  await job.wait();
  assert.equal(fake.bodies.at(-1).extends, undefined);
  assert.deepEqual(fake.bodies.at(-1).limits, { max_cost_usd: 4.75 });
});

test("what passes is tried again, and is one job", async (t) => {
  const { fake, fw } = start(t);
  const gateway = () => new Response("<html>", { status: 502 });
  const busy = () => problem(429, "rate_limited", "Too many.", [], { "retry-after": "7" });
  const doneAndLost = async (init) => {
    await fake.submit(init);
    lost();
  };
  fake.faults = [lost, away, gateway, busy, doneAndLost];
  await fw.map(["x"], { ask: "?" }).start();
  assert.equal(fake.jobs.size, 1);
  assert.deepEqual(fake.waits, [500, 1000, 2000, 7000, 8000]);
});

test("what does not pass is told, and what is not the same twice is not asked twice", async (t) => {
  const { fake, fw } = start(t);
  fake.faults = Array(6).fill(lost);
  await assert.rejects(fw.map(["x"], { ask: "?" }).start(), (error) => {
    return error instanceof Unreachable && error.message === "https://fanwise.test does not answer: fetch failed: ECONNREFUSED";
  });
  fake.faults = Array(6).fill(away);
  await assert.rejects(fw.map(["x"], { ask: "?" }).start(), ApiError);
  assert.equal(fake.requests.length, 12);
  fake.faults = [lost];
  await assert.rejects(fw.schedules.create({ cron: "@daily", job: { task: "x" } }), Unreachable);
  assert.equal(fake.requests.length, 13);
  fake.faults = [() => problem(422, "invalid_request", "The request has a fault.", [{ path: "stages[0].model", message: "is not known" }])];
  await assert.rejects(fw.map(["x"], { ask: "?", model: "gpt" }).start(), {
    message: "The request has a fault. (422 invalid_request, request req_1)\n  stages[0].model is not known",
    code: "invalid_request",
  });
});

test("results that break off are read again", async (t) => {
  const { fake, fw } = start(t);
  const job = await fw.map(["x"], { ask: "?" }).wait();
  const broken = () => new Response('{"data":[{"id":"item-1","output":');
  fake.faults = [broken, lost, broken];
  assert.equal((await job.rows())[0].status, "ok");
  fake.faults = Array(5).fill(broken);
  await assert.rejects(job.rows(), /broke off 5 times/);
});

test("waiting ends where the job cannot go on, and only there", async (t) => {
  const { fake, fw } = start(t);
  Object.assign(fake, { states: ["queued", "paused"], halt: { reason: "budget", detail: "The budget is spent." } });
  const job = fw.map(["x"], { ask: "?" });
  await assert.rejects(job.wait(), (error) => error instanceof JobHalted && /is paused: The budget is spent\. Raise/.test(error.message));
  await job.change({ maxUsd: 2 });
  assert.deepEqual(fake.bodies.at(-1), { limits: { max_cost_usd: 2 } });
  await job.resume();
  assert.equal((await job.wait()).state, "succeeded");
  fake.states = ["paused", "paused", "running", "failed"];
  fake.halt = { reason: "quota", detail: "The day's budget is spent.", resumes_at: "2026-12-01T00:00:00Z" };
  const second = fw.map(["x"], { ask: "?" });
  await assert.rejects(second.wait(), (error) => error instanceof JobFailed && /No worker brought a result\. \(no_results\) 1 of 1/.test(error.message));
  await second.retry({ maxUsd: 3 });
  assert.equal((await second.wait()).state, "succeeded");
  fake.states = ["running"];
  await assert.rejects(fw.map(["x"], { ask: "?" }).wait({ timeoutMs: 0 }), WaitTimeout);
  await assert.rejects(fw.map(["x"], { ask: "?" }).wait({ signal: AbortSignal.abort() }), { name: "AbortError" });
});

test("progress is told by line or by function", async (t) => {
  const { fw } = start(t);
  const said = mock.method(console, "error", () => {});
  await fw.map(["x", "y"], { ask: "?", maxUsd: 5 }).wait({ progress: true });
  assert.equal(said.mock.calls.at(-1).arguments[0], "2 of 2 rows · succeeded · $0.2500 of $5");
  const states = [];
  await fw.map(["x"], { ask: "?" }).wait({ progress: ({ state }) => states.push(state) });
  assert.deepEqual(states, ["running", "succeeded"]);
});

test("the same key is the same job, also as a file", async (t) => {
  const { fake, fw } = start(t);
  const first = await fw.map(["x"], { ask: "?", key: "nightly" }).wait();
  const second = await fw.map(["x"], { ask: "?", key: "nightly" }).wait();
  assert.equal(first.id, second.id);
  const to = { url: "https://fanwise.test", token: TOKEN, fetch: fake.fetch };
  const items = [{ id: "a", text: "line\nbreak" }, { id: "b", text: "x" }];
  await submit(to, { task: "?", stages: [] }, items, "file", 10);
  await submit(to, { task: "?", stages: [] }, items, "file", 10);
  assert.deepEqual(fake.bodies.at(-1).input.items, items);
  assert.equal(fake.jobs.size, 2);
  await assert.rejects(submit(to, {}, items, "two words"), InvalidInput);
});

test("estimates, schedules, lists and earlier jobs", async (t) => {
  const { fake, fw } = start(t);
  const job = fw.map(["x"], { ask: "?", maxUsd: 1, options: { limits: { concurrency: 3 }, delivery: "batch" } });
  const estimate = await job.estimate();
  assert.deepEqual([estimate.rows, estimate.lowUsd, estimate.likelyUsd, estimate.highUsd], [1, 0.01, 0.07, 0.4]);
  assert.equal(fake.jobs.size, 0);
  assert.deepEqual(job.body.limits, { max_cost_usd: 1, concurrency: 3 });
  const made = await fw.schedules.create({ cron: "@daily", job, name: "daily", input_url: "https://example.com/x.csv" });
  assert.equal(fake.schedules.get(made.id).job.input, undefined);
  const kept = await fw.schedules.create({ cron: "@daily", job });
  assert.deepEqual(fake.schedules.get(kept.id).job.input, { items: [{ id: "item-1", text: "x" }] });
  assert.deepEqual((await fw.schedules.list()).map(({ id }) => id), [made.id, kept.id]);
  assert.equal((await fw.schedules.update(made.id, { paused: true })).paused, true);
  assert.equal((await fw.schedules.run(made.id)).state, "waiting");
  await fw.schedules.delete(made.id);
  assert.equal(fake.schedules.size, 1);
  await assert.rejects(job.rows(), /has not been submitted/);
  await job.wait();
  const again = fw.attach(job.id, ["x"], { into: Tag });
  assert.equal((await again.rows())[0].output.tag, "other");
  assert.deepEqual(await Array.fromAsync(fw.jobs()).then((all) => all.map(({ id }) => id)), [job.id]);
  await fw.delete(job.id);
  await assert.rejects(fw.job(job.id), { code: "not_found" });
});

test("a service binding is called as its own method", async (t) => {
  const { fake } = start(t);
  class Binding {
    #own = fake;
    fetch(url, init) {
      return this.#own.fetch(url, init);
    }
  }
  const fw = new Fanwise({ url: "https://fanwise.test", token: TOKEN, fetch: new Binding() });
  assert.equal((await fw.map(["x"], { ask: "?" }).wait()).state, "succeeded");
});

test("types are generated from the document of today", () => {
  const { scripts } = JSON.parse(readFileSync(here("../package.json"), "utf8"));
  const [, ...options] = scripts.generate.split(" ");
  const program = here("../../../node_modules/openapi-typescript/bin/cli.js");
  const made = spawnSync(process.execPath, [program, ...options.slice(0, options.indexOf("--output"))], {
    cwd: here(".."),
    encoding: "utf8",
    maxBuffer: 1e8,
  });
  assert.equal(made.status, 0, made.stderr);
  assert.ok(made.stdout.trim() === readFileSync(here("../src/openapi.ts"), "utf8").trim(), "run `npm run generate` in clients/typescript");
});

test("both package files pin the same tools", () => {
  const own = JSON.parse(readFileSync(here("../package.json"), "utf8")).devDependencies;
  const root = JSON.parse(readFileSync(here("../../../package.json"), "utf8")).devDependencies;
  for (const [name, version] of Object.entries(own)) assert.equal(root[name], version, name);
});
