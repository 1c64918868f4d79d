//! No input costs more than its size: each kind that once stopped or filled an isolate, at growing sizes. Time and memory may
//! grow as the input does, and no faster.
//!
//! Time is the processor's own for this thread, so that a busy machine changes nothing; memory is counted allocation by
//! allocation.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::hint::black_box;

use axum::body::Body;
use axum::http::Request;
use fanwise::api::rows::Lines;
use fanwise::api::table::Csv;
use fanwise::core::schedule::cron;
use fanwise::core::schema::Schema;
use fanwise::core::text::html_to_text::{Readable, has_too_many_elements};
use fanwise::core::value::{same_text, strict_json};
use futures::stream;
use serde_json::{Value, json};

#[path = "../api/fakes.rs"]
#[allow(dead_code)]
mod fakes;

/// Nanoseconds that this thread was on a processor.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// What an input of a kind costs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    bytes: usize,
    cpu_ns: u64,
    /// The most that was held at once, and all that was ever asked for.
    held: u64,
    asked: u64,
}

/// The least of seven tries: a busy machine only ever adds.
fn cost(bytes: usize, mut work: impl FnMut()) -> Cost {
    let tries = (0..7).map(|_| {
        let before = cpu_ns();
        let counted = allocation_counter::measure(&mut work);
        Cost {
            bytes,
            cpu_ns: cpu_ns().saturating_sub(before),
            held: counted.bytes_max,
            asked: counted.bytes_total,
        }
    });
    tries.min_by_key(|cost| cost.cpu_ns).unwrap()
}

/// Sizes go up eightfold in all; what stays below these floors is not compared.
const FLOOR_NS: u64 = 20_000_000;
const FLOOR_BYTES: u64 = 1_000_000;

fn must_not_outgrow<I>(
    kind: &str,
    input: impl Fn(usize) -> I,
    size: impl Fn(&I) -> usize,
    work: impl Fn(&I),
) {
    let sizes = [1, 2, 4, 8];
    let costs = sizes.map(|times| {
        let input = input(times);
        cost(size(&input), || work(&input))
    });
    let (first, last) = (costs[0], costs[3]);
    println!(
        "| {kind} | {} | {} | {} | {} | {} | {} |",
        first.bytes,
        last.bytes,
        first.cpu_ns / 1_000,
        last.cpu_ns / 1_000,
        first.held / 1_000,
        last.held / 1_000
    );
    let times = |before: u64, floor: u64, after: u64| after / before.max(floor).max(1);
    let grown = last.bytes.div_ceil(first.bytes.max(1)) as u64;
    let most = grown.max(8) * 2;
    assert!(
        times(first.cpu_ns, FLOOR_NS / 8, last.cpu_ns) <= most,
        "{kind}: time {costs:?}"
    );
    assert!(
        times(first.held, FLOOR_BYTES / 8, last.held) <= most,
        "{kind}: held {costs:?}"
    );
    assert!(
        times(first.asked, FLOOR_BYTES / 8, last.asked) <= most,
        "{kind}: asked {costs:?}"
    );
}

fn text(kind: &str, unit: &str, count: usize, work: impl Fn(&String)) {
    must_not_outgrow(kind, |times| unit.repeat(count * times), String::len, work);
}

fn page(events: &[(&str, &str)], html: &str) {
    let mut page = Readable::default();
    for _ in 0..html.len() / 8 {
        for (kind, text) in events {
            match *kind {
                "<" => page.begin(text),
                ">" => page.end(text),
                _ => page.text(text),
            }
        }
    }
    black_box(page.finish());
}

#[test]
fn pages_cost_their_size() {
    let breaks = [("<", "br"), ("", "\n")];
    let pre = [("<", "pre"), ("", "\n"), (">", "pre")];
    let open = [("<", "nav"), (">", "svg"), ("", "x")];
    let marks = [("<", "li"), ("<", "h1"), ("", " ")];
    text("page of `<br>`", "<br>\n   ", 20_000, |html| {
        page(&breaks, html)
    });
    text("page of `<pre>`", "<pre>\n  ", 20_000, |html| {
        page(&pre, html)
    });
    text("page of open menus", "<nav></>", 20_000, |html| {
        page(&open, html)
    });
    text("page of list marks", "<li><h1>", 20_000, |html| {
        page(&marks, html)
    });
    assert!(has_too_many_elements(&"<br>".repeat(100_001)));
}

#[test]
fn patterns_cost_their_size() {
    let compile = |schema: &Value| {
        black_box(Schema::compile(schema).is_ok());
    };
    let size = |schema: &Value| schema.to_string().len();
    let long = |times| json!({"pattern": r"\d".repeat(60 * times)});
    must_not_outgrow("pattern of classes", long, size, compile);
    let too_long = |times| json!({"pattern": r"\d".repeat(2_000 * times)});
    must_not_outgrow("pattern beyond the bound", too_long, size, compile);
    let many = |times| {
        let names = (0..12 * times).map(|n| (format!("p{n}"), json!({"pattern": "^[a-z]{1,20}$"})));
        json!({"properties": names.collect::<serde_json::Map<_, _>>()})
    };
    must_not_outgrow("many patterns", many, size, compile);
    let wide = |times| {
        let names = (0..3 * times).map(|n| (format!("p{n}"), json!({"pattern": r"(\pL{40}){5}"})));
        json!({"properties": names.collect::<serde_json::Map<_, _>>()})
    };
    must_not_outgrow("patterns that grow", wide, size, compile);
    let counted = allocation_counter::measure(|| compile(&wide(7)));
    assert!(counted.bytes_max < 16_000_000, "{counted:?}");
    let schema = Schema::compile(&json!({"format": "regex"})).unwrap();
    text("value of the format regex", r"\d\w", 2_000, |text| {
        black_box(schema.check(&Value::String(text.clone())).is_ok());
    });
}

#[test]
fn json_costs_its_size() {
    let read = |text: &String| {
        black_box(strict_json::read(text.as_bytes(), 50_000).is_ok());
    };
    text("zeros", "0,", 50_000, |zeros| read(&format!("[{zeros}0]")));
    text("objects", "{\"a\":0},", 20_000, |list| {
        read(&format!("[{list}0]"))
    });
    text("open brackets", "[", 20_000, read);
    must_not_outgrow(
        "names of one object",
        |times| {
            let names: Vec<String> = (0..5_000 * times).map(|n| format!("\"n{n}\":0")).collect();
            format!("{{{}}}", names.join(","))
        },
        String::len,
        |text| {
            black_box(strict_json::check(text.as_bytes()).is_ok());
        },
    );
    text(
        "long numbers",
        "123456789012345678901234567890,",
        2_000,
        |text| {
            black_box(strict_json::exact(text));
        },
    );
    text("half characters", "\\ud83d", 20_000, |text| {
        black_box(strict_json::mend_surrogates(&mut text.clone().into_bytes()));
    });
    let zeros = format!("[{}0]", "0,".repeat(1_000_000));
    let counted = allocation_counter::measure(|| read(&zeros));
    assert!(counted.bytes_max < 9_000_000, "{counted:?}");
}

#[test]
fn tables_cost_their_size() {
    let csv = |piece: usize| {
        move |text: &String| {
            let mut reader = Csv::new(100_000);
            let mut rows = Vec::new();
            let mut count = 0;
            for bytes in text.as_bytes().chunks(piece) {
                reader.push(bytes, &mut rows);
                count += rows.drain(..).count();
            }
            reader.finish(&mut rows);
            black_box(count + rows.len());
        }
    };
    text("table of one letter", "a\n", 50_000, csv(65_536));
    text("table byte by byte", "a,b\n", 10_000, csv(1));
    text("table of blank rows", ",,\n", 50_000, csv(65_536));
    text("header of names", "abc,", 5_000, csv(65_536));
    text("table of quotes", "\"", 20_000, csv(1));
    text("JSON lines byte by byte", "{\"a\":0}\n", 10_000, |text| {
        let mut reader = Lines::new(100_000);
        let mut rows = Vec::new();
        for byte in text.as_bytes().chunks(1) {
            reader.push(byte, &mut rows);
            rows.clear();
        }
        reader.finish(&mut rows);
    });
}

#[test]
fn ids_cost_their_number() {
    must_not_outgrow(
        "ids that almost match",
        |times| {
            (0..500 * times)
                .map(|n| format!("T-{n} "))
                .collect::<Vec<_>>()
        },
        |ids| ids.iter().map(String::len).sum(),
        |ids| {
            let given: Vec<&str> = ids.iter().map(String::as_str).collect();
            let answered: Vec<String> = ids.iter().map(|id| id.trim().to_lowercase()).collect();
            let answered: Vec<&str> = answered.iter().map(String::as_str).collect();
            assert!(
                same_text::match_ids(&given, &answered)
                    .iter()
                    .all(Option::is_some)
            );
        },
    );
}

#[test]
fn no_cron_expression_costs_more_than_a_look_at_a_calendar() {
    for text in [
        "0 0 31 4,6,9,11 *",
        "0 0 30 2 *",
        "0 0 29 2 MON#5",
        "0 0 * 2 MON#5",
        "0 0 31W 2 *",
        "* * * * *",
        "59 23 31 12 *",
    ] {
        let Ok(cron) = cron::parse(text) else {
            continue;
        };
        let cost = cost(text.len(), || {
            black_box(cron::next_runs(&cron, &|_| 0, 1_795_348_800_000, 3));
        });
        println!("| cron `{text}` | {} us |", cost.cpu_ns / 1_000);
        assert!(cost.cpu_ns < 400_000_000, "{text}: {cost:?}");
    }
}

#[test]
fn bodies_in_parts_cost_their_size() {
    let service = fakes::service_over(fakes::Fake::default(), Some(fakes::TOKEN));
    let send = |body: String| {
        let bytes = body.into_bytes();
        let pieces: Vec<_> = bytes.chunks(1_000).map(<[u8]>::to_vec).collect();
        let pieces = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        let request = Request::builder()
            .method("POST")
            .uri("/v1/jobs")
            .header("authorization", format!("Bearer {}", fakes::TOKEN))
            .header("content-type", "multipart/form-data; boundary=B")
            .body(Body::from_stream(pieces));
        black_box(fakes::send(&service, request.unwrap()).status);
    };
    text("multipart preamble", "x\r\n", 20_000, |text| {
        send(text.clone())
    });
    text("multipart preamble of dashes", "\r\n--", 20_000, |text| {
        send(text.clone());
    });
    text("headers of a part", "x-a: b\r\n", 10_000, |text| {
        send(format!("--B\r\n{text}\r\n"));
    });
    let spec = json!({"task": "Sort", "stages": [{"name": "sort", "kind": "map", "instructions": "Sort."}]});
    let head = format!("--B\r\ncontent-disposition: form-data; name=\"spec\"\r\n\r\n{spec}\r\n");
    let input =
        "--B\r\ncontent-disposition: form-data; name=\"input\"\r\ncontent-type: text/plain\r\n\r\n";
    // Below a megabyte: larger inputs are hashed for the other store.
    text("file of half boundaries", "\r\n--\r\n-", 10_000, |text| {
        send(format!("{head}{input}{text}\r\n--B--\r\n"));
    });
    text("empty parts", "--B\r\n\r\n\r\n", 10_000, |text| {
        send(format!("{text}--B--\r\n"));
    });
}
