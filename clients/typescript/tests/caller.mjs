// `trip` inside a Worker, over a service binding.

import { trip } from "./trip.mjs";

export default {
  async fetch(request, env) {
    try {
      return new Response(await trip({ url: "https://fanwise", token: env.FANWISE_TOKEN, fetch: env.FANWISE, name: "workerd" }));
    } catch (error) {
      return new Response(String(error?.stack ?? error), { status: 500 });
    }
  },
};
