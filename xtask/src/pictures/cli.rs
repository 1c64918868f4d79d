//! The README's pictures of the command line: it really runs, in a shell in a pseudo-terminal, and what stands on the screen is drawn by
//! headless Chromium, cell by cell.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use vt100::{Cell, Color, Screen};

use crate::clients::Hosted;
use crate::setup::{self, Tools};
use crate::terminal::{Size, Terminal};
use crate::{build, demo, root};

const SIZE: Size = Size(NonZeroU16::new(34).unwrap(), NonZeroU16::new(112).unwrap());
const ITEMS: u32 = 3_000;
/// How many items are covered when the picture is taken.
const HALF_WAY: u64 = 1_400;
const SOON: Duration = Duration::from_secs(60);
const WORK: Duration = Duration::from_secs(300);

/// Takes them into `folder`.
pub fn take(tools: &Tools, program: &Path, folder: &Path) -> Result<()> {
    let fanwise = build::cli()?;
    let hosted = Hosted::with_cron(tools, program)?;
    // Slow enough to be watched; two tickets are refused whatever is done, so there is something to be named.
    let refused =
        |id: &str| json!({"match": {"item_id": id, "role": "worker"}, "fault": "refusal"});
    hosted.claude(&json!({
        "latency_ms": 3_000, "jitter": 0.4, "faults": {"529": 0.03}, "seed": 5,
        "rules": [refused("T-1012"), refused("T-1187")],
    }))?;
    let home = Home::make()?;
    std::fs::write(home.0.join("tickets.jsonl"), tickets()?)?;
    let text = |path: &Path| path.display().to_string();
    let bin = fanwise.parent().context("the program has no folder")?;
    let mut env = BTreeMap::from([
        ("HOME".to_owned(), text(&home.0)),
        ("XDG_CONFIG_HOME".to_owned(), text(&home.0)),
        ("PATH".to_owned(), format!("{}:/usr/bin:/bin", text(bin))),
        ("PS1".to_owned(), "$ ".to_owned()),
    ]);
    env.extend(hosted.login());
    let shell = Path::new("/bin/sh");
    let mut terminal = Terminal::of_size(SIZE, &home.0, shell, &["-i"], &env)?;
    let draw = |terminal: &Terminal, name: &str| {
        draw(tools, &home.0, &terminal.cells(), &folder.join(name))
    };

    terminal.until(SOON, |screen| screen.starts_with('$'))?;
    terminal.press("fanwise run tickets.jsonl --recipe support-tickets --max-cost 5 -o results.csv -o report.md\r")?;
    terminal.until(SOON, |screen| screen.contains("Go on with this plan?"))?;
    terminal.press("y\r")?;
    terminal.until(WORK, |screen| {
        covered(screen) >= Some(HALF_WAY)
            && screen.contains("failed: task")
            && screen.contains(" left")
    })?;
    draw(&terminal, "cli-run.png")?;
    terminal.until(WORK, |screen| screen.ends_with("wrote report.md\n$"))?;

    terminal.press("clear\r")?;
    terminal.until(SOON, |screen| screen == "$")?;
    for command in ["fanwise show", "fanwise tasks --state failed"] {
        terminal.press(&format!("{command}\r"))?;
        let end = format!("$ {command}\n");
        terminal.until(SOON, |screen| {
            screen.contains(&end) && screen.ends_with("\n$")
        })?;
    }
    draw(&terminal, "cli-look.png")
}

/// From the line `items ━━━╌╌ 1,929 of 3,000 covered`.
fn covered(screen: &str) -> Option<u64> {
    let line = screen.lines().find(|line| line.ends_with(" covered"))?;
    let number = line.split(" of ").next()?.split(' ').next_back()?;
    number.replace(',', "").parse().ok()
}

/// The demo's tickets as JSON lines.
fn tickets() -> Result<String> {
    let job = demo::sample(ITEMS)?;
    let items = job.pointer("/input/items").and_then(Value::as_array);
    let lines = items.into_iter().flatten();
    Ok(lines.map(|ticket| format!("{ticket}\n")).collect())
}

/// A folder for the shell, gone afterwards.
struct Home(PathBuf);

impl Home {
    fn make() -> Result<Home> {
        let folder = std::env::temp_dir().join(format!("fanwise-pictures-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Home(folder))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Draws a screen into a file.
fn draw(tools: &Tools, folder: &Path, screen: &Screen, picture: &Path) -> Result<()> {
    let page = folder.join("screen.html");
    std::fs::write(&page, document(screen))?;
    let status = tools
        .command("node")
        .arg(root::dir().join("tests/page/terminal.mjs"))
        .args([&page, picture])
        .env("CHROMIUM", setup::browser()?)
        .status()?;
    if !status.success() {
        bail!("the picture {} was not taken ({status})", picture.display());
    }
    Ok(())
}

/// A terminal on a dark ground, whatever the reader's own is.
const STYLE: &str = "
body { margin: 0; background: transparent; }
.terminal { display: inline-block; padding: 18px 22px 20px; border-radius: 12px; background: #16171d; color: #d9dbe3; font: 14px/1.42 'DejaVu Sans Mono', monospace; white-space: pre; }
.terminal div { height: 1.42em; }
.terminal span { display: inline-block; overflow: hidden; vertical-align: top; }
";
/// What is named by number, the usual sixteen.
const COLOURS: [&str; 16] = [
    "#3b3d47", "#f0707a", "#5fd39a", "#e5c06b", "#8b93ff", "#d58be8", "#62cfe0", "#d9dbe3",
    "#8b8e9b", "#ff8f97", "#84e6b4", "#f2d58c", "#aab0ff", "#e5abf3", "#8be2ef", "#ffffff",
];

fn document(screen: &Screen) -> String {
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let mut lines: Vec<String> = (0..rows).map(|row| line(screen, row, columns)).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let lines: String = lines
        .iter()
        .map(|line| format!("<div>{line}</div>"))
        .collect();
    format!(
        "<!doctype html><meta charset=\"utf-8\"><style>{STYLE}.terminal div {{ width: {columns}ch; }}</style><div class=\"terminal\">{lines}</div>"
    )
}

/// Runs of cells that look alike, each as wide as its cells are, whatever the font has.
fn line(screen: &Screen, row: u16, columns: u16) -> String {
    let mut runs: Vec<(String, String, usize)> = Vec::new();
    for column in 0..columns {
        let Some(cell) = screen.cell(row, column) else {
            continue;
        };
        if cell.is_wide_continuation() {
            continue;
        }
        let text = if cell.has_contents() {
            cell.contents()
        } else {
            " "
        };
        let wide = if cell.is_wide() { 2 } else { 1 };
        let style = style(cell);
        match runs.last_mut() {
            Some((last, texts, cells)) if *last == style => {
                texts.push_str(text);
                *cells += wide;
            }
            _ => runs.push((style, text.to_owned(), wide)),
        }
    }
    if runs
        .last()
        .is_some_and(|(style, text, _)| style.is_empty() && text.trim().is_empty())
    {
        runs.pop();
    }
    let spans = runs.iter().map(|(style, text, cells)| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        format!("<span style=\"width:{cells}ch;{style}\">{text}</span>")
    });
    spans.collect()
}

fn style(cell: &Cell) -> String {
    let mut style = String::new();
    let (front, back) = match cell.inverse() {
        true => (cell.bgcolor(), cell.fgcolor()),
        false => (cell.fgcolor(), cell.bgcolor()),
    };
    if let Some(colour) = colour(front) {
        style.push_str(&format!("color:{colour};"));
    }
    if let Some(colour) = colour(back) {
        style.push_str(&format!("background:{colour};"));
    }
    if cell.bold() {
        style.push_str("font-weight:700;");
    }
    if cell.dim() {
        style.push_str("opacity:.65;");
    }
    style
}

fn colour(colour: Color) -> Option<String> {
    match colour {
        Color::Default => None,
        Color::Idx(n) => COLOURS.get(usize::from(n)).map(|&text| text.to_owned()),
        Color::Rgb(red, green, blue) => Some(format!("rgb({red},{green},{blue})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_becomes_lines_with_their_colours() {
        let (rows, columns) = (NonZeroU16::new(3), NonZeroU16::new(10));
        let mut parser = vt100::Parser::new(
            rows.unwrap_or(NonZeroU16::MIN),
            columns.unwrap_or(NonZeroU16::MIN),
            0,
        );
        parser.process("a <b>\r\n\x1b[1;32mok\x1b[0m no\r\n".as_bytes());
        let text = document(parser.screen());
        assert!(
            text.ends_with(
                "<div class=\"terminal\"><div><span style=\"width:10ch;\">a &lt;b>     </span></div>\
                 <div><span style=\"width:2ch;color:#5fd39a;font-weight:700;\">ok</span><span style=\"width:8ch;\"> no     </span></div></div>"
            ),
            "{text}"
        );
    }

    #[test]
    fn how_far_it_is_is_read_off_the_bar() {
        let screen = "job_1 running\n  classify ━━╌ 193 of 300 tasks\n  items    ━━╌ 1,929 of 3,000 covered\n";
        assert_eq!(covered(screen), Some(1_929));
        assert_eq!(covered("nothing"), None);
    }
}
