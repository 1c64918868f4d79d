//! `verify-claude`: a few real calls that settle what documents leave open, for people who have a key. It prints where
//! Claude agrees with what Fanwise assumes and where not, and writes every exchange to a fixture.

mod exchange;
mod questions;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde_json::{Value, json};

use crate::{dev, root, ui};

pub use exchange::{Exchange, Session};
pub use questions::{Finding, Verdict};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Claude's API or a gateway to it; without it, the address in wrangler.toml. The key comes from ANTHROPIC_API_KEY
    #[arg(long, value_name = "URL")]
    pub claude: Option<String>,
    /// The model that is asked
    #[arg(long, default_value = "claude-haiku-4-5")]
    pub model: String,
    /// How long to wait for a batch of one request to end
    #[arg(long, default_value_t = 600)]
    pub batch_seconds: u64,
    /// Where the exchanges are written
    #[arg(long, value_name = "FILE")]
    pub fixture: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let url = match &args.claude {
        Some(url) => url.clone(),
        None => dev::claude_url()?,
    };
    let key = std::env::var("ANTHROPIC_API_KEY").unwrap_or_default();
    if key.is_empty() {
        bail!("verify-claude makes real calls and needs a key; set ANTHROPIC_API_KEY");
    }
    ui::say(format!("about ten calls to {url}, for a few cents"));
    let mut session = Session::new(&url, &key);
    let findings = findings(
        &mut session,
        &args.model,
        Duration::from_secs(args.batch_seconds),
    )?;
    print(&findings);
    let path = args
        .fixture
        .clone()
        .unwrap_or_else(|| root::dir().join("target/verify-claude.json"));
    let fixture = fixture(&session, &findings);
    std::fs::write(&path, format!("{fixture:#}\n"))
        .with_context(|| format!("could not write {}", path.display()))?;
    ui::print(format!("the exchanges are in {}", path.display()));
    Ok(())
}

/// Asks all questions.
///
/// # Errors
/// When there is no answer at all, or the key is refused.
pub fn findings(session: &mut Session, model: &str, batch: Duration) -> Result<Vec<Finding>> {
    questions::ask_all(session, model, batch)
}

fn print(findings: &[Finding]) {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["", "question", "assumed", "seen"]);
    for finding in findings {
        table.add_row([
            finding.verdict.as_str(),
            finding.question,
            finding.assumed,
            &finding.seen,
        ]);
    }
    ui::print(table.to_string());
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    ui::print(format!(
        "{} agree, {} differ, {} stay open",
        count(Verdict::Agrees),
        count(Verdict::Differs),
        count(Verdict::Open)
    ));
}

/// Everything that was sent and answered, without keys and without names of the account.
pub fn fixture(session: &Session, findings: &[Finding]) -> Value {
    let exchanges: Vec<Value> = session.exchanges().iter().map(Exchange::json).collect();
    let findings: Vec<Value> = findings
        .iter()
        .map(|f| {
            json!({
                "question": f.question, "assumed": f.assumed, "seen": f.seen, "verdict": f.verdict.as_str(),
            })
        })
        .collect();
    json!({ "findings": findings, "exchanges": exchanges })
}
