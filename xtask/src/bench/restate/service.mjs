// A fan-out as one would write it for Restate: so many calls are kept open, what they bring is gathered, and the synthesis is asked
// for. Every answer is kept in Restate's journal. There are two forms of it: `job/steps`, whose calls are durable steps of one handler, the
// cheapest there is; and `job/invocations`, where each call is an invocation of its own, with retries of its own, on any machine.
//
//   node service.mjs CALLS.json        prints `listening on PORT`

import { readFileSync } from "node:fs";
import { createServer } from "node:http2";
import { RestatePromise, createEndpointHandler, service } from "@restatedev/restate-sdk";

const { base, workers, synthesis } = JSON.parse(readFileSync(process.argv[2], "utf8"));

async function send({ path, headers, body }) {
  const answer = await fetch(base + path, { method: "POST", headers, body });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`the stand-in answered ${answer.status}: ${text}`);
  return text;
}

const step = (ctx, number) => ctx.run(`call ${number}`, () => send(workers[number % workers.length]));

// `call` begins one; a race says which ended, in an order that Restate keeps for a replay.
async function fanOut(ctx, { count, concurrency }, call) {
  const results = [];
  const open = new Map();
  let next = 0;
  const begin = () => {
    const number = next++;
    open.set(number, call(number).map((text) => ({ number, text })));
  };
  while (next < Math.min(count, concurrency)) begin();
  while (open.size > 0) {
    const { number, text } = await RestatePromise.race([...open.values()]);
    open.delete(number);
    results[number] = text;
    if (next < count) begin();
  }
  await ctx.run("synthesis", () => send(synthesis));
  return { results: results.filter((text) => text.length > 0).length };
}

const worker = service({ name: "worker", handlers: { call: step } });

const job = service({
  name: "job",
  handlers: {
    steps: (ctx, wants) => fanOut(ctx, wants, (number) => step(ctx, number)),
    invocations: (ctx, wants) =>
      fanOut(ctx, wants, (number) => ctx.serviceClient({ name: "worker" }).call(number)),
  },
});

const server = createServer(createEndpointHandler({ services: [worker, job] }));
server.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
