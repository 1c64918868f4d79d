// A fan-out as one would write it for Restate: `job` keeps so many calls of `worker` open, gathers what they bring, and asks for the
// synthesis. Each call is an invocation of its own, whose answer is kept in Restate's journal.
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

const worker = service({
  name: "worker",
  handlers: {
    call: (ctx, number) => ctx.run("call", () => send(workers[number % workers.length])),
  },
});

const job = service({
  name: "job",
  handlers: {
    run: async (ctx, { count, concurrency }) => {
      const results = [];
      const open = new Map();
      let next = 0;
      const begin = () => {
        const number = next++;
        const call = ctx.serviceClient({ name: "worker" }).call(number);
        open.set(number, call.map((text) => ({ number, text })));
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
    },
  },
});

const server = createServer(createEndpointHandler({ services: [worker, job] }));
server.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
