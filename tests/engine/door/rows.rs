//! Results in the order of the input, and items beside their results.

use serde_json::{Value, json};

use super::{Door, SECRET};
use crate::flows::{stages, texts};
use crate::world::World;

/// A deployment whose Claude has these faults.
fn door(faults: Value) -> Door {
    let claude = standin::Config {
        latency_ms: 200,
        ..standin::Config::default()
    };
    Door::over(World::new(11, claude.with(&faults).unwrap()), &[])
}

fn rule(matches: Value, fault: &str, times: Value) -> Value {
    json!({"rules": [{"match": matches, "fault": fault, "times": times}]})
}

fn run(door: &Door, body: Value) -> String {
    let job = door
        .call(SECRET, "POST", "/v1/jobs", body)
        .expect(202)
        .json();
    let id = job["id"].as_str().unwrap().to_owned();
    door.finish(&id);
    id
}

fn read(door: &Door, id: &str, query: &str) -> String {
    let path = format!("/v1/jobs/{id}/results?{query}");
    door.get(SECRET, &path).expect(200).text
}

fn lines(door: &Door, id: &str, query: &str) -> Vec<Value> {
    read(door, id, &format!("format=jsonl&{query}"))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect()
}

fn numbered(n: usize) -> Vec<String> {
    (1..=n).map(|n| format!("item-{n}")).collect()
}

fn body(items: usize, chunk: u32) -> Value {
    json!({"task": "Find the recurring issues", "input": {"items": texts(items)}, "stages": stages(chunk)})
}

#[test]
fn results_come_in_the_order_of_the_input_however_chunks_were_split() {
    let door = door(rule(json!({"text": "(case 1)"}), "truncate", json!(3)));
    let id = run(&door, body(9, 3));
    let halves = door
        .world
        .query("SELECT COUNT(*) AS n FROM tasks WHERE origin IS NOT NULL");
    assert!(halves[0]["n"].as_u64().unwrap() > 0, "nothing was split");
    let results = lines(&door, &id, "");
    assert_eq!(ids(&results), numbered(9));
    let whole: Value = serde_json::from_str(&read(&door, &id, "format=json")).unwrap();
    assert_eq!(whole["data"], json!(results));
}

#[test]
fn every_item_stands_beside_its_result_or_says_why_it_has_none() {
    let door = door(rule(json!({"text": "(case 4)"}), "refusal", Value::Null));
    let mut wanted = body(7, 1);
    wanted["input"]["items"][1] =
        json!({"id": "T-2", "text": "I was charged twice", "plan": "pro", "seats": 3});
    let id = run(&door, wanted.clone());
    let report = door
        .get(SECRET, &format!("/v1/jobs/{id}/report"))
        .expect(200)
        .json();
    let missing = &report["coverage"]["missing"][0];
    assert_eq!(missing["id"], "item-5", "{report}");
    let rows = lines(&door, &id, "include=input");
    assert_eq!(
        ids(&rows),
        [
            "item-1", "T-2", "item-3", "item-4", "item-5", "item-6", "item-7"
        ]
    );
    for (place, row) in rows.iter().enumerate() {
        let item = &wanted["input"]["items"][place];
        let input = match item {
            Value::String(text) => json!({"text": text}),
            _ => json!({"text": "I was charged twice", "plan": "pro", "seats": 3}),
        };
        assert_eq!(row["input"], input);
        assert_eq!(row["flags"], json!([]));
        match place {
            4 => {
                assert_eq!(row["status"], "missing");
                assert_eq!(row["output"], Value::Null);
                assert_eq!(row["reason"], missing["reason"]);
            }
            _ => {
                assert_eq!(row["status"], "ok");
                assert_eq!(row["reason"], Value::Null);
                assert!(row["output"]["primary_category"].is_string());
            }
        }
        let names: Vec<&String> = row.as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            ["id", "input", "output", "status", "reason", "flags"]
        );
    }
    let csv = read(&door, &id, "format=csv&include=input&flags=true&bom=true");
    let mut csv = csv.strip_prefix('\u{feff}').unwrap().lines();
    assert_eq!(
        csv.next().unwrap(),
        "id,text,plan,seats,primary_category,_flags,_status,_reason"
    );
    let rows: Vec<&str> = csv.collect();
    assert_eq!(rows.len(), 7);
    assert_eq!(rows[1], "T-2,I was charged twice,pro,3,billing,,ok,");
    let reason = missing["reason"].as_str().unwrap();
    assert!(rows[4].starts_with("item-5,"), "{}", rows[4]);
    assert!(
        rows[4].ends_with(&format!(",,,missing,{reason}")),
        "{}",
        rows[4]
    );
}

#[test]
fn what_is_still_to_be_done_is_pending_and_what_was_never_begun_says_so() {
    let door = door(json!({}));
    let job = door
        .call(SECRET, "POST", "/v1/jobs", body(4, 2))
        .expect(202)
        .json();
    let id = job["id"].as_str().unwrap();
    let reasons =
        |rows: &[Value]| -> Vec<Value> { rows.iter().map(|row| row["reason"].clone()).collect() };
    let rows = lines(&door, id, "include=input");
    assert_eq!(ids(&rows), numbered(4));
    assert_eq!(reasons(&rows), vec![json!("pending"); 4]);
    assert_eq!(lines(&door, id, ""), Vec::<Value>::new());
    door.call(
        SECRET,
        "POST",
        &format!("/v1/jobs/{id}/cancel"),
        Value::Null,
    )
    .expect(200);
    let rows = lines(&door, id, "include=input");
    assert_eq!(reasons(&rows), vec![json!("not_started"); 4]);
}

#[test]
fn flags_are_named_beside_the_results_that_have_them() {
    let door = door(json!({}));
    let id = run(&door, body(6, 2));
    door.world.execute(&format!(
        "INSERT INTO flags (job, stage, id, flag) VALUES ('{id}', 0, 'item-2', 'short'), ('{id}', 0, 'item-2', 'empty')"
    ));
    let rows = lines(&door, &id, "include=input");
    assert_eq!(rows[1]["status"], "flagged");
    assert_eq!(rows[1]["flags"], json!(["empty", "short"]));
    assert_eq!(rows[1]["reason"], "empty, short");
    assert!(rows[1]["output"]["primary_category"].is_string());
    assert_eq!(rows[0]["status"], "ok");
    let csv = read(&door, &id, "format=csv&include=input");
    assert!(
        csv.lines()
            .nth(2)
            .unwrap()
            .ends_with(",flagged,\"empty, short\"")
    );
}

#[test]
fn a_job_that_extends_another_keeps_the_order_of_its_own_input() {
    let door = door(json!({}));
    let named = |n: usize| json!({"id": format!("T-{n}"), "text": texts(30)[n]});
    let mut wanted = body(0, 4);
    wanted["input"]["items"] = (0..20).filter(|n| n % 3 == 0).map(named).collect();
    let first = run(&door, wanted.clone());
    wanted["input"]["items"] = (0..20).map(named).collect();
    wanted["extends"] = json!(first);
    let id = run(&door, wanted);
    let expected: Vec<String> = (0..20).map(|n| format!("T-{n}")).collect();
    let rows = lines(&door, &id, "include=input");
    assert_eq!(ids(&rows), expected);
    assert!(rows.iter().all(|row| row["status"] == "ok"));
    assert_eq!(ids(&lines(&door, &id, "")), expected);
}

#[test]
fn a_second_stage_keeps_the_order_though_the_first_was_split() {
    let door = door(rule(json!({"text": "(case 1)"}), "truncate", json!(3)));
    let mut wanted = body(9, 3);
    wanted["stages"] = crate::stages::two(2);
    let id = run(&door, wanted);
    for query in ["", "include=input", "stage=classify"] {
        assert_eq!(ids(&lines(&door, &id, query)), numbered(9), "{query}");
    }
}

#[test]
fn one_result_for_many_items_is_repeated_for_each() {
    let door = door(json!({}));
    let mut wanted = body(5, 2);
    wanted["stages"][0]["output"] = json!("chunk");
    let id = run(&door, wanted);
    let results = lines(&door, &id, "");
    assert_eq!(results.len(), 3);
    let rows = lines(&door, &id, "include=input");
    assert_eq!(ids(&rows), numbered(5));
    for (row, of) in rows.iter().zip([0, 0, 1, 1, 2]) {
        assert_eq!(row["output"], results[of]["output"]);
        assert_eq!(row["task"], results[of]["task"]);
        assert_eq!(row["status"], "ok");
    }
    let csv = read(&door, &id, "format=csv&include=input");
    assert_eq!(
        csv.lines().next().unwrap(),
        "id,text,primary_category,task,_status,_reason"
    );
    assert_eq!(csv.lines().count(), 6);
}

#[test]
fn groups_of_results_are_beside_the_items_behind_them() {
    let door = door(json!({}));
    let mut wanted = body(8, 2);
    let group = json!({"name": "sum", "kind": "map", "instructions": "Sum up the group.", "output": "chunk",
        "group_by": "primary_category",
        "output_schema": {"type": "object", "properties": {"topic": {"type": "string"}}, "required": ["topic"], "additionalProperties": false}});
    wanted["stages"].as_array_mut().unwrap().insert(1, group);
    let id = run(&door, wanted);
    let categories: Vec<Value> = lines(&door, &id, "stage=classify")
        .iter()
        .map(|line| line["output"]["primary_category"].clone())
        .collect();
    let rows = lines(&door, &id, "include=input");
    assert_eq!(ids(&rows), numbered(8));
    let groups: Vec<Value> = rows.iter().map(|row| row["group"].clone()).collect();
    assert_eq!(groups, categories);
    assert!(rows.iter().all(|row| row["output"]["topic"].is_string()));
}

#[test]
fn chunks_of_chunks_lead_back_to_the_items() {
    let door = door(json!({}));
    let mut wanted = body(6, 2);
    wanted["stages"][0]["output"] = json!("chunk");
    let more = json!({"name": "rate", "kind": "map", "instructions": "Rate it.", "chunk": {"items": 2},
        "output_schema": {"type": "object", "properties": {"grade": {"type": "string", "enum": ["low", "high"]}},
            "required": ["grade"], "additionalProperties": false}});
    wanted["stages"].as_array_mut().unwrap().insert(1, more);
    let id = run(&door, wanted);
    let rows = lines(&door, &id, "include=input");
    assert_eq!(ids(&rows), numbered(6));
    assert!(
        rows.iter().all(|row| row["output"]["grade"].is_string()),
        "{rows:?}"
    );
}

#[test]
fn slices_of_a_document_are_lines_that_say_whose_they_are() {
    let door = door(json!({}));
    let long = "A sentence that says what it says, and then another one. ".repeat(600);
    let read = json!({"name": "read", "kind": "map", "instructions": "Read.", "chunk": {"tokens": 2_000},
        "output_schema": {"type": "object", "properties": {"topic": {"type": "string"}}, "required": ["topic"], "additionalProperties": false}});
    let wanted = json!({"task": "Read them", "stages": [read],
        "input": {"documents": [{"id": "short", "text": "One line.", "title": "A"}, {"id": "long", "text": long, "title": "B"}, {"id": "last", "text": "Another."}]}});
    let id = run(&door, wanted);
    let rows = lines(&door, &id, "include=input");
    let slices = rows.len() - 2;
    assert!(slices > 2, "{rows:?}");
    let mut expected = vec!["short".to_owned()];
    expected.extend((1..=slices).map(|n| format!("long#{n}")));
    expected.push("last".to_owned());
    assert_eq!(ids(&rows), expected);
    assert_eq!(ids(&lines(&door, &id, "")), expected);
    assert_eq!(rows[0]["input"], json!({"title": "A"}));
    assert_eq!(rows[0].get("from"), None);
    for row in &rows[1..=slices] {
        assert_eq!(row["from"], "long");
        assert_eq!(row["input"], json!({"title": "B"}));
        assert_ne!(row["status"], "missing");
    }
    let csv = self::read(&door, &id, "format=csv&include=input");
    assert_eq!(
        csv.lines().next().unwrap(),
        "id,title,topic,from,_status,_reason"
    );
}

#[test]
fn many_items_on_many_pages_come_once_each() {
    let door = door(json!({}));
    let pad = "x".repeat(400);
    let items: Vec<Value> = (0..3_000)
        .map(|n| json!({"id": format!("T-{n}"), "text": "I was charged twice", "pad": pad, "deep": {"n": n}}))
        .collect();
    let mut wanted = body(0, 100);
    wanted["input"]["items"] = json!(items);
    let id = run(&door, wanted);
    let pages = door.world.query("SELECT COUNT(*) AS n FROM pages");
    assert!(pages[0]["n"].as_u64().unwrap() > 1);
    let rows = lines(&door, &id, "include=input&flatten=true");
    assert_eq!(rows.len(), 3_000);
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row["id"], format!("T-{n}"));
        assert_eq!(row["input"]["deep.n"], n);
        assert_eq!(row["status"], "ok");
    }
    let csv = read(&door, &id, "format=csv&include=input&flatten=true");
    assert_eq!(csv.lines().count(), 3_001);
    assert!(csv.starts_with("id,text,pad,deep.n,primary_category,_status,_reason\r\n"));
}

#[test]
fn another_tenant_sees_neither_rows_nor_results() {
    let door = door(json!({}));
    let id = run(&door, body(2, 2));
    let (token, _) =
        door.token(json!({"name": "theirs", "tenant": "other", "scopes": ["read", "run"]}));
    for query in ["include=input", "format=csv&include=input", "format=csv"] {
        let path = format!("/v1/jobs/{id}/results?{query}");
        door.get(&token, &path).expect(404);
    }
    let bad = door
        .get(
            SECRET,
            &format!("/v1/jobs/{id}/results?include=output&flags=1"),
        )
        .expect(422)
        .json();
    let paths: Vec<&Value> = bad["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| &fault["path"])
        .collect();
    assert_eq!(paths, ["include", "flags"]);
}
