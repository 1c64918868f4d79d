//! Steps of a deployment: each is said, and carried out unless it is a dry run.

use anyhow::Result;
use serde_json::{Value, json};

use crate::deploy::config::Config;
use crate::deploy::location::Location;
use crate::deploy::wrangler::Wrangler;
use crate::terminal::output::Out;

/// A deployment under way.
pub struct Deploy<'a> {
    pub wrangler: Wrangler,
    pub config: Config,
    pub out: &'a Out,
    pub dry: bool,
    pub steps: Vec<Value>,
    /// Where a new database is made, if that was said.
    pub location: Option<Location>,
    /// Somebody answers questions.
    pub asks: bool,
}

impl Deploy<'_> {
    /// A step in a line.
    pub fn say(&mut self, step: &str, what: &str) {
        self.steps.push(json!({"step": step, "what": what}));
        let would = if self.dry { "would " } else { "" };
        if self.dry && !self.out.json {
            let _ = self.out.line(format_args!("{would}{step}: {what}"));
        } else {
            self.out.note(format_args!("{would}{step}: {what}"));
        }
    }

    pub fn there(&mut self, what: &str) {
        self.steps.push(json!({"step": "there", "what": what}));
        if self.dry && !self.out.json {
            let _ = self.out.line(format_args!("is there: {what}"));
        } else {
            self.out.note(format_args!("is there: {what}"));
        }
    }

    pub fn end(&self, address: Option<&str>) -> Result<()> {
        if self.out.json {
            return self.out.json(&json!({
                "url": address, "dry_run": self.dry, "steps": self.steps,
            }));
        }
        if let Some(address) = address {
            self.out.line(address)?;
        }
        Ok(())
    }

    /// Runs what changes something, or says it.
    pub async fn act(&mut self, step: &str, args: &[&str], input: Option<&str>) -> Result<()> {
        self.say(step, &format!("wrangler {}", args.join(" ")));
        if !self.dry {
            self.wrangler.must(args, input).await?;
        }
        Ok(())
    }
}
