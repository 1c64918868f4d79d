//! Every bad input of the list gets the answer that the list names, and `SECURITY.md` shows the list.

use axum::body::Body;
use axum::http::Request;

use crate::fakes::{TOKEN, send, service};
use crate::inputs::{HEAD, attacks, named};

#[test]
fn every_bad_input_is_refused_as_the_list_says() {
    let service = service();
    let mut wrong = Vec::new();
    for attack in attacks() {
        let mut request = Request::builder().method(attack.method).uri(&attack.path);
        for (name, value) in &attack.headers {
            request = request.header(*name, value);
        }
        if attack.known {
            request = request.header("authorization", format!("Bearer {TOKEN}"));
        }
        let kind = attack.kind;
        let expected = attack.answer();
        let (code, place) = (attack.code, attack.place);
        let reply = send(&service, request.body(Body::from(attack.body)).unwrap());
        let problem = reply.json();
        let same = reply.status == attack.status && named(&problem) == (code.into(), place.into());
        if !same {
            wrong.push(format!("{kind}: wants {expected}, got {problem:.300}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_is_shown() {
    let shown = include_str!("../../SECURITY.md");
    let rows: Vec<String> = attacks().iter().map(|attack| attack.row()).collect();
    let table = format!("{HEAD}\n{}\n", rows.join("\n"));
    assert!(
        shown.contains(&table),
        "SECURITY.md wants this table:\n{table}"
    );
}
