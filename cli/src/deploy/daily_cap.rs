//! The cap of a day: asked for where `wrangler.toml` has none, because jobs without a cap of their own would else spend
//! without end.

use anyhow::{Result, bail};

use crate::deploy::steps::Deploy;
use crate::terminal::prompt;

/// Either of these caps a day; this command sets the first.
const CAPS: [&str; 2] = ["ACCOUNT_DAILY_USD", "TENANT_DAILY_USD"];
const QUESTION: &str = "Dollars that all jobs together may spend on a UTC day (empty: no cap)";
/// The bound of the variable.
const MOST_USD: f64 = 1e6;

/// Writes the cap that was given or answered; says so where there is none.
pub(super) async fn set(deploy: &mut Deploy<'_>, given: Option<f64>) -> Result<()> {
    let [name, _] = CAPS;
    let known = CAPS
        .iter()
        .find(|cap| deploy.config.variable(cap).is_some());
    if let (Some(cap), None) = (known, given) {
        deploy.there(&format!("a daily cap, {cap}"));
        return Ok(());
    }
    let path = deploy.config.path.display().to_string();
    let missing =
        format!("{name} in {path}, so jobs without a cap of their own may spend without end");
    let dollars = match given {
        Some(dollars) => Some(dollars),
        None if deploy.dry && prompt::possible() => {
            deploy.say("ask for", &format!("a daily cap, {name} in {path}"));
            return Ok(());
        }
        None if prompt::possible() => asked().await?,
        None => None,
    };
    match dollars {
        None => deploy.say("leave out", &missing),
        Some(dollars) => {
            deploy.say("cap the day", &format!("{name} = {dollars} in {path}"));
            deploy.config.set_variable(name, &dollars.to_string());
        }
    }
    Ok(())
}

async fn asked() -> Result<Option<f64>> {
    let answer = prompt::text(QUESTION, Some(String::new())).await?;
    match answer.trim() {
        "" => Ok(None),
        text => dollars(text).map(Some).or_else(|problem| bail!(problem)),
    }
}

/// An amount as the variable accepts it.
pub fn dollars(text: &str) -> Result<f64, String> {
    match text.trim().trim_start_matches('$').parse::<f64>() {
        Ok(dollars) if (0.0..=MOST_USD).contains(&dollars) => Ok(dollars),
        _ => Err(format!(
            "{text:?} is no amount of dollars from 0 to {MOST_USD}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_or_refused() {
        assert_eq!(dollars(" $20.5 "), Ok(20.5));
        for wrong in ["", "ten", "-1", "NaN", "inf", "1000001"] {
            assert!(dollars(wrong).is_err(), "{wrong}");
        }
    }
}
