//! The reference of the command line as Markdown, from clap's own tree: a test makes `docs/reference/command-line.md` anew and
//! compares; with `UPDATE_GOLDEN=1` it writes it. Nothing of this is in the program.

use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use crate::args::Cli;

const HEAD: &str = "<!-- Generated from the crate `fanwise-cli` by `cargo xtask docs`. Do not edit. -->\n\n# Command line\n\n";

fn page() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut text = HEAD.to_owned();
    text.push_str(&format!("{}.\n", about(&cli)));
    text.push_str("\n## Options of every command\n\n");
    let shared: Vec<&Arg> = cli
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .collect();
    text.push_str(&table(&shared));
    if let Some(after) = cli.get_after_help() {
        text.push_str(&format!("\n{}\n", after.to_string().trim()));
    }
    for command in cli
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        text.push_str(&section(command, "fanwise", "##"));
    }
    text
}

fn about(command: &Command) -> String {
    let long = command.get_long_about().or_else(|| command.get_about());
    long.map_or(String::new(), |text| {
        text.to_string().trim_end_matches('.').to_owned()
    })
}

fn section(command: &Command, above: &str, mark: &str) -> String {
    let name = format!("{above} {}", command.get_name());
    let mut text = format!("\n{mark} {name}\n\n{}.\n", about(command));
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help")
        .collect();
    if !own.is_empty() {
        text.push_str(&format!("\n{}", table(&own)));
    }
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        text.push_str(&section(inner, &name, "###"));
    }
    text
}

fn table(args: &[&Arg]) -> String {
    let mut text = "| argument | meaning |\n|---|---|\n".to_owned();
    for arg in args {
        text.push_str(&format!("| {} | {} |\n", written(arg), meaning(arg)));
    }
    text
}

/// `--max-cost USD`, or `[JOB]` for one without a name.
fn written(arg: &Arg) -> String {
    let value = arg
        .get_value_names()
        .and_then(|names| names.first())
        .map_or_else(
            || arg.get_id().to_string().to_uppercase(),
            ToString::to_string,
        );
    if arg.is_positional() {
        return if arg.is_required_set() {
            format!("`{value}`")
        } else {
            format!("`[{value}]`")
        };
    }
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let takes = arg.get_action().takes_values();
    format!(
        "`{}{}`",
        names.join("`, `"),
        if takes {
            format!(" {value}")
        } else {
            String::new()
        }
    )
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let mut text = help.map_or(String::new(), ToString::to_string);
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|_| arg.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        text.push_str(&format!(" (one of {})", values.join(", ")));
    }
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        text.push_str(&format!(" (default {})", defaults.join(", ")));
    }
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

#[test]
#[allow(clippy::unwrap_used)]
fn the_reference_is_that_of_this_command_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/command-line.md");
    let made = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "docs/reference/command-line.md is out of date; run `cargo xtask docs`"
    );
}
