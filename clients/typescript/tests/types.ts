// What the compiler must know about answers. It is checked, and never run.

import { z } from "zod";
import { Fanwise, type JobView, type Row } from "../dist/index.js";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <_ extends true>(): void => {};

const Tag = z.object({ category: z.enum(["billing", "bug"]), day: z.iso.date().transform((text) => new Date(text)) });
const fw = new Fanwise();

const typed = fw.map([{ id: 1, message: "x" }], { ask: "?", into: Tag });
type Typed = Awaited<ReturnType<typeof typed.rows>>;
holds<Same<Typed, Row<{ id: number; message: string }, { category: "billing" | "bug"; day: Date }>[]>>();

const plain = fw.map(["x"], { ask: "?", into: { type: "object", properties: {} } });
holds<Same<Awaited<ReturnType<typeof plain.rows>>, Row<string, Record<string, unknown>>[]>>();

const texts = fw.map(["x"], { ask: "?" });
holds<Same<Awaited<ReturnType<typeof texts.rows>>[number]["output"], Record<string, unknown> | null>>();

holds<Same<JobView["state"], "queued" | "planning" | "awaiting_approval" | "running" | "synthesizing" | "paused" | "succeeded" | "partial" | "failed" | "cancelled">>();

// @ts-expect-error `ask` is required.
fw.map(["x"], {});
// @ts-expect-error There is no such field of a submit.
fw.map(["x"], { ask: "?", options: { budget: 5 } });
