//! `fanwise login`: the address and the token of a deployment are tried and kept.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result, bail};

use crate::api::Api;
use crate::args::{Common, LoginArgs};
use crate::settings::{self, Settings};
use crate::terminal::output::Out;
use crate::terminal::prompt;

/// `fanwise login`: asks for what is missing, tries it, and keeps it.
pub async fn run(common: &Common, args: &LoginArgs, out: &Out) -> Result<()> {
    let kept = settings::load().unwrap_or_default();
    let given = args.address.clone().or_else(|| common.url.clone());
    let url = match given {
        Some(url) => url,
        None if prompt::possible() => prompt::text("Address of the deployment", kept.url).await?,
        None => bail!("say the address: `fanwise login https://…`"),
    };
    let token = match &common.token {
        Some(token) => token.clone(),
        None if prompt::possible() => prompt::secret("Token").await?,
        None if !std::io::stdin().is_terminal() => std::io::read_to_string(std::io::stdin())?,
        None => bail!("the token is missing: give it on standard input or in FANWISE_TOKEN"),
    };
    let settings = Settings {
        url: Some(settings::trimmed(url.trim()).to_owned()),
        token: Some(token.trim().to_owned()),
    };
    let api = Api::new(settings.clone())?;
    api.get("/v1/jobs?limit=1")
        .await
        .context("nothing was kept, because it does not work")?;
    let path = settings::keep(&settings)?;
    out.note(format!("kept in {}", path.display()));
    if out.json {
        out.json(&serde_json::json!({"url": settings.url, "path": path}))?;
    }
    Ok(())
}
