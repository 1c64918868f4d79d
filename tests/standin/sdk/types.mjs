// The SDK's type declarations as judge: of what the client sends, of what it reads, and of what the stand-in answers.
//
// Reads STANDIN_URL, writes what was sent and answered as TypeScript literals beside `reads.ts`, and compiles all of it.
// A field that the SDK does not declare, or declares otherwise, is an error of the compiler.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../../..");
const url = process.env.STANDIN_URL?.replace(/\/$/, "");
assert(url, "STANDIN_URL is not set");

const HAIKU = "claude-haiku-5-5";
// Models of the SDK that Fanwise does not offer. One that is missing here and in the table is new.
const NOT_OFFERED = [
  "claude-mythos-5-2", "claude-mythos-5-1", "claude-mythos-5", "claude-mythos-preview", "claude-fable-5",
  "claude-opus-4-7", "claude-opus-4-6", "claude-opus-4-5", "claude-opus-4-5-20251101", "claude-sonnet-4-5",
  "claude-sonnet-4-5-20250929",
];
// Read for other servers than Claude's API, or no field of an answer.
const NOT_CLAUDES = ["results", "limit", "remaining", "reset"];

async function call(path, body, method = body ? "POST" : "GET") {
  const headers = { "x-api-key": "k", "anthropic-version": "2026-10-21", "content-type": "application/json" };
  const answer = await fetch(`${url}${path}`, { method, headers, body: body && JSON.stringify(body) });
  return answer.text();
}
const json = async (...args) => JSON.parse(await call(...args));
const configure = (changes) => json("/control/config", changes);

const hello = { model: HAIKU, max_tokens: 4000, messages: [{ role: "user", content: "Hello, Claude" }] };
const tools = [
  { type: "web_search_20250305", name: "web_search", max_uses: 2, blocked_domains: ["b.dev"] },
  { type: "web_fetch_20250910", name: "web_fetch", max_uses: 2, max_content_tokens: 900 },
];

// What the client sends, from its golden files; then what they leave out.
function sent() {
  const folder = join(root, "tests/golden/requests");
  const bodies = readdirSync(folder).map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
  const cache_control = { type: "ephemeral", ttl: "5m" };
  bodies.push({
    ...hello,
    tools,
    system: [{ type: "text", text: "frame", cache_control }],
    thinking: { type: "between_tools" },
    metadata: { user_id: "tenant" },
    stream: true,
  });
  return bodies;
}

// Names of the fields in the structs that the client writes to its requests.
function fieldsSent() {
  const text = readFileSync(join(root, "src/claude/request.rs"), "utf8");
  const structs = text.matchAll(/#\[derive\([^)]*\bSerialize\b[^)]*\)\](?:\s*#\[[^\]]*\])*\s*pub struct \w+ \{([^}]*)\}/g);
  const names = [...structs].flatMap(([, body]) =>
    [...body.replaceAll(/#\[serde\(flatten\)\]\s*pub \w+:/g, "").matchAll(/(?:rename = "(\w+)"\)\]\s*)?pub (\w+):/g)]
      .map(([, renamed, name]) => renamed ?? name));
  assert(names.length > 10, "no structs were found in src/claude/request.rs");
  return names;
}

// Names of the fields that the client looks up in answers.
function fieldsRead() {
  const names = new Set();
  for (const file of readdirSync(join(root, "src/claude"), { recursive: true })) {
    if (!file.endsWith(".rs") || /tests|api_schema|worker_schema|models|request|headers/.test(file)) continue;
    const text = readFileSync(join(root, "src/claude", file), "utf8").split("#[cfg(test)]")[0];
    const lookups = /\.(?:get|pointer)\("([^"]+)"\)|text_of\([^,]+, "([^"]+)"\)|\b(?:field|piece)\("([^"]+)"\)/g;
    for (const match of text.matchAll(lookups)) {
      match.slice(1).filter(Boolean).flatMap((name) => name.split("/")).filter(Boolean).forEach((n) => names.add(n));
    }
    // Structs that are read whole.
    for (const [, body] of text.matchAll(/#\[derive\([^)]*Deserialize[^)]*\)\]\s*#\[serde\(default\)\]\s*pub struct \w+ \{([^}]*)\}/g)) {
      for (const [, name] of body.matchAll(/pub (\w+):/g)) names.add(name);
    }
  }
  return [...names].filter((name) => !NOT_CLAUDES.includes(name) && !name.includes("-"));
}

function keys(value, into = new Set()) {
  if (Array.isArray(value)) value.forEach((v) => keys(v, into));
  else if (value && typeof value === "object") Object.entries(value).forEach(([k, v]) => (into.add(k), keys(v, into)));
  return into;
}

// What the stand-in answers, plainly and in its modes.
async function answered() {
  const out = { Message: [], RawMessageStreamEvent: [], ModelInfo: [], ErrorResponse: [], MessageTokensCount: [] };
  const batches = { MessageBatch: [], MessageBatchIndividualResponse: [] };
  const withTools = { ...hello, tools };
  for (const modes of [[], ["nulls"], ["citations"], ["tool_error"]]) {
    await configure({ modes });
    for (const body of [hello, withTools]) {
      out.Message.push(await json("/v1/messages", body));
      const stream = await call("/v1/messages", { ...body, stream: true });
      const events = stream.split("\n").filter((line) => line.startsWith("data: ")).map((line) => JSON.parse(line.slice(6)));
      for (const { message } of events.filter((event) => event.type === "message_start")) {
        // The API leaves these out of message_start; the SDK declares one usage for both.
        message.usage = { output_tokens_details: null, server_tool_use: null, ...message.usage };
      }
      out.RawMessageStreamEvent.push(...events.filter((event) => event.type !== "ping"));
    }
  }
  await configure({ modes: [] });
  for (const fault of ["refusal", "refusal_early", "refusal_mid", "pause"]) {
    await configure({ rules: [{ fault, times: 1 }] });
    out.Message.push(await json("/v1/messages", withTools));
  }
  for (const fault of ["529", "spend_limit", "not_allowed", "retention_400", "on_hold", "500"]) {
    await configure({ rules: [{ fault, times: 1 }] });
    const body = await json("/v1/messages", hello);
    // The SDK declares details apart from the error.
    delete body.error.details;
    out.ErrorResponse.push(body);
  }
  out.MessageTokensCount.push(await json("/v1/messages/count_tokens", { model: HAIKU, messages: hello.messages }));
  out.ModelInfo.push(...(await json("/v1/models?limit=100")).data);
  await configure({ rules: [], batch_ms: 1 });
  const requests = [{ custom_id: "a", params: hello }, { custom_id: "b", params: { ...hello, model: "claude-nobody" } }];
  const created = await json("/v1/messages/batches", { requests });
  await new Promise((done) => setTimeout(done, 50));
  const path = `/v1/messages/batches/${created.id}`;
  batches.MessageBatch.push(created, await json(path));
  const lines = (await call(`${path}/results`)).trim().split("\n").map((line) => JSON.parse(line));
  batches.MessageBatchIndividualResponse.push(...lines.map((line) => {
    delete line.result.error?.error.details;
    return line;
  }));
  return { out, batches };
}

function literals(type, values) {
  return values.map((value) => `(${JSON.stringify(value)}) satisfies ${type};`).join("\n");
}

function compile(source) {
  const folder = join(root, ".fanwise/sdk-types");
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(here, "reads.ts"), join(folder, "reads.ts"));
  writeFileSync(join(folder, "literals.ts"), source);
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({
    compilerOptions: {
      strict: true, noEmit: true, skipLibCheck: true, module: "nodenext", moduleResolution: "nodenext", target: "es2024",
      lib: ["es2024", "dom", "dom.iterable"], types: [],
    },
    files: ["reads.ts", "literals.ts"],
  }));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  return spawnSync(process.execPath, [tsc, "--pretty", "false", "--project", folder], { encoding: "utf8" });
}

const before = await configure({});
let failed = 0;
const check = async (name, run) => {
  try {
    await run();
    console.log(`ok      types: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  types: ${name}`);
    console.error(error.message);
  }
};

const bodies = sent();
const { out, batches } = await answered().finally(() => configure(before));
const header = 'import Anthropic from "@anthropic-ai/sdk";\n';
const compiled = (source) => {
  const run = compile(header + source);
  assert.equal(run.status, 0, `${run.error ?? ""}${run.stdout}${run.stderr}`);
};
const checks = [
  ["what the client sends is declared", () => compiled(literals("Anthropic.MessageCreateParams", bodies))],
  ["every field that the client writes was sent", () => {
    const written = keys(bodies);
    assert.deepEqual(fieldsSent().filter((name) => !written.has(name)), []);
  }],
  ["every field that the client reads is declared", () => {
    const accesses = readFileSync(join(here, "reads.ts"), "utf8");
    const missing = fieldsRead().filter((name) => !new RegExp(`\\.${name}\\b`).test(accesses));
    assert.deepEqual(missing, [], "reads.ts has no access to these");
  }],
  ["what the stand-in answers is declared", () => {
    const plain = Object.entries(out).map(([type, values]) => literals(`Anthropic.${type}`, values));
    const batch = Object.entries(batches).map(([type, values]) => literals(`Anthropic.Messages.${type}`, values));
    compiled([...plain, ...batch].join("\n"));
  }],
  ["a field that is not declared is found", () => {
    const run = compile(`${header}({ model: "m", max_tokens: 1, messages: [], unheard_of: 1 }) satisfies Anthropic.MessageCreateParams;`);
    assert.match(run.stdout, /unheard_of/);
  }],
  ["models are those of the SDK", () => {
    const text = readFileSync(join(root, "node_modules/@anthropic-ai/sdk/resources/messages/messages.d.ts"), "utf8");
    const theirs = [...text.match(/export type Model = ([^;]+);/)[1].matchAll(/'([^']+)'/g)].map(([, id]) => id);
    const ours = Object.keys(JSON.parse(readFileSync(join(root, "src/claude/models.json"), "utf8")).models);
    const played = out.ModelInfo.map((model) => model.id);
    const known = [...ours, ...played, ...NOT_OFFERED];
    assert.deepEqual(theirs.filter((id) => !known.includes(id)), [], "new at Claude");
    assert.deepEqual([...ours, ...played].filter((id) => !theirs.includes(id)), [], "retired at Claude");
  }],
];
for (const [name, run] of checks) await check(name, run);
console.log(`${checks.length - failed} of ${checks.length} checks passed`);
process.exit(failed ? 1 : 0);
