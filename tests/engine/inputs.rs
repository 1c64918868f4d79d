//! Long documents, packed items and pages of the web, from submit to coverage.

use fanwise::app::App;
use fanwise::app::job::commands;
use fanwise::app::read::{jobs, report};
use fanwise::app::submit::Submit;
use fanwise::app::view::{Report, job as view_job};
use fanwise::core::plan::spec::{InputKind, Item, Limits};
use fanwise::store::stage::flags;
use serde_json::{Map, Value, json};

use crate::flows::over;
use crate::sites::{End, Site};
use crate::world::{TENANT, World, job};

const MINUTE: i64 = 60_000;

fn world() -> World {
    World::new(
        3,
        standin::Config {
            latency_ms: 100,
            ..Default::default()
        },
    )
}

/// A job over items of a kind, without a synthesis.
fn of_kind(input: InputKind, items: Vec<(&str, Value)>, chunk: Value) -> Submit {
    let stages = json!([{"name": "read", "kind": "map", "instructions": "Read.", "chunk": chunk,
        "output_schema": {"type": "object", "properties": {"topic": {"type": "string", "enum": ["one", "another"]}},
            "required": ["topic"], "additionalProperties": false}}]);
    let fields = |value: Value| match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    Submit {
        input,
        items: items
            .into_iter()
            .map(|(id, value)| Item {
                id: id.to_owned(),
                fields: fields(value),
            })
            .collect(),
        ..job(
            &[],
            json!({"stages": stages, "limits": {"max_attempts": 3}}),
        )
    }
}

fn run(world: &World, app: &App<World>, submit: Submit) -> String {
    let id = world.submit(app, submit).job.id;
    world.run(app, 10_000, 60 * MINUTE, || over(world, &id));
    id
}

fn report_of(world: &World, app: &App<World>, id: &str) -> Report {
    let (app, id) = (app.clone(), id.to_owned());
    world.block_on(async move { report::report(&app, TENANT, &id).await.unwrap() })
}

fn covered(world: &World, app: &App<World>, id: &str) -> (u64, u64) {
    let (app, id) = (app.clone(), id.to_owned());
    let view = world.block_on(async move { view_job::job(&app, TENANT, &id).await.unwrap() });
    (view.progress.items.covered, view.progress.items.total)
}

/// What each task's worker reads, in order.
fn inputs(world: &World, app: &App<World>, id: &str) -> Vec<Value> {
    let rows = world.query(&format!(
        "SELECT idx FROM tasks WHERE job = '{id}' ORDER BY idx"
    ));
    rows.iter()
        .map(|row| {
            let index = row["idx"].as_u64().unwrap() as u32;
            let (app, id) = (app.clone(), id.to_owned());
            world.block_on(async move { jobs::task(&app, TENANT, &id, index).await.unwrap().input })
        })
        .collect()
}

fn reasons(report: &Report) -> Vec<(String, String)> {
    let missing = report.coverage.missing.iter();
    missing.map(|m| (m.id.clone(), m.reason.clone())).collect()
}

/// Paragraphs under headings, so much of them.
fn book(bytes: usize) -> String {
    let mut text = String::new();
    for n in 0.. {
        if n % 50 == 0 {
            text.push_str(&format!("# Chapter {}\n\n", n / 50 + 1));
        }
        text.push_str(&format!("Paragraph {n} says what it says. It has a second sentence, with a clause; and a third one.\n\n"));
        if text.len() >= bytes {
            return text;
        }
    }
    text
}

#[test]
fn a_long_document_is_read_whole_slice_by_slice() {
    let world = world();
    let app = world.app(&[]);
    let text = book(2_600_000);
    let chunk = json!({"tokens": 40_000});
    let document = json!({"title": "The book", "text": text});
    let id = run(
        &world,
        &app,
        of_kind(InputKind::Documents, vec![("book", document)], chunk),
    );
    let errors =
        world.query("SELECT idx, state, error, bytes FROM tasks WHERE state <> 'succeeded'");
    assert_eq!(covered(&world, &app, &id), (1, 1), "{errors:?}");
    assert!(reasons(&report_of(&world, &app, &id)).is_empty());
    let inputs = inputs(&world, &app, &id);
    let of = inputs.len();
    assert!((15..30).contains(&of), "{of}");
    let mut read = String::new();
    for (number, input) in (1..).zip(&inputs) {
        let slice = &input[0];
        assert_eq!(slice["id"], format!("book#{number}"));
        assert_eq!(slice["slice"], format!("{number} of {of}"));
        assert_eq!(slice["title"], "The book");
        assert!(slice["section"].as_str().unwrap().starts_with("Chapter "));
        read.push_str(slice["text"].as_str().unwrap());
    }
    assert!(
        read == text,
        "something of the text is lost, or there twice"
    );
    // The database has it in blobs: no row holds more than it should.
    let rows = world.query("SELECT MAX(LENGTH(body)) AS most FROM inputs");
    assert!(rows[0]["most"].as_u64().unwrap_or(0) <= 65_536);
}

#[test]
fn overlaps_reach_over_the_parts_of_a_text() {
    let world = world();
    let app = world.app(&[]);
    let text = book(1_300_000);
    let chunk = json!({"tokens": 2_000, "overlap": 200});
    let document = json!({"text": text});
    let id = world
        .submit(
            &app,
            of_kind(InputKind::Documents, vec![("book", document)], chunk),
        )
        .job
        .id;
    let parts = world.query("SELECT COUNT(*) AS n FROM parts");
    assert_eq!(parts[0]["n"], 2);
    let expanded = || {
        let rows = world.query("SELECT expanded FROM stages");
        rows[0]["expanded"] == 1
    };
    world.run(&app, 10_000, 60 * MINUTE, expanded);
    let mut end = 0;
    for input in inputs(&world, &app, &id) {
        let shown = input[0]["text"].as_str().unwrap();
        let at = text[..end].len().saturating_sub(1_000);
        let from = at
            + text[at..]
                .find(shown)
                .expect("a slice is a piece of the text");
        assert!(from <= end, "a gap");
        assert!(end == 0 || from < end, "no overlap at byte {end}");
        end = from + shown.len();
    }
    assert_eq!(end, text.len());
}

#[test]
fn a_document_is_covered_when_all_its_slices_are() {
    let world = world();
    let app = world.app(&[]);
    let documents = vec![
        ("short", json!({"text": "A short one."})),
        ("long", json!({"text": book(40_000)})),
    ];
    let submit = of_kind(InputKind::Documents, documents, json!({"tokens": 1_000}));
    let submit = Submit {
        limits: serde_json::from_value(json!({"concurrency": 1})).unwrap(),
        ..submit
    };
    let id = world.submit(&app, submit).job.id;
    let done = |n: u64| {
        let rows = world.query("SELECT COUNT(*) AS n FROM tasks WHERE state = 'succeeded'");
        rows[0]["n"].as_u64().unwrap() >= n
    };
    world.run(&app, 10_000, 60 * MINUTE, || done(4));
    assert_eq!(covered(&world, &app, &id), (1, 2));
    let (app2, id2) = (app.clone(), id.clone());
    world.block_on(async move { commands::cancel(&app2, TENANT, &id2).await.unwrap() });
    world.run(&app, 10_000, 60 * MINUTE, || {
        world
            .query("SELECT 1 FROM attempts WHERE state = 'open'")
            .is_empty()
    });
    let report = report_of(&world, &app, &id);
    assert_eq!(
        reasons(&report),
        [("long".to_owned(), "cancelled".to_owned())]
    );
    assert_eq!(report.coverage.covered, 1);
    // And after a retry it is.
    let (app2, id2) = (app.clone(), id.clone());
    world.block_on(async move {
        let limits = Limits {
            concurrency: Some(50),
            ..Limits::default()
        };
        commands::retry(&app2, TENANT, &id2, &limits).await.unwrap()
    });
    world.run(&app, 10_000, 60 * MINUTE, || over(&world, &id));
    assert_eq!(covered(&world, &app, &id), (2, 2));
    // A report may rest on the document or on one of its slices.
    let cited = ["long", "long#2", "long#999", "short", "nothing"].map(str::to_owned);
    let known = world
        .batch_now(vec![flags::known_ids(&id, &cited)])
        .unwrap();
    let mut known: Vec<&str> = known[0]
        .rows
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect();
    known.sort_unstable();
    assert_eq!(known, ["long", "long#2", "short"]);
}

#[test]
fn small_items_are_packed_and_long_ones_split() {
    let world = world();
    let app = world.app(&[]);
    let long = book(10_000);
    let mut items: Vec<(String, Value)> = (0..60)
        .map(|n| {
            (
                format!("item-{n}"),
                json!({"text": format!("A short text, number {n}.")}),
            )
        })
        .collect();
    items.insert(30, ("long".into(), json!({"lang": "en", "body": long})));
    items.push(("numbers".into(), json!({"list": vec![1_000_000; 400]})));
    let items = items.iter().map(|(id, value)| (id.as_str(), value.clone()));
    let chunk = json!({"tokens": 300, "items": 20});
    let id = run(
        &world,
        &app,
        of_kind(InputKind::Items, items.collect(), chunk),
    );
    assert_eq!(covered(&world, &app, &id), (62, 62));
    let inputs = inputs(&world, &app, &id);
    let mut read = String::new();
    for input in &inputs {
        let list = input.as_array().unwrap();
        let first = list[0]["id"].as_str().unwrap();
        let tokens = fanwise::core::text::slices::tokens(&input.to_string());
        assert!(tokens <= 400 || first == "numbers", "{tokens} in {first}");
        assert!(list.len() <= 20);
        if first.starts_with("long#") {
            assert_eq!(list.len(), 1);
            assert_eq!(list[0]["lang"], "en");
            read.push_str(list[0]["body"].as_str().unwrap());
        }
    }
    assert_eq!(read, long);
    assert!(
        inputs
            .iter()
            .any(|input| input.as_array().unwrap().len() > 5)
    );
}

fn page(title: &str, text: &str) -> Site {
    let html = format!(
        "<html><head><title>{title}</title><script>x</script></head><body><p>{text}</body></html>"
    );
    Site::page("text/html; charset=utf-8", &html)
}

#[test]
fn every_address_has_its_fate_and_nothing_is_paid_for_the_dead_ones() {
    let world = world();
    let app = world.app(&[
        ("FETCH_TIMEOUT_MS", "2000"),
        ("FETCH_MAX_BYTES", "100000"),
        ("FETCH_AT_ONCE", "2"),
    ]);
    let mut items = Vec::new();
    for n in 0..30 {
        let url = format!("https://site{n}.org/");
        world.sites().set(
            &url,
            page(&format!("Site {n}"), &format!("About {n} &amp; more.")),
        );
        items.push((format!("good-{n}"), url));
    }
    for (id, url, site) in [
        ("dead", "https://dead.org/", Some(Site::new(404))),
        ("gone", "https://gone.org/", None),
        (
            "inward",
            "https://inward.org/",
            Some(Site::redirect("http://10.0.0.1/")),
        ),
        ("loop", "https://loop.org/", Some(Site::redirect("/"))),
        (
            "endless",
            "https://endless.org/",
            Some(Site::page("text/plain", "more ").ending(End::Endless)),
        ),
        (
            "slow",
            "https://slow.org/",
            Some(Site::page("text/plain", "x").ending(End::Silent)),
        ),
        (
            "image",
            "https://image.org/",
            Some(Site::page("image/png", "x")),
        ),
        (
            "blank",
            "https://blank.org/",
            Some(page("Blank", "<script>app()</script>")),
        ),
        ("local", "http://localhost/", None),
        ("nonsense", "not an address", None),
    ] {
        if let Some(site) = site {
            world.sites().set(url, site);
        }
        items.push((id.to_owned(), url.to_owned()));
    }
    world.sites().set_all(
        "https://busy.org/",
        vec![
            Site::new(503).header("Retry-After", "20"),
            page("Busy", "It came after all."),
        ],
    );
    items.push(("busy".into(), "https://busy.org/".into()));
    let items: Vec<(&str, Value)> = items
        .iter()
        .map(|(id, url)| (id.as_str(), json!({"url": url})))
        .collect();
    let id = run(
        &world,
        &app,
        of_kind(InputKind::Urls, items, json!({"items": 1})),
    );
    assert_eq!(covered(&world, &app, &id), (31, 41));
    let mut fates = reasons(&report_of(&world, &app, &id));
    fates.sort();
    let expected = [
        ("blank", "empty_page"),
        ("dead", "dead_link"),
        ("endless", "page_too_large"),
        ("gone", "unreachable"),
        ("image", "wrong_type"),
        ("inward", "url_refused"),
        ("local", "url_refused"),
        ("loop", "too_many_redirects"),
        ("nonsense", "url_refused"),
        ("slow", "fetch_timed_out"),
    ];
    assert_eq!(
        fates,
        expected.map(|(id, code)| (id.to_owned(), code.to_owned()))
    );
    let sites = world.sites();
    assert_eq!(sites.count("https://site7.org/"), 1);
    assert_eq!(sites.count("https://busy.org/"), 2);
    assert_eq!(sites.count("https://dead.org/"), 1);
    assert_eq!(
        sites.count("https://gone.org/"),
        3,
        "as often as max_attempts says"
    );
    drop(sites);
    // A call for each page that was read, none for the others.
    let calls = world.query("SELECT COUNT(*) AS n FROM attempts");
    assert_eq!(calls[0]["n"], 31);
    let read = inputs(&world, &app, &id);
    assert_eq!(
        read[7][0],
        json!({"id": "good-7", "url": "https://site7.org/", "title": "Site 7", "text": "About 7 & more."})
    );
    // Retried, what failed is read again, and nothing else.
    world
        .sites()
        .set("https://dead.org/", page("Back", "Back again."));
    let (app2, id2) = (app.clone(), id.clone());
    world.block_on(async move {
        commands::retry(&app2, TENANT, &id2, &Limits::default())
            .await
            .unwrap()
    });
    world.run(&app, 10_000, 60 * MINUTE, || over(&world, &id));
    assert_eq!(covered(&world, &app, &id), (32, 41));
    assert_eq!(world.sites().count("https://site7.org/"), 1);
}

#[test]
fn a_long_page_is_split_and_read_once_whatever_its_calls_come_to() {
    let world = world();
    let app = world.app(&[]);
    let text = book(60_000);
    let html = text
        .replace("# Chapter", "<h1>Chapter")
        .replace("\n\n", "</h1><p>");
    world
        .sites()
        .set("https://long.org/", Site::page("text/html", &html));
    world
        .sites()
        .set("https://short.org/", page("Short", "Only this."));
    let items = vec![
        ("long", json!({"url": "https://long.org/", "lang": "en"})),
        ("short", json!({"url": "https://short.org/"})),
    ];
    let chunk = json!({"tokens": 2_000, "overlap": 100});
    let id = run(&world, &app, of_kind(InputKind::Urls, items, chunk));
    assert_eq!(covered(&world, &app, &id), (2, 2));
    let tasks = inputs(&world, &app, &id);
    let mut numbers: Vec<(String, String)> = tasks
        .iter()
        .filter(|input| input[0]["slice"].is_string())
        .map(|input| {
            assert_eq!(input[0]["lang"], "en");
            assert_eq!(input[0]["url"], "https://long.org/");
            let text = |name: &str| input[0][name].as_str().unwrap().to_owned();
            (text("id"), text("slice"))
        })
        .collect();
    let of = numbers.len();
    assert!(of > 5, "{of}");
    let mut expected: Vec<(String, String)> = (1..=of)
        .map(|n| (format!("long#{n}"), format!("{n} of {of}")))
        .collect();
    numbers.sort();
    expected.sort();
    assert_eq!(numbers, expected);
    assert_eq!(world.sites().count("https://long.org/"), 1);
    let rows = world.query("SELECT slices, covered FROM documents");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["slices"], rows[0]["covered"]);
}

#[test]
fn pages_are_within_the_budget_by_their_real_size() {
    let world = world();
    let app = world.app(&[]);
    let mut items = Vec::new();
    for n in 0..20 {
        let url = format!("https://site{n}.org/");
        world
            .sites()
            .set(&url, Site::page("text/plain", &book(20_000)));
        items.push((format!("page-{n}"), url));
    }
    let items: Vec<(&str, Value)> = items
        .iter()
        .map(|(id, url)| (id.as_str(), json!({"url": url})))
        .collect();
    let submit = of_kind(InputKind::Urls, items, json!({"tokens": 50_000}));
    let submit = Submit {
        limits: serde_json::from_value(json!({"max_cost_usd": 0.008})).unwrap(),
        ..submit
    };
    let id = run(&world, &app, submit);
    let rows = world.query(&format!(
        "SELECT spent_nano, limit_nano FROM jobs WHERE id = '{id}'"
    ));
    let money = |name: &str| rows[0][name].as_i64().unwrap();
    assert!(money("spent_nano") > 0 && money("spent_nano") <= money("limit_nano"));
    let report = report_of(&world, &app, &id);
    let spent = money("spent_nano");
    let covered = report.coverage.covered;
    assert!(covered > 0 && covered < 20, "{covered} for {spent}");
    assert!(
        reasons(&report)
            .iter()
            .all(|(_, reason)| reason == "budget")
    );
}

#[test]
fn an_intake_that_breaks_off_leaves_nothing() {
    let world = world();
    let app = world.app(&[]);
    let (app2, text) = (app.clone(), book(8_000_000));
    let submit = of_kind(InputKind::Documents, vec![], json!({"tokens": 1_000}));
    world.block_on(async move {
        let mut draft = fanwise::app::submit::begin(&app2, TENANT, submit)
            .await
            .unwrap();
        draft.intake.add_text(&text).await.unwrap();
        // Whoever was uploading is gone.
    });
    assert!(world.blob_keys().len() > 3);
    assert!(world.query("SELECT 1 FROM jobs").is_empty());
    let end = world.now() + 70 * MINUTE;
    let clock = world.clone();
    world.run(&app, MINUTE, 80 * MINUTE, move || clock.now() >= end);
    assert_eq!(world.blob_keys(), [""; 0]);
    assert!(world.query("SELECT 1 FROM removals").is_empty());
}
