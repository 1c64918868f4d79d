//! The command line against the Worker in workerd: in a pseudo-terminal, where its progress is looked at, and in pipes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use e2e::World;
use e2e::terminal::Terminal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// A person with a folder and a login.
struct Person {
    program: PathBuf,
    folder: PathBuf,
    env: BTreeMap<String, String>,
}

impl Person {
    fn new(world: &World, name: &str) -> Person {
        let folder =
            std::env::temp_dir().join(format!("fanwise-e2e-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut person = Person {
            program: e2e::cli().unwrap(),
            env: BTreeMap::from([
                ("HOME".to_owned(), text(&folder)),
                ("XDG_CONFIG_HOME".to_owned(), text(&folder)),
                ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ]),
            folder,
        };
        let address = world.worker.url();
        person.env.insert(
            "FANWISE_TOKEN".to_owned(),
            world.client.token().unwrap().to_owned(),
        );
        let said = person.pipe(&["login", &address], "");
        assert!(said.status.success(), "{}", text_of(&said.stderr));
        // From now on by what is kept.
        person.env.remove("FANWISE_TOKEN");
        person
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn pipe(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(&self.program)
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.pipe(args, "");
        assert!(said.status.success(), "{args:?}: {}", text_of(&said.stderr));
        serde_json::from_slice(&said.stdout).unwrap()
    }

    fn terminal(&self, args: &[&str]) -> Terminal {
        Terminal::start(&self.program, args, &self.env).unwrap()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn tickets(count: usize) -> String {
    let rows = (1..=count).map(|n| format!("T-{n},\"I was charged twice, case {n}\",pro\n"));
    "Ticket_ID,message,plan\n".to_owned() + &rows.collect::<String>()
}

/// One worker for each item, no report.
fn maps(chunk: usize) -> String {
    json!({"task": "Sort tickets", "stages": [
        {"name": "classify", "kind": "map", "instructions": "Sort.", "output": "item", "chunk": {"items": chunk}}]})
    .to_string()
}

#[test]
fn in_pipes_a_table_goes_in_and_results_and_a_report_come_out() {
    let world = World::start().unwrap();
    let person = Person::new(&world, "pipes");
    let csv = person.file("tickets.csv", &tickets(40));

    // Without a terminal nothing is paid that nobody agreed to.
    let said = person.pipe(&["run", &csv, "--recipe", "support-tickets"], "");
    assert_eq!(said.status.code(), Some(1));
    assert!(
        text_of(&said.stderr).contains("--yes"),
        "{}",
        text_of(&said.stderr)
    );

    let estimate = person.json(&["estimate", &csv, "--recipe", "support-tickets", "--json"]);
    assert_eq!(estimate["items"], 40);

    let run = [
        "run",
        &csv,
        "--recipe",
        "support-tickets",
        "--set",
        "stages.classify.chunk.items=4",
        "--max-cost",
        "5",
        "--yes",
        "-o",
        "out.csv",
        "-o",
        "out.jsonl",
        "-o",
        "report.md",
    ];
    let said = person.pipe(&run, "");
    let errors = text_of(&said.stderr);
    assert_eq!(said.status.code(), Some(0), "{errors}");
    assert!(errors.contains("id: Ticket_ID, text: message"), "{errors}");
    assert!(
        errors.contains("succeeded: 40 of 40 items covered"),
        "{errors}"
    );
    assert!(!errors.contains('\u{1b}'), "{errors}");
    let read = |name: &str| std::fs::read_to_string(person.folder.join(name)).unwrap();
    assert_eq!(read("out.csv").lines().count(), 41);
    assert_eq!(read("out.jsonl").lines().count(), 40);
    assert!(read("report.md").contains("40 of 40 items have a result."));

    // The same by standard input, for a program.
    let lines: String = (1..=6)
        .map(|n| format!("{}\n", json!({"id": n, "text": format!("case {n}")})))
        .collect();
    let job = person.file("job.json", &maps(1));
    let said = person.pipe(&["run", "-", "--job", &job, "--yes", "--json"], &lines);
    assert_eq!(said.status.code(), Some(0), "{}", text_of(&said.stderr));
    let both: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(both["job"]["progress"]["items"]["covered"], 6);
    assert_eq!(both["report"]["coverage"]["covered"], 6);

    // A folder of texts.
    std::fs::create_dir_all(person.folder.join("texts/b")).unwrap();
    person.file("texts/a.txt", "It broke.");
    person.file("texts/b/c.md", "It works.");
    let said = person.pipe(&["run", "texts", "--job", &job, "--yes", "--detach"], "");
    assert_eq!(said.status.code(), Some(0), "{}", text_of(&said.stderr));
    let id = text_of(&said.stdout).trim().to_owned();
    let said = person.pipe(&["watch", &id], "");
    assert_eq!(said.status.code(), Some(0), "{}", text_of(&said.stderr));
    let results = text_of(&person.pipe(&["results", &id], "").stdout);
    assert!(results.contains("\"b/c.md\""), "{results}");

    // Everything that reads, as JSON and as lines with tabs between.
    assert_eq!(
        person.json(&["jobs", "--json"]).as_array().unwrap().len(),
        3
    );
    assert_eq!(person.json(&["show", &id, "--json"])["id"], id.as_str());
    assert_eq!(
        person
            .json(&["tasks", &id, "--json"])
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(person.json(&["task", "0", &id, "--json"])["index"], 0);
    assert_eq!(
        person.json(&["plan", &id, "--json"])["stages"][0]["name"],
        "classify"
    );
    assert!(
        person.json(&["recipes", "--json"])["data"]
            .as_array()
            .unwrap()
            .len()
            > 3
    );
    assert_eq!(
        person.json(&["limits", "--json"])["breaker"]["state"],
        "closed"
    );
    let jobs = text_of(&person.pipe(&["jobs"], "").stdout);
    assert!(
        jobs.starts_with("job\tstate\tcovered\t") && jobs.lines().count() == 4,
        "{jobs}"
    );
    let task = text_of(&person.pipe(&["task", "0", &id], "").stdout);
    assert!(
        task.contains("INPUT") && task.contains("REQUEST") && task.contains("It broke."),
        "{task}"
    );

    // What is refused is told whole: the text, every path, the code.
    let bad = [
        "run",
        &csv,
        "--recipe",
        "support-tickets",
        "--yes",
        "--set",
        "limits.concurrency=0",
        "--set",
        "colour=1",
    ];
    let said = person.pipe(&bad, "");
    let errors = text_of(&said.stderr);
    assert_eq!(said.status.code(), Some(1));
    for part in [
        "limits.concurrency: must be",
        "colour",
        "422 invalid_request",
        "req",
    ] {
        assert!(errors.contains(part), "{part} in {errors}");
    }
}

#[test]
fn schedules_tokens_plans_and_commands_do_what_they_say() {
    let world = World::builder()
        .standin(["--latency-ms", "400"])
        .start()
        .unwrap();
    let person = Person::new(&world, "commands");
    let csv = person.file("tickets.csv", &tickets(60));
    let job = person.file("job.json", &maps(1));

    // A plan waits, is replaced, and approved.
    let said = person.pipe(
        &[
            "run",
            &csv,
            "--job",
            &job,
            "--approve",
            "--set",
            "limits.concurrency=2",
        ],
        "",
    );
    assert_eq!(said.status.code(), Some(0), "{}", text_of(&said.stderr));
    assert!(
        text_of(&said.stderr).contains("expected:"),
        "{}",
        text_of(&said.stderr)
    );
    let id = text_of(&said.stdout).trim().to_owned();
    let mut stages = person.json(&["plan", &id, "--stages"]);
    stages[0]["chunk"] = json!({"items": 2});
    let file = person.file("plan.json", &stages.to_string());
    let plan = person.json(&["plan", &id, "--send", &file, "--json"]);
    assert_eq!(plan["stages"][0]["chunk"]["items"], 2);
    assert!(person.pipe(&["approve", &id], "").status.success());
    assert!(person.pipe(&["pause", &id], "").status.success());
    assert_eq!(person.json(&["show", &id, "--json"])["state"], "paused");
    let said = person.pipe(&["resume", &id, "--max-cost", "3"], "");
    assert!(said.status.success(), "{}", text_of(&said.stderr));
    assert_eq!(
        person.json(&["show", &id, "--json"])["cost"]["limit_usd"],
        3.0
    );
    assert!(person.pipe(&["cancel", &id], "").status.success());
    // A job that was cancelled: the exit code says so; a retry does the rest.
    assert_eq!(person.pipe(&["watch", &id], "").status.code(), Some(5));
    let said = person.pipe(&["retry", &id, "--set", "concurrency=40", "--watch"], "");
    assert_eq!(said.status.code(), Some(0), "{}", text_of(&said.stderr));
    let said = person.pipe(&["cancel", &id], "");
    assert_eq!(said.status.code(), Some(1));
    assert!(
        text_of(&said.stderr).contains("409 conflict"),
        "{}",
        text_of(&said.stderr)
    );
    assert!(person.pipe(&["delete", &id, "--yes"], "").status.success());

    let make = [
        "schedules",
        "make",
        "--name",
        "Daily",
        "--cron",
        "@daily",
        "--job",
        &job,
        "--input-url",
        "https://example.com/t.csv",
        "--json",
    ];
    let schedule = person.json(&make);
    let id = schedule["id"].as_str().unwrap();
    assert_eq!(person.json(&["schedules", "--json"])[0]["id"], id);
    let changed = person.json(&[
        "schedules",
        "change",
        id,
        "--time-zone",
        "Europe/Berlin",
        "--json",
    ]);
    assert_eq!(changed["time_zone"], "Europe/Berlin");
    assert_eq!(
        person.json(&["schedules", "pause", id, "--json"])["paused"],
        true
    );
    assert_eq!(
        person.json(&["schedules", "resume", id, "--json"])["paused"],
        false
    );
    assert!(person.pipe(&["schedules", "show", id], "").status.success());
    assert!(person.pipe(&["schedules", "run", id], "").status.success());
    assert!(
        person
            .pipe(&["schedules", "delete", id], "")
            .status
            .success()
    );

    let token = person.json(&[
        "tokens",
        "make",
        "reader",
        "--scopes",
        "read",
        "--daily-budget",
        "2.5",
        "--json",
    ]);
    let id = token["id"].as_str().unwrap();
    let changed = person.json(&["tokens", "change", id, "--daily-budget", "none", "--json"]);
    assert_eq!(changed["daily_budget_usd"], Value::Null);
    let said = person.pipe(
        &[
            "run",
            &csv,
            "--job",
            &job,
            "--yes",
            "--token",
            token["token"].as_str().unwrap(),
        ],
        "",
    );
    assert_eq!(said.status.code(), Some(1));
    assert!(
        text_of(&said.stderr).contains("scope `run`"),
        "{}",
        text_of(&said.stderr)
    );
    assert!(person.pipe(&["tokens", "revoke", id], "").status.success());
    assert!(
        text_of(&person.pipe(&["tokens"], "").stdout)
            .lines()
            .count()
            == 1
    );

    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text_of(&person.pipe(&["completions", shell], "").stdout);
        assert!(script.contains("estimate"), "{shell}");
    }
    assert!(text_of(&person.pipe(&["man"], "").stdout).contains(".TH fanwise"));
}

#[test]
fn in_a_terminal_the_plan_is_agreed_to_and_the_work_is_seen() {
    let world = World::builder()
        .standin(["--latency-ms", "1500"])
        .start()
        .unwrap();
    let mut person = Person::new(&world, "terminal");
    let csv = person.file("tickets.csv", &tickets(120));
    let args = [
        "run",
        &csv,
        "--recipe",
        "support-tickets",
        "--set",
        "stages.classify.chunk.items=1",
        "--set",
        "limits.concurrency=10",
        "--max-cost",
        "5",
    ];

    // A plan is changed in the editor; no is no, and nothing of the plan is paid. All that while the input comes in by a pipe.
    let editor = person.file(
        "editor",
        "#!/bin/sh\nsed -i 's/\"items\": 1$/\"items\": 3/' \"$1\"\n",
    );
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    person.env.insert("EDITOR".to_owned(), editor);
    let mut terminal = person.terminal(&args);
    terminal
        .until(SOON, |screen| screen.contains("Go on with this plan?"))
        .unwrap();
    terminal.press("\r").unwrap();
    assert_eq!(terminal.exit_code(SOON).unwrap(), 5);
    assert_eq!(
        person.json(&["show", "last", "--json"])["usage"]["calls"],
        0
    );

    let mut terminal = person.terminal(&args);
    let screen = terminal
        .until(SOON, |screen| screen.contains("Go on with this plan?"))
        .unwrap();
    for part in [
        "STAGE",
        "classify",
        "report",
        "synthesis",
        "expected:",
        "never more than $5.00",
    ] {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
    terminal.press("y\r").unwrap();
    let screen = terminal
        .until(SOON, |screen| {
            screen.contains(" in flight")
                && screen.contains("of 120 tasks")
                && !screen.contains(" 0 of 120")
        })
        .unwrap();
    let row = |name: &str| {
        screen
            .lines()
            .rfind(|line| line.trim_start().starts_with(name))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(row("classify").contains('━'), "{screen}");
    assert!(row("report").contains("waits"), "{screen}");
    assert!(row("items").contains("of 120 covered"), "{screen}");
    terminal
        .until(SOON, |screen| {
            screen.contains("requests/min")
                && screen.contains("left")
                && screen.contains("of $5.00")
        })
        .unwrap();
    assert!(terminal.bytes().contains("\u{1b}["), "no colours");

    // Ctrl-C asks; the job is watched on, then left, then found again.
    terminal.press("\u{3}").unwrap();
    terminal
        .until(SOON, |screen| screen.contains("[d]etach, [c]ancel"))
        .unwrap();
    terminal.press("w\r").unwrap();
    terminal
        .until(SOON, |screen| {
            // The status may take two lines.
            let mut last = screen.trim_end().lines().rev().take(2);
            last.any(|line| line.contains(" in flight"))
        })
        .unwrap();
    terminal.press("\u{3}").unwrap();
    terminal
        .until(SOON, |screen| {
            let last = screen.lines().last().unwrap_or_default();
            last.contains("[d]etach, [c]ancel")
        })
        .unwrap();
    terminal.press("d\r").unwrap();
    assert_eq!(terminal.exit_code(SOON).unwrap(), 0);
    assert_eq!(
        person.json(&["show", "last", "--json"])["finished_at"],
        Value::Null
    );

    let mut terminal = person.terminal(&["watch"]);
    terminal
        .until(SOON, |screen| screen.contains(" in flight"))
        .unwrap();
    assert_eq!(terminal.exit_code(SOON * 3).unwrap(), 0);
    let screen = terminal.screen();
    assert!(
        screen.contains("120 of 120 items have a result.") && screen.contains("## Coverage"),
        "{screen}"
    );
    assert!(
        terminal.bytes().contains("120 of 120 items covered"),
        "no last line"
    );
}

#[test]
fn failures_are_named_as_they_come_and_the_end_is_in_the_exit_code() {
    let world = World::builder()
        .standin([
            "--latency-ms",
            "300",
            "--faults",
            "refusal=0.2",
            "--seed",
            "4",
        ])
        .start()
        .unwrap();
    let mut person = Person::new(&world, "failures");
    person.env.insert("NO_COLOR".to_owned(), "1".to_owned());
    let csv = person.file("tickets.csv", &tickets(40));
    let job = person.file("job.json", &maps(1));

    let mut terminal = person.terminal(&[
        "run",
        &csv,
        "--job",
        &job,
        "--yes",
        "--set",
        "limits.concurrency=5",
    ]);
    assert_eq!(terminal.exit_code(SOON * 2).unwrap(), 3);
    let bytes = terminal.bytes();
    let failures = bytes.split("failed: task ").skip(1);
    let named = failures.filter(|rest| {
        rest.split(')')
            .next()
            .is_some_and(|start| start.contains(" (T-"))
    });
    assert!(named.count() > 0, "no item is named in {bytes}");
    assert!(bytes.contains("partial: "), "{bytes}");
    // Cursors move, but nothing is coloured.
    let colours = bytes.split("\u{1b}[").skip(1).filter(|rest| {
        let end = rest
            .find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or_default();
        rest[end..].starts_with('m') && rest[..end] != *"0" && !rest[..end].is_empty()
    });
    assert_eq!(colours.count(), 0, "{bytes:?}");

    // Ctrl-C, then c: the job is cancelled and watched to its end.
    let mut terminal = person.terminal(&[
        "run",
        &csv,
        "--job",
        &job,
        "--yes",
        "--set",
        "reuse=false",
        "--set",
        "limits.concurrency=1",
    ]);
    terminal
        .until(SOON, |screen| screen.contains(" in flight"))
        .unwrap();
    terminal.press("\u{3}").unwrap();
    terminal
        .until(SOON, |screen| screen.contains("[d]etach, [c]ancel"))
        .unwrap();
    terminal.press("c\r").unwrap();
    assert_eq!(terminal.exit_code(SOON).unwrap(), 5);

    let hopeless = [
        "run",
        &csv,
        "--job",
        &job,
        "--yes",
        "--set",
        "reuse=false",
        "--set",
        "limits.min_success_ratio=1",
    ];
    let said = person.pipe(&hopeless, "");
    assert_eq!(said.status.code(), Some(4), "{}", text_of(&said.stderr));
    assert!(
        text_of(&said.stderr).contains("failed: task "),
        "{}",
        text_of(&said.stderr)
    );
}
