#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::claude::response::{CacheCreation, ServerToolUse};

fn catalogue() -> Catalogue {
    Catalogue::load(None).unwrap()
}

fn model(name: &str) -> Model {
    catalogue().resolve(name).unwrap().into_owned()
}

fn usage(input: u64, output: u64) -> Usage {
    Usage {
        input_tokens: input,
        output_tokens: output,
        ..Usage::default()
    }
}

#[test]
fn names_and_aliases_lead_to_models() {
    let catalogue = catalogue();
    for (name, id) in [
        ("haiku", "claude-haiku-5-5"),
        ("sonnet", "claude-sonnet-5-5"),
        ("opus", "claude-opus-5-5"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
    ] {
        assert_eq!(catalogue.resolve(name).unwrap().id, id);
    }
    let error = catalogue.resolve("gpt").unwrap_err().to_string();
    assert!(
        error.starts_with("unknown model `gpt`; known are claude-"),
        "{error}"
    );
    assert!(error.contains("claude-haiku-5-5"), "{error}");
}

#[test]
fn the_file_states_its_prices_as_published() {
    // Dollars per million tokens, times 1,000: nano-dollars per token.
    let haiku = model("haiku").prices;
    assert_eq!(
        (
            haiku.standard.input,
            haiku.standard.output,
            haiku.standard.cache_read
        ),
        (100, 500, 10)
    );
    assert_eq!(haiku.cost(&usage(1_000, 100)), 150_000);
    // Beyond 100,000 tokens of input the whole request is dearer.
    assert_eq!(haiku.cost(&usage(100_000, 0)), 10_000_000);
    assert_eq!(haiku.cost(&usage(100_001, 0)), 50_000_500);
    for model in catalogue().models() {
        let rates = model.prices.standard;
        assert!(
            rates.input < rates.output && rates.cache_read < rates.input,
            "{}",
            model.id
        );
        assert_eq!(rates.cache_write_5m * 4, rates.input * 5, "{}", model.id);
        assert_eq!(rates.cache_write_1h, rates.input * 2, "{}", model.id);
        assert_eq!(model.prices.batch_percent, 50, "{}", model.id);
    }
}

#[test]
fn the_table_agrees_with_the_stand_ins() {
    use standin::models::{MODELS, find};

    let dated = |id: &str| id.rsplit_once('-').is_some_and(|(_, date)| date.len() == 8);
    for theirs in MODELS {
        let name = if dated(theirs.id) {
            theirs.alias
        } else {
            theirs.id
        };
        assert!(catalogue().resolve(name).is_ok(), "new at Claude: {name}");
    }
    for ours in catalogue().models() {
        let theirs = find(&ours.id);
        let theirs = theirs.unwrap_or_else(|| panic!("retired at Claude: {}", ours.id));
        let rates = |rates: &Rates| {
            [
                rates.input,
                rates.output,
                rates.cache_write_5m,
                rates.cache_write_1h,
                rates.cache_read,
            ]
        };
        let price =
            |p: &standin::models::Price| [p.input, p.output, p.write_5m, p.write_1h, p.read];
        let long = ours.prices.long_prompt.map(|long| rates(&long.rates));
        assert_eq!(
            rates(&ours.prices.standard),
            price(&theirs.price),
            "{}",
            ours.id
        );
        assert_eq!(long, theirs.price_long.as_ref().map(price), "{}", ours.id);
        assert_eq!(ours.context_tokens, theirs.context, "{}", ours.id);
        assert_eq!(
            u64::from(ours.max_output_tokens),
            theirs.max_output,
            "{}",
            ours.id
        );
        assert_eq!(
            ours.min_cacheable_tokens, theirs.min_cacheable,
            "{}",
            ours.id
        );
        assert_eq!(ours.class, theirs.class, "{}", ours.id);
        let efforts = serde_json::to_value(&ours.efforts).unwrap();
        assert_eq!(efforts, serde_json::json!(theirs.efforts), "{}", ours.id);
        let default = serde_json::to_value(ours.default_effort).unwrap();
        assert_eq!(
            default,
            serde_json::json!(theirs.default_effort),
            "{}",
            ours.id
        );
        let types = &theirs.json()["capabilities"]["thinking"]["types"];
        for (name, mode) in [
            ("adaptive", ThinkingMode::Adaptive),
            ("between_tools", ThinkingMode::BetweenTools),
            ("disabled", ThinkingMode::Disabled),
        ] {
            let takes = ours.thinking.modes.contains(&mode);
            assert_eq!(types[name]["supported"], takes, "{} {name}", ours.id);
        }
    }
}

#[test]
fn caches_batches_regions_and_searches_are_in_the_cost() {
    let prices = model("haiku").prices;
    let cached = Usage {
        cache_creation_input_tokens: 1_000,
        cache_creation: CacheCreation {
            ephemeral_5m_input_tokens: 400,
            ephemeral_1h_input_tokens: 600,
        },
        cache_read_input_tokens: 10_000,
        ..Usage::default()
    };
    assert_eq!(prices.cost(&cached), 400 * 125 + 600 * 200 + 10_000 * 10);
    // Half of an odd number of nano-dollars is rounded up.
    let batch = Usage {
        cache_read_input_tokens: 0,
        cache_creation_input_tokens: 1,
        service_tier: Some("batch".into()),
        ..Usage::default()
    };
    assert_eq!(prices.cost(&batch), 63);
    let us = Usage {
        inference_geo: Some("us".into()),
        ..usage(1_000, 0)
    };
    assert_eq!(prices.cost(&us), 110_000);
    let searched = Usage {
        server_tool_use: ServerToolUse {
            web_search_requests: 3,
            web_fetch_requests: 5,
        },
        ..Usage::default()
    };
    assert_eq!(prices.cost(&searched), 30_000_000);
}

#[test]
fn what_the_cache_saves_is_told_from_what_it_costs() {
    let prices = model("haiku").prices;
    let call = |written, read| Usage {
        cache_creation_input_tokens: written,
        cache_read_input_tokens: read,
        ..usage(300, 20)
    };
    assert_eq!(prices.cache_saved(&call(0, 0)), 0);
    assert_eq!(prices.cache_saved(&call(1_000, 0)), -25 * 1_000);
    assert_eq!(prices.cache_saved(&call(0, 1_000)), 90 * 1_000);
}

#[test]
fn plain_work_thinks_as_little_as_the_model_allows() {
    let asked = |name: &str, effort| {
        let asked = model(name).plain_work(effort);
        (asked.thinking, asked.effort)
    };
    assert_eq!(
        asked("haiku", None),
        (Some(Thinking::Disabled), Some(Effort::Low))
    );
    assert_eq!(
        asked("sonnet", None),
        (Some(Thinking::BetweenTools), Some(Effort::Low))
    );
    assert_eq!(
        asked("opus", None),
        (None, Some(Effort::Low)),
        "it always thinks"
    );
    assert_eq!(
        asked("claude-opus-4-8", None),
        (None, Some(Effort::Low)),
        "it is off already"
    );
    assert_eq!(
        asked("claude-haiku-4-5", None),
        (None, None),
        "it has neither parameter"
    );
    assert_eq!(
        asked("haiku", Some(Effort::High)),
        (None, Some(Effort::High))
    );
    assert_eq!(
        asked("claude-sonnet-4-6", Some(Effort::Max)),
        (None, Some(Effort::Max))
    );
    assert_eq!(
        asked("claude-sonnet-4-6", Some(Effort::Xhigh)),
        (None, Some(Effort::High)),
        "it has no xhigh"
    );
    for name in ["claude-opus-5", "claude-sonnet-5"] {
        assert_eq!(
            asked(name, None),
            (Some(Thinking::Disabled), Some(Effort::Low)),
            "{name}"
        );
    }
}

#[test]
fn judgement_is_left_to_the_model_unless_asked_otherwise() {
    let opus = model("opus");
    assert_eq!(
        opus.judgement(None),
        Deliberation {
            thinking: None,
            effort: None
        }
    );
    assert_eq!(
        opus.judgement(Some(Effort::Xhigh)).effort,
        Some(Effort::Xhigh)
    );
}

#[test]
fn configuration_is_laid_over_the_file() {
    let patch = r#"{
        "aliases": {"fast": "claude-haiku-5-5"},
        "models": {
            "claude-haiku-5-5": {"prices": {"standard": {"input": 90}}},
            "claude-sonnet-4-6": null,
            "my-model": {
                "line": "haiku", "class": "mine", "context_tokens": 1000, "max_output_tokens": 100, "min_cacheable_tokens": 1,
                "thinking": {"default": "disabled", "modes": ["disabled"]}, "efforts": [], "structured_outputs": false,
                "prices": {"standard": {"input": 1, "output": 2, "cache_write_5m": 1, "cache_write_1h": 1, "cache_read": 1},
                           "batch_percent": 100, "us_percent": 100, "web_search": 0}
            }
        }
    }"#;
    let catalogue = Catalogue::load(Some(patch)).unwrap();
    let haiku = catalogue.resolve("fast").unwrap();
    assert_eq!(
        (haiku.prices.standard.input, haiku.prices.standard.output),
        (90, 500)
    );
    assert!(catalogue.resolve("claude-sonnet-4-6").is_err());
    assert_eq!(catalogue.resolve("my-model").unwrap().class, "mine");
}

#[test]
fn a_row_needs_sizes_and_prices_as_people_write_them() {
    let patch = r#"{"models": {
        "vendor/model": {"context_tokens": 32000, "max_output_tokens": 4000, "usd_per_mtok": {"input": 0.15, "output": 0.6}},
        "odd": {"context_tokens": 32000, "max_output_tokens": 4000,
            "usd_per_mtok": {"input": 0.0375, "output": 0.3, "cache_read": 0.01, "batch_percent": 50, "web_searches": 5}}
    }}"#;
    let catalogue = Catalogue::load(Some(patch)).unwrap();
    let model = catalogue.resolve("vendor/model").unwrap();
    assert_eq!(model.class, "vendor/model");
    let prices = &model.prices;
    assert_eq!((prices.standard.input, prices.standard.output), (150, 600));
    // Nothing is known of its cache: a read is no discount.
    assert_eq!(prices.standard.cache_read, 150);
    assert_eq!((prices.batch_percent, prices.us_percent), (100, 100));
    assert_eq!(prices.web_search, 10_000_000);
    let plain = Deliberation {
        thinking: None,
        effort: None,
    };
    assert_eq!(model.plain_work(Some(Effort::High)), plain);
    let odd = catalogue.resolve("odd").unwrap();
    let odd = &odd.prices;
    // Rounded up: a bound must not be below the price.
    assert_eq!((odd.standard.input, odd.standard.cache_read), (38, 10));
    assert_eq!((odd.batch_percent, odd.web_search), (50, 5_000_000));
}

#[test]
fn one_row_may_stand_for_every_other_model() {
    let patch = r#"{"models": {"*": {"context_tokens": 32000, "max_output_tokens": 4000,
        "usd_per_mtok": {"input": 5, "output": 25}}}}"#;
    let catalogue = Catalogue::load(Some(patch)).unwrap();
    let any = catalogue.resolve("vendor/new-model").unwrap();
    assert_eq!(
        (any.id.as_str(), any.class.as_str()),
        ("vendor/new-model", "vendor/new-model")
    );
    assert_eq!(any.prices.standard.input, 5_000);
    // Those with rows of their own keep them, and it is no model itself.
    assert_eq!(
        catalogue.resolve("haiku").unwrap().prices.standard.input,
        100
    );
    assert!(catalogue.listed("vendor/new-model").is_none());
    assert!(catalogue.listed("*").is_none());
    assert!(catalogue.models().all(|model| model.id != "*"));
    for name in ["", "two words", "line\nbreak"] {
        assert!(catalogue.resolve(name).is_err(), "{name:?}");
    }
    let unknown = Catalogue::load(None)
        .unwrap()
        .unknown(&[("WORKER_MODEL", "haiku"), ("PLANNING_MODEL", "gpt")]);
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0].0, "PLANNING_MODEL");
}

#[test]
fn configuration_that_is_wrong_says_what_and_where() {
    let cases = [
        ("{", "EOF"),
        ("[]", "must be a JSON object"),
        (
            r#"{"models": {"claude-haiku-5-5": {"prices": {"standard": {"input": -1}}}}}"#,
            "model `claude-haiku-5-5`",
        ),
        (
            r#"{"models": {"claude-haiku-5-5": {"pirces": {}}}}"#,
            "unknown field `pirces`",
        ),
        (r#"{"models": {"new": {}}}"#, "model `new`: missing field"),
        (
            r#"{"models": {"new": {"context_tokens": 1000, "max_output_tokens": 10}}}"#,
            "missing field `usd_per_mtok`",
        ),
        (
            r#"{"models": {"a": {}, "b": {"context_tokens": 0}}}"#,
            "model `b`: missing field",
        ),
        (
            r#"{"models": {"claude-haiku-5-5": null}}"#,
            "which is no model",
        ),
        (
            r#"{"models": {"claude-haiku-5-5": {"max_output_tokens": 0}}}"#,
            "limits must be above 0",
        ),
        (
            r#"{"models": {"claude-haiku-5-5": {"default_effort": "low", "efforts": ["high"]}}}"#,
            "default effort",
        ),
        (
            r#"{"models": {"claude-haiku-5-5": {"thinking": {"modes": []}}}}"#,
            "default thinking mode",
        ),
    ];
    for (patch, expected) in cases {
        let error = Catalogue::load(Some(patch)).unwrap_err().to_string();
        assert!(error.contains(expected), "{patch}: {error}");
    }
}

proptest! {
    /// Nothing a response can report within the bound costs more than what was reserved.
    #[test]
    fn no_usage_costs_more_than_the_worst_case(
        which in any::<prop::sample::Index>(),
        input in 0u64..300_000, written in 0u64..300_000, hour in 0u64..300_000, read in 0u64..300_000,
        output in 0u32..128_000,
        ttl in prop::sample::select(vec![None, Some(CacheTtl::FiveMinutes), Some(CacheTtl::OneHour)]),
        slack in 0u64..1_000,
        tier in prop::option::of(prop::sample::select(vec!["batch", "standard"])),
        geo in prop::option::of(prop::sample::select(vec!["us", "global"])),
    ) {
        let catalogue = catalogue();
        let models: Vec<&Model> = catalogue.models().collect();
        let prices = &which.get(&models).prices;
        let written = if ttl.is_some() { written } else { 0 };
        let hour = if ttl == Some(CacheTtl::OneHour) { hour } else { 0 };
        let usage = Usage {
            input_tokens: input,
            cache_creation_input_tokens: written,
            cache_read_input_tokens: read,
            cache_creation: CacheCreation { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: hour },
            output_tokens: u64::from(output),
            service_tier: tier.map(str::to_owned),
            inference_geo: geo.map(str::to_owned),
            ..Usage::default()
        };
        let worst = prices.worst_case(usage.total_input() + slack, output, ttl);
        prop_assert!(prices.cost(&usage) <= worst, "{} > {worst}", prices.cost(&usage));
        // The same, with what may be written told apart from what comes after the breakpoint.
        let extra = ttl.map_or(0, |ttl| prices.write_extra(written + slack, ttl));
        let worst = prices.worst_case(usage.total_input() + slack, output, None) + extra;
        prop_assert!(prices.cost(&usage) <= worst, "{} > {worst}", prices.cost(&usage));
    }

    #[test]
    fn no_counts_overflow(a in any::<u64>(), b in any::<u64>(), c in any::<u64>(), d in any::<u64>(), searches in any::<u64>()) {
        let prices = model("fable").prices;
        let usage = Usage {
            input_tokens: a, cache_creation_input_tokens: b, cache_read_input_tokens: c, output_tokens: d,
            server_tool_use: ServerToolUse { web_search_requests: searches, web_fetch_requests: 0 },
            ..Usage::default()
        };
        let _ = prices.cost(&usage);
        let _ = prices.worst_case(a, u32::MAX, Some(CacheTtl::OneHour));
    }
}
