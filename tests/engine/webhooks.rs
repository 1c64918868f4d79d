//! What happened to a job reaches the webhook: once for each run, whoever dies, for a day.

use std::collections::BTreeSet;

use fanwise::app::job::commands;
use fanwise::app::outbound::webhooks;
use fanwise::app::view::DeliveryView;
use fanwise::app::{App, AppError};
use fanwise::core::net::webhook::SigningKey;
use fanwise::ports::WebRequest;
use serde_json::{Value, json};

use crate::flows::{over, stages, texts};
use crate::sites::Site;
use crate::world::{SIGNING_KEY, TENANT, World, job};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const HOOK: &str = "https://hooks.acme.dev/T0/SECRET-PATH?token=SECRET-QUERY";

struct Told {
    world: World,
    app: App<World>,
    id: String,
}

impl Told {
    fn begin(webhook: Value) -> Told {
        Told::begin_with(webhook, &[], standin::Config::default())
    }

    fn begin_with(webhook: Value, vars: &[(&str, &str)], claude: standin::Config) -> Told {
        let world = World::new(5, claude);
        let app = world.app(vars);
        let body = json!({"stages": stages(2), "webhook": webhook});
        let id = world.submit(&app, job(&texts(6), body)).job.id;
        Told { world, app, id }
    }

    fn until(&self, done: impl Fn(&World) -> bool) {
        let world = self.world.clone();
        self.world
            .run(&self.app, 60 * SECOND, 72 * HOUR, move || done(&world));
    }

    fn pass(&self, ms: i64) {
        let end = self.world.now() + ms;
        self.until(|world| world.now() >= end);
    }

    fn asked(&self) -> Vec<WebRequest> {
        self.world.sites().asked.clone()
    }

    fn deliveries(&self) -> Vec<DeliveryView> {
        let (app, id) = (self.app.clone(), self.id.clone());
        let list = async move { webhooks::list(&app, TENANT, &id, None, 50).await };
        self.world.block_on(list).unwrap().0
    }

    fn redeliver(&self, delivery: &str) -> Result<DeliveryView, AppError> {
        let (app, id, delivery) = (self.app.clone(), self.id.clone(), delivery.to_owned());
        self.world
            .block_on(async move { webhooks::redeliver(&app, TENANT, &id, &delivery).await })
    }
}

/// What ends before a try is written down is tried once more: tests that count wait for the row.
fn delivered(world: &World) -> bool {
    !world
        .query("SELECT 1 FROM deliveries WHERE status = 'delivered'")
        .is_empty()
}

fn header<'a>(request: &'a WebRequest, name: &str) -> &'a str {
    request.headers.get(name).unwrap_or_default()
}

fn body(request: &WebRequest) -> Value {
    serde_json::from_str(request.body.as_deref().unwrap()).unwrap()
}

#[test]
fn the_end_of_a_run_is_told_at_once_and_signed() {
    let told = Told::begin(json!({"url": HOOK}));
    told.world.sites().set(HOOK, Site::new(204));
    told.until(delivered);
    let finished = told.world.query("SELECT finished_at FROM jobs")[0]["finished_at"]
        .as_i64()
        .unwrap();
    assert!(
        told.world.now() - finished < SECOND,
        "without waiting for the sweep"
    );
    told.pass(HOUR);
    let asked = told.asked();
    assert_eq!(asked.len(), 1);
    let request = &asked[0];
    let id = format!("msg_{}_1", told.id.trim_start_matches("job_"));
    assert_eq!(header(request, "webhook-id"), id);
    assert_eq!(header(request, "content-type"), "application/json");
    let seconds: i64 = header(request, "webhook-timestamp").parse().unwrap();
    assert!((seconds - finished / 1_000).abs() <= 1);
    let key = SigningKey::new(SIGNING_KEY).unwrap().of_tenant(TENANT);
    let raw = request.body.as_deref().unwrap();
    assert_eq!(
        header(request, "webhook-signature"),
        key.sign(&id, seconds, raw)
    );
    let body = body(request);
    assert_eq!(body["type"], "job.finished");
    assert_eq!(body["timestamp"], body["data"]["finished_at"]);
    assert_eq!(body["data"]["id"], told.id);
    assert_eq!(body["data"]["state"], "succeeded");
    assert_eq!(body["data"]["progress"]["items"]["covered"], 6);

    let deliveries = told.deliveries();
    assert_eq!(deliveries.len(), 1);
    let delivery = &deliveries[0];
    assert_eq!((delivery.status.as_str(), delivery.run), ("delivered", 1));
    assert_eq!(delivery.target, "https://hooks.acme.dev");
    assert_eq!(delivery.next_try_at, None);
    assert!(delivery.delivered_at.is_some());
    let tries: Vec<_> = delivery
        .tries
        .iter()
        .map(|one| (one.n, one.status))
        .collect();
    assert_eq!(tries, [(1, Some(204))]);
    // Neither the key nor the address, which may be a secret too, is told to anybody.
    let said = format!("{deliveries:?} {:?}", told.world.log_lines());
    assert!(!said.contains("SECRET"), "{said}");
}

#[test]
fn each_run_and_each_pause_is_told_once_and_only_if_asked_for() {
    let claude = standin::Config {
        latency_ms: 2_000,
        ..Default::default()
    };
    let told = Told::begin_with(
        json!({"url": HOOK, "events": ["job.finished", "job.paused"]}),
        &[],
        claude,
    );
    told.world.sites().set(HOOK, Site::new(200));
    told.until(|world| world.query("SELECT state FROM jobs")[0]["state"] == "running");
    let act = |what: &str| {
        let (app, id, what) = (told.app.clone(), told.id.clone(), what.to_owned());
        told.world.block_on(async move {
            match what.as_str() {
                "pause" => commands::pause(&app, TENANT, &id).await.unwrap(),
                "resume" => commands::resume(&app, TENANT, &id).await.unwrap(),
                "cancel" => commands::cancel(&app, TENANT, &id).await.unwrap(),
                _ => commands::retry(&app, TENANT, &id, &Default::default())
                    .await
                    .unwrap(),
            }
        });
    };
    for _ in 0..2 {
        act("pause");
        told.pass(2 * MINUTE);
        act("resume");
    }
    act("cancel");
    told.pass(2 * MINUTE);
    act("retry");
    told.until(|world| over(world, &told.id));
    told.pass(2 * MINUTE);
    let told_of: Vec<(String, String, i64)> = told
        .asked()
        .iter()
        .map(body)
        .map(|body| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&body["type"]),
                text(&body["data"]["state"]),
                body["data"]["run"].as_i64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("job.paused", "paused", 1),
        ("job.paused", "paused", 1),
        ("job.finished", "cancelled", 1),
        ("job.finished", "succeeded", 2),
    ]
    .map(|(event, state, run)| (event.to_owned(), state.to_owned(), run));
    assert_eq!(told_of, expected);
    let ids: BTreeSet<String> = told
        .asked()
        .iter()
        .map(|r| header(r, "webhook-id").to_owned())
        .collect();
    assert_eq!(ids.len(), 4);
    let first = &body(&told.asked()[0])["data"];
    assert_eq!(first["halt"]["reason"], "user");
}

#[test]
fn a_receiver_that_is_away_is_tried_again_with_growing_waits() {
    let told = Told::begin(json!({"url": HOOK}));
    let fails = [
        Site::new(0),
        Site::new(500),
        Site::redirect("https://elsewhere.acme.dev/"),
        Site::new(200).after(60_000),
        Site::new(200),
    ];
    told.world.sites().set_all(HOOK, fails.to_vec());
    told.until(delivered);
    told.pass(HOUR);
    let asked = told.asked();
    assert_eq!(
        asked.len(),
        5,
        "the redirect is not followed, a success ends it"
    );
    let same: BTreeSet<(&str, Option<&str>)> = asked
        .iter()
        .map(|r| (header(r, "webhook-id"), r.body.as_deref()))
        .collect();
    assert_eq!(same.len(), 1);
    let stamps: BTreeSet<&str> = asked
        .iter()
        .map(|r| header(r, "webhook-timestamp"))
        .collect();
    assert_eq!(stamps.len(), 5, "each try is signed anew");
    let deliveries = told.deliveries();
    let errors: Vec<&str> = deliveries[0]
        .tries
        .iter()
        .map(|one| one.error.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(
        errors,
        [
            "it cannot be reached: no connection: no such host",
            "the server answered 500: ",
            "the server answered 302: ",
            "no answer within 15000 ms (WEBHOOK_TIMEOUT_MS)",
            ""
        ]
    );
    let statuses: Vec<_> = deliveries[0].tries.iter().map(|one| one.status).collect();
    assert_eq!(statuses, [None, Some(500), Some(302), None, Some(200)]);
}

#[test]
fn after_a_day_it_is_given_up_and_can_be_delivered_by_hand() {
    let told = Told::begin(json!({"url": HOOK}));
    told.world.sites().set(HOOK, Site::new(503));
    told.pass(50 * HOUR);
    let delivery = told.deliveries().remove(0);
    assert_eq!(delivery.status, "failed");
    let tries = delivery.tries.len();
    assert!((12..25).contains(&tries), "{tries}");
    let day: i64 = told
        .world
        .query("SELECT MAX(at) - MIN(at) AS ms FROM delivery_tries")[0]["ms"]
        .as_i64()
        .unwrap();
    assert!((18 * HOUR..=24 * HOUR).contains(&day), "{day}");

    told.world.sites().set(HOOK, Site::new(200));
    let again = told.redeliver(&delivery.id).unwrap();
    assert_eq!(again.status, "pending");
    told.pass(MINUTE);
    let after = told.deliveries().remove(0);
    assert_eq!(
        (after.status.as_str(), after.id),
        ("delivered", delivery.id)
    );
    let asked = told.asked();
    assert_eq!(asked.len(), tries + 1);
    assert_eq!(asked.first().unwrap().body, asked.last().unwrap().body);
    assert_eq!(
        told.redeliver("msg_unknown").unwrap_err(),
        AppError::NotFound("delivery")
    );
}

#[test]
fn a_receiver_that_is_gone_for_good_is_left_alone() {
    let told = Told::begin(json!({"url": HOOK}));
    told.world.sites().set(HOOK, Site::new(410));
    told.pass(30 * HOUR);
    assert_eq!(told.asked().len(), 1);
    assert_eq!(told.deliveries()[0].status, "failed");
}

#[test]
fn a_busy_receiver_says_when() {
    let told = Told::begin(json!({"url": HOOK}));
    let busy = Site::new(429).header("Retry-After", "1800");
    told.world.sites().set_all(HOOK, vec![busy, Site::new(200)]);
    told.until(delivered);
    let gap = told
        .world
        .query("SELECT MAX(at) - MIN(at) AS ms FROM delivery_tries");
    told.pass(MINUTE);
    let at = |n: usize| {
        header(&told.asked()[n], "webhook-timestamp")
            .parse::<i64>()
            .unwrap()
    };
    assert!((1_800..1_900).contains(&(at(1) - at(0))), "{gap:?}");
}

/// The event is a row in the transaction that ended the run: whatever was lost afterwards, the sweep finds it.
#[test]
fn no_event_is_lost_with_its_messages() {
    let told = Told::begin(json!({"url": HOOK}));
    told.world.sites().set(HOOK, Site::new(200));
    told.until(|world| over(world, &told.id));
    told.world.forget_messages();
    assert!(told.asked().is_empty());
    told.pass(3 * MINUTE);
    assert_eq!(told.asked().len(), 1);
    // Doubled messages deliver nothing twice.
    let id = told.deliveries()[0].id.clone();
    let app = told.app.clone();
    told.world.block_on(async move {
        webhooks::deliver(&app, &id).await.unwrap();
        webhooks::deliver(&app, &id).await.unwrap();
    });
    assert_eq!(told.asked().len(), 1);
}

#[test]
fn two_consumers_of_one_delivery_try_once() {
    let told = Told::begin(json!({"url": HOOK}));
    told.world.sites().set(HOOK, Site::new(200).after(5_000));
    told.until(|world| over(world, &told.id));
    told.world.forget_messages();
    let id = format!("msg_{}_1", told.id.trim_start_matches("job_"));
    let app = told.app.clone();
    told.world.block_on(async move {
        let (one, two) = futures::join!(webhooks::deliver(&app, &id), webhooks::deliver(&app, &id));
        one.unwrap();
        two.unwrap();
    });
    assert_eq!(told.asked().len(), 1);
}

#[test]
fn slack_gets_a_text_it_can_show() {
    let told = Told::begin(json!({"url": HOOK, "format": "slack"}));
    told.world.sites().set(HOOK, Site::new(200));
    told.until(delivered);
    let asked = told.asked();
    assert_eq!(header(&asked[0], "webhook-signature"), "");
    let body = body(&asked[0]);
    assert_eq!(body.as_object().unwrap().len(), 1);
    let text = body["text"].as_str().unwrap();
    assert!(
        text.starts_with("*succeeded*: 6 of 6 items, $0.0"),
        "{text}"
    );
    assert!(
        text.contains("Find the recurring issues") && text.contains(&told.id),
        "{text}"
    );
}

#[test]
fn an_address_that_is_not_public_is_refused_when_the_job_comes_in_and_when_it_is_told() {
    let world = World::new(6, standin::Config::default());
    let app = world.app(&[]);
    for url in [
        "http://127.0.0.1:9600/",
        "https://localhost/",
        "ftp://acme.dev/",
        "x",
    ] {
        let body = json!({"stages": stages(2), "webhook": {"url": url}});
        let (app, submit) = (app.clone(), job(&texts(2), body));
        let refused = world.block_on(async move {
            fanwise::app::submit::submit(&app, TENANT, submit)
                .await
                .unwrap_err()
        });
        let AppError::Invalid(faults) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(faults[0].0, "webhook.url", "{url}");
    }
    // Allowed at first, and taken back by the operator before the job ended.
    let open = world.app(&[("FETCH_ALLOW_HOSTS", "127.0.0.1:9600")]);
    let local = "http://127.0.0.1:9600/";
    world.sites().set(local, Site::new(200));
    let body = json!({"stages": stages(2), "webhook": {"url": local}});
    let id = world.submit(&open, job(&texts(2), body)).job.id;
    let until = world.now() + HOUR;
    world.run(&app, MINUTE, 2 * HOUR, || world.now() > until);
    assert!(over(&world, &id));
    assert!(world.sites().asked.is_empty());
    let error = world.query("SELECT error FROM delivery_tries LIMIT 1")[0]["error"].clone();
    assert_eq!(error, "the address names an address that is not public");
}

#[test]
fn without_a_signing_key_only_slack_is_told() {
    let world = World::new(6, standin::Config::default());
    let mut app = world.app(&[]);
    app.signing = None;
    let mut both = job(
        &texts(2),
        json!({"stages": stages(2), "webhook": {"url": HOOK}}),
    );
    // Faults of all parts come at once.
    both.stages[0].model = Some("no-such-model".into());
    let (app2, submit) = (app.clone(), both);
    let refused = world.block_on(async move {
        fanwise::app::submit::submit(&app2, TENANT, submit)
            .await
            .unwrap_err()
    });
    let AppError::Invalid(faults) = refused else {
        panic!("{refused:?}");
    };
    let paths: Vec<&str> = faults.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["webhook.format", "stages[0].model"]);
    assert!(matches!(
        webhooks::secret(&app, TENANT),
        Err(AppError::Conflict(_))
    ));
    let slack = json!({"url": HOOK, "format": "slack"});
    world.submit(
        &app,
        job(&texts(2), json!({"stages": stages(2), "webhook": slack})),
    );
}
