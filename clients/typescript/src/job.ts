/** A job over the caller's rows. */

import { FanwiseError, JobFailed, JobHalted, WaitTimeout } from "./errors.js";
import { type Connection, get, sleep, submit, write } from "./http.js";
import { type Row, fetchResults, join, report, table } from "./join.js";
import type { EstimateView, JobView, Limits, Report } from "./types.js";
import { type Work, record } from "./work.js";

/** What a job would cost, in dollars, before anything is paid. `details` has all figures and other ways to do it. */
export interface Estimate {
  rows: number;
  calls: { low: number; high: number };
  lowUsd: number;
  likelyUsd: number | null;
  highUsd: number;
  seconds: { low: number; high: number };
  details: EstimateView;
}

export interface WaitOptions {
  /** `true` writes a line that changes; a function is called with each view of the job. */
  progress?: boolean | ((view: JobView) => void);
  timeoutMs?: number;
  /** Ends the waiting; the job goes on. */
  signal?: AbortSignal;
}

const OVER: readonly string[] = ["succeeded", "partial", "failed", "cancelled"];
/** Polls begin close together, for small jobs, and end far apart. */
const FIRST_POLL_MS = 300;
const LONGEST_POLL_MS = 5_000;

/** Made by `Fanwise.map`. Nothing is sent before `estimate`, `tryRows`, `start` or `wait`. */
export class Job<R, A> {
  constructor(
    private readonly to: Connection,
    private readonly work: Work<R>,
  ) {}

  /** The job's id; none before it is submitted. */
  get id(): string | undefined {
    return this.work.job;
  }

  /** The job as it was last seen. */
  get view(): JobView | undefined {
    return this.work.view;
  }

  get state(): string {
    return this.work.view?.state ?? "not submitted";
  }

  /** What is submitted. */
  get body(): Record<string, unknown> {
    return { ...this.work.asked(), input: { items: this.work.items } };
  }

  /** What the job would cost. Starts nothing and costs nothing. */
  async estimate(): Promise<Estimate> {
    const details = await write<EstimateView>(this.to, "POST", "/v1/estimates", this.body);
    const { calls, cost_usd, likely_usd, seconds } = details.expected;
    return {
      rows: details.items,
      calls,
      lowUsd: cost_usd.low,
      likelyUsd: likely_usd ?? null,
      highUsd: cost_usd.high,
      seconds,
      details,
    };
  }

  /** Asks about `n` rows, spread over all of them, and waits. The whole job does not pay for them again. */
  async tryRows(n: number = 5, options: WaitOptions = {}): Promise<Job<R, A>> {
    if (this.work.job !== undefined) throw new FanwiseError("The job has been submitted; a trial comes before it.");
    const places = this.work.sample(n);
    const part = this.work.trial(places);
    const trial = new Job<R, A>(this.to, part);
    part.job = this.work.known(places);
    if (part.job !== undefined) {
      await trial.refresh();
      return trial;
    }
    try {
      await trial.wait(options);
    } finally {
      const view = part.view;
      if (view !== undefined && OVER.includes(view.state)) {
        const spentUsd = view.cost.spent_usd + view.cost.possibly_paid_usd;
        this.work.trials.push({ job: view.id, places, spentUsd, answered: view.progress.items.covered > 0 });
      }
    }
    return trial;
  }

  /** Submits the job and does not wait. It goes on when this program ends. */
  async start(): Promise<this> {
    const { work } = this;
    if (work.job === undefined) {
      work.view = await submit<JobView>(this.to, work.asked(), work.items, work.key);
      work.job = work.view.id;
    } else if (work.view === undefined) {
      await this.refresh();
    }
    return this;
  }

  /**
   * Submits the job where it has not been, and waits for its end.
   *
   * A job that is `partial` has rows without an answer: `_status` and `_reason` name each. One that is `failed` throws
   * `JobFailed`, one that stands still `JobHalted`.
   */
  async wait(options: WaitOptions = {}): Promise<this> {
    const show = shown(options.progress);
    const began = Date.now();
    let poll = FIRST_POLL_MS;
    await this.start();
    for (let view = this.work.view as JobView; ; view = await this.refresh()) {
      show(view);
      if (view.state === "failed") throw new JobFailed(view);
      if (OVER.includes(view.state)) return this;
      if (standsStill(view)) throw new JobHalted(view);
      options.signal?.throwIfAborted();
      if (options.timeoutMs !== undefined && Date.now() - began + poll > options.timeoutMs) {
        throw new WaitTimeout(`Job ${view.id} is ${view.state} after ${options.timeoutMs} ms. It goes on; call \`wait()\` again.`);
      }
      await sleep(poll);
      poll = Math.min(poll * 1.3, LONGEST_POLL_MS);
    }
  }

  async refresh(): Promise<JobView> {
    this.work.view = await get<JobView>(this.to, this.path());
    return this.work.view;
  }

  /** Each row's answer and fate, in their order; while the job runs, what is there so far. */
  async rows(): Promise<Row<R, A>[]> {
    const { rows, ids, skipped, into } = this.work;
    return join<R, A>(rows, ids, skipped, await fetchResults(this.to, this.submitted()), into);
  }

  /** The rows' own fields, the answers', `_status` and `_reason`, as flat objects. */
  async table(options: { flags?: boolean } = {}): Promise<Record<string, unknown>[]> {
    return table(await this.rows(), this.work.rows.map(record), this.work.into, options.flags ?? false);
  }

  /** The written report, the frequencies and the coverage; `null` while the job is not over. */
  async report(): Promise<Report | null> {
    return report(this.to, this.submitted());
  }

  pause(): Promise<JobView> {
    return this.command("pause");
  }

  resume(): Promise<JobView> {
    return this.command("resume");
  }

  /** No new call begins. Answers that exist can be read. */
  cancel(): Promise<JobView> {
    return this.command("cancel");
  }

  approve(): Promise<JobView> {
    return this.command("approve");
  }

  /** Asks again for the rows that have no answer. Call `wait()` afterwards. */
  retry(changes: { maxUsd?: number; limits?: Limits } = {}): Promise<JobView> {
    // One that was begun is refused the second time; the other commands are the same done twice.
    return this.command("retry", { limits: limitsOf(changes) }, false);
  }

  /** Changes limits of a job that is not over. */
  async change(changes: { maxUsd?: number; limits?: Limits }): Promise<JobView> {
    this.work.view = await write<JobView>(this.to, "PATCH", this.path(), { limits: limitsOf(changes) });
    return this.work.view;
  }

  private async command(name: string, body?: unknown, safe: boolean = true): Promise<JobView> {
    this.work.view = await write<JobView>(this.to, "POST", `${this.path()}/${name}`, body, safe);
    return this.work.view;
  }

  private path(): string {
    return `/v1/jobs/${this.submitted()}`;
  }

  private submitted(): string {
    if (this.work.job === undefined) throw new FanwiseError("The job has not been submitted; call `wait()` or `start()`.");
    return this.work.job;
  }
}

function limitsOf(changes: { maxUsd?: number; limits?: Limits }): Limits {
  return { ...changes.limits, ...(changes.maxUsd === undefined ? {} : { max_cost_usd: changes.maxUsd }) };
}

function standsStill(view: JobView): boolean {
  return (view.state === "paused" || view.state === "awaiting_approval") && !view.halt?.resumes_at;
}

/** A job in one line, for people. */
export function line(view: JobView): string {
  const { items } = view.progress;
  const { cost } = view;
  const limit = typeof cost.limit_usd === "number" ? ` of $${cost.limit_usd}` : "";
  const parts = [`${items.covered} of ${items.total} rows`, view.state, `$${cost.spent_usd.toFixed(4)}${limit}`];
  if (cost.saved_usd > 0) parts.push(`$${cost.saved_usd.toFixed(4)} saved`);
  if (view.halt) parts.push(view.halt.detail);
  return parts.join(" · ");
}

function shown(progress: WaitOptions["progress"]): (view: JobView) => void {
  if (typeof progress === "function") return progress;
  if (!progress) return () => {};
  const { process } = globalThis as { process?: { stderr?: { isTTY?: boolean; write?(text: string): unknown } } };
  const { stderr } = process ?? {};
  let before = "";
  return (view) => {
    const now = line(view);
    if (stderr?.isTTY && stderr.write) stderr.write(`\r${now.padEnd(before.length)}${OVER.includes(view.state) ? "\n" : ""}`);
    else if (now !== before) console.error(now);
    before = now;
  };
}
