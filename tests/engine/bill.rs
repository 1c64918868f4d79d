//! What one workload costs in different ways, by the price table: whole jobs of the engine against the stand-in's usage,
//! nothing worked out beforehand. `cargo xtask bench --cost` plays the full size and prints the table; the test run plays a small
//! one and holds the engine to the shares that are promised.

use serde_json::{Value, json};

use crate::flows::over;
use crate::world::{World, job};

/// What a run of the whole table is told by `xtask`, and how it answers.
const ITEMS: &str = "FANWISE_BILL_ITEMS";
const MARK: &str = "bill: ";
/// Of the workload: tokens that all calls share, and of one item, as the stand-in counts them (2.5 characters each).
const SHARED_TOKENS: usize = 4_000;
const ITEM_TOKENS: usize = 200;
const CHARS_PER_TOKEN: f64 = 2.5;
const PER_CHUNK: u32 = 25;

/// Without the prompt cache.
const PLAIN: (&str, &str) = ("PROMPT_CACHE", "false");

/// About so many tokens of prose that says the same each time.
fn prose(tokens: usize, seed: usize) -> String {
    const WORDS: [&str; 16] = [
        "order", "parcel", "invoice", "refund", "account", "password", "delivery", "address",
        "payment", "charged", "late", "broken", "screen", "update", "support", "answer",
    ];
    let chars = (tokens as f64 * CHARS_PER_TOKEN) as usize;
    let mut text = String::with_capacity(chars + 16);
    let mut state = seed as u64 + 1;
    while text.len() < chars {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[(state >> 60) as usize]);
        text.push(' ');
    }
    text
}

fn items(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| match n % 20 {
            // One in twenty says nothing that its category could be told by.
            0 => format!(
                "Hello there, number {n}. {}",
                "Thank you and best wishes. ".repeat(18)
            ),
            _ => format!("Ticket {n}: {}", prose(ITEM_TOKENS, n)),
        })
        .collect()
}

fn plan(per_chunk: u32, more: &Value) -> Value {
    let mut stage = json!({
        "name": "classify", "kind": "map", "chunk": {"items": per_chunk},
        "instructions": format!("Sort each ticket by this handbook.\n{}", prose(SHARED_TOKENS, 1_000_000)),
        "output_schema": {"type": "object", "properties": {
            "category": {"type": "string", "enum": ["billing", "shipping", "login", "bug", "unsure"]},
            "urgency": {"type": "string", "enum": ["low", "high"]}},
            "required": ["category", "urgency"], "additionalProperties": false},
        "merge": {"count_by": ["category", "urgency"]}
    });
    let fields = more.as_object().unwrap().clone();
    stage.as_object_mut().unwrap().extend(fields);
    json!([stage, {"name": "report", "kind": "synthesis", "instructions": "Say in five sentences what to mend first."}])
}

/// What a job came to, in dollars and calls.
#[derive(Debug, Clone, Copy)]
pub struct Bill {
    pub map: f64,
    pub synthesis: f64,
    pub calls: u64,
    pub cached_tokens: u64,
}

impl Bill {
    fn whole(&self) -> f64 {
        self.map + self.synthesis
    }
}

/// A world in which several jobs follow one another.
struct Shop {
    world: World,
}

impl Shop {
    fn new() -> Shop {
        let claude = standin::Config {
            latency_ms: 300,
            ..Default::default()
        };
        Shop {
            world: World::new(3, claude),
        }
    }

    fn run(&self, vars: &[(&str, &str)], texts: &[String], body: Value) -> (String, Bill) {
        let mut all = vec![
            ("MAX_D1_QUERIES", "1000000"),
            ("WORKER_SLOTS", "200"),
            ("GOVERNOR_START", "200"),
            ("CONNECTIONS", "200"),
        ];
        all.extend_from_slice(vars);
        let app = self.world.app(&all);
        let mut body = body;
        body["limits"] = json!({"concurrency": 200});
        let id = self.world.submit(&app, job(texts, body)).job.id;
        self.world
            .run(&app, 10_000, 72 * 3_600_000, || over(&self.world, &id));
        let state = self
            .world
            .query(&format!("SELECT state, error FROM jobs WHERE id = '{id}'"));
        assert_eq!(state[0]["state"], "succeeded", "{state:?}");
        let sql = format!(
            "SELECT COALESCE(SUM(CASE WHEN role IN ('synthesis', 'reduce') THEN 0 ELSE cost_nano END), 0) AS map,
               COALESCE(SUM(CASE WHEN role IN ('synthesis', 'reduce') THEN cost_nano END), 0) AS synthesis,
               COALESCE(SUM(cache_read_tokens), 0) AS cached, COUNT(*) AS calls FROM attempts WHERE job = '{id}' AND state = 'done'"
        );
        let row = &self.world.query(&sql)[0];
        let number = |name: &str| row[name].as_f64().unwrap();
        let bill = Bill {
            map: number("map") / 1e9,
            synthesis: number("synthesis") / 1e9,
            calls: number("calls") as u64,
            cached_tokens: number("cached") as u64,
        };
        (id, bill)
    }
}

type Rows = Vec<(&'static str, Bill)>;

/// One call for each item.
fn one_by_one(count: usize) -> Rows {
    let body = json!({"stages": plan(1, &json!({}))});
    let mut later = body.clone();
    later["delivery"] = json!("batch");
    let run = |vars: &[_], body: &Value| Shop::new().run(vars, &items(count), body.clone()).1;
    vec![
        ("naive", run(&[PLAIN], &body)),
        ("one by one, cached", run(&[], &body)),
        ("one by one, cached, batch", run(&[], &later)),
    ]
}

/// Many items to a call; the same again; and a job like it, of which one item in a hundred is new or changed.
fn in_chunks(count: usize) -> Rows {
    let texts = items(count);
    let body = json!({"stages": plan(PER_CHUNK, &json!({}))});
    let plain = Shop::new().run(&[PLAIN], &texts, body.clone()).1;
    let shop = Shop::new();
    let (first, cached) = shop.run(&[], &texts, body.clone());
    let again = shop.run(&[], &texts, body).1;
    let mut now = texts;
    let new = (count / 200).max(1);
    for n in 0..new {
        now[n * (count / new)].push_str(" And it is urgent.");
        let text = prose(ITEM_TOKENS, 5_000_000 + n);
        now.push(format!("New ticket {n}: {text}"));
    }
    // Nothing but what is taken over, not the ledger, saves anything here.
    let none = [("LEDGER_DAYS", "0")];
    // Half the price, and the cache besides.
    let mut later = json!({"stages": plan(PER_CHUNK, &json!({}))});
    later["delivery"] = json!("batch");
    let batch = Shop::new().run(&[PLAIN], &items(count), later.clone()).1;
    let both = Shop::new().run(&[], &items(count), later).1;
    let extension = shop.run(&none, &now, json!({"extends": first})).1;
    vec![
        ("chunked", plain),
        ("chunked, cached", cached),
        ("chunked, batch", batch),
        ("chunked, cached, batch", both),
        ("re-run", again),
        ("extension of 1 %", extension),
    ]
}

/// Another model first.
fn by_models(count: usize) -> Rows {
    let run = |more: Value| {
        let body = json!({"stages": plan(PER_CHUNK, &more)});
        Shop::new().run(&[], &items(count), body).1
    };
    vec![
        ("sonnet alone", run(json!({"model": "sonnet"}))),
        (
            "cascade of haiku and sonnet",
            run(json!({"models": ["haiku", "sonnet"]})),
        ),
    ]
}

fn of(rows: &[(&'static str, Bill)], name: &str) -> Bill {
    rows.iter().find(|row| row.0 == name).unwrap().1
}

#[test]
fn the_same_answer_for_less_money() {
    let rows = one_by_one(300);
    let naive = of(&rows, "naive").whole();
    // Half the price besides, but for one that writes for an hour.
    let (cached, both) = (
        of(&rows, "one by one, cached").map,
        of(&rows, "one by one, cached, batch").map,
    );
    assert!(both < 0.55 * cached, "{rows:#?}");
    let rows = in_chunks(300);
    assert!(
        of(&rows, "chunked, cached, batch").whole() < 0.35 * naive,
        "{rows:#?}"
    );
    let again = of(&rows, "re-run");
    assert_eq!((again.calls, again.whole()), (0, 0.0));
    let rows = by_models(300);
    let cascade = of(&rows, "cascade of haiku and sonnet").map;
    assert!(cascade < 0.5 * of(&rows, "sonnet alone").map, "{rows:#?}");
}

#[test]
fn an_extension_of_one_in_a_hundred_costs_two_at_the_most() {
    let rows = in_chunks(2_000);
    let whole = of(&rows, "chunked, cached").map;
    assert!(
        of(&rows, "extension of 1 %").map <= 0.02 * whole,
        "{rows:#?}"
    );
}

/// The whole table, for `cargo xtask bench --cost`.
#[test]
#[ignore = "takes minutes; `cargo xtask bench --cost` runs it"]
fn whole() {
    let count = std::env::var(ITEMS).ok().and_then(|text| text.parse().ok());
    let count = count.unwrap_or(10_000);
    let ways = [one_by_one, in_chunks, by_models];
    for (name, bill) in ways.into_iter().flat_map(|way| way(count)) {
        let line = json!({"way": name, "map": bill.map, "synthesis": bill.synthesis, "calls": bill.calls, "cached_tokens": bill.cached_tokens});
        println!("{MARK}{line}");
    }
}
