//! Jobs are deleted, and what is old is forgotten: nothing of them stays anywhere, and nothing else goes.

use fanwise::app::job::{commands, remove};
use fanwise::app::read::jobs;
use fanwise::app::view::job as view_job;
use fanwise::app::{App, AppError};
use fanwise::store::job::removals as sql;
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Small enough that inputs, outputs, answers and ledger entries become blobs.
const BLOBS: (&str, &str) = ("INLINE_BYTES", "256");

fn world() -> World {
    World::new(
        11,
        standin::Config {
            latency_ms: 100,
            ..Default::default()
        },
    )
}

/// A job that is over.
fn done(world: &World, app: &App<World>, items: usize, chunk: u32) -> String {
    let submitted = world.submit(app, job(&texts(items), json!({"stages": stages(chunk)})));
    let id = submitted.job.id;
    world.run(app, 10_000, 60 * MINUTE, || over(world, &id));
    id
}

fn delete(world: &World, app: &App<World>, tenant: &'static str, id: &str) -> Result<(), AppError> {
    let (app, id) = (app.clone(), id.to_owned());
    world.block_on(async move { remove::delete(&app, tenant, &id).await })
}

fn let_pass(world: &World, app: &App<World>, ms: i64) {
    let until = world.now() + ms;
    let clock = world.clone();
    world.run(app, 10_000, ms + MINUTE, move || clock.now() >= until);
}

/// Every row of every table, and every blob, in which the job's id stands; whatever tables there are.
fn traces(world: &World, id: &str) -> Vec<String> {
    let tables = world.query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'assertions'",
    );
    assert!(tables.len() > 12, "{tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let table = table["name"].as_str().unwrap();
        for row in world.query(&format!("SELECT * FROM {table}")) {
            let text = Value::Object(row).to_string();
            if text.contains(id) {
                found.push(format!("{table}: {text}"));
            }
        }
    }
    let blobs = world.blob_keys().into_iter().filter(|key| key.contains(id));
    found.extend(blobs.map(|key| format!("blob: {key}")));
    found
}

fn named<'a>(traces: &'a [String], prefix: &str) -> Vec<&'a String> {
    traces.iter().filter(|t| t.starts_with(prefix)).collect()
}

#[test]
fn a_deleted_job_is_gone_at_once_and_then_without_a_trace() {
    let world = world();
    let app = world.app(&[BLOBS]);
    let mut submit = job(&texts(60), json!({"stages": stages(3)}));
    submit.idempotency = Some(("key".into(), "hash".into()));
    let id = world.submit(&app, submit.clone()).job.id;
    world.run(&app, 10_000, 60 * MINUTE, || over(&world, &id));
    let other = done(&world, &app, 7, 2);
    let kept = traces(&world, &other);
    // There is something to take away of each kind.
    for kind in [
        "jobs",
        "specs",
        "idempotency",
        "pages",
        "stages",
        "tasks",
        "inputs",
        "outputs",
        "attempts",
        "ledger",
        "blob: job/",
        "blob: ledger/",
    ] {
        assert!(!named(&traces(&world, &id), kind).is_empty(), "{kind}");
    }

    delete(&world, &app, TENANT, &id).unwrap();
    let (app2, id2) = (app.clone(), id.clone());
    world.block_on(async move {
        let gone = AppError::NotFound("job");
        assert_eq!(view_job::job(&app2, TENANT, &id2).await.unwrap_err(), gone);
        assert_eq!(
            jobs::tasks(&app2, TENANT, &id2, jobs::TasksLike::default(), None, 10)
                .await
                .unwrap_err(),
            gone
        );
        assert_eq!(
            commands::cancel(&app2, TENANT, &id2).await.unwrap_err(),
            gone
        );
        assert_eq!(remove::delete(&app2, TENANT, &id2).await.unwrap_err(), gone);
        let (listed, _) = jobs::jobs(&app2, TENANT, None, None, 10).await.unwrap();
        assert!(listed.iter().all(|job| job.id != id2));
    });
    // Its key is free for a new job.
    let again = world.submit(&app, submit);
    assert!(again.created);
    world.run(&app, 10_000, 60 * MINUTE, || over(&world, &again.job.id));

    let_pass(&world, &app, 30 * MINUTE);
    assert_eq!(traces(&world, &id), Vec::<String>::new());
    assert_eq!(traces(&world, &other), kept);
}

/// A table that only some jobs have rows in would escape the test above.
#[test]
fn every_table_with_rows_of_a_job_is_in_its_removal() {
    let world = world();
    let tables = world.query(
        "SELECT m.name AS name FROM sqlite_master m JOIN pragma_table_info(m.name) c
         WHERE m.type = 'table' AND c.name IN ('job', 'job_id') AND m.name <> 'removals'",
    );
    assert!(tables.len() > 10, "{tables:?}");
    let mut statements = sql::begin("job", 0, 0);
    statements.extend(sql::slice("job"));
    for table in tables {
        let name = table["name"].as_str().unwrap();
        let (deleted, freed) = (
            format!("DELETE FROM {name} WHERE"),
            format!("UPDATE {name} SET job_id = NULL"),
        );
        assert!(
            statements
                .iter()
                .any(|one| one.sql.contains(&deleted) || one.sql.contains(&freed)),
            "{name} keeps rows of a deleted job: it belongs into SLICES of src/store/removals.rs"
        );
    }
}

#[test]
fn only_a_job_that_is_over_can_be_deleted_and_only_by_its_tenant() {
    let world = world();
    let app = world.app(&[]);
    let id = world
        .submit(&app, job(&texts(4), json!({"stages": stages(1)})))
        .job
        .id;
    let error = delete(&world, &app, TENANT, &id).unwrap_err();
    assert!(matches!(error, AppError::Conflict(text) if text.contains("queued")));
    world.run(&app, 10_000, 60 * MINUTE, || over(&world, &id));
    let error = delete(&world, &app, "somebody-else", &id).unwrap_err();
    assert_eq!(error, AppError::NotFound("job"));
    delete(&world, &app, TENANT, &id).unwrap();
}

/// What another job has drawn from the ledger is that job's as well, with the blob it stands in.
#[test]
fn a_ledger_entry_that_another_job_used_stays() {
    let world = world();
    let app = world.app(&[BLOBS]);
    let payer = done(&world, &app, 20, 2);
    let user = done(&world, &app, 20, 2);
    let calls = world.claude().stats().json(0, false)["calls"]["total"].clone();
    delete(&world, &app, TENANT, &payer).unwrap();
    let_pass(&world, &app, 30 * MINUTE);
    let left = traces(&world, &payer);
    let entries = named(&left, "ledger");
    assert!(!entries.is_empty());
    assert_eq!(
        entries.len() + named(&left, "blob: ledger/").len(),
        left.len(),
        "{left:?}"
    );
    // It still answers, for nothing, and its blobs are read.
    assert!(!named(&left, "blob: ledger/").is_empty());
    let third = done(&world, &app, 20, 2);
    assert_eq!(
        world.claude().stats().json(0, false)["calls"]["total"],
        calls
    );
    assert_ne!(third, user);
}

/// The governor and the day's spending must learn how a call ended, whatever became of its job.
#[test]
fn calls_in_the_air_are_counted_out_before_their_rows_go() {
    let world = World::new(
        12,
        standin::Config {
            latency_ms: 20_000,
            ..Default::default()
        },
    );
    let app = world.app(&[BLOBS]);
    let id = world
        .submit(&app, job(&texts(10), json!({"stages": stages(1)})))
        .job
        .id;
    world.run(&app, 10_000, 60 * MINUTE, || {
        world.query("SELECT in_flight FROM jobs")[0]["in_flight"] == json!(10)
    });
    let (app2, id2) = (app.clone(), id.clone());
    world.block_on(async move {
        commands::cancel(&app2, TENANT, &id2).await.unwrap();
        remove::delete(&app2, TENANT, &id2).await.unwrap();
    });
    let_pass(&world, &app, 60 * MINUTE);
    assert_eq!(traces(&world, &id), Vec::<String>::new());
    let classes = world.query("SELECT SUM(in_flight) AS n, SUM(output_open) AS o FROM classes");
    assert_eq!(classes[0]["n"], json!(0));
    assert_eq!(classes[0]["o"].as_f64(), Some(0.0));
}

#[test]
fn a_large_removal_goes_on_over_many_turns_and_lost_messages() {
    let world = world();
    // Six slices' worth of statements in a turn.
    let app = world.app(&[("MAX_D1_QUERIES", "60")]);
    let id = done(&world, &app, 1, 1);
    world.execute(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO tasks (job, idx, stage, state, ids, items, class, bytes, max_tokens, worst_nano)
         SELECT '{id}', i, 0, 'succeeded', '[]', 1, 'c', 1, 1, 1 FROM n;
         INSERT INTO inputs SELECT job, idx, '[]', NULL FROM tasks WHERE idx >= 100;
         INSERT INTO outputs SELECT job, idx, '[]', NULL, 2, 0 FROM tasks WHERE idx >= 100;"
    ));
    delete(&world, &app, TENANT, &id).unwrap();
    let left = || {
        world.query("SELECT COUNT(*) AS n FROM tasks")[0]["n"]
            .as_i64()
            .unwrap()
    };
    world.run(&app, 10_000, 10 * MINUTE, || left() < 15_000);
    // A crash of the local queue: nobody is told to go on. The sweep finds it.
    assert!(left() > 0);
    world.forget_messages();
    let_pass(&world, &app, 30 * MINUTE);
    assert_eq!(traces(&world, &id), Vec::<String>::new());
}

#[test]
fn what_is_old_goes_by_itself_and_what_is_not_stays() {
    let world = world();
    let app = world.app(&[
        BLOBS,
        ("KEEP_JOB_DAYS", "20"),
        ("KEEP_ANSWER_DAYS", "3"),
        ("KEEP_IDEMPOTENCY_DAYS", "2"),
        ("KEEP_DEAD_LETTER_DAYS", "1"),
    ]);
    let mut submit = job(&texts(12), json!({"stages": stages(2)}));
    submit.idempotency = Some(("key".into(), "hash".into()));
    let old = world.submit(&app, submit).job.id;
    world.run(&app, 10_000, 60 * MINUTE, || over(&world, &old));
    world.execute(&format!(
        "INSERT INTO dead_letters (queue, body, at) VALUES ('tasks', '{{}}', {})",
        world.now()
    ));
    let count = |sql: &str| world.query(sql)[0]["n"].as_i64().unwrap();
    let letters = || count("SELECT COUNT(*) AS n FROM dead_letters");
    let keys = || count("SELECT COUNT(*) AS n FROM idempotency");
    let texts_of = |id: &str| {
        count(&format!(
            "SELECT COUNT(*) AS n FROM attempts WHERE job = '{id}' AND (response IS NOT NULL OR response_blob IS NOT NULL)"
        ))
    };
    let answers = || named(&traces(&world, &old), &format!("blob: job/{old}/answers/")).len();
    // Sweeps come slowly here: a virtual day would otherwise be thousands of them.
    let pass = |days: i64| {
        let until = world.now() + days * DAY + 2 * 60 * MINUTE;
        world.run(&app, DAY / 24, 40 * DAY, || world.now() >= until);
    };

    pass(1);
    assert_eq!((letters(), keys()), (0, 1));
    assert!(texts_of(&old) > 0 && answers() > 0);
    pass(1);
    assert_eq!(keys(), 0);
    pass(2);
    assert_eq!((texts_of(&old), answers()), (0, 0));
    // The rest of it can be read as before.
    let young = done(&world, &app, 12, 3);
    let (app2, id2) = (app.clone(), old.clone());
    world.block_on(async move {
        let task = jobs::task(&app2, TENANT, &id2, 0).await.unwrap();
        assert!(!task.output.is_null());
        assert_eq!(task.attempts[0].response, None);
    });
    pass(17);
    assert_eq!(named(&traces(&world, &old), "jobs"), Vec::<&String>::new());
    let left = traces(&world, &old);
    assert_eq!(
        named(&left, "ledger").len() + named(&left, "blob: ledger/").len(),
        left.len()
    );
    assert!(!named(&traces(&world, &young), "jobs").is_empty());
}

#[test]
fn nothing_is_forgotten_where_days_are_zero() {
    let world = world();
    let app = world.app(&[
        ("KEEP_JOB_DAYS", "0"),
        ("KEEP_ANSWER_DAYS", "0"),
        ("KEEP_IDEMPOTENCY_DAYS", "0"),
        ("KEEP_DEAD_LETTER_DAYS", "0"),
        ("LEDGER_DAYS", "365"),
    ]);
    let id = done(&world, &app, 4, 2);
    let before = traces(&world, &id);
    let until = world.now() + 300 * DAY;
    world.run(&app, DAY, 400 * DAY, || world.now() >= until);
    assert_eq!(traces(&world, &id), before);
}
