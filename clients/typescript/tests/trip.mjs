// A job from rows to a table, the same in every runtime: what it imports is the client, and nothing of a runtime.

import { z } from "zod";
import { Fanwise } from "../dist/index.js";

const Tag = z.object({
  // The stand-in writes the item's own id here, so a result beside the wrong row shows.
  row_id: z.string(),
  category: z.enum(["billing", "bug", "other"]),
  urgent: z.boolean(),
});

function same(found, expected, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: ${a} is not ${b}`);
}

/** Throws where something is not as it should be. */
export async function trip({ url, token, fetch, name }) {
  const fw = new Fanwise({ url, token, ...(fetch === undefined ? {} : { fetch }) });
  const rows = [
    { key: 7, message: `${name}: I was charged twice.`, day: new Date(0) },
    { key: 8, message: "  ", day: new Date(0) },
    { key: null, message: `${name}: it crashes 👋 =1+1`, day: null },
    { key: 10n, message: `${name}: where is my parcel?`, day: undefined },
  ];
  const job = fw.map(rows, { id: "key", text: "message", ask: `Tag the ticket of ${name}.`, into: Tag, maxUsd: 1, report: "Sum up." });
  const estimate = await job.estimate();
  same(estimate.rows, 3, "rows of the estimate");
  const trial = await job.tryRows(2, { timeoutMs: 60_000 });
  same((await trial.rows()).map(({ status }) => status), ["ok", "ok"], "rows of the trial");
  await job.wait({ timeoutMs: 60_000 });
  same(job.state, "succeeded", "state");
  const table = await job.table();
  same(table.map(({ row_id, _status, _reason }) => [row_id, _status, _reason]), [
    ["7", "ok", null], [null, "skipped", "blank"], ["item-3", "ok", null], ["10", "ok", null],
  ], "table");
  const report = await job.report();
  same([report.coverage.covered, report.coverage.total], [3, 3], "coverage");
  const schedule = await fw.schedules.create({ cron: "@daily", job, name });
  await fw.schedules.delete(schedule.id);
  return `${name}: ${job.id}`;
}
