#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

/// A stage of a hundred calls.
pub fn figures() -> Figures {
    Figures {
        stage: "classify".into(),
        tasks: (100, 100),
        fixed_bytes: 2_000,
        shared_bytes: 1_500,
        format: true,
        item_bytes: (200_000, 200_000),
        answer_chars: (1_000, 2_000),
        usual: Usual {
            tasks: 100,
            bytes: 200_000,
            chars: 1_500,
        },
        max_tokens: 4_096,
        thinking: 0,
        price: Price {
            input: 100,
            output: 500,
            cache_write: 125,
            cache_read: 10,
            min_cacheable: 512,
            batch_percent: 50,
            long: None,
            dearest_percent: 110,
        },
        more: 1.0,
        fee_nano: 0,
        pace: Pace {
            concurrency: 50,
            limits: None,
        },
        learned: None,
    }
}

#[test]
fn what_calls_share_is_read_from_the_cache_at_the_lower_end() {
    let sharing = [Figures {
        fixed_bytes: 42_000,
        shared_bytes: 40_000,
        ..figures()
    }];
    let (cached, plain) = (expected_cached(&sharing), expected(&sharing));
    // 9,600 tokens: there from another job, read 100 times; usually written once.
    let saved = 9_600.0 * 100.0 * 90.0 / 1e9;
    assert!((plain.cost_usd.low - cached.cost_usd.low - saved).abs() < 1e-5);
    assert_eq!(cached.cost_usd, cached.stages[0].cost_usd);
    assert_eq!(
        plain.cost_usd.high.to_bits(),
        cached.cost_usd.high.to_bits()
    );
    let short = [figures()];
    assert_eq!(expected_cached(&short), expected(&short));
}

#[test]
fn ranges_are_ranges_and_sums_are_sums() {
    let two = expected(&[figures(), figures()]);
    let one = expected(&[figures()]);
    for (sum, part) in [
        (two.calls, one.calls),
        (two.input_tokens, one.input_tokens),
        (two.output_tokens, one.output_tokens),
        (two.seconds, one.seconds),
    ] {
        assert!(part.low < part.high, "{part:?}");
        assert_eq!((sum.low, sum.high), (part.low * 2, part.high * 2));
    }
    assert_eq!(
        one.calls,
        Span {
            low: 100,
            high: 133
        }
    );
    // 100 × 4,000 bytes of prompt: 0.24 to 0.52 tokens each, and what the schema adds.
    assert_eq!(one.input_tokens.low, 96_000 + 2_000);
    assert!(one.cost_usd.low > 0.0 && one.cost_usd.high < one.cost_usd.low * 8.0);
    let likely = one.likely_usd.unwrap();
    assert!(likely > one.cost_usd.low && likely < one.cost_usd.high / 2.0);
    assert!((two.likely_usd.unwrap() - 2.0 * likely).abs() < 1e-9);
}

#[test]
fn an_answer_never_takes_more_than_its_tokens() {
    let talkative = Figures {
        answer_chars: (1_000_000, 2_000_000),
        thinking: 50_000,
        ..figures()
    };
    let whole = expected(&[talkative]);
    assert_eq!(whole.output_tokens.low, 100 * 4_096);
    assert_eq!(whole.output_tokens.high, 121 * 4_096);
}

#[test]
fn of_many_calls_not_each_thinks_as_long_as_one_may() {
    let high = |tasks: u64| {
        let thinking = Figures {
            tasks: (tasks, tasks),
            max_tokens: 100_000,
            thinking: 10_000,
            answer_chars: (0, 0),
            ..figures()
        };
        expected(&[thinking]).output_tokens.high as f64 / tasks as f64
    };
    assert!(high(1) >= 12_000.0);
    assert!(high(100) > 5_000.0 && high(100) < 7_000.0, "{}", high(100));
}

#[test]
fn what_earlier_calls_took_stands_in_the_place_of_what_is_usual() {
    let after = |calls: u64| {
        let learned = Learned {
            calls,
            input: 0.4,
            output: 900.0,
        };
        expected(&[Figures {
            learned: Some(learned),
            ..figures()
        }])
    };
    let (few, many) = (after(4), after(400));
    assert_eq!((few.earlier_calls, many.earlier_calls), (4, 400));
    assert_eq!(few.likely_usd, many.likely_usd);
    // 100 calls of 4,000 bytes and 900 tokens, and a little more than that.
    let likely = many.likely_usd.unwrap();
    assert!((likely / (100.0 * (1_600.0 * 100.0 + 900.0 * 500.0) / 1e9) - 1.03).abs() < 1e-3);
    let wide = |of: &Expected| of.cost_usd.high / of.cost_usd.low;
    assert!(wide(&many) < wide(&few) && wide(&many) < wide(&expected(&[figures()])));
}

#[test]
fn rate_limits_bound_the_time() {
    let slow = Figures {
        pace: Pace {
            concurrency: 1_000,
            limits: Some((10.0, 1e9, 1e9)),
        },
        ..figures()
    };
    let seconds = expected(std::slice::from_ref(&slow)).seconds;
    // 100 calls at 10 a minute, the first ten at once.
    assert_eq!(seconds.low, 540);
    assert!(seconds.high >= 600);
    assert!(expected(&[slow]).limits_known && !expected(&[figures()]).limits_known);
}

#[test]
fn nothing_to_do_costs_nothing() {
    let nothing = Figures {
        tasks: (0, 0),
        item_bytes: (0, 0),
        usual: Usual::default(),
        ..figures()
    };
    let whole = expected(&[nothing]);
    assert_eq!(
        (whole.calls.high, whole.cost_usd.low, whole.seconds.high),
        (0, 0.0, 0)
    );
}

#[test]
fn what_is_handed_on_is_a_part_and_perhaps_nothing() {
    let part = expected(&[handed_on(figures(), "sonnet", 1.0)]);
    let whole = expected(&[figures()]);
    assert_eq!((part.calls.low, part.cost_usd.low), (0, 0.0));
    // The cheap model may manage nothing at all.
    assert_eq!(part.cost_usd.high.to_bits(), whole.cost_usd.high.to_bits());
    let likely = |of: &Expected| of.likely_usd.unwrap();
    assert!(likely(&part) < likely(&whole) * 0.25 && likely(&part) > 0.0);
    assert_eq!(part.stages[0].stage, "classify (sonnet)");
    // What fails is handed on in any case.
    let failing = expected(&[handed_on(figures(), "sonnet", 0.0)]);
    assert_eq!((failing.stages[0].tasks.high, likely(&failing)), (10, 0.0));
}
