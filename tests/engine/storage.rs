//! A database has at most 10 GB: how full it is is shown, and above 80 % no job comes in.

use fanwise::ports::{Db, DbError, Statement};
use serde_json::json;

use crate::flows::{over, stages, texts};
use crate::world::{TENANT, World, job};

const MINUTE: i64 = 60_000;

fn submit(world: &World, app: &fanwise::app::App<World>) -> Result<String, fanwise::app::AppError> {
    let (app, body) = (app.clone(), job(&texts(3), json!({"stages": stages(1)})));
    world.block_on(async move {
        let submitted = fanwise::app::submit::submit(&app, TENANT, body).await?;
        Ok(submitted.job.id)
    })
}

fn used(world: &World) -> u64 {
    let app = world.app(&[]);
    let view = world.block_on(async move { fanwise::app::account::limits::limits(&app).await });
    let storage = view.unwrap().storage.unwrap();
    assert_eq!(storage.capacity_bytes, 10_000_000_000);
    assert!(storage.takes_jobs);
    storage.used_bytes
}

#[test]
fn a_job_that_would_not_fit_is_refused_and_those_at_work_go_on() {
    let world = World::new(5, standin::Config::default());
    let before = used(&world);
    let roomy = world.app(&[]);
    let id = submit(&world, &roomy).unwrap();
    let full = world.app(&[("STORAGE_BYTES", &before.to_string())]);
    let refused = submit(&world, &full).unwrap_err();
    let api = fanwise::api::problem::ApiError::from(refused);
    assert_eq!(api.code.status().as_u16(), 507);
    world.run(&full, MINUTE, 60 * MINUTE, || over(&world, &id));
    let app = full.clone();
    let (checks, storage) =
        world.block_on(async move { fanwise::app::account::health::look(&app).await });
    assert!(storage.unwrap().is_scarce());
    let problem = checks.iter().find(|(name, _)| *name == "storage").unwrap();
    assert!(problem.1.as_ref().unwrap().contains("KEEP_JOB_DAYS"));
}

/// Answers that are not reused any more go first where room is scarce, though their job is still there.
#[test]
fn expired_answers_go_when_room_is_scarce() {
    let world = World::new(6, standin::Config::default());
    let app = world.app(&[]);
    let id = submit(&world, &app).unwrap();
    world.run(&app, MINUTE, 60 * MINUTE, || over(&world, &id));
    world.execute("UPDATE ledger SET expires_at = 1");
    let count = || world.query("SELECT COUNT(*) AS n FROM ledger")[0]["n"].as_i64();
    let kept = count();
    assert!(kept > Some(0));
    let sweep = |app: fanwise::app::App<World>| {
        world.block_on(async move { fanwise::app::job::sweep::sweep(&app).await.unwrap() });
    };
    sweep(app);
    assert_eq!(count(), kept);
    sweep(world.app(&[("STORAGE_BYTES", "100000")]));
    assert_eq!(count(), Some(0));
}

/// A full database is not an overloaded one: to send less does not help.
#[test]
fn a_full_database_says_so() {
    let world = World::new(7, standin::Config::default());
    world.limit_size(Some(1));
    let text = "x".repeat(100_000);
    let write = Statement {
        sql: "INSERT INTO dead_letters (queue, body, at) VALUES ('q', ?1, 1)",
        params: vec![json!(text)],
    };
    let answer = world.block_on({
        let world = world.clone();
        async move { world.batch(vec![write]).await }
    });
    assert!(matches!(answer, Err(DbError::Full(_))), "{answer:?}");
}
