//! Stories of wide jobs: pages of the open web, documents and long items in slices, workers with tools, results that a synthesis
//! can only read by way of a tree, claims that name what they rest on, and plans that are replaced while they wait for approval.

use fanwise::core::plan::spec::InputKind;
use serde_json::{Value, json};
use standin::faults::Fault;

use super::story::{Plan, Story};
use crate::chaos::Dice;
use crate::sites::{End, Site};

/// Results of some 60 bytes: a small context reads 8 KB of them in one part, and what three readers say is more than a small
/// synthesis has room for.
const ENOUGH_FOR_A_TREE: usize = 500;

impl Story {
    /// The same story with such jobs.
    pub fn wide(seed: u64) -> Story {
        let mut story = Story::of(seed);
        let mut dice = Dice::new(seed, "wide");
        let dice = &mut dice;
        let given: Vec<Plan> = story.jobs.clone();
        for at in 0..given.len() {
            // Twins stay twins.
            let twin = given[..at].iter().position(|other| {
                other.texts == given[at].texts && other.body["stages"] == given[at].body["stages"]
            });
            let wide = match twin {
                Some(twin) => {
                    let mut wide = story.jobs[twin].clone();
                    wide.body["limits"] = given[at].body["limits"].clone();
                    wide.body["reuse"] = given[at].body["reuse"].clone();
                    (wide.at, wide.tenant) = (given[at].at, given[at].tenant);
                    wide.key.clone_from(&given[at].key);
                    wide
                }
                None => widened(dice, given[at].clone(), &mut story.sites),
            };
            story.jobs[at] = wide;
            let body = &mut story.jobs[at].body;
            if !body["stages"][0]["tools"].is_null() && dice.chance(0.7) {
                // A search may read a context's worth at the price of long prompts: more than most budgets have.
                body["limits"]
                    .as_object_mut()
                    .unwrap()
                    .remove("max_cost_usd");
            }
        }
        if dice.chance(0.5) {
            let share = dice.pick(&[0.1, 0.4]);
            story.claude.faults.0.insert(Fault::Pause, share);
        }
        if dice.chance(0.5) {
            let small = json!({"models": {
                "claude-opus-5-5": {"context_tokens": dice.pick(&[8_000, 9_500])},
                "claude-haiku-5-5": {"context_tokens": dice.pick(&[9_000, 14_000])}}});
            story.vars.push(("MODELS_JSON", small.to_string()));
            // No long reference material fits such a context too.
            for job in &mut story.jobs {
                let body = job.body.as_object_mut().unwrap();
                body.remove("context");
                for stage in body
                    .get_mut("stages")
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                {
                    let stage = stage.as_object_mut().unwrap();
                    stage.remove("context");
                    if stage["kind"] == "synthesis" && stage["max_tokens"].as_u64() > Some(2_000) {
                        // More would leave no room for results, and is refused.
                        stage.insert("max_tokens".into(), json!(2_000));
                    }
                }
            }
        }
        if dice.chance(0.3) {
            let rule = json!({"match": {"role": "synthesis"}, "fault": "invented_id", "times": 2});
            story
                .claude
                .rules
                .push(serde_json::from_value(rule).unwrap());
        }
        story.rates.web = dice.pick(&[0.0, 0.0, 0.02, 0.1]);
        for (name, of) in [
            ("FETCH_TIMEOUT_MS", ["1000", "2000"]),
            ("FETCH_MAX_BYTES", ["20000", "60000"]),
            ("FETCH_AT_ONCE", ["1", "4"]),
        ] {
            story.vars.push((name, dice.pick(&of).to_owned()));
        }
        story
    }
}

/// The job with other input and more in its plan.
fn widened(dice: &mut Dice, mut job: Plan, sites: &mut Vec<(String, Vec<Site>)>) -> Plan {
    let many = job.texts.len().min(12);
    let chunk = match dice.range(0, 3) {
        0 => {
            job.input = InputKind::Urls;
            let pages = (0..many).map(|n| page(dice, &format!("{}-{n}", job.key), sites));
            (job.texts, job.readable) = pages.unzip();
            dice.pick(&[
                json!({"items": 1}),
                json!({"tokens": 300}),
                json!({"tokens": 1_000, "overlap": 50}),
            ])
        }
        1 => {
            job.input = InputKind::Documents;
            job.texts = (0..many).map(|n| document(dice, &n.to_string())).collect();
            dice.pick(&[
                json!({"tokens": 200}),
                json!({"tokens": 300, "overlap": 100}),
                json!({"tokens": 5_000}),
            ])
        }
        2 => {
            for (n, text) in job.texts.iter_mut().enumerate() {
                if dice.chance(0.1) {
                    *text = document(dice, &n.to_string());
                }
            }
            json!({"tokens": dice.pick(&[200, 1_000]), "items": dice.pick(&[3, 25])})
        }
        // So many that no small context has room for all their results.
        _ => {
            let times = dice.pick(&[1, 1, 3, ENOUGH_FOR_A_TREE / job.texts.len().max(1)]);
            let again = |n| job.texts.iter().map(move |text| format!("{text} ({n})"));
            job.texts = (0..times).flat_map(again).collect();
            json!({"items": dice.pick(&[5, 25])})
        }
    };
    job.readable.resize(job.texts.len(), true);
    let stages = job.body["stages"].as_array_mut().unwrap();
    let first = &mut stages[0];
    first["chunk"] = chunk.clone();
    if first["name"] == "classify" {
        // Texts that are repeated have an answer of their own length: those are told of elsewhere.
        let schema = &mut first["output_schema"];
        schema["properties"].as_object_mut().unwrap().remove("text");
        schema["required"] = json!(["primary_category"]);
        first["max_tokens"] = json!(1_500);
    }
    if dice.chance(0.4) {
        first["tools"] = dice.pick(&[
            json!({"web_search": {"max_uses": 1}}),
            json!({"web_search": {"max_uses": 2}, "web_fetch": {"max_uses": 1, "max_content_tokens": 1_000}}),
        ]);
    }
    if dice.chance(0.5)
        && let Some(report) = stages.last_mut().filter(|last| last["kind"] == "synthesis")
    {
        report["citations"] = json!(true);
    }
    if dice.chance(0.25) {
        planned(dice, &mut job, &chunk);
    }
    job
}

/// Its plan is made, waits for approval, and may be replaced by another one then.
fn planned(dice: &mut Dice, job: &mut Plan, chunk: &Value) {
    let body = job.body.as_object_mut().unwrap();
    body.remove("stages");
    body["limits"]["max_rounds"] = json!(dice.pick(&[0, 1, 2]));
    body.insert("approval".into(), json!(true));
    if dice.chance(0.5) {
        job.replacement = Some(json!([
            {"name": "classify", "kind": "map", "instructions": "Classify each.", "output": "item", "chunk": chunk,
                "max_tokens": 1_500, "output_schema": {
                    "type": "object", "required": ["primary_category"], "additionalProperties": false,
                    "properties": {"primary_category": {"type": "string", "enum": super::story::CATEGORIES}}}},
            {"name": "report", "kind": "synthesis", "instructions": "Sum up.", "max_tokens": 2_000}]));
    }
}

/// Paragraphs under headings, so many that it may be cut into several slices.
fn document(dice: &mut Dice, n: &str) -> String {
    let mut text = format!("# Document {n}\n\n");
    for part in 0..dice.pick(&[1, 4, 20, 60]) {
        if part % 10 == 9 {
            text.push_str(&format!("## Part {part}\n\n"));
        }
        text.push_str(&format!(
            "Paragraph {part} of {n} tells of a bug. It has a second sentence (case {n}), and a third; all are short.\n\n"
        ));
    }
    text
}

/// An address, and whether anything can ever be read there.
fn page(dice: &mut Dice, n: &str, sites: &mut Vec<(String, Vec<Site>)>) -> (String, bool) {
    let url = format!("https://site{n}.org/");
    let text = document(dice, n).replace("\n\n", "</p><p>");
    let html =
        format!("<html><head><title>Site {n}</title></head><body><p>{text}</p></body></html>");
    let good = Site::page("text/html; charset=utf-8", &html).after(dice.pick(&[5, 300]));
    let busy = Site::new(503).header("Retry-After", dice.pick(&["0", "7", "600"]));
    let (answers, readable) = match dice.range(0, 15) {
        0 => (vec![Site::new(404)], false),
        1 => (vec![Site::new(0)], false),
        2 => (vec![Site::redirect(dice.pick(&INWARD))], false),
        3 => (vec![Site::redirect("/")], false),
        4 => (vec![good.clone().ending(End::Endless)], false),
        5 => (vec![good.clone().ending(End::Silent)], false),
        6 => (vec![Site::page("image/png", "x")], false),
        7 => (
            vec![Site::page("text/html", "<script>app()</script>")],
            false,
        ),
        8 => return (dice.pick(&INWARD).to_owned(), false),
        9 => return (format!("https://somebody:secret@site{n}.org/"), false),
        10 => (vec![busy, good], true),
        11 => (
            vec![Site::new(0), good.clone().ending(End::Cut), good],
            true,
        ),
        _ => (vec![good], true),
    };
    sites.push((url.clone(), answers));
    (url, readable)
}

/// Addresses that nobody may be sent to.
pub const INWARD: [&str; 5] = [
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://[::1]:8787/",
    "http://2130706433/",
    "https://localhost/",
];
