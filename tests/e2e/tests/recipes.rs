//! One job of each recipe through workerd, from submit to report, with nothing given but its input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use e2e::{World, id_of, pages::serve};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(120);

/// A text of some length about a subject.
fn about(subject: &str) -> String {
    let sentence = format!(
        "{subject} is described here in some detail, with figures, reasons and what follows from them. "
    );
    sentence.repeat(12)
}

fn texts(prefix: &str, subjects: &[&str]) -> Value {
    let items = subjects.iter().enumerate();
    items
        .map(|(n, subject)| json!({"id": format!("{prefix}-{n}"), "text": about(subject)}))
        .collect()
}

/// The input of each recipe, and how many items that is.
fn inputs(port: u16) -> Vec<(&'static str, Value, u64)> {
    let tickets: Vec<String> = (0..24)
        .map(|n| {
            format!(
                "Ticket {n}: {}",
                [
                    "I was charged twice for my plan.",
                    "The app crashes when I save.",
                    "My parcel has not arrived."
                ][n % 3]
            )
        })
        .collect();
    let products: Vec<Value> = (0..8)
        .map(|n| json!({"id": format!("sku-{n}"), "title": format!("Chair {n}, oak"), "price": 40 + n, "description": about("A chair of oak")}))
        .collect();
    let reports: Vec<Value> = [("Acme", "2025"), ("Acme", "2026"), ("Borealis", "2026")]
        .iter()
        .map(|(company, period)| {
            json!({"id": format!("{company}-{period}"), "company": company, "period": period,
            "text": about(&format!("The revenue of {company} in {period}, 12.5 million dollars,"))})
        })
        .collect();
    let urls: Vec<Value> = (0..6)
        .map(|n| json!({"id": format!("page-{n}"), "url": format!("http://127.0.0.1:{port}/page/{n}")}))
        .collect();
    let files: Vec<Value> = ["src/main.rs", "src/lib.rs", "web/app.js"]
        .iter()
        .map(|path| json!({"id": path, "text": "fn main() {\n    let total = items.iter().sum();\n    println!(\"{total}\");\n}\n".repeat(20)}))
        .collect();
    vec![
        ("support-tickets", json!({"items": tickets}), 24),
        (
            "research-papers",
            json!({"documents": texts("paper", &["A trial of two treatments", "A survey of methods", "A replication"])}),
            3,
        ),
        ("product-catalog", json!({"items": products}), 8),
        ("financial-documents", json!({"documents": reports}), 3),
        (
            "content-qa",
            json!({"items": texts("post", &["Our new product", "How to choose a bicycle"])}),
            2,
        ),
        ("competitor-pages", json!({"urls": urls}), 6),
        ("code-review", json!({"items": files}), 3),
    ]
}

#[test]
fn every_recipe_brings_its_report() {
    let port = serve();
    let world = World::builder()
        .var("FETCH_ALLOW_HOSTS", format!("127.0.0.1:{port}"))
        .start()
        .unwrap();
    let listed = world.client.get("/v1/recipes").unwrap().json().unwrap();
    let inputs = inputs(port);
    let mut named: Vec<&str> = inputs.iter().map(|(name, ..)| *name).collect();
    named.sort_unstable();
    let mut known: Vec<&str> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    known.sort_unstable();
    assert_eq!(named, known);
    for (recipe, input, count) in &inputs {
        let job = world
            .run_job(&json!({"recipe": recipe, "input": input}), WITHIN)
            .unwrap();
        assert_eq!(job["state"], "succeeded", "{recipe}: {job}");
        assert_eq!(
            job["progress"]["items"],
            json!({"total": count, "covered": count, "missing": 0}),
            "{recipe}"
        );
        assert_eq!(job["recipe"], *recipe);
        let report = world.client.report(&id_of(&job).unwrap()).unwrap();
        assert!(
            report["synthesis"]
                .as_str()
                .is_some_and(|text| text.len() > 40),
            "{recipe}: {report}"
        );
        // What the recipe counts is counted over all of its items.
        let of = listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == *recipe)
            .unwrap();
        let first = &of["stages"][0];
        for field in first["merge"]["count_by"].as_array().unwrap() {
            let name = first["name"].as_str().unwrap();
            let counts = &report["merged"]["stages"][name]["count_by"][field.as_str().unwrap()];
            assert!(counts.is_object(), "{recipe}: {field}: {report}");
        }
    }
}
