// The client against the real Worker, with the stand-in for Claude, in every runtime that is here:
// `cargo xtask test --only "client typescript"`.
//
// Wants FANWISE_URL, FANWISE_TOKEN, STANDIN_URL and, each for one test, CHROMIUM and RUNTIMES (a folder with the node_modules
// of Deno and Bun). FANWISE_ROWS is how many rows make the round trip (1,000).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import workerdPackage from "workerd";
import { z } from "zod";
import { saysNothing, toJson } from "../dist/cells.js";
import { Fanwise } from "../dist/index.js";

const { FANWISE_URL: url, FANWISE_TOKEN: token, STANDIN_URL: standin, CHROMIUM, RUNTIMES } = process.env;
const ROWS = Number(process.env.FANWISE_ROWS ?? 1000);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "fanwise-client-"));
after(() => rmSync(folder, { recursive: true }));
const { default: workerdProgram } = workerdPackage;
const skip = url ? false : "needs a running Worker";

const fw = url ? new Fanwise({ url, token }) : undefined;

async function control(path, body) {
  const init = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(`${standin}/control/${path}`, init);
  assert.ok(answer.ok, await answer.clone().text());
  return answer.json();
}

async function reset() {
  await control("config", { rules: [], faults: {} });
  await control("reset", {});
}

/** Every item of every worker's call. */
async function asked() {
  const calls = await control("calls?limit=100000");
  return calls.filter(({ role }) => role === "worker").flatMap(({ body }) => {
    const { content } = body.messages[0];
    const text = typeof content === "string" ? content : content.map((part) => part.text ?? "").join("\n");
    return JSON.parse(text.split("<items>\n").at(-1).split("\n</items>")[0]);
  });
}

function bundle(entry, name, options = {}) {
  const outfile = join(folder, name);
  return build({ entryPoints: [here(entry)], outfile, bundle: true, format: "esm", platform: "neutral", mainFields: ["module", "main"], logLevel: "error", ...options }).then(() => outfile);
}

function run(program, args, env = {}, cwd = folder) {
  const child = spawn(program, args, { cwd, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stdout.on("data", (text) => (said += text));
  child.stderr.on("data", (text) => (said += text));
  return new Promise((done, failed) => {
    child.on("error", failed);
    child.on("close", (code) => (code === 0 ? done(said) : failed(new Error(`${program} ended with ${code}:\n${said}`))));
  });
}

/** A program that npm brought for this machine, or nothing. */
function runtime(names) {
  const paths = names.map((name) => join(RUNTIMES ?? "", "node_modules", name));
  return RUNTIMES ? paths.find((path) => existsSync(path)) : undefined;
}
const DENO = runtime(["@deno/linux-x64-glibc/deno", "@deno/linux-arm64-glibc/deno"]);
const BUN = runtime(["@oven/bun-linux-x64-baseline/bin/bun", "@oven/bun-linux-aarch64/bin/bun"]);

const CELLS = [
  "plain", "=SUM(A1)", 'a,"b"\n\tc', "nul\u0000 bell\u0007", "<items>\n</items>", "emoji 👩‍👩‍👧 \u202e", "half \ud800", "", null, undefined,
  0, -0.1, 1e300, Number.NaN, Infinity, 2n ** 60n, true, false, new Date(0), new Date(Number.NaN),
  { a: [1, Number.NaN, null], b: { c: "x" } }, [], new Map([["k", 1n]]), new Uint8Array([255, 0]), { toJSON: () => "12.30" },
];

test("a round trip of many rows, cell by cell", { skip }, async () => {
  await reset();
  const rows = Array.from({ length: ROWS }, (_, place) => ({
    key: place % 7 === 0 ? null : place,
    text: `Row ${place} of the trip.`,
    cell: CELLS[place % CELLS.length],
    other: CELLS[(place * 7 + 3) % CELLS.length],
  }));
  const copies = rows.map((row) => ({ ...row }));
  const Tag = z.object({ row_id: z.string(), urgency: z.int(), refund: z.boolean() });
  const options = { id: "key", text: "text", fields: ["cell", "other"], ask: "Tag the row in TypeScript.", into: Tag, rowsPerCall: 50, maxUsd: 50 };
  const job = await fw.map(rows, options).wait({ timeoutMs: 900_000 });
  const table = await job.table();
  const items = new Map((await asked()).map((item) => [item.id, item]));
  assert.equal(items.size, ROWS);
  for (const [place, row] of table.entries()) {
    const { row_id, urgency, refund, _status, _reason, ...own } = row;
    assert.deepEqual(own, copies[place]);
    const id = own.key === null ? `item-${place + 1}` : String(place);
    assert.deepEqual([row_id, _status, _reason, typeof refund], [id, "ok", null, "boolean"]);
    assert.ok(Number.isInteger(urgency));
    const expected = { id, text: own.text };
    for (const name of ["cell", "other"]) if (!saysNothing(toJson(own[name]))) expected[name] = toJson(own[name]);
    assert.deepEqual(items.get(id), JSON.parse(JSON.stringify(expected)));
  }
});

test("a trial is not paid again, nor is the same job", { skip }, async () => {
  await reset();
  const texts = Array.from({ length: 60 }, (_, n) => `TypeScript ticket ${n}: I was charged twice.`);
  const options = { ask: "Tag the ticket, after a trial in TypeScript.", rowsPerCall: 20, maxUsd: 5 };
  const job = fw.map(texts, options);
  await job.tryRows(5);
  const larger = await job.tryRows(12);
  assert.ok(larger.view.cost.saved_usd > 0);
  await job.wait({ timeoutMs: 300_000 });
  const ids = (await asked()).map(({ id }) => id);
  assert.deepEqual(ids.sort(), texts.map((_, n) => `item-${n + 1}`).sort());
  assert.ok((await job.rows()).every(({ status }) => status === "ok"));
});

test("missing rows have a reason, and a retry brings them", { skip }, async () => {
  await reset();
  await control("config", { rules: [{ match: { item_id: "bad" }, fault: "refusal" }] });
  const rows = [{ k: "good", t: "fine" }, { k: "bad", t: "refused" }, { k: "blank", t: " " }];
  const job = fw.map(rows, { id: "k", text: "t", ask: "Tag it in TypeScript, if you may.", rowsPerCall: 1 });
  assert.equal((await job.wait({ timeoutMs: 120_000 })).state, "partial");
  assert.deepEqual((await job.rows()).map(({ status, reason }) => [status, reason]), [["ok", null], ["missing", "refused"], ["skipped", "blank"]]);
  await reset();
  await job.retry();
  assert.equal((await job.wait({ timeoutMs: 120_000 })).state, "succeeded");
});

test("Node", { skip }, async () => {
  const said = await run(process.execPath, [await bundle("entry.mjs", "node.mjs")], { RUNTIME: "node" });
  assert.match(said, /^node: job_/);
});

test("Deno", { skip: skip || (DENO ? false : "npm has no Deno for this machine") }, async () => {
  const program = await bundle("entry.mjs", "deno.mjs");
  assert.match(await run(DENO, ["run", "--no-lock", "--allow-env", "--allow-net", program], { RUNTIME: "deno" }), /^deno: job_/);
});

test("Bun", { skip: skip || (BUN ? false : "npm has no Bun for this machine") }, async () => {
  assert.match(await run(BUN, [await bundle("entry.mjs", "bun.mjs")], { RUNTIME: "bun" }), /^bun: job_/);
});

test("workerd, over a service binding", { skip }, async () => {
  await bundle("caller.mjs", "caller.mjs");
  const config = join(folder, "config.capnp");
  writeFileSync(config, `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "caller", worker = (
      modules = [(name = "caller.mjs", esModule = embed "caller.mjs")],
      compatibilityDate = "2026-01-01",
      bindings = [(name = "FANWISE", service = "fanwise"), (name = "FANWISE_TOKEN", text = ${JSON.stringify(token)})])),
    (name = "fanwise", external = (address = "${new URL(url).host}", http = ()))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "caller")]);
`);
  // It says on the control descriptor which port it has.
  const workerd = spawn(workerdProgram, ["serve", config, "--control-fd=3"], { stdio: ["ignore", "inherit", "inherit", "pipe"] });
  try {
    const port = await new Promise((found, failed) => {
      workerd.on("error", failed);
      workerd.on("exit", (code) => failed(new Error(`workerd ended with ${code}`)));
      workerd.stdio[3].on("data", (text) => found(JSON.parse(text).port));
    });
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    assert.match(await answer.text(), /^workerd: job_/);
  } finally {
    workerd.kill("SIGKILL");
  }
});

test("Chromium, from another origin", { skip: skip || (CHROMIUM ? false : "needs CHROMIUM") }, async () => {
  const script = await bundle("trip.mjs", "page.js", { format: "iife", globalName: "client", platform: "browser" });
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: [
    "--no-sandbox",
    // The page of a public name asks a server of this machine: a browser asks its user first, and here is none.
    "--disable-features=LocalNetworkAccessChecks",
  ] });
  try {
    const page = await browser.newPage();
    // CORS_ORIGINS of the Worker names this origin; nothing listens there.
    await page.route("http://client.test/", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
    await page.goto("http://client.test/");
    await page.addScriptTag({ path: script });
    assert.match(await page.evaluate((to) => globalThis.client.trip({ ...to, name: "chromium" }), { url, token }), /^chromium: job_/);
  } finally {
    await browser.close();
  }
});

test("the notebook runs", { skip: skip || (DENO ? false : "npm has no Deno for this machine") }, async () => {
  const notebook = JSON.parse(readFileSync(here("../examples/tickets.ipynb"), "utf8"));
  const cells = notebook.cells.filter(({ cell_type }) => cell_type === "code").map(({ source }) => source.join(""));
  assert.ok(cells.join("\n").split("\n").length <= 16);
  const check = 'if (tagged.length !== 300 || tagged.some((row) => row._status !== "ok")) throw new Error("rows are missing");';
  const program = join(folder, "notebook.ts");
  writeFileSync(program, [...cells, check].join("\n"));
  const map = join(folder, "imports.json");
  const local = { "npm:fanwise": pathToFileURL(here("../dist/index.js")).href, "npm:zod": pathToFileURL(here("../../../node_modules/zod/index.js")).href };
  writeFileSync(map, JSON.stringify({ imports: local }));
  const allowed = ["--allow-env", "--allow-net", "--allow-read"];
  await run(DENO, ["run", "--no-lock", "--no-check", "--import-map", map, ...allowed, program], {}, here("../examples"));
});
