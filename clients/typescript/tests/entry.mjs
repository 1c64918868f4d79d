// `trip` as a program, for Node, Deno and Bun.

import { trip } from "./trip.mjs";

const { FANWISE_URL: url, FANWISE_TOKEN: token, RUNTIME: name } = globalThis.process.env;
console.log(await trip({ url, token, name }));
