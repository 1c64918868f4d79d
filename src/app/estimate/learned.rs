//! What earlier stages of the same shape took: a stage that is told the same, in the same form, by the same model, over chunks made in
//! the same way, takes alike for each call, and as many calls for each item of the input.

use serde_json::{Value, json};

use crate::app::stage::runtime::{JobRuntime, StageRuntime};
use crate::app::support::blobs::sha256_hex;
use crate::core::estimate::Learned;
use crate::core::plan::spec::{PLAN_STAGE, StageKind};
use crate::core::task::retry_policy::RequestMode;
use crate::store::row::{Columns, Row};

/// Calls that must be known before anything is concluded from them.
const LEAST_CALLS: u64 = 3;

/// The shapes of a plan's stages, by their positions; none of those that nothing can be learned of.
pub fn shapes(tenant: &str, runtime: &JobRuntime) -> Vec<(u32, String)> {
    let stages = (0..).zip(&runtime.stages);
    let planning = runtime.plan.iter().map(|plan| (PLAN_STAGE, plan));
    stages
        .chain(planning)
        .filter_map(|(at, stage)| Some((at, shape(tenant, stage)?)))
        .collect()
}

/// What stages have in common that take alike, as a hash. `None` for those of which each takes something else: tools bring in what they
/// find, and what a cascade's models take differs with what is handed on.
pub fn shape(tenant: &str, runtime: &StageRuntime) -> Option<String> {
    let stage = &runtime.stage;
    if stage.tools.is_some() || stage.is_cascade() {
        return None;
    }
    let request = match stage.kind {
        StageKind::Map => runtime.worker_request(RequestMode::FRESH, &[], None),
        StageKind::Synthesis => {
            runtime.synthesis_request(stage.max_tokens, RequestMode::FRESH, "", "", None)
        }
        StageKind::Plan => {
            runtime.plan_request(stage.max_tokens, RequestMode::FRESH, &Value::Null, None)
        }
    };
    let told = runtime.key(&request);
    let mut form = json!([
        tenant,
        told,
        stage.output,
        stage.chunk,
        stage.group_by,
        stage.of,
        stage.with_input
    ]);
    if let (Value::Array(form), Some(filter)) = (&mut form, &stage.filter) {
        form.push(json!(filter));
    }
    Some(sha256_hex(form.to_string().as_bytes()))
}

/// The sums of the newest stages of one shape.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Earlier {
    /// First calls that were answered, the bytes of their requests, and the tokens put in and taken out.
    calls: u64,
    bytes: u64,
    input: u64,
    output: u64,
    /// Of those stages whose job succeeded and took nothing from the ledger, or from an earlier job: calls and items asked for, and the items that came in.
    whole: Whole,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Whole {
    calls: u64,
    items: u64,
    bytes: u64,
    came_in: u64,
}

impl Earlier {
    pub fn read(row: &Row) -> (String, Earlier) {
        let earlier = Earlier {
            calls: row.tokens("calls"),
            bytes: row.tokens("bytes"),
            input: row.tokens("input"),
            output: row.tokens("output"),
            whole: Whole {
                calls: row.tokens("whole_calls"),
                items: row.tokens("whole_items"),
                bytes: row.tokens("whole_bytes"),
                came_in: row.tokens("came_in"),
            },
        };
        (row.text("shape"), earlier)
    }

    /// What a call takes, where enough of them are known. What is known of each request's bytes has so much put on top.
    pub fn learned(&self, on_top: u64) -> Option<Learned> {
        let bytes = self.bytes.checked_sub(on_top.checked_mul(self.calls)?)?;
        (self.calls >= LEAST_CALLS && bytes > 0).then(|| Learned {
            calls: self.calls,
            input: self.input as f64 / bytes as f64,
            output: self.output as f64 / self.calls as f64,
        })
    }

    /// Bytes of a request, with what is put on top.
    pub fn bytes_of_call(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.bytes as f64 / self.calls as f64)
    }

    /// The share of the input's items that the stage was over.
    pub fn items_of_each(&self) -> Option<f64> {
        self.whole.of_each(self.whole.items)
    }

    /// Calls for each item of the input, and how many calls that was seen by.
    pub fn calls_of_each(&self) -> Option<(f64, u64)> {
        let share = self.whole.of_each(self.whole.calls)?;
        Some((share, self.whole.calls))
    }

    /// Bytes that its requests had beside `fixed` ones, for each item of the input, and how many calls that was seen by.
    pub fn read_of_each(&self, fixed: u64) -> Option<(f64, u64)> {
        let read = self
            .whole
            .bytes
            .saturating_sub(fixed.saturating_mul(self.whole.calls));
        let share = self.whole.of_each(read)?;
        Some((share, self.whole.calls)).filter(|(_, calls)| *calls >= LEAST_CALLS)
    }
}

impl Whole {
    fn of_each(&self, count: u64) -> Option<f64> {
        (self.came_in > 0).then(|| count as f64 / self.came_in as f64)
    }
}
