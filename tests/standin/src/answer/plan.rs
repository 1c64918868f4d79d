//! Plans, as the orchestrator is asked for: a map stage fit for what the task
//! speaks of and a synthesis; asked again with results at hand, no more stages.
//! Faults make a plan unsound, dear or longer.

use serde_json::{Value, json};

use super::words::{Bag, keyword};

/// A field of a planned stage.
fn field(name: &str, kind: &str, values: &[&str], description: &str) -> Value {
    json!({ "name": name, "type": kind, "values": values, "description": description })
}

fn mood() -> Value {
    field(
        "sentiment",
        "string",
        &["positive", "neutral", "negative"],
        "The writer's mood.",
    )
}

/// No condition, in the form in which it is asked for.
fn all_results() -> Value {
    json!({ "field": "", "in": [], "not_in": [], "min": 0, "max": 0, "exists": false, "flagged": false })
}

/// The plan for a task's text.
pub fn plan(asked: &str, has_results: bool) -> Value {
    if has_results {
        return json!({
            "rationale": "Planned by the stand-in: the results so far are enough for the synthesis.",
            "stages": [],
        });
    }
    let bag = Bag::of(asked);
    let speaks_of = |words: &[&str]| words.iter().any(|w| bag.has(keyword(w)));
    let (kind, name, instructions, output, chunk_items, chunk_tokens, fields, count_by): (
        _,
        _,
        _,
        _,
        _,
        _,
        Vec<Value>,
        Vec<&str>,
    ) = if speaks_of(&["ticket", "support", "complaint", "helpdesk"]) {
        (
            "support tickets",
            "classify",
            "Read each ticket on its own. Name its main category, the customer's sentiment, how urgent it is, and the issue in a few words.",
            "item",
            25,
            0,
            vec![
                field(
                    "primary_category",
                    "string",
                    &[
                        "billing",
                        "login",
                        "bug",
                        "performance",
                        "shipping",
                        "feature_request",
                        "cancellation",
                        "other",
                    ],
                    "What the ticket is mainly about.",
                ),
                mood(),
                field(
                    "urgency",
                    "string",
                    &["low", "medium", "high"],
                    "How soon it needs an answer.",
                ),
                field("issue", "string", &[], "The issue in at most ten words."),
            ],
            vec!["primary_category", "sentiment", "urgency"],
        )
    } else if speaks_of(&["review", "feedback", "survey", "comment"]) {
        (
            "reviews",
            "rate",
            "Read each review on its own. Name its topic and the writer's sentiment, give a rating from 1 to 5, and sum it up in one sentence.",
            "item",
            25,
            0,
            vec![
                field(
                    "topic",
                    "string",
                    &["quality", "price", "delivery", "service", "other"],
                    "What the review is mainly about.",
                ),
                mood(),
                field("rating", "integer", &[], "From 1 to 5."),
                field("summary", "string", &[], "One sentence."),
            ],
            vec!["topic", "sentiment"],
        )
    } else if speaks_of(&[
        "document",
        "contract",
        "paper",
        "transcript",
        "book",
        "page",
        "article",
    ]) {
        (
            "documents",
            "extract",
            "Read this part of the document. Sum it up and list its key points and the risks it names.",
            "chunk",
            0,
            4_000,
            vec![
                field("summary", "string", &[], "Two or three sentences."),
                field(
                    "key_points",
                    "strings",
                    &[],
                    "The most important statements.",
                ),
                field(
                    "risks",
                    "strings",
                    &[],
                    "Risks that the text names; none if it names none.",
                ),
            ],
            vec![],
        )
    } else {
        (
            "items of mixed kind",
            "describe",
            "Read each item on its own. Name its topic and sentiment, say whether it needs someone's attention, and sum it up in one sentence.",
            "item",
            20,
            0,
            vec![
                field("topic", "string", &[], "The topic in one or two words."),
                mood(),
                field(
                    "needs_attention",
                    "boolean",
                    &[],
                    "Whether someone should act on it.",
                ),
                field("summary", "string", &[], "One sentence."),
            ],
            vec!["sentiment", "needs_attention"],
        )
    };
    json!({
        "rationale": format!("Planned by the stand-in: the task speaks of {kind}; one pass over all of it, then a report."),
        "stages": [
            {
                "name": name,
                "kind": "map",
                "instructions": format!("The task is: {{{{task}}}} {instructions}"),
                "output": output,
                "fields": fields,
                "chunk_items": chunk_items,
                "chunk_tokens": chunk_tokens,
                "tier": "worker",
                "count_by": count_by,
                "where": all_results(),
            },
            {
                "name": "report",
                "kind": "synthesis",
                "instructions": "Write a report for someone who has not read the input: what is frequent, what matters, with examples by id.",
                "output": "chunk",
                "fields": [],
                "chunk_items": 0,
                "chunk_tokens": 0,
                "tier": "synthesis",
                "count_by": [],
                "where": all_results(),
            },
        ],
    })
}

/// The map stages of a plan; none where this is no plan.
fn maps(plan: &mut Value) -> impl Iterator<Item = &mut Value> {
    let stages = plan.get_mut("stages").and_then(Value::as_array_mut);
    let stages = stages.into_iter().flatten();
    stages.filter(|stage| stage.get("kind").is_some_and(|kind| kind == "map"))
}

/// Makes a plan one that nobody can carry out, though its form is right:
/// chunks beyond every bound, counts of a field that is not there. A plan
/// without stages gets one like that.
pub fn unsound(plan: &mut Value) -> bool {
    if plan.get("stages").is_none() {
        return false;
    }
    if maps(plan).next().is_none() {
        longer(plan, 0);
    }
    for stage in maps(plan) {
        stage["chunk_items"] = json!(5_000);
        stage["chunk_tokens"] = json!(0);
        stage["count_by"] = json!(["no_such_field"]);
    }
    true
}

/// One call of the strong model for each item.
pub fn dear(plan: &mut Value) -> bool {
    let mut found = false;
    for stage in maps(plan) {
        stage["chunk_items"] = json!(1);
        stage["chunk_tokens"] = json!(0);
        stage["tier"] = json!("synthesis");
        found = true;
    }
    found
}

/// Adds a map stage, before the synthesis where there is one.
pub fn longer(plan: &mut Value, hash: u64) -> bool {
    let Some(stages) = plan.get_mut("stages").and_then(Value::as_array_mut) else {
        return false;
    };
    let at = stages
        .iter()
        .position(|stage| stage["kind"] == "synthesis")
        .unwrap_or(stages.len());
    let stage = json!({
        "name": format!("closer_{}", hash % 100_000),
        "kind": "map",
        "instructions": "Look closer at each: say in one sentence why it came about, and whether someone must act.",
        "output": "item",
        "fields": [
            field("reason", "string", &[], "One sentence."),
            field("act", "boolean", &[], "Whether someone must act."),
        ],
        "chunk_items": 20,
        "chunk_tokens": 0,
        "tier": "worker",
        "count_by": ["act"],
        "where": all_results(),
    });
    stages.insert(at, stage);
    true
}

/// The same choice for a stage over results of which none was flagged.
pub fn unflagged(hash: u64) -> u64 {
    match hash / 3 % 5 {
        0 => hash.wrapping_add(3),
        _ => hash,
    }
}

/// Adds a map stage over some of the results: those of one cluster of support tickets, or what checks flagged. Some of its workers see
/// the items too.
pub fn follow_up(plan: &mut Value, hash: u64) -> bool {
    if !longer(plan, hash) {
        return false;
    }
    let cluster = match hash % 3 {
        0 => "billing",
        1 => "bug",
        _ => "login",
    };
    let of = match hash / 3 % 5 {
        0 => json!({"field": "", "values": [], "flagged": true}),
        1 => json!({"field": "primary_category", "values": [cluster, "other"], "flagged": false}),
        _ => json!({"field": "primary_category", "values": [cluster], "flagged": false}),
    };
    let stages = plan.get_mut("stages").and_then(Value::as_array_mut);
    let name = format!("closer_{}", hash % 100_000);
    for stage in stages
        .into_iter()
        .flatten()
        .filter(|stage| stage["name"] == *name)
    {
        stage["of"] = of.clone();
        stage["with_input"] = json!((hash / 15).is_multiple_of(2));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_change_plans_and_nothing_else() {
        let mut none = json!({"results": []});
        assert!(!unsound(&mut none) && !dear(&mut none) && !longer(&mut none, 1));
        assert_eq!(none, json!({"results": []}));
        let mut sound = plan("support tickets", false);
        assert!(longer(&mut sound, 7));
        assert_eq!(sound["stages"][1]["name"], "closer_7");
        assert_eq!(sound["stages"][2]["kind"], "synthesis");
        assert!(dear(&mut sound));
        assert_eq!(sound["stages"][0]["tier"], "synthesis");
        let mut again = plan("support tickets", true);
        assert!(!dear(&mut again));
        assert!(unsound(&mut again));
        assert_eq!(again["stages"][0]["chunk_items"], 5_000);
    }

    #[test]
    fn a_stage_is_over_what_was_flagged_only_where_something_was() {
        for hash in 0..60 {
            let mut plan = plan("support tickets", true);
            assert!(follow_up(&mut plan, unflagged(hash)));
            assert_eq!(plan["stages"][0]["of"]["flagged"], false);
        }
    }
}
