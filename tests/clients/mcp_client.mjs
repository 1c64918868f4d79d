// The official TypeScript SDKs as clients of /mcp: version 1, which most agents use and which begins with a handshake,
// and version 2 in the newest revision of the protocol.
//
// Reads FANWISE_URL and FANWISE_TOKEN, prints one line per check, exits 1 if one fails.

import assert from "node:assert/strict";
import * as v2 from "@modelcontextprotocol/client";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const url = new URL(`${process.env.FANWISE_URL.replace(/\/$/, "")}/mcp`);
const options = { requestInit: { headers: { authorization: `Bearer ${process.env.FANWISE_TOKEN}` } } };
const who = { name: "fanwise-tests", version: "1.0.0" };
const job = {
  task: "Find out what customers complain about",
  input: { items: ["I was charged twice.", "The app crashes."] },
  stages: [
    { name: "classify", kind: "map", instructions: "Classify the ticket.", output: "item", chunk: { items: 1 } },
    { name: "report", kind: "synthesis", instructions: "Sum up." },
  ],
};
let passed = 0;
let failed = 0;

async function check(name, run) {
  try {
    await run();
    passed += 1;
    console.log(`ok     ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${error?.message ?? error}`);
  }
}

const call = async (client, name, args) => {
  const result = await client.callTool({ name, arguments: args });
  assert(!result.isError, JSON.stringify(result.content));
  return result.structuredContent;
};

async function use(name, client) {
  await check(`${name}: lists the tools`, async () => {
    const names = (await client.listTools()).tools.map((tool) => tool.name);
    for (const wanted of ["list_recipes", "estimate_job", "run_job", "job_status", "job_results", "job_report", "cancel_job"]) {
      assert(names.includes(wanted), wanted);
    }
  });
  await check(`${name}: runs a job from the call to the report`, async () => {
    const { job_id } = await call(client, "run_job", job);
    let status;
    for (let n = 0; n < 300; n += 1) {
      status = await call(client, "job_status", { job_id });
      if (["succeeded", "partial", "failed", "cancelled"].includes(status.state)) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.equal(status.state, "succeeded");
    const report = await call(client, "job_report", { job_id });
    assert.equal(report.coverage.covered, 2);
    const page = await call(client, "job_results", { job_id });
    assert.deepEqual(page.data.map((line) => line.id), ["item-1", "item-2"]);
  });
  await check(`${name}: a fault is told in the result`, async () => {
    const result = await client.callTool({ name: "job_status", arguments: { job_id: "job_1" } });
    assert(result.isError && result.content[0].text.includes("not_found"));
  });
  await client.close();
}

const first = new Client(who);
await check("version 1: connects", async () => {
  const transport = new StreamableHTTPClientTransport(url, options);
  await first.connect(transport);
  assert.equal(transport.protocolVersion, "2025-11-25");
  assert.equal(first.getServerVersion().name, "fanwise");
});
await use("version 1", first);

const second = new v2.Client(who, { versionNegotiation: { mode: "auto" } });
await check("version 2: connects", async () => {
  await second.connect(new v2.StreamableHTTPClientTransport(url, options));
  assert.equal(second.getNegotiatedProtocolVersion(), "2026-07-28");
});
await use("version 2", second);

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
