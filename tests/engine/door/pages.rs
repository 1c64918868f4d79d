//! Pages of lists: a cursor stands at a place in the list, not at a number, so what comes in or goes between two pages moves
//! nothing; and it is for the list it came from.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Door, SECRET};

/// The ids on a page, and the cursor of the next one.
fn page(door: &Door, path: &str, cursor: Option<&str>) -> (Vec<String>, Option<String>) {
    let joint = if path.contains('?') { '&' } else { '?' };
    let cursor = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
    let page = door
        .get(SECRET, &format!("{path}{joint}limit=2{cursor}"))
        .expect(200)
        .json();
    let data = page["data"].as_array().unwrap().iter();
    let id = |entry: &Value| match &entry["id"] {
        Value::String(id) => id.clone(),
        _ => entry["index"].to_string(),
    };
    let next = page["next_cursor"].as_str().map(str::to_owned);
    (data.map(id).collect(), next)
}

/// Reads a list of five to its end, two at a time, while `make` makes another entry before each further page and `end` ends what
/// was on the page before. Each entry that was there at first and is not ended comes once, newest first, and none of the new ones.
fn read_while_it_changes(
    door: &Door,
    path: &str,
    make: impl Fn(usize) -> String,
    end: impl Fn(&str),
) {
    let mut there = Vec::new();
    for n in 0..5 {
        // Two of them in the same millisecond: ids decide then.
        if n != 3 {
            door.world.advance_to(door.world.now() + 1_000);
        }
        there.push(make(n));
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    for n in 5.. {
        let (ids, next) = page(door, path, cursor.as_deref());
        assert!(ids.len() <= 2, "{path}: {ids:?}");
        // A cursor stands behind an entry that may be gone by the next look.
        ids.iter().for_each(|id| end(id));
        seen.extend(ids);
        cursor = next;
        if cursor.is_none() {
            break;
        }
        door.world.advance_to(door.world.now() + 1_000);
        make(n);
    }
    let all: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(all, there.iter().collect(), "{path}: {seen:?}");
    assert_eq!(seen.len(), there.len(), "{path}: {seen:?}");
}

#[test]
fn what_comes_in_or_goes_between_two_pages_moves_nothing() {
    let door = Door::open(&[]);
    let made = |reply: super::Reply| reply.json()["id"].as_str().unwrap().to_owned();
    let delete = |path: String| {
        door.call(SECRET, "DELETE", &path, Value::Null).expect(204);
    };
    read_while_it_changes(
        &door,
        "/v1/jobs",
        |_| door.submit(SECRET, 1),
        |id| {
            door.call(
                SECRET,
                "POST",
                &format!("/v1/jobs/{id}/cancel"),
                Value::Null,
            )
            .expect(200);
            delete(format!("/v1/jobs/{id}"));
        },
    );
    let job = json!({
        "task": "Sort", "input": {"items": ["x"]},
        "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}],
    });
    read_while_it_changes(
        &door,
        "/v1/schedules",
        |_| {
            let schedule = json!({"cron": "0 7 * * *", "job": job});
            made(
                door.call(SECRET, "POST", "/v1/schedules", schedule)
                    .expect(201),
            )
        },
        |id| delete(format!("/v1/schedules/{id}")),
    );
    read_while_it_changes(
        &door,
        "/v1/tokens",
        |n| door.token(json!({"name": format!("token {n}")})).1,
        |id| delete(format!("/v1/tokens/{id}")),
    );
}

#[test]
fn tasks_that_end_between_two_pages_move_nothing() {
    let door = Door::open(&[]);
    let job = door.submit(SECRET, 7);
    let path = format!("/v1/jobs/{job}/tasks");
    let expanded = || door.world.query("SELECT COUNT(*) AS n FROM tasks")[0]["n"] == 7;
    door.world.run(&door.app, 10_000, 60_000, expanded);
    let (first, cursor) = page(&door, &path, None);
    assert_eq!(first, ["0", "1"]);
    // All of them end, and the synthesis comes after them.
    door.finish(&job);
    let (second, cursor) = page(&door, &path, cursor.as_deref());
    assert_eq!(second, ["2", "3"]);
    let (third, cursor) = page(&door, &path, cursor.as_deref());
    assert_eq!(third, ["4", "5"]);
    let (fourth, cursor) = page(&door, &path, cursor.as_deref());
    assert_eq!((fourth, cursor), (vec!["6".to_owned()], None));
}

#[test]
fn a_page_has_one_to_two_hundred_entries() {
    let door = Door::open(&[]);
    let job = door.submit(SECRET, 1);
    for list in [
        "/v1/jobs".to_owned(),
        "/v1/schedules".to_owned(),
        "/v1/tokens".to_owned(),
        format!("/v1/jobs/{job}/tasks"),
        format!("/v1/jobs/{job}/deliveries"),
    ] {
        for limit in ["1", "200"] {
            door.get(SECRET, &format!("{list}?limit={limit}"))
                .expect(200);
        }
        for limit in ["0", "201", "-1", "1.5", "", "many", "99999999999999999999"] {
            let fault = door
                .get(SECRET, &format!("{list}?limit={limit}"))
                .expect(422)
                .json();
            assert_eq!(fault["code"], "invalid_request");
            assert_eq!(fault["errors"][0]["path"], "limit", "{list} {limit}");
            let message = "must be a whole number from 1 to 200";
            assert_eq!(fault["errors"][0]["message"], message);
        }
    }
}
