//! The statements of the hot path, looked at as SQLite plans them, and the rows that a settle reads as jobs grow.

use fanwise::claude::capabilities::Lacks;
use fanwise::core::job::state::TaskEvent;
use fanwise::ports::Statement;
use fanwise::store::job::input_pages::Fetched;
use fanwise::store::job::{jobs, removals, sweep};
use fanwise::store::outbound::{deliveries, schedules};
use fanwise::store::task::admission::{Claim, Take};
use fanwise::store::task::settle::{
    ClosedAttempt, Half, KeptOutput, LedgerEntry, Lesson, MovedTask, Saved, Settlement,
};
use fanwise::store::task::tasks::NewTask;
use fanwise::store::task::{admission, settle, tasks};
use serde_json::json;

use crate::world::World;

const NOW: i64 = 1_795_348_800_000;
const JOB: &str = "job_0";

/// A world with one job at work, `tasks` tasks all told: half of them done, three running, the rest waiting.
fn world(tasks: u32) -> World {
    let world = World::new(1, standin::Config::default());
    world.execute(&format!(
        "INSERT INTO jobs (id, tenant, state, mode, created_at, updated_at, drive_at, concurrency, max_attempts,
           min_success_ratio, on_budget, reuse, limit_nano, synthesis_fixed_nano, synthesis_nano_per_byte, items_total, next_index)
         VALUES ('{JOB}', 'default', 'running', 'static', {NOW}, {NOW}, {NOW}, 50, 5, 0, 'finish', 1, NULL, 1, 1, {tasks}, {tasks});
         INSERT INTO stages (job, idx, kind, name, state, cursor, expanded) VALUES ('{JOB}', 0, 'map', 'm', 'running', {tasks}, 1);
         INSERT INTO classes (class) VALUES ('c');
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {tasks})
         INSERT INTO tasks (id, job, idx, stage, state, ids, items, covered, class, key, bytes, max_tokens, worst_nano, attempts, lease)
         SELECT i + 1, '{JOB}', i, 0,
           CASE WHEN i < 3 THEN 'running' WHEN i < {tasks} / 2 THEN 'succeeded' ELSE 'pending' END,
           '[\"a\"]', 1, i >= 3 AND i < {tasks} / 2, 'c', 'key-' || i, 100, 100, 100, i < {tasks} / 2,
           CASE WHEN i < 3 THEN 'lease' END FROM n;
         INSERT INTO leases (lease, until) VALUES ('lease', {NOW} + 1000);
         INSERT INTO attempts (job, idx, n, tenant, stage, lease, state, form, role, model, class, ids, day, bytes,
           reserved_nano, reserved_input, reserved_output, started_at)
         SELECT job, idx, 1, 'default', 0, 'lease', CASE WHEN idx < 3 THEN 'open' ELSE 'done' END, 'fresh', 'worker', 'm', 'c', ids,
           '2026-11-22', 100, 100, 100, 100, {NOW} FROM tasks WHERE attempts = 1;
         INSERT INTO inputs SELECT job, idx, '[]', NULL FROM tasks;
         INSERT INTO outputs SELECT job, idx, '[]', NULL, 2, 0 FROM tasks WHERE state = 'succeeded';
         INSERT INTO ledger SELECT 'default', key, '{{}}', NULL, 1, '{JOB}', 0, {NOW}, {NOW} + 100000, 1 FROM tasks WHERE state = 'succeeded';
         UPDATE jobs SET in_flight = 3, reserved_nano = 300;
         UPDATE classes SET in_flight = 3;
         DELETE FROM spending;
         UPDATE stages SET pending = {tasks} - {tasks} / 2, running = 3, succeeded = {tasks} / 2 - 3;"
    ));
    world
}

fn moved(id: i64, state: &'static str) -> MovedTask {
    MovedTask {
        attempts: 1,
        wanted: None,
        id,
        state,
        ids: r#"["a"]"#.into(),
        items: 1,
        covered: 1,
        error: None,
        form: "fresh".into(),
        tier: 0,
        class: "c".into(),
        key: "k".into(),
        bytes: 1,
        max_tokens: 1,
        worst_nano: 1,
        tries: 1,
        delays: 0,
        not_before: 0,
        finished_at: Some(NOW),
    }
}

/// A settle of everything that one can hold, the fan-in, what a class learns, and the next look.
fn settle_and_look() -> Vec<Statement> {
    let settlement = Settlement {
        attempts: vec![ClosedAttempt {
            id: 1,
            state: "done",
            cost: 5,
            input_tokens: 5,
            output_tokens: 5,
            status: Some(200),
            finished_at: NOW,
            ..ClosedAttempt::default()
        }],
        outputs: vec![KeptOutput {
            attempts: 1,
            task: 1,
            body: Some("[]".into()),
            blob: None,
            bytes: 2,
        }],
        halves: vec![Half {
            attempts: 1,
            tries: 1,
            not_before: 0,
            form: "fresh",
            parent: 2,
            job: JOB.into(),
            origin: "1:1".into(),
            task: new_task(),
        }],
        fetched: vec![Fetched {
            task: 3,
            attempts: 1,
            job: JOB.into(),
            body: Some("[]".into()),
            blob: None,
            document: Some(("a".into(), vec![new_task()])),
        }],
        ledger: vec![LedgerEntry {
            tenant: "default".into(),
            key: "new".into(),
            body: Some("{}".into()),
            blob: None,
            cost: 5,
            job: JOB.into(),
            expires_at: NOW + 1_000,
            listed: true,
        }],
        saved: vec![Saved {
            task: 3,
            tenant: "default".into(),
            key: "key-3".into(),
            job: JOB.into(),
            nano: 1,
        }],
        tasks: vec![
            moved(1, "succeeded"),
            moved(2, "pending"),
            moved(3, "succeeded"),
        ],
        flags: Vec::new(),
        jobs: vec![JOB.into()],
    };
    let lesson = Lesson {
        class: "c".into(),
        headers_at: NOW,
        requests: Some((600.0, 90.0)),
        input: Some((1e6, 1e5)),
        output: Some((1e6, 1e5)),
        ok: 1,
        held_input: 10.0,
        ..Lesson::default()
    };
    let mut statements = settle::settle(&settlement, "lease", NOW, NOW);
    statements.extend(settle::learn(&lesson, NOW));
    statements.push(tasks::fan_in(JOB));
    statements.push(tasks::renew("lease", NOW));
    statements.push(tasks::unwanted(&[1, 2, 3], "lease"));
    statements.extend(admission::snapshot(NOW, "2026-11-22", (50, 0.5), 0));
    statements
}

fn new_task() -> NewTask {
    NewTask {
        ids: r#"["a"]"#.into(),
        items: 1,
        class: "c".into(),
        key: "half".into(),
        bytes: 1,
        max_tokens: 1,
        worst_nano: 1,
        body: Some("[]".into()),
        blob: None,
        grp: None,
        labelled: false,
        tier: 0,
        wire: Vec::new(),
        taken: None,
    }
}

fn claim(first: i64) -> Vec<Statement> {
    let takes = (first..first + 5)
        .map(|id| Take {
            id,
            job: JOB.into(),
            class: "c".into(),
            role: "worker",
            model: "m".into(),
            input: 1.0,
            output: 1.0,
            worst_nano: 1,
            held_nano: 0,
            ahead: 0,
            free: id == first,
            reads: false,
            room: None,
            cache: None,
            leads: None,
            lacks: Lacks::default(),
        })
        .collect();
    admission::claim(&Claim {
        lease: "other",
        now: NOW,
        until: NOW + 1_000,
        day: "2026-11-22",
        takes,
        probe: false,
        governor_start: 50,
        leads_since: 0,
        tenant_day_nano: Some(1_000_000),
        account_day_nano: Some(1_000_000),
        tokens: true,
    })
}

fn pump() -> Vec<Statement> {
    vec![
        tasks::requeue_stale(JOB, NOW, NOW - 1_000),
        tasks::queue(JOB, NOW),
        tasks::alarm(NOW, NOW),
    ]
}

/// What cron does every minute, whatever there is.
fn cron() -> Vec<Statement> {
    let mut statements = sweep::look(NOW, "{}", 25_000);
    statements.push(sweep::watch(NOW + 20_000, NOW));
    statements.extend(sweep::forget(NOW, "2026-10-01"));
    statements.push(settle::resume_halted(NOW));
    statements.push(sweep::due(NOW, NOW));
    statements.extend(removals::age_jobs(NOW, NOW, 50));
    statements.extend(removals::age_answers(NOW, NOW, 50));
    statements.push(removals::age_idempotency(NOW));
    statements.push(removals::age_dead_letters(NOW));
    statements.push(removals::due(NOW, NOW, 50));
    statements.push(deliveries::due(NOW, 50));
    statements.extend(deliveries::age(NOW));
    statements.push(schedules::due(NOW, 50));
    statements.push(schedules::waiting(NOW, 50));
    statements
}

/// What the outbound consumer asks, and a removal's slices.
fn errands() -> Vec<Statement> {
    let mut statements = vec![
        deliveries::due_of_job(JOB, NOW),
        deliveries::claim("msg", NOW, NOW),
    ];
    statements.extend(schedules::hold("sched", NOW, NOW, NOW));
    statements.extend(schedules::fall_due("sched", NOW, None, &json!({}), NOW));
    statements.extend(removals::slice(JOB));
    statements.extend(removals::forget_answers(JOB, 0));
    statements
}

/// The steps that SQLite takes for each statement: the more rows it looks at, the more.
fn steps(world: &World, statements: Vec<Statement>) -> Vec<(String, u64)> {
    let names: Vec<String> = statements
        .iter()
        .map(|s| s.sql.lines().next().unwrap().to_owned())
        .collect();
    let answers = world.batch_now(statements).unwrap();
    let steps = answers.into_iter().map(|answer| answer.rows_read);
    names.into_iter().zip(steps).collect()
}

#[test]
fn no_statement_of_the_hot_path_scans_a_table_that_grows() {
    let world = world(1_000);
    let mut all = settle_and_look();
    all.extend(claim(600));
    all.extend(pump());
    all.extend(cron());
    all.extend(errands());
    all.extend(jobs::load(JOB));
    all.push(tasks::close_open(JOB, TaskEvent::Skipped, &json!({}), NOW));
    for statement in &all {
        let name = statement.sql.lines().next().unwrap();
        for row in world.explain(statement) {
            // Partial indexes hold only what is at work; classes, breaker, the day's spending and what models lack are a few
            // rows.
            // `at_work` is the list of at most 64 jobs that a look starts from, `w` that of the claim's tokens.
            let small = [
                "classes",
                "breaker",
                "capabilities",
                "spending",
                "leases",
                "json_each",
                "e",
                "alarm",
                "at_work",
                "w",
            ];
            let table = row.strip_prefix("SCAN ").unwrap_or_default();
            let whole = !table.is_empty()
                && !row.contains("INDEX")
                && !row.contains("VIRTUAL TABLE")
                && !row.starts_with("SCAN CONSTANT")
                && !small.contains(&table.split(' ').next().unwrap_or_default())
                && !table.starts_with('(');
            assert!(!whole, "{name}: {row}");
        }
    }
}

#[test]
fn what_a_consumer_a_pump_and_cron_read_does_not_grow_with_the_job() {
    let mut before = None;
    for tasks in [100, 10_000, 100_000] {
        let world = world(tasks);
        let claimed = steps(&world, claim(i64::from(tasks) / 2 + 10));
        let settled = steps(&world, settle_and_look());
        let mut now = claimed;
        now.extend(settled);
        now.extend(steps(&world, pump()));
        now.extend(steps(&world, jobs::load(JOB)));
        // Attempts are looked for where more are open than tasks run: where a consumer died.
        world.execute("UPDATE jobs SET in_flight = (SELECT SUM(running) FROM stages)");
        now.extend(steps(&world, cron()));
        let before = before.get_or_insert_with(|| now.clone());
        for ((name, few), (_, many)) in before.iter().zip(&now) {
            // A row more or less at the edge of an index is no growth.
            assert!(
                *many <= few + few / 4 + 100,
                "{name}: {few} steps at 100 tasks, {many} at {tasks}"
            );
        }
    }
}
