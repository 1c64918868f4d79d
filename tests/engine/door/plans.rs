//! Plans that come in: what no job could carry out is refused at the door, with the place and the reason, in a submit as in the place
//! of a plan that waits.

use serde_json::{Value, json};

use super::{Door, SECRET, body};

fn map(more: Value) -> Value {
    let mut stage = json!({"name": "a", "kind": "map", "instructions": "x"});
    stage
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    stage
}

/// The path and the words of each fault.
fn faults(problem: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = problem["errors"].as_array().unwrap().iter();
    errors
        .map(|one| (text(&one["path"]), text(&one["message"])))
        .collect()
}

impl Door {
    /// A job with this input whose plan waits for approval.
    fn waiting(&self, input: Value) -> String {
        let body = json!({"task": "Sort these", "input": input, "approval": true, "stages": [map(json!({}))]});
        let job = self.call(SECRET, "POST", "/v1/jobs", body).expect(202);
        let id = job.json()["id"].as_str().unwrap().to_owned();
        self.world.run(&self.app, 10_000, 3_600_000, || {
            let rows = self
                .world
                .query(&format!("SELECT state FROM jobs WHERE id = '{id}'"));
            rows[0]["state"] == "awaiting_approval"
        });
        id
    }

    fn put(&self, job: &str, stage: Value, status: u16) -> Value {
        let path = format!("/v1/jobs/{job}/plan");
        let reply = self.call(SECRET, "PUT", &path, json!({"stages": [stage]}));
        reply.expect(status).json()
    }
}

#[test]
fn a_plan_is_put_in_the_place_of_another_only_where_it_fits_what_the_job_reads() {
    let door = Door::open(&[]);
    let long = json!({"documents": [{"id": "d", "text": "A word. ".repeat(4_000), "lang": "en"}]});
    let documents = door.waiting(long);
    let told = door.put(&documents, map(json!({"group_by": "lang"})), 422);
    let [(path, message)] = &faults(&told)[..] else {
        panic!("{told}")
    };
    assert_eq!(path, "stages[0].group_by");
    assert!(message.starts_with("wants items"), "{message}");
    // Texts are split by tokens where nothing is said of them, and may overlap then.
    door.put(
        &documents,
        map(json!({"chunk": {"items": 1, "overlap": 50}})),
        200,
    );
    let pages = door.waiting(json!({"urls": ["https://a.dev/"]}));
    let told = door.put(&pages, map(json!({"chunk": {"items": 5}})), 422);
    assert_eq!(faults(&told)[0].0, "stages[0].chunk.items");
    let items = door.waiting(json!({"items": ["one", "two"]}));
    let told = door.put(
        &items,
        map(json!({"model": "claude-haiku-4-5", "context": "字".repeat(80_000)})),
        422,
    );
    let [(path, message)] = &faults(&told)[..] else {
        panic!("{told}")
    };
    assert_eq!(path, "stages[0].context");
    assert!(message.contains("half of what claude-haiku-4-5 reads"));
    // Nor is it longer than a submit's may be.
    let told = door.put(
        &items,
        map(json!({"instructions": "x".repeat(1_000_000)})),
        422,
    );
    assert_eq!(faults(&told)[0].0, "body");
    // A sound one is taken all the same, and done.
    door.put(&items, map(json!({"chunk": {"items": 1}})), 200);
    let approve = format!("/v1/jobs/{items}/approve");
    door.call(SECRET, "POST", &approve, Value::Null).expect(200);
    door.finish(&items);
    let job = door.get(SECRET, &format!("/v1/jobs/{items}")).json();
    assert_eq!(
        (&job["state"], &job["usage"]["calls"]),
        (&json!("succeeded"), &json!(2))
    );
}

#[test]
fn input_is_grouped_by_a_field_that_some_item_has() {
    let door = Door::open(&[]);
    let submit = |field: &str, status: u16| {
        let items = json!([{"text": "one"}, {"text": "two", "plan": {"name": "pro"}}, {"text": "three", "note": null}]);
        let body = json!({"task": "Sort these", "input": {"items": items}, "stages": [map(json!({"group_by": field}))]});
        door.call(SECRET, "POST", "/v1/jobs", body)
            .expect(status)
            .json()
    };
    for field in ["plam", "plan.name", "note"] {
        let expected = (
            "stages[0].group_by",
            "is a field that no item of the input has",
        );
        let told = faults(&submit(field, 422));
        assert_eq!(
            told,
            [(expected.0.to_owned(), expected.1.to_owned())],
            "{field}"
        );
    }
    submit("plan", 202);
    assert_eq!(
        door.world.query("SELECT COUNT(*) AS n FROM jobs")[0]["n"],
        1
    );
}

#[test]
fn a_job_that_brings_nothing_says_why() {
    let door = Door::open(&[]);
    let mut body = body(3);
    body["limits"] = json!({"max_cost_usd": 0.05});
    body["stages"][0]["tools"] = json!({"web_search": {}});
    let job = door
        .call(SECRET, "POST", "/v1/jobs", body)
        .expect(202)
        .json();
    let id = job["id"].as_str().unwrap();
    door.finish(id);
    let job = door.get(SECRET, &format!("/v1/jobs/{id}")).json();
    assert_eq!(job["error"]["code"], "too_little_covered");
    let told = job["error"]["message"].as_str().unwrap();
    let begins = "0 of 3 items have a result; at least one is wanted; budget in 3 tasks (the rest of the work does not fit max_cost_usd: a call of it may cost more than the $0.0";
    assert!(told.starts_with(begins), "{told}");
}

/// No answer is as long as this schema says: the figures stay a range, and nobody is told of a fault of ours.
#[test]
fn a_schema_without_end_is_reckoned_with() {
    let door = Door::open(&[]);
    let mut schema = json!({"type": "string"});
    for _ in 0..9 {
        schema = json!({"type": "array", "items": schema, "minItems": 100, "maxItems": 100});
    }
    let schema = json!({"type": "object", "properties": {"all": schema}, "required": ["all"], "additionalProperties": false});
    let stages = json!([
        map(json!({"output_schema": schema})),
        {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
    ]);
    let body = json!({"task": "x", "input": {"items": ["a", "b"]}, "stages": stages});
    let reply = door.call(SECRET, "POST", "/v1/estimates", body);
    let expected = reply.expect(200).json()["expected"].clone();
    let usd = |name: &str| expected["cost_usd"][name].as_f64().unwrap();
    let likely = expected["likely_usd"].as_f64().unwrap();
    assert!(
        usd("low") > 0.0 && usd("low") <= likely && likely <= usd("high"),
        "{expected}"
    );
}
