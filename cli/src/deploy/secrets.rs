//! The secrets of a deployment: which there are, where each comes from, and that one that is set is left alone.
//!
//! Values go to wrangler's standard input; they are in no argument and on no screen.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use fanwise::core::net::header_list::header_list;
use serde_json::Value;

use crate::deploy::steps::Deploy;
use crate::settings::{self, Settings};
use crate::terminal::prompt;

/// The operator's token, which `login` keeps too.
const TOKEN: &str = "FANWISE_TOKEN";
/// What Claude's own endpoint is called in `wrangler.toml`. It needs no more headers than the key.
const ANTHROPIC: &str = "https://api.anthropic.com";

/// All that the Worker reads, each with where it comes from.
const ALL: [(&str, Source); 5] = [
    (
        "ANTHROPIC_API_KEY",
        Source::Given("Claude's API key (empty: later)"),
    ),
    (
        "CLAUDE_HEADERS",
        Source::Headers {
            of: "ANTHROPIC_BASE_URL",
            question: "More headers for Claude's endpoint, NAME=VALUE by commas (empty: none)",
        },
    ),
    (TOKEN, Source::Made),
    ("WEBHOOK_SIGNING_KEY", Source::Made),
    (
        "OTLP_HEADERS",
        Source::Headers {
            of: "OTLP_ENDPOINT",
            question: "Headers for the collector of traces, NAME=VALUE by commas (empty: later)",
        },
    ),
];

#[derive(Clone, Copy)]
enum Source {
    /// In the environment under its own name, or the answer to this question.
    Given(&'static str),
    /// The same, a list of headers for the address in the variable `of`. Without such an address it is not asked for.
    Headers {
        of: &'static str,
        question: &'static str,
    },
    /// Random; nobody need know it.
    Made,
}

/// What becomes of a secret that is not set.
enum Fate {
    Set(String),
    /// In a dry run: with a value from there.
    Would(&'static str),
    Later(String),
}

/// What is wrong in the environment, before anything is done: the Worker would refuse to work with it.
pub(super) fn check() -> Result<()> {
    for (name, source) in ALL {
        if let Some(value) = given(name) {
            sound(name, source, &value)?;
        }
    }
    Ok(())
}

/// Sets those that are missing, before the code, so that it never runs without them. The operator's token, where it was made here.
pub(super) async fn set(deploy: &mut Deploy<'_>, logged_in: bool) -> Result<Option<String>> {
    let there = match logged_in {
        true => there(deploy).await?,
        false => BTreeSet::new(),
    };
    let mut made = None;
    for (name, source) in ALL {
        if there.contains(name) {
            deploy.there(&format!("secret {name}"));
            continue;
        }
        let put = ["secret", "put", name];
        match fate(deploy, name, source).await? {
            Fate::Later(why) => deploy.say(
                "leave out",
                &format!("secret {name}{why}; later: wrangler {}", put.join(" ")),
            ),
            Fate::Would(from) => deploy.say(
                "set the secret",
                &format!("wrangler {}, {from}", put.join(" ")),
            ),
            Fate::Set(value) => {
                if name == TOKEN {
                    keep(deploy, &value)?;
                    made = Some(value.clone());
                }
                deploy.act("set the secret", &put, Some(&value)).await?;
            }
        }
    }
    Ok(made)
}

async fn fate(deploy: &Deploy<'_>, name: &str, source: Source) -> Result<Fate> {
    let question = match source {
        Source::Made if deploy.dry => return Ok(Fate::Would("a random one")),
        Source::Made => return Ok(Fate::Set(random())),
        Source::Given(question) | Source::Headers { question, .. } => question,
    };
    if let Some(value) = given(name) {
        return Ok(match deploy.dry {
            true => Fate::Would("from the environment"),
            false => Fate::Set(value),
        });
    }
    if let Source::Headers { of, .. } = source {
        let why = match deploy.config.variable(of) {
            None => Some("is empty"),
            Some(ANTHROPIC) => Some("is Anthropic's own address"),
            Some(_) => None,
        };
        if let Some(why) = why {
            return Ok(Fate::Later(format!(", because {of} {why}")));
        }
    }
    if !prompt::possible() {
        return Ok(Fate::Later(format!(
            ", which is not in the environment (as {name})"
        )));
    }
    if deploy.dry {
        return Ok(Fate::Would("asked for"));
    }
    let value = prompt::secret(question).await?.trim().to_owned();
    if value.is_empty() {
        return Ok(Fate::Later(String::new()));
    }
    sound(name, source, &value)?;
    Ok(Fate::Set(value))
}

/// In the environment.
fn given(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?.trim().to_owned();
    Some(value).filter(|value| !value.is_empty())
}

/// Whether the Worker can read it. What is wrong is named without the value.
fn sound(name: &str, source: Source, value: &str) -> Result<()> {
    if matches!(source, Source::Headers { .. })
        && let Err(problem) = header_list(value)
    {
        bail!("{name} would be refused: {problem}");
    }
    Ok(())
}

/// The names of those that are set.
async fn there(deploy: &Deploy<'_>) -> Result<BTreeSet<String>> {
    let list = ["secret", "list", "--format", "json"];
    let said = deploy.wrangler.ask(&list, None).await?;
    let from = said.text.find('[').unwrap_or(0);
    match serde_json::from_str::<Value>(said.text.get(from..).unwrap_or_default()) {
        Ok(list) if said.ok => Ok(list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|secret| Some(secret.get("name")?.as_str()?.to_owned()))
            .collect()),
        // Cloudflare's code for a Worker that is not there yet.
        _ if said.all().contains("10007") => Ok(BTreeSet::new()),
        _ => bail!("`wrangler secret list` failed:\n{}", said.all().trim()),
    }
}

/// Kept before it is in force: what nobody has written down lets nobody in.
fn keep(deploy: &mut Deploy<'_>, token: &str) -> Result<()> {
    let path = settings::keep(&Settings {
        url: None,
        token: Some(token.to_owned()),
    })?;
    let what = format!("the operator's token in {}", path.display());
    deploy.say("keep", &what);
    Ok(())
}

/// 244 random bits.
fn random() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}
