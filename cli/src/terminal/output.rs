//! What is written: tables for a terminal, tab-separated lines for a pipe, JSON for programs; notes and errors beside them.
//!
//! Colours go only where they are wanted (`NO_COLOR`, no terminal: none). Texts of models and items are data: before they reach a
//! terminal, everything that could steer it is taken out.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anstyle::{AnsiColor, Color, Style};
use anyhow::{Context as _, Result};
use comfy_table::{ContentArrangement, presets};
use serde::Serialize;
use serde_json::Value;

/// Where a width is not known.
const WIDTH: u16 = 100;

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
const RED: Style = colour(AnsiColor::Red);
const GREEN: Style = colour(AnsiColor::Green);
const YELLOW: Style = colour(AnsiColor::Yellow);
const BLUE: Style = colour(AnsiColor::Blue);

const fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour))).bold()
}

/// How to write.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// For programs: JSON on standard output.
    pub json: bool,
    /// Standard output is a terminal.
    pub terminal: bool,
}

impl Out {
    pub fn new(json: bool) -> Out {
        Out {
            json,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// A line of the answer.
    pub fn line(&self, text: impl Display) -> Result<()> {
        Ok(writeln!(anstream::stdout(), "{text}")?)
    }

    /// A text of the answer as it is, ended by a line break.
    pub fn text(&self, text: &str) -> Result<()> {
        let text = text.trim_end_matches('\n');
        if self.terminal {
            return self.line(safe(text));
        }
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    pub fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    /// A line for the person who waits.
    pub fn note(&self, text: impl Display) {
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    pub fn error(&self, error: &anyhow::Error) {
        let text = safe(&format!("{error:#}"));
        let _ = writeln!(anstream::stderr(), "{RED}error:{RED:#} {text}");
    }

    /// A table, or the same as lines with tabs between.
    pub fn table(&self, header: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
        if self.terminal {
            return self.line(drawn(header, rows, width()));
        }
        let mut text = header.join("\t");
        text.push('\n');
        for row in rows {
            let cells: Vec<String> = row.iter().map(|cell| one_line(cell)).collect();
            text.push_str(&cells.join("\t"));
            text.push('\n');
        }
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }

    /// Names and values, one pair a line.
    pub fn pairs(&self, pairs: &[(&str, String)]) -> Result<()> {
        let widest = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            if self.terminal {
                self.line(format_args!(
                    "{DIM}{name:widest$}{DIM:#}  {}",
                    safe_but_colours(value)
                ))?;
            } else {
                self.line(format_args!("{name}\t{}", one_line(value)))?;
            }
        }
        Ok(())
    }
}

/// A table for a terminal of that width.
pub fn drawn(header: &[&str], rows: Vec<Vec<String>>, width: u16) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    if !header.is_empty() {
        table.set_header(header.iter().map(|name| name.to_uppercase()));
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| safe(cell)));
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Columns of the terminal.
pub fn width() -> u16 {
    console::Term::stdout()
        .size_checked()
        .map_or(WIDTH, |(_, columns)| columns.max(40))
}

/// Without what could steer a terminal.
pub fn safe(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().filter(|c| !steers(*c)).collect()
}

/// The same for values that are coloured here and hold nothing of others.
fn safe_but_colours(text: &str) -> String {
    let keep = |c: &char| !c.is_control() || matches!(*c, '\n' | '\t' | '\u{1b}');
    text.chars().filter(keep).collect()
}

/// A text as one line, shortened to so many characters.
pub fn short(text: &str, most: usize) -> String {
    let line = one_line(text);
    if line.chars().count() <= most {
        return line;
    }
    let mut cut: String = line.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn one_line(text: &str) -> String {
    safe(text).replace(['\n', '\t'], " ")
}

/// A state in the colour of what it means.
pub fn state(name: &str) -> String {
    let style = match name {
        "succeeded" => GREEN,
        "failed" => RED,
        "partial" | "paused" | "awaiting_approval" | "skipped" => YELLOW,
        "cancelled" => DIM,
        _ => BLUE,
    };
    format!("{style}{}{style:#}", safe(name))
}

/// Dollars: two decimals, or as many as it takes to see anything.
pub fn usd(dollars: f64) -> String {
    if dollars != 0.0 && dollars.abs() < 0.1 {
        let text = format!("{dollars:.4}");
        return format!("${}", text.strip_suffix("00").unwrap_or(&text));
    }
    format!("${dollars:.2}")
}

/// Numbers that a person can read: `12,345`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing: `1 call`, `12,345 calls`.
pub fn plural(n: u64, one: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {one}{s}", number(n))
}

/// A span of time in its two largest units.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A value as a person reads it: texts as they are, the rest as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Who reads our output has gone.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// A file that is whole or not there: written beside its place, then put there.
pub struct Whole {
    file: tokio::fs::File,
    new: std::path::PathBuf,
    path: std::path::PathBuf,
}

impl Whole {
    pub async fn begin(path: &Path) -> Result<Whole> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".part-{}", std::process::id()));
        let new = path.with_file_name(name);
        let file = tokio::fs::File::create(&new)
            .await
            .with_context(|| format!("could not write {}", path.display()))?;
        Ok(Whole {
            file,
            new,
            path: path.to_owned(),
        })
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = &self.path;
        tokio::io::AsyncWriteExt::write_all(&mut self.file, bytes)
            .await
            .with_context(|| format!("could not write {}", path.display()))
    }

    pub async fn finish(mut self) -> Result<()> {
        tokio::io::AsyncWriteExt::flush(&mut self.file).await?;
        std::fs::rename(&self.new, &self.path)
            .with_context(|| format!("could not write {}", self.path.display()))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // After `finish` there is nothing of that name any more.
        let _ = std::fs::remove_file(&self.new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_model_steers_the_terminal() {
        assert_eq!(safe("a\u{1b}[2J\u{7}b\u{9b}31mc\r\n\td"), "a[2Jb31mc\n\td");
    }

    #[test]
    fn money_numbers_and_times_are_told_as_people_read_them() {
        assert_eq!(usd(0.0), "$0.00");
        assert_eq!(usd(0.0009), "$0.0009");
        assert_eq!(usd(0.05), "$0.05");
        assert_eq!(usd(12.345), "$12.35");
        assert_eq!(number(7), "7");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(plural(1, "call"), "1 call");
        assert_eq!(plural(0, "call"), "0 calls");
        assert_eq!(span(59), "59 s");
        assert_eq!(span(61), "1 min 1 s");
        assert_eq!(span(90_000), "1 d 1 h");
    }

    #[test]
    fn long_texts_are_cut_at_characters() {
        assert_eq!(short("äöü\nß", 10), "äöü ß");
        assert_eq!(short("äöüß", 3), "äö…");
    }
}
