//! One job as callers see it, made from its row.

use serde_json::Value;

use super::{Cost, ErrorView, Halt, ItemCounts, JobView, Progress, TaskCounts, Usage};
use crate::app::support::db::rows;
use crate::app::{App, AppError};
use crate::core::estimate::forecast;
use crate::core::estimate::forecast::Standing;
use crate::core::value::money::Nano;
use crate::core::value::time::rfc3339;
use crate::ports::{Clock, Db, Ports};
use crate::store::job::jobs::object;
use crate::store::read::listing;
use crate::store::row::{Columns, Row};
use crate::store::task::admission::ClassRow;

/// One job.
pub async fn job<P: Ports>(app: &App<P>, tenant: &str, id: &str) -> Result<JobView, AppError> {
    let statements = vec![
        listing::job(id, tenant),
        listing::standing(id, tenant),
        listing::next_call(id, tenant),
    ];
    let mut answers = app.ports.db().batch(statements).await?.into_iter();
    let mut rows = || answers.next().unwrap_or_default().rows;
    let mut view = rows()
        .first()
        .map(job_view)
        .ok_or(AppError::NotFound("job"))?;
    foresee(&mut view.cost, rows().first());
    let waits = rows();
    let waits = waits.first().filter(|_| view.halt.is_none());
    view.halt = view
        .halt
        .or_else(|| held_back(waits?, app.ports.clock().now_ms()));
    Ok(view)
}

/// A wait of this length is told.
const LONG_WAIT_MS: i64 = 60_000;

/// Why a job with nothing in flight calls nothing: its next task, with its class, must wait.
fn held_back(next: &Row, now: i64) -> Option<Halt> {
    let class = ClassRow::read(next).class;
    let own = next.int("not_before");
    // The least that its input can be: half of its bytes is what nearly all texts have.
    let permit = class.permit_at(now, next.real("bytes") / 2.0);
    let due = own.max(permit);
    if due - now < LONG_WAIT_MS {
        return None;
    }
    let at = rfc3339(due);
    let detail = if own >= permit {
        format!("the API asked to wait: the next call goes out at {at}")
    } else {
        let class = class.name;
        format!("the rate limits of {class} leave no call: the next one goes out at {at}")
    };
    Some(Halt {
        reason: "rate_limit".to_owned(),
        detail,
        resumes_at: Some(at.clone()),
        not_before: Some(at),
    })
}

/// Adds what the job will likely have cost, by how its stages stand.
pub fn foresee(cost: &mut Cost, standing: Option<&Row>) {
    cost.likely_usd = standing.and_then(|standing| {
        let stages: Vec<Standing> = standing.json("stages")?;
        let to_come = forecast::to_come(&stages, &standing.json::<Vec<_>>("rounds")?)?;
        Some(((cost.spent_usd + to_come) * 1e6).round() / 1e6)
    });
}

/// The job's row, if it is the tenant's.
pub async fn owned<P: Ports>(app: &App<P>, tenant: &str, job: &str) -> Result<Row, AppError> {
    rows(app, listing::owner(job, tenant))
        .await?
        .into_iter()
        .next()
        .ok_or(AppError::NotFound("job"))
}

/// Tasks and items by the counters of a job's row.
pub fn progress(row: &Row) -> Progress {
    let counts: serde_json::Map<String, Value> = row.json("counts").unwrap_or_default();
    let count = |name: &str| counts.get(name).and_then(Value::as_u64).unwrap_or(0);
    let total = row.tokens("items_total");
    // In a later stage a document is counted with each of its slices until all is known.
    let covered = row.tokens("covered_so_far").min(total);
    Progress {
        tasks: TaskCounts {
            total: count("total"),
            pending: count("pending"),
            queued: count("queued"),
            running: count("running"),
            succeeded: count("succeeded"),
            failed: count("failed"),
            skipped: count("skipped"),
            cancelled: count("cancelled"),
        },
        items: ItemCounts {
            total,
            covered,
            missing: total.saturating_sub(covered),
            blank_rows: row.tokens("blank_rows"),
        },
    }
}

/// What its calls have used so far.
pub fn usage(row: &Row) -> Usage {
    Usage {
        calls: row.tokens("calls"),
        input_tokens: row.tokens("input_tokens"),
        output_tokens: row.tokens("output_tokens"),
        cache_read_input_tokens: row.tokens("cache_read_tokens"),
        cache_creation_input_tokens: row.tokens("cache_write_tokens"),
    }
}

/// A job's money by its row.
pub fn cost(row: &Row) -> Cost {
    Cost {
        spent_usd: Nano(row.int("spent_nano")).usd(),
        reserved_usd: Nano(row.int("reserved_nano"))
            .plus(Nano(row.int("unknown_nano")))
            .usd(),
        possibly_paid_usd: Nano(row.int("unknown_nano")).usd(),
        uncounted_calls: row.tokens("uncounted"),
        limit_usd: row.maybe_int("limit_nano").map(|nano| Nano(nano).usd()),
        saved_usd: Nano(row.int("saved_nano")).usd(),
        cache_saved_usd: Nano(row.int("cache_saved_nano")).usd(),
        likely_usd: None,
    }
}

pub fn job_view(row: &Row) -> JobView {
    JobView {
        id: row.text("id"),
        state: row.text("state"),
        run: row.count("run"),
        mode: row.text("mode"),
        task: row.text("task"),
        recipe: row.maybe_text("recipe"),
        extends: row
            .json::<crate::core::plan::carry_over::Extension>("extends")
            .map(|extension| extension.job),
        created_at: rfc3339(row.int("created_at")),
        updated_at: rfc3339(row.int("updated_at")),
        finished_at: row.maybe_int("finished_at").map(rfc3339),
        stage: row.maybe_text("stage_name"),
        progress: progress(row),
        usage: usage(row),
        cost: cost(row),
        halt: row.json::<Halt>("halt"),
        error: row.json::<ErrorView>("error"),
        metadata: object(row, "metadata"),
    }
}
