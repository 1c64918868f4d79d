// The official TypeScript SDK as a client of the stand-in.
//
// Reads STANDIN_URL, prints one line per check, exits 1 if one fails. Leaves the
// stand-in as it found it, counters apart.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const url = process.env.STANDIN_URL?.replace(/\/$/, "");
assert(url, "STANDIN_URL is not set");

const HAIKU = "claude-haiku-5-5";
const client = new Anthropic({ apiKey: "sk-test", baseURL: url, maxRetries: 0 });

const output = {
  type: "object",
  properties: {
    primary_category: { type: "string", enum: ["billing", "login", "feature_request", "other"] },
    urgent: { anyOf: [{ type: "boolean" }, { type: "null" }] },
    issue: { type: "string" },
  },
  required: ["primary_category", "urgent", "issue"],
  additionalProperties: false,
};
const results = {
  type: "object",
  properties: {
    results: {
      type: "array",
      items: {
        type: "object",
        properties: { id: { type: "string" }, output },
        required: ["id", "output"],
        additionalProperties: false,
      },
    },
  },
  required: ["results"],
  additionalProperties: false,
};
const items = JSON.stringify([
  { id: "T-1", text: "I cannot log in, the password reset link never arrives." },
  { id: "T-2", text: "The invoice has the wrong VAT number." },
]);

const hello = (more = {}) => ({
  model: HAIKU,
  max_tokens: 400,
  messages: [{ role: "user", content: "Hello, Claude" }],
  ...more,
});
const tickets = (more = {}) =>
  hello({
    messages: [{ role: "user", content: `Classify.\n<items>\n${items}\n</items>` }],
    output_config: { format: { type: "json_schema", schema: results } },
    ...more,
  });
const textOf = (message) =>
  message.content.map((block) => (block.type === "text" ? block.text : "")).join("");

async function control(path, body) {
  const answer = await fetch(`${url}/control/${path}`, body && { method: "POST", body: JSON.stringify(body) });
  assert(answer.ok, await answer.clone().text());
  return answer.json();
}
const fault = (name, more = {}) => control("config", { rules: [{ fault: name, times: 1, ...more }] });

async function raised(type, call) {
  try {
    await call();
  } catch (error) {
    assert(error instanceof type, `${error?.constructor?.name} instead of ${type.name}: ${error}`);
    return error;
  }
  assert.fail(`no ${type.name}`);
}
const create = (more) => () => client.messages.create(hello(more));

const checks = {
  async "a plain message"() {
    const { data, response } = await client.messages.create(hello()).withResponse();
    assert.equal(data.model, HAIKU);
    assert.deepEqual(data.content.map((b) => b.type), ["thinking", "text"]);
    assert.equal(data.stop_reason, "end_turn");
    assert.equal(data.usage.input_tokens, 6);
    assert.match(data._request_id, /^req_011C/);
    assert.equal(response.headers.get("anthropic-ratelimit-requests-limit"), "100000");
  },
  async "a streamed message is the plain one"() {
    const plain = await client.messages.create(tickets());
    const stream = client.messages.stream(tickets());
    const events = [];
    for await (const event of stream) events.push(event.type);
    const streamed = await stream.finalMessage();
    assert.equal(textOf(streamed), textOf(plain));
    assert.equal(streamed.usage.output_tokens, plain.usage.output_tokens);
    assert.equal(events.at(0), "message_start");
    assert.equal(events.at(-1), "message_stop");
  },
  async "raw stream events"() {
    let text = "";
    for await (const event of await client.messages.create(hello({ stream: true }))) {
      if (event.type === "content_block_delta" && event.delta.type === "text_delta") text += event.delta.text;
    }
    assert.match(text, /stand-in/);
  },
  async "structured output per item"() {
    const answer = JSON.parse(textOf(await client.messages.create(tickets()))).results;
    assert.deepEqual(answer.map((r) => [r.id, r.output.primary_category]), [
      ["T-1", "login"],
      ["T-2", "billing"],
    ]);
    assert.equal(answer[1].output.urgent, null);
  },
  async "a forced tool is called, streamed"() {
    const tools = [{ name: "classify", input_schema: output }];
    const stream = client.messages.stream(hello({ tools, tool_choice: { type: "any" } }));
    const message = await stream.finalMessage();
    assert.equal(message.stop_reason, "tool_use");
    assert.deepEqual(Object.keys(message.content.at(-1).input).sort(), [...output.required].sort());
  },
  async "count tokens"() {
    const count = await client.messages.countTokens({
      model: "claude-opus-5-5",
      system: "You are a scientist",
      messages: [{ role: "user", content: "Hello, Claude" }],
    });
    assert.equal(count.input_tokens, 14);
  },
  async "models"() {
    const listed = [];
    for await (const model of client.models.list({ limit: 2 })) listed.push(model.id);
    assert(listed.includes(HAIKU) && new Set(listed).size === listed.length);
    assert.equal((await client.models.retrieve("claude-opus-5-5")).max_input_tokens, 1_000_000);
  },
  async "typed errors"() {
    await control("config", { api_key: "another" });
    await raised(Anthropic.AuthenticationError, create());
    await control("config", { api_key: null });
    await raised(Anthropic.NotFoundError, create({ model: "claude-nobody" }));
    const error = await raised(Anthropic.BadRequestError, create({ nonsense: { a: 1 } }));
    assert.match(error.message, /nonsense: Extra inputs are not permitted/);
    for (const [name, type] of [
      ["529", Anthropic.InternalServerError],
      ["500", Anthropic.InternalServerError],
      ["permission", Anthropic.PermissionDeniedError],
      ["reset", Anthropic.APIConnectionError],
    ]) {
      await fault(name);
      await raised(type, create());
    }
  },
  async "a rate limit with retry-after"() {
    await fault("429", { retry_after_s: 7 });
    const error = await raised(Anthropic.RateLimitError, create());
    assert.equal(error.headers.get("retry-after"), "7");
    await fault("spend_limit");
    const spent = await raised(Anthropic.RateLimitError, create());
    assert.equal(spent.headers.get("retry-after"), null);
    assert.equal(spent.error.error.details.error_code, "enforced_spend_limit_reached");
  },
  async "an error in the middle of a stream"() {
    await fault("error_event");
    const error = await raised(Anthropic.APIError, async () => {
      for await (const _ of client.messages.stream(tickets()));
    });
    assert.match(error.message, /Overloaded/);
  },
  async "a stream cut off is no message"() {
    await fault("cut");
    await raised(Error, () => client.messages.stream(tickets()).finalMessage());
  },
  async "a batch"() {
    await control("config", { batch_ms: 200 });
    const requests = [1, 2, 3].map((n) => ({ custom_id: `r-${n}`, params: hello() }));
    let batch = await client.messages.batches.create({ requests });
    for (let polls = 0; batch.processing_status !== "ended" && polls < 200; polls++) {
      await new Promise((done) => setTimeout(done, 50));
      batch = await client.messages.batches.retrieve(batch.id);
    }
    assert.equal(batch.request_counts.succeeded, 3);
    const ids = [];
    for await (const line of await client.messages.batches.results(batch.id)) ids.push(line.custom_id);
    assert.deepEqual(ids.sort(), ["r-1", "r-2", "r-3"]);
  },
};

const before = await control("config");
let failed = 0;
for (const [name, run] of Object.entries(checks)) {
  try {
    await run();
    console.log(`ok      typescript: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  typescript: ${name}`);
    console.error(error);
  } finally {
    await control("config", before);
  }
}
console.log(`${Object.keys(checks).length - failed} of ${Object.keys(checks).length} checks passed`);
process.exit(failed ? 1 : 0);
