//! Tokens: made, used, bounded, revoked.

use serde_json::{Value, json};

use super::{Door, SECRET, body};

fn ids(page: &Value) -> Vec<&str> {
    let list = page["data"].as_array().unwrap();
    list.iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect()
}

#[test]
fn a_token_is_shown_once_and_kept_as_a_hash() {
    let door = Door::open(&[]);
    let wants =
        json!({"name": "import", "tenant": "acme", "daily_budget_usd": 2.5, "concurrency": 3});
    let made = door.call(SECRET, "POST", "/v1/tokens", wants).expect(201);
    let location = made.header("location").to_owned();
    let made = made.json();
    let text = made["token"].as_str().unwrap();
    assert_eq!(made["scopes"], json!(["read", "run"]));
    let mut shown = door.get(SECRET, &location).expect(200).json();
    let mut without = made.clone();
    without.as_object_mut().unwrap().shift_remove("token");
    assert_eq!(shown, without);
    shown = door.get(SECRET, "/v1/tokens").expect(200).json();
    assert_eq!(shown["data"], json!([without]));
    let secret = text.rsplit('_').next().unwrap();
    for table in ["tokens", "events", "jobs"] {
        let rows = format!("{:?}", door.world.query(&format!("SELECT * FROM {table}")));
        assert!(!rows.contains(secret), "{table}");
    }
    let log = format!("{:?}", door.world.log_lines());
    assert!(log.contains("token_made") && !log.contains(secret), "{log}");
    door.get(text, "/v1/jobs").expect(200);
    // A token is its whole text: nothing that only has its id gets in.
    let forged = text.replace(&text[text.len() - 6..], "000000");
    for wrong in [&forged, &text[..text.len() - 1], &text.to_uppercase()] {
        door.get(wrong, "/v1/jobs").expect(401);
    }
}

#[test]
fn tenants_do_not_see_each_other_and_tokens_of_one_tenant_share_all() {
    let door = Door::open(&[]);
    let (acme, _) = door.token(json!({"name": "a", "tenant": "acme"}));
    let (acme2, _) = door.token(json!({"name": "b", "tenant": "acme"}));
    let (other, _) = door.token(json!({"name": "c", "tenant": "other"}));
    let job = door.submit(&acme, 2);
    door.finish(&job);
    for (token, status) in [(&acme, 200), (&acme2, 200), (&other, 404)] {
        door.get(token, &format!("/v1/jobs/{job}/report"))
            .expect(status);
    }
    door.get(SECRET, &format!("/v1/jobs/{job}")).expect(404);
    assert_eq!(ids(&door.get(&acme2, "/v1/jobs").json()), [job.as_str()]);
    assert!(ids(&door.get(&other, "/v1/jobs").json()).is_empty());
    // A page's end of one tenant leads another nowhere.
    let second = door.submit(&acme, 1);
    let page = door.get(&acme, "/v1/jobs?limit=1").json();
    assert_eq!(ids(&page), [second.as_str()]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let stolen = door
        .get(&other, &format!("/v1/jobs?cursor={cursor}"))
        .expect(200);
    assert!(ids(&stolen.json()).is_empty());
}

#[test]
fn a_scope_allows_what_it_names() {
    let door = Door::open(&[]);
    let job = door.submit(SECRET, 1);
    let of = |scopes: Value| door.token(json!({"name": "t", "scopes": scopes})).0;
    let job_path = format!("/v1/jobs/{job}");
    let cancel = format!("{job_path}/cancel");
    let events = format!("{job_path}/events");
    let cases = [
        ("GET", "/v1/jobs", "read"),
        ("HEAD", &job_path, "read"),
        ("POST", &events, "read"),
        ("POST", "/v1/jobs", "run"),
        ("PATCH", &job_path, "run"),
        ("POST", &cancel, "run"),
        ("GET", "/v1/tokens", "admin"),
        ("POST", "/v1/tokens", "admin"),
        ("GET", "/healthz?deep=1", "admin"),
    ];
    for scope in ["read", "run", "admin"] {
        let token = of(json!([scope]));
        for (method, path, needed) in cases {
            let reply = door.call(&token, method, path, Value::Null);
            let refused = reply.status == 403;
            assert_eq!(
                refused,
                scope != needed,
                "{scope}: {method} {path}: {}",
                reply.status
            );
            if refused && method != "HEAD" {
                assert_eq!(reply.json()["code"], "forbidden");
                let detail = reply.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains(needed), "{detail}");
            }
        }
    }
}

#[test]
fn an_admin_keeps_the_tokens_of_its_own_tenant_only() {
    let door = Door::open(&[]);
    let (admin, admin_id) = door.token(json!({"name": "a", "tenant": "acme", "scopes": ["admin"]}));
    let (_, foreign) = door.token(json!({"name": "f", "tenant": "other"}));
    let elsewhere = json!({"name": "x", "tenant": "other"});
    let reply = door
        .call(&admin, "POST", "/v1/tokens", elsewhere)
        .expect(422);
    assert_eq!(reply.json()["errors"][0]["path"], "tenant");
    let own = door
        .call(&admin, "POST", "/v1/tokens", json!({"name": "x"}))
        .expect(201)
        .json();
    assert_eq!(own["tenant"], "acme");
    let listed = door.get(&admin, "/v1/tokens").json();
    assert_eq!(
        ids(&listed),
        [own["id"].as_str().unwrap(), admin_id.as_str()]
    );
    let path = format!("/v1/tokens/{foreign}");
    door.get(&admin, &path).expect(404);
    door.call(&admin, "PATCH", &path, json!({"name": "mine"}))
        .expect(404);
    door.call(&admin, "DELETE", &path, Value::Null).expect(404);
    assert_eq!(door.get(SECRET, &path).expect(200).json()["name"], "f");
    assert_eq!(ids(&door.get(SECRET, "/v1/tokens").json()).len(), 3);
}

#[test]
fn a_token_ends_by_time_or_by_being_revoked() {
    let door = Door::open(&[]);
    // The world's clock stands at 2026-11-22T12:00:00Z.
    let past = json!({"name": "t", "expires_at": "2026-11-22T11:59:59Z"});
    let reply = door.call(SECRET, "POST", "/v1/tokens", past).expect(422);
    assert_eq!(reply.json()["errors"][0]["path"], "expires_at");
    let wants = json!({"name": "t", "expires_at": "2026-11-22T14:00:00+01:00"});
    let (token, id) = door.token(wants);
    let path = format!("/v1/tokens/{id}");
    door.get(&token, "/v1/jobs").expect(200);
    door.world.advance_to(door.world.now() + 3_600_000);
    door.get(&token, "/v1/jobs").expect(401);
    door.call(SECRET, "PATCH", &path, json!({"expires_at": null}))
        .expect(200);
    door.get(&token, "/v1/jobs").expect(200);
    door.call(SECRET, "DELETE", &path, Value::Null).expect(204);
    door.get(&token, "/v1/jobs").expect(401);
    for method in ["GET", "DELETE"] {
        door.call(SECRET, method, &path, Value::Null).expect(404);
    }
    door.call(SECRET, "PATCH", &path, json!({"name": "x"}))
        .expect(404);
}

#[test]
fn what_a_change_leaves_out_stays_and_null_takes_a_bound_away() {
    let door = Door::open(&[]);
    let (_, id) = door.token(json!({"name": "t", "daily_budget_usd": 1, "concurrency": 2}));
    let path = format!("/v1/tokens/{id}");
    let change = |body: Value| door.call(SECRET, "PATCH", &path, body);
    let now = change(json!({"concurrency": 5.0, "scopes": ["run", "read", "run"]}))
        .expect(200)
        .json();
    assert_eq!(now["scopes"], json!(["read", "run"]));
    assert_eq!(
        (&now["daily_budget_usd"], &now["concurrency"]),
        (&json!(1.0), &json!(5))
    );
    let now = change(json!({"daily_budget_usd": null})).expect(200).json();
    assert_eq!(
        (&now["daily_budget_usd"], &now["concurrency"]),
        (&Value::Null, &json!(5))
    );
    for wrong in [
        json!({}),
        json!({"scopes": []}),
        json!({"scopes": ["root"]}),
        json!({"concurrency": 0}),
        json!({"name": " "}),
        json!({"expires_at": "tomorrow"}),
        json!({"tenant": "other"}),
    ] {
        change(wrong.clone()).expect(422);
    }
}

#[test]
fn submits_are_counted_by_token() {
    let door = Door::open(&[("SUBMITS_PER_MINUTE", "3")]);
    let (first, _) = door.token(json!({"name": "a"}));
    let (second, _) = door.token(json!({"name": "b"}));
    for _ in 0..3 {
        door.submit(&first, 1);
    }
    let reply = door.call(&first, "POST", "/v1/jobs", body(1)).expect(429);
    assert_eq!(reply.json()["code"], "rate_limited");
    assert_eq!(reply.header("retry-after"), "20");
    // Reading is free, and others are not held back.
    door.get(&first, "/v1/jobs").expect(200);
    door.submit(&second, 1);
    door.submit(SECRET, 1);
    door.world.advance_to(door.world.now() + 19_000);
    door.call(&first, "POST", "/v1/jobs", body(1)).expect(429);
    door.world.advance_to(door.world.now() + 1_000);
    door.submit(&first, 1);
    door.call(&first, "POST", "/v1/jobs", body(1)).expect(429);
}

#[test]
fn the_jobs_of_a_token_never_have_more_calls_in_flight_than_it_may() {
    let door = Door::open(&[]);
    let (token, _) = door.token(json!({"name": "a", "tenant": "acme", "concurrency": 3}));
    let jobs = [door.submit(&token, 20), door.submit(&token, 20)];
    let free = door.submit(SECRET, 20);
    let most = std::cell::Cell::new((0, 0));
    let in_flight = |tenant: &str| {
        let sql =
            format!("SELECT COALESCE(SUM(in_flight), 0) AS n FROM jobs WHERE tenant = '{tenant}'");
        door.world.query(&sql)[0]["n"].as_i64().unwrap()
    };
    door.world.run(&door.app, 10_000, 3_600_000, || {
        let (bounded, unbounded) = most.get();
        most.set((
            bounded.max(in_flight("acme")),
            unbounded.max(in_flight("default")),
        ));
        jobs.iter()
            .chain([&free])
            .all(|job| crate::flows::over(&door.world, job))
    });
    let (bounded, unbounded) = most.get();
    assert_eq!(bounded, 3);
    assert!(unbounded > 3, "{unbounded}");
    for job in &jobs {
        let state = &door.get(&token, &format!("/v1/jobs/{job}")).json()["state"];
        assert_eq!(state, "succeeded");
    }
}

#[test]
fn the_jobs_of_a_schedule_are_counted_to_the_token_that_made_it() {
    let door = Door::open(&[]);
    let (token, id) = door.token(json!({"name": "a", "tenant": "acme", "daily_budget_usd": 5}));
    let schedule = json!({"cron": "0 7 1 1 *", "job": body(1)});
    let schedule = door
        .call(&token, "POST", "/v1/schedules", schedule)
        .expect(201)
        .json();
    let path = format!("/v1/schedules/{}", schedule["id"].as_str().unwrap());
    door.call(&token, "POST", &format!("{path}/run"), Value::Null)
        .expect(202);
    let jobs = || door.world.query("SELECT state, token FROM jobs");
    door.world.run(&door.app, 10_000, 600_000, || {
        jobs().iter().any(|job| job["state"] == "succeeded")
    });
    assert_eq!(jobs()[0]["token"], id);
    let token_view = door.get(SECRET, &format!("/v1/tokens/{id}")).json();
    assert!(token_view["spent_today_usd"].as_f64().unwrap() > 0.0);
    door.call(&token, "DELETE", &path, Value::Null).expect(204);
    assert!(door.world.query("SELECT * FROM schedule_tokens").is_empty());
}

#[test]
fn a_token_s_daily_budget_holds_for_all_of_its_jobs_and_ends_with_the_day() {
    let door = Door::open(&[]);
    let (token, id) = door.token(json!({"name": "a", "daily_budget_usd": 0.05}));
    let jobs = [door.submit(&token, 30), door.submit(&token, 30)];
    let paused = |job: &String| {
        let row = door
            .world
            .query(&format!("SELECT state, halt FROM jobs WHERE id = '{job}'"));
        row[0]["state"] == "paused" && row[0]["halt"].as_str().unwrap().contains("\"day\"")
    };
    door.world
        .run(&door.app, 10_000, 3_600_000, || jobs.iter().all(paused));
    let path = format!("/v1/tokens/{id}");
    let spent = door.get(SECRET, &path).json()["spent_today_usd"]
        .as_f64()
        .unwrap();
    assert!(spent > 0.0 && spent <= 0.05, "{spent}");
    let job_costs: f64 = jobs
        .iter()
        .map(|job| {
            door.get(&token, &format!("/v1/jobs/{job}")).json()["cost"]["spent_usd"]
                .as_f64()
                .unwrap()
        })
        .sum();
    assert!((job_costs - spent).abs() < 1e-9, "{job_costs} and {spent}");
    let halt = door.get(&token, &format!("/v1/jobs/{}", jobs[0])).json()["halt"].clone();
    assert_eq!(
        (&halt["reason"], &halt["resumes_at"]),
        (&json!("quota"), &json!("2026-11-23T00:00:00.000Z"))
    );
    // With a higher one the next day both end.
    door.call(SECRET, "PATCH", &path, json!({"daily_budget_usd": 50}))
        .expect(200);
    door.world.run(&door.app, 60_000, 86_400_000, || {
        jobs.iter().all(|job| crate::flows::over(&door.world, job))
    });
    let state = &door.get(&token, &format!("/v1/jobs/{}", jobs[1])).json()["state"];
    assert_eq!(state, "succeeded");
}

#[test]
fn an_admin_gives_no_right_that_it_does_not_have() {
    let door = Door::open(&[]);
    let (admin, admin_id) = door.token(json!({
        "name": "admin", "scopes": ["read", "admin"], "daily_budget_usd": 1, "expires_at": "2026-11-23T12:00:00Z"
    }));
    let make = |body: Value| door.call(&admin, "POST", "/v1/tokens", body);
    for (body, path) in [
        (json!({"name": "c", "scopes": ["run"]}), "scopes"),
        (
            json!({"name": "c", "scopes": ["read"], "daily_budget_usd": 2}),
            "daily_budget_usd",
        ),
        (
            json!({"name": "c", "scopes": ["read"], "expires_at": "2027-01-01T00:00:00Z"}),
            "expires_at",
        ),
    ] {
        let refused = make(body).expect(422).json();
        assert_eq!(refused["errors"][0]["path"], path);
    }
    let child = make(json!({"name": "c", "scopes": ["read", "admin"]}))
        .expect(201)
        .json();
    assert_eq!(child["made_by"], json!(admin_id));
    assert_eq!(child["daily_budget_usd"], json!(1.0));
    let child_path = format!("/v1/tokens/{}", child["id"].as_str().unwrap());
    let wider = json!({"daily_budget_usd": null});
    door.call(&admin, "PATCH", &child_path, wider.clone())
        .expect(422);
    let own = format!("/v1/tokens/{admin_id}");
    door.call(&admin, "PATCH", &own, json!({"name": "x"}))
        .expect(422);
    door.call(SECRET, "PATCH", &own, wider).expect(200);
    let path = format!("{own}?descendants=true");
    let revoked = door
        .call(SECRET, "DELETE", &path, Value::Null)
        .expect(200)
        .json();
    assert_eq!(revoked["revoked"], json!([admin_id, child["id"]]));
    door.get(child["token"].as_str().unwrap(), "/v1/jobs")
        .expect(401);
}

#[test]
fn a_token_with_caps_spends_under_no_other_and_its_schedules_end_with_it() {
    let door = Door::open(&[]);
    let job = json!({
        "task": "Sort", "input": {"items": ["a"]}, "approval": true,
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}]
    });
    let schedule = json!({"cron": "@daily", "job": job});
    let made = door
        .call(SECRET, "POST", "/v1/schedules", schedule.clone())
        .expect(201)
        .json();
    let of_operator = format!("/v1/schedules/{}", made["id"].as_str().unwrap());
    let submitted = door
        .call(SECRET, "POST", "/v1/jobs", job)
        .expect(202)
        .json();
    let of_operator_job = format!("/v1/jobs/{}", submitted["id"].as_str().unwrap());
    let (capped, id) = door.token(json!({"name": "capped", "daily_budget_usd": 0}));
    for (method, path, body) in [
        ("POST", format!("{of_operator}/run"), Value::Null),
        ("PATCH", of_operator.clone(), json!({"cron": "@hourly"})),
        ("POST", format!("{of_operator_job}/approve"), Value::Null),
        ("POST", format!("{of_operator_job}/retry"), Value::Null),
        (
            "PATCH",
            of_operator_job.clone(),
            json!({"limits": {"max_cost_usd": 9}}),
        ),
    ] {
        let refused = door.call(&capped, method, &path, body).expect(403).json();
        assert_eq!(refused["code"], "forbidden", "{method} {path}");
    }
    let own = door
        .call(&capped, "POST", "/v1/schedules", schedule)
        .expect(201)
        .json();
    let own_id = own["id"].as_str().unwrap();
    let path = format!("/v1/tokens/{id}");
    let revoked = door
        .call(SECRET, "DELETE", &path, Value::Null)
        .expect(200)
        .json();
    assert_eq!(revoked["schedules"], json!([own_id]));
}

#[test]
fn a_caller_that_only_reads_sees_no_path_of_an_address() {
    let door = Door::open(&[]);
    let schedule = json!({
        "cron": "@daily",
        "job": {
            "task": "Sort", "input": {"items": ["a"]},
            "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}],
            "webhook": {"url": "https://hooks.example.com/secret?key=1"}
        }
    });
    let made = door
        .call(SECRET, "POST", "/v1/schedules", schedule)
        .expect(201)
        .json();
    let path = format!("/v1/schedules/{}", made["id"].as_str().unwrap());
    let url =
        |token: &str| door.get(token, &path).expect(200).json()["job"]["webhook"]["url"].clone();
    let (reader, _) = door.token(json!({"name": "r", "scopes": ["read"]}));
    let (runner, _) = door.token(json!({"name": "r"}));
    assert_eq!(url(&reader), "https://hooks.example.com");
    assert_eq!(url(&runner), "https://hooks.example.com/secret?key=1");
}
