//! Questions to the person at the terminal. They are written to standard error and read from the terminal, so standard output stays
//! for what was asked for. Each waits on a thread of its own: a signal that comes meanwhile is noticed.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result, bail};
use dialoguer::theme::SimpleTheme;

/// Whether there is anybody to ask. Where standard input is the job's input, answers still come from the terminal.
pub fn possible() -> bool {
    let keys = || io::stdin().is_terminal() || std::fs::File::open("/dev/tty").is_ok();
    io::stderr().is_terminal() && keys()
}

async fn off_thread<T: Send + 'static>(
    question: impl FnOnce() -> dialoguer::Result<T> + Send + 'static,
) -> Result<T> {
    Ok(tokio::task::spawn_blocking(question).await??)
}

/// A line of text.
pub async fn text(prompt: &str, default: Option<String>) -> Result<String> {
    let prompt = prompt.to_owned();
    off_thread(move || {
        let input = dialoguer::Input::<String>::with_theme(&SimpleTheme).with_prompt(prompt);
        match default {
            Some(default) => input.default(default),
            None => input,
        }
        .interact_text()
    })
    .await
}

/// A text that is not shown.
pub async fn secret(prompt: &str) -> Result<String> {
    let prompt = prompt.to_owned();
    off_thread(move || {
        dialoguer::Password::with_theme(&SimpleTheme)
            .with_prompt(prompt)
            .interact()
    })
    .await
}

/// The position of the chosen line.
pub async fn one_of(prompt: &str, lines: &[&'static str]) -> Result<usize> {
    let (prompt, lines) = (prompt.to_owned(), lines.to_vec());
    off_thread(move || {
        dialoguer::Select::with_theme(&SimpleTheme)
            .with_prompt(prompt)
            .items(&lines)
            .default(0)
            .interact()
    })
    .await
}

/// One letter of `choices`; the first of them for an empty line.
pub async fn letter(prompt: &str, choices: &'static str) -> Result<char> {
    loop {
        let prompt = prompt.to_owned();
        let line = off_thread(move || {
            dialoguer::Input::<String>::with_theme(&SimpleTheme)
                .with_prompt(prompt)
                .allow_empty(true)
                .interact_text()
        })
        .await?;
        let said = line.trim().to_lowercase();
        let found = match said.chars().next() {
            None => choices.chars().next(),
            Some(first) => choices.chars().find(|choice| *choice == first),
        };
        if let Some(choice) = found {
            return Ok(choice);
        }
    }
}

/// A text after it was changed in `$VISUAL` or `$EDITOR`; none where it was left without saving.
pub async fn edit(text: &str, extension: &'static str) -> Result<Option<String>> {
    if !possible() {
        bail!("there is no terminal for an editor; --send takes a file");
    }
    let text = text.to_owned();
    off_thread(move || {
        dialoguer::Editor::new()
            .extension(extension)
            .require_save(true)
            .edit(&text)
    })
    .await
    .context("the editor did not work; EDITOR names another")
}
