//! `fanwise deploy` with a wrangler that only plays an account: what it is asked for, what becomes of the account and of
//! `wrangler.toml`, and that a second time changes nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Keeps what it is asked to make in files of its folder, one line each, and writes down every call.
const WRANGLER: &str = r#"#!/bin/sh
cd "$ACCOUNT" || exit 9
echo "$*" >> calls
touch d1 kv queues secrets
case "$*" in
  "whoami --json") [ -e logged_in ] || { echo '{"loggedIn":false}'; exit 1; }
    echo '{"loggedIn":true,"accounts":[{"id":"a1","name":"Acme"}]}' ;;
  "d1 list --json") echo 'A newer wrangler is there.'
    echo '['; sep=; while read -r n; do echo "$sep{\"uuid\":\"uuid-of-$n\",\"name\":\"$n\"}"; sep=,; done < d1; echo ']' ;;
  "d1 create "*) echo "$3" >> d1 ;;
  "kv namespace list") echo '['; sep=; while read -r n; do echo "$sep{\"id\":\"id-of-$n\",\"title\":\"$n\"}"; sep=,; done < kv; echo ']' ;;
  "kv namespace create "*) echo "$4" >> kv ;;
  "queues info "*) grep -qx "$3" queues ;;
  "queues create "*) grep -qx "$3" queues && { echo 'already taken' >&2; exit 1; }; echo "$3" >> queues ;;
  "d1 migrations apply DB --remote") echo 'applied' ;;
  "secret list --format json") [ -e deployed ] || [ -s secrets ] || { echo 'This Worker does not exist. [code: 10007]' >&2; exit 1; }
    echo '['; sep=; while read -r n _; do echo "$sep{\"name\":\"$n\",\"type\":\"secret_text\"}"; sep=,; done < secrets; echo ']' ;;
  "secret put "*) printf '%s %s\n' "$3" "$(cat)" >> secrets ;;
  "deploy") [ -e broken ] && { echo 'no such compiler'; exit 1; }
    touch deployed; printf 'Uploaded fanwise\n  https://fanwise.acme.workers.dev\n' ;;
  *) echo "unknown: $*" >&2; exit 2 ;;
esac
"#;

struct World {
    folder: PathBuf,
}

impl World {
    fn new() -> World {
        let folder = std::env::temp_dir().join(format!("fanwise-deploy-{}", uuid::Uuid::new_v4()));
        for name in ["bin", "account", "checkout", "home"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        let program = folder.join("bin/wrangler");
        std::fs::write(&program, WRANGLER).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wrangler.toml");
        std::fs::copy(own, folder.join("checkout/wrangler.toml")).unwrap();
        std::fs::write(folder.join("account/logged_in"), "").unwrap();
        World { folder }
    }

    fn deploy(&self, args: &[&str]) -> Output {
        self.deploy_with(args, &[])
    }

    fn deploy_with(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let path =
            std::env::join_paths([self.folder.join("bin"), "/usr/bin".into(), "/bin".into()])
                .unwrap();
        Command::new(env!("CARGO_BIN_EXE_fanwise"))
            .arg("deploy")
            .args(args)
            .current_dir(self.folder.join("checkout"))
            .env_clear()
            .env("PATH", path)
            .env("ACCOUNT", self.folder.join("account"))
            .env("HOME", self.folder.join("home"))
            .env("XDG_CONFIG_HOME", self.folder.join("home"))
            .env("ANTHROPIC_API_KEY", "sk-ant-test")
            .envs(env.iter().copied())
            .output()
            .unwrap()
    }

    fn account(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join("account").join(name)).unwrap_or_default()
    }

    fn config(&self) -> String {
        std::fs::read_to_string(self.folder.join("checkout/wrangler.toml")).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Says that it is well to everybody who asks.
fn healthy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        }
    });
    url
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const LOOKS: [&str; 5] = [
    "whoami",
    "d1 list",
    "kv namespace list",
    "queues info",
    "secret list",
];

#[test]
fn an_empty_account_becomes_a_deployment_and_a_second_time_changes_nothing() {
    let world = World::new();
    let url = healthy();
    let before = world.config();
    let first = world.deploy(&["--url", &url]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(text(&first.stdout).trim(), url);
    assert_eq!(world.account("d1"), "fanwise\n");
    assert_eq!(world.account("kv"), "fanwise-kv\n");
    let mut queues: Vec<String> = world.account("queues").lines().map(str::to_owned).collect();
    queues.sort();
    let kinds = [
        "control",
        "control-dlq",
        "outbound",
        "outbound-dlq",
        "tasks",
        "tasks-dlq",
    ];
    assert_eq!(queues, kinds.map(|kind| format!("fanwise-{kind}")));
    // Tables and secrets are there before the code that wants them.
    let calls = world.account("calls");
    let at = |call: &str| {
        calls
            .lines()
            .position(|line| line.starts_with(call))
            .unwrap()
    };
    assert!(at("d1 migrations apply") < at("deploy"), "{calls}");
    assert!(at("secret put FANWISE_TOKEN") < at("deploy"), "{calls}");
    // The ids are in the file, and its comments still are.
    let config = world.config();
    assert!(
        config.contains("database_id = \"uuid-of-fanwise\""),
        "{config}"
    );
    assert!(config.contains("id = \"id-of-fanwise-kv\""), "{config}");
    assert!(
        before
            .lines()
            .filter(|l| l.starts_with('#'))
            .all(|comment| config.contains(comment))
    );
    // Secrets went in by standard input alone, and nobody saw them.
    let secrets = world.account("secrets");
    assert!(
        secrets.contains("ANTHROPIC_API_KEY sk-ant-test\n"),
        "{secrets}"
    );
    let token = secrets
        .lines()
        .find_map(|l| l.strip_prefix("FANWISE_TOKEN "))
        .unwrap();
    assert_eq!(token.len(), 64);
    for seen in [&calls, &text(&first.stdout), &text(&first.stderr)] {
        assert!(
            !seen.contains(token) && !seen.contains("sk-ant-test"),
            "{seen}"
        );
    }
    // The login is kept, for its owner alone.
    let kept = world.folder.join("home/fanwise/config.toml");
    let settings = std::fs::read_to_string(&kept).unwrap();
    assert!(
        settings.contains(token) && settings.contains(&url),
        "{settings}"
    );
    assert_eq!(
        std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let second = world.deploy(&["--url", &url]);
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert_eq!(world.config(), config);
    assert_eq!(world.account("secrets"), secrets);
    let calls = world.account("calls");
    let later = calls.lines().skip_while(|line| *line != "deploy").skip(1);
    for call in later {
        let harmless = LOOKS.iter().any(|look| call.starts_with(look))
            || call == "deploy"
            || call == "d1 migrations apply DB --remote";
        assert!(harmless, "{call}");
    }
}

#[test]
fn a_dry_run_looks_says_every_step_and_does_nothing() {
    for logged_in in [true, false] {
        let world = World::new();
        if !logged_in {
            std::fs::remove_file(world.folder.join("account/logged_in")).unwrap();
        }
        let before = world.config();
        let output = world.deploy(&["--dry-run"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        for step in [
            "wrangler d1 create fanwise",
            "wrangler kv namespace create fanwise-kv",
            "wrangler queues create fanwise-outbound-dlq",
            "the ids of database and namespace",
            "wrangler d1 migrations apply DB --remote",
            "wrangler secret put ANTHROPIC_API_KEY",
            "wrangler secret put FANWISE_TOKEN",
            "wrangler secret put WEBHOOK_SIGNING_KEY",
            "wrangler deploy",
            "/healthz",
        ] {
            assert!(said.contains(step), "{step} is missing in:\n{said}");
        }
        assert_eq!(said.contains("wrangler login"), !logged_in, "{said}");
        for call in world.account("calls").lines() {
            assert!(LOOKS.iter().any(|look| call.starts_with(look)), "{call}");
        }
        assert_eq!(world.config(), before);
        assert!(!world.folder.join("home/fanwise").exists());
    }
}

#[test]
fn a_daily_cap_is_written_kept_and_missed() {
    let world = World::new();
    let url = healthy();
    // Nobody is there to ask: the command says what that means.
    let said = text(&world.deploy(&["--dry-run"]).stdout);
    let missed = "would leave out: ACCOUNT_DAILY_USD";
    assert!(
        said.contains(missed) && said.contains("without end"),
        "{said}"
    );
    let capped = world.deploy(&["--url", &url, "--daily-cap", "12.5"]);
    assert!(capped.status.success(), "{}", text(&capped.stderr));
    let config = world.config();
    assert!(config.contains("ACCOUNT_DAILY_USD = \"12.5\""), "{config}");
    // A later deploy leaves it as it is.
    let again = world.deploy(&["--url", &url]);
    assert!(text(&again.stderr).contains("is there: a daily cap, ACCOUNT_DAILY_USD"));
    assert_eq!(world.config(), config);
    let wrong = world.deploy(&["--daily-cap", "much"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}

/// The names in the reference's table of secrets.
fn secrets() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, table) = page
        .split_once("\n| secret | meaning |\n|---|---|\n")
        .unwrap();
    let names = table
        .lines()
        .map_while(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

#[test]
fn every_secret_is_set_or_it_is_said_why_not() {
    const HEADERS: &str = "authorization=Bearer collectors-own-key";
    let names = secrets();
    for name in ["OTLP_HEADERS", "CLAUDE_HEADERS"] {
        assert!(names.iter().any(|listed| listed == name), "{names:?}");
    }
    let world = World::new();
    let url = healthy();

    // Nothing is traced: it is named all the same.
    let said = text(&world.deploy(&["--dry-run"]).stdout);
    for name in &names {
        assert!(
            said.contains(&format!("wrangler secret put {name}")),
            "{name} is missing in:\n{said}"
        );
    }
    assert!(
        said.contains("would leave out: secret OTLP_HEADERS, because OTLP_ENDPOINT is empty"),
        "{said}"
    );
    assert!(
        said.contains(
            "leave out: secret CLAUDE_HEADERS, because ANTHROPIC_BASE_URL is Anthropic's own address"
        ),
        "{said}"
    );
    // There is a collector and a gateway, but nobody to ask for their headers.
    let config = world.config();
    let traced = config
        .replace(
            "OTLP_ENDPOINT = \"\"",
            "OTLP_ENDPOINT = \"https://traces.acme.com\"",
        )
        .replace("https://api.anthropic.com", "https://claude.acme.com");
    assert_ne!(config, traced);
    std::fs::write(world.folder.join("checkout/wrangler.toml"), traced).unwrap();
    let said = text(&world.deploy(&["--dry-run"]).stdout);
    assert!(
        said.contains("would leave out: secret OTLP_HEADERS, which is not in the environment"),
        "{said}"
    );

    let given = [("OTLP_HEADERS", HEADERS), ("CLAUDE_HEADERS", "x-team=jobs")];
    let dry = world.deploy_with(&["--dry-run"], &given);
    let said = text(&dry.stdout);
    assert!(
        said.contains(
            "would set the secret: wrangler secret put OTLP_HEADERS, from the environment"
        ),
        "{said}"
    );
    let done = world.deploy_with(&["--url", &url], &given);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let kept = world.account("secrets");
    let mut set: Vec<&str> = kept
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    set.sort_unstable();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(set, names);
    assert!(
        kept.contains(&format!("OTLP_HEADERS {HEADERS}\n")),
        "{kept}"
    );
    for seen in [
        text(&dry.stdout),
        text(&dry.stderr),
        text(&done.stdout),
        text(&done.stderr),
        world.account("calls"),
    ] {
        assert!(!seen.contains("collectors-own-key"), "{seen}");
    }
}

#[test]
fn headers_that_the_worker_would_refuse_are_refused_before_anything_is_done() {
    let world = World::new();
    for name in ["OTLP_HEADERS", "CLAUDE_HEADERS"] {
        let output = world.deploy_with(&["--yes"], &[(name, "x-team=a, my-secret")]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(
            said.contains(&format!(
                "{name} would be refused: its header 2 is not name=value"
            )),
            "{said}"
        );
        assert!(
            !said.contains("my-secret") && world.account("calls").is_empty(),
            "{said}"
        );
    }
}

#[test]
fn what_failed_on_the_way_is_taken_up_again() {
    let world = World::new();
    let url = healthy();
    std::fs::write(world.folder.join("account/broken"), "").unwrap();
    let failed = world.deploy(&["--url", &url]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        text(&failed.stderr).contains("`wrangler deploy` failed"),
        "{}",
        text(&failed.stderr)
    );
    let secrets = world.account("secrets");
    std::fs::remove_file(world.folder.join("account/broken")).unwrap();
    let output = world.deploy(&["--url", &url, "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["url"], url.as_str());
    // The token of the first time is in force, and now kept with its address.
    assert_eq!(world.account("secrets"), secrets);
    let token = secrets
        .lines()
        .find_map(|l| l.strip_prefix("FANWISE_TOKEN "))
        .unwrap();
    let settings = std::fs::read_to_string(world.folder.join("home/fanwise/config.toml")).unwrap();
    assert!(
        settings.contains(token) && settings.contains(&url),
        "{settings}"
    );
}

#[test]
fn nobody_logged_in_and_nobody_to_ask_is_an_error_with_the_remedy() {
    let world = World::new();
    std::fs::remove_file(world.folder.join("account/logged_in")).unwrap();
    let output = world.deploy(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("CLOUDFLARE_API_TOKEN"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(world.account("calls"), "whoami --json\n");
}

/// The region is chosen before the database is made, because a database never moves.
#[test]
fn the_database_is_made_in_the_region_and_the_worker_runs_near_it() {
    let world = World::new();
    let url = healthy();
    let first = world.deploy(&["--url", &url, "--location", "weur"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let calls = world.account("calls");
    assert!(
        calls.contains("d1 create fanwise --location weur\n"),
        "{calls}"
    );
    let config = world.config();
    assert!(
        config.contains("[placement]\nregion = \"aws:eu-west-1\""),
        "{config}"
    );
    let second = world.deploy(&["--url", &url, "--location", "weur"]);
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert_eq!(world.config(), config);
}

/// Each call of wrangler that changes something fails once, and the next run goes on from there.
#[test]
fn it_can_stop_at_any_step_and_go_on() {
    let world = World::new();
    let url = healthy();
    let stops = [
        "d1 create",
        "kv namespace create",
        "queues create",
        "d1 migrations",
        "secret put",
        "deploy",
    ];
    for stop in stops {
        let broken = WRANGLER.replace(
            "case \"$*\" in\n",
            &format!("case \"$*\" in\n  \"{stop}\"*) echo 'no network' >&2; exit 1 ;;\n"),
        );
        let program = world.folder.join("bin/wrangler");
        std::fs::write(&program, broken).unwrap();
        let stopped = world.deploy(&["--url", &url, "--location", "enam"]);
        assert!(!stopped.status.success(), "{stop}");
        let said = text(&stopped.stderr);
        assert!(said.contains("stopped at `"), "{stop}: {said}");
        assert!(
            said.contains("run `fanwise deploy` again"),
            "{stop}: {said}"
        );
        std::fs::write(&program, WRANGLER).unwrap();
    }
    let whole = world.deploy(&["--url", &url, "--location", "enam"]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    // Nothing was made twice.
    assert_eq!(world.account("d1"), "fanwise\n");
    assert_eq!(world.account("kv"), "fanwise-kv\n");
    let secrets = world.account("secrets");
    let tokens = secrets.lines().filter(|l| l.starts_with("FANWISE_TOKEN "));
    assert_eq!(tokens.count(), 1, "{secrets}");
}
