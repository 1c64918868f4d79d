//! Faults: which there are, when one strikes, and what it does to an answer.
//!
//! A fault strikes by share (`429=0.05`), decided by the seed and the request
//! itself, so that a run repeats; or by a rule that names calls. Those in
//! [`MODES`] can also be in force for all calls, several together. What the wire
//! does (status, cut, reset) is played by `engine`; what the answer says is
//! spoiled here.

mod kinds;
mod rules;
mod shares;
mod spoil;

pub use kinds::{Effects, Fault, MODES, Modes, ONLY_MODES};
pub use rules::{Caller, Match, Rule, Strike, by_rule};
pub use shares::Shares;
pub use spoil::spoil;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::answer::Content;

    #[test]
    fn every_fault_has_a_name_that_reads_back() {
        for fault in Fault::ALL {
            assert_eq!(Fault::parse(fault.as_str()), Some(*fault));
            assert!(!fault.about().is_empty());
        }
        assert_eq!(Fault::parse("invalid_json"), Some(Fault::Malformed));
    }

    #[test]
    fn shares_are_kept_over_many_calls() {
        let shares = Shares::parse("429=0.05, 500=0.03, cut=0.02").unwrap();
        let struck = |fault| {
            (0..100_000u64)
                .filter(|h| shares.draw(*h) == Some(fault))
                .count()
        };
        assert!((4_700..5_300).contains(&struck(Fault::RateLimit)));
        assert!((1_800..2_200).contains(&struck(Fault::Cut)));
        assert_eq!(struck(Fault::Hang), 0);
    }

    #[test]
    fn a_bad_spec_says_what_is_wrong() {
        assert!(Shares::parse("429").unwrap_err().contains("FAULT=SHARE"));
        assert!(
            Shares::parse("nonsense=0.1")
                .unwrap_err()
                .contains("unknown fault")
        );
        assert!(
            Shares::parse("429=0.6,500=0.6")
                .unwrap_err()
                .contains("more than 1")
        );
    }

    #[test]
    fn rules_strike_as_often_as_told() {
        let mut rules = vec![Rule {
            matches: Match {
                task: Some("7".into()),
                item_id: Some("T-1".into()),
                ..Match::default()
            },
            fault: Fault::Internal,
            times: Some(2),
            ms: None,
            retry_after_s: None,
            should_retry: None,
            for_ms: None,
            until_ms: None,
        }];
        let caller = Caller {
            task: "7",
            ..Caller::default()
        };
        let body = r#"{"content":"<items>\n[{\"id\":\"T-1\"}]"}"#;
        let any = |_: &Rule| true;
        assert!(by_rule(&mut rules, &caller, "{}", 0, any).is_none());
        assert!(by_rule(&mut rules, &caller, body, 0, any).is_some());
        assert!(by_rule(&mut rules, &caller, body, 0, any).is_some());
        assert!(by_rule(&mut rules, &caller, body, 0, any).is_none());
        assert!(rules.is_empty());
    }

    #[test]
    fn spoiled_results_are_spoiled_in_one_place() {
        let clean = json!({"results": [
            {"id": "a", "output": {"x": 1}}, {"id": "b", "output": {"x": 2}}, {"id": "c", "output": {"x": 3}}
        ]});
        let spoiled = |fault| {
            let mut content = Content::Json(clean.clone());
            assert!(spoil(fault, &mut content, 5), "{fault}");
            content
        };
        let list = |content| match content {
            Content::Json(value) => value["results"].as_array().unwrap().clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(list(spoiled(Fault::DuplicateId)).len(), 4);
        assert_eq!(list(spoiled(Fault::MissingId)).len(), 2);
        let invented = list(spoiled(Fault::InventedId));
        assert_eq!(
            invented
                .iter()
                .filter(|e| e["id"].as_str().unwrap().starts_with("invented"))
                .count(),
            1
        );
        let missed = list(spoiled(Fault::SchemaMiss));
        assert_eq!(
            missed
                .iter()
                .filter(|e| e["output"].get("unasked").is_some())
                .count(),
            1
        );
        assert!(matches!(spoiled(Fault::Malformed), Content::Text(t) if t.starts_with("Sure")));
    }

    #[test]
    fn a_rule_for_a_while_begins_with_its_first_call() {
        let rule = serde_json::from_value(json!({"fault": "outage", "for_ms": 1_000})).unwrap();
        let mut rules = vec![rule];
        let mut strikes =
            |now_ms| by_rule(&mut rules, &Caller::default(), "", now_ms, |_| true).is_some();
        assert_eq!(
            [5_000, 5_999, 6_000, 6_001].map(&mut strikes),
            [true, true, false, false]
        );
    }

    #[test]
    fn only_modes_are_taken_as_modes() {
        let modes = Modes::parse("usage_zero, prose").unwrap();
        assert!(modes.has(Fault::Prose) && !modes.has(Fault::Nulls));
        assert!(Modes::parse("429").unwrap_err().contains("no mode"));
        assert!(ONLY_MODES.iter().all(|m| MODES.contains(m)));
    }
}
