//! The command line: every command with its options, and the words that `--help` and the manual say.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use fanwise::core::job::state::{JobState, TaskState};

const AFTER_HELP: &str = "\
Exit codes: 0 success (a job that was waited for succeeded), 1 an error, 2 a command line that is
not understood, 3 the job is partial, 4 it failed, 5 it was cancelled, 130 interrupted.

JOB is a job's id, the beginning of one among the newest 200, or `last` for the newest.";

/// Runs one job over many items with Claude: a table in, a table and a report out.
#[derive(Parser, Debug)]
#[command(name = "fanwise", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug)]
pub struct Common {
    /// Address of the deployment; without it FANWISE_URL, then the address that `fanwise login` kept
    #[arg(long, global = true, value_name = "URL", help_heading = "Everywhere")]
    pub url: Option<String>,
    /// Bearer token. Other users of this machine can see it: better use FANWISE_TOKEN or `fanwise login`
    #[arg(long, global = true, value_name = "TOKEN", help_heading = "Everywhere")]
    pub token: Option<String>,
    /// JSON on standard output, as the API gives it
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
}

impl Common {
    /// What was not given is taken from the environment. clap could do so too, but then says in every usage that it had to be given.
    pub fn or_else_from(mut self, variable: impl Fn(&str) -> Option<String>) -> Common {
        let set = |name| variable(name).filter(|value| !value.trim().is_empty());
        self.url = self.url.or_else(|| set("FANWISE_URL"));
        self.token = self.token.or_else(|| set("FANWISE_TOKEN"));
        self
    }
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a job from its input to its report
    Run(RunArgs),
    /// Watch a job until it is over
    Watch {
        #[arg(default_value = "last")]
        job: String,
    },
    /// List jobs, newest first
    Jobs(JobsArgs),
    /// Show a job: its state, progress and cost
    Show {
        #[arg(default_value = "last")]
        job: String,
    },
    /// List the tasks of a job
    Tasks(TasksArgs),
    /// Show one task: its input beside its output, and every call
    Task {
        /// Its number in the job, as `fanwise tasks` shows it
        index: u32,
        #[arg(default_value = "last")]
        job: String,
    },
    /// Show the items beside their results
    Results(ResultsArgs),
    /// Show the report of a job that is over
    Report(ReportArgs),
    /// Do the missing part of a job that is partial, failed or cancelled
    Retry(AgainArgs),
    /// Cancel a job: no new call begins
    Cancel { job: String },
    /// Pause a job: calls in flight end, no new one begins
    Pause { job: String },
    /// Continue a paused job
    Resume(AgainArgs),
    /// Approve a plan that waits
    Approve {
        #[arg(default_value = "last")]
        job: String,
    },
    /// Delete a job that is over, with all that belongs to it
    Delete {
        job: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Print a job's plan, edit it, or send another
    Plan(PlanArgs),
    /// Estimate cost and time of a job. Nothing starts and nothing is paid
    Estimate(SpecArgs),
    /// Schedules: jobs that run by themselves
    Schedules(SchedulesArgs),
    /// List the recipes, or show one with its stages
    Recipes { name: Option<String> },
    /// Tokens of callers
    Tokens(TokensArgs),
    /// Show the rate limits of the account, and what is left of them
    Limits,
    /// Keep address and token in your configuration folder
    Login(LoginArgs),
    /// Deploy to your Cloudflare account, step by step; may be run again at any time
    Deploy(DeployArgs),
    /// A completion script for a shell, on standard output
    Completions { shell: clap_complete::Shell },
    /// The manual page on standard output, or one page for each command into a folder
    Man {
        /// The folder
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

/// What a job is made of.
#[derive(Args, Debug)]
pub struct SpecArgs {
    /// A CSV, TSV, JSON lines or text file, a folder of text files, or `-` for standard input
    pub input: Option<PathBuf>,
    /// A ready plan; see `fanwise recipes`
    #[arg(long, short)]
    pub recipe: Option<String>,
    /// What the job is for. Without a recipe and stages, Claude makes the plan from it
    #[arg(long, short)]
    pub task: Option<String>,
    /// The body of a submit as JSON, with or without its `input`; other options are laid over it
    #[arg(long, value_name = "FILE")]
    pub job: Option<PathBuf>,
    /// Sets a field of the body: `limits.concurrency=20`, `stages.classify.model=sonnet`, `stages.classify.chunk.items=5`.
    /// The value is JSON, or else a text
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The cap in dollars; it is never passed
    #[arg(long, value_name = "USD")]
    pub max_cost: Option<f64>,
    #[command(flatten)]
    pub reading: Reading,
}

/// How the input is read.
#[derive(Args, Debug, Default, Clone)]
pub struct Reading {
    /// Format of the input, if its name does not say
    #[arg(long, value_enum)]
    pub format: Option<Form>,
    /// The column or field with the item's id; found if it is named like one and its values differ
    #[arg(long, value_name = "COLUMN")]
    pub id: Option<String>,
    /// The column or field with the item's text; found if it is named like one, or is the only one
    #[arg(long, value_name = "COLUMN")]
    pub text: Option<String>,
    /// Send only these columns or fields besides id and text; all if left out
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Keep all column names, except those named by --id and --text
    #[arg(long)]
    pub as_is: bool,
}

/// `lines`: each line is the text of an item. `text`: one long text.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Csv,
    Tsv,
    Jsonl,
    Lines,
    Text,
}

#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Do not ask before the plan is paid
    #[arg(long, short, conflicts_with = "approve")]
    pub yes: bool,
    /// Leave the plan waiting for `fanwise approve`
    #[arg(long)]
    pub approve: bool,
    /// Watch the job until it is over (the default)
    #[arg(long, conflicts_with = "detach")]
    pub watch: bool,
    /// Do not wait for its end; its id goes to standard output
    #[arg(long, short)]
    pub detach: bool,
    /// Write results (.csv, .jsonl) or the report (.md, .json) to this file at the end; may be repeated
    #[arg(long, short, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// Sending the same input with the same key again gives the same job, not a second one
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

/// A wrong state is answered with those that there are.
fn states<const N: usize>(all: [&'static str; N]) -> PossibleValuesParser {
    PossibleValuesParser::new(all)
}

#[derive(Args, Debug)]
pub struct JobsArgs {
    /// Only those in this state
    #[arg(long, value_parser = states(JobState::ALL.map(JobState::as_str)))]
    pub state: Option<String>,
    /// How many
    #[arg(long, short = 'n', default_value_t = 20)]
    pub limit: usize,
}

#[derive(Args, Debug)]
pub struct TasksArgs {
    #[arg(default_value = "last")]
    pub job: String,
    /// Only those in this state
    #[arg(long, value_parser = states(TaskState::ALL.map(TaskState::as_str)))]
    pub state: Option<String>,
    /// Only those of this stage
    #[arg(long)]
    pub stage: Option<String>,
    /// How many
    #[arg(long, short = 'n', default_value_t = 50)]
    pub limit: usize,
}

#[derive(Args, Debug)]
pub struct ResultsArgs {
    #[arg(default_value = "last")]
    pub job: String,
    /// Of another map stage than the last
    #[arg(long)]
    pub stage: Option<String>,
    /// A table on a terminal, else JSON lines, if left out
    #[arg(long, value_enum)]
    pub format: Option<ResultForm>,
    /// Into this file (.csv, .jsonl or .xlsx), not to standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The results alone, without the items that they belong to
    #[arg(long, conflicts_with = "flags")]
    pub bare: bool,
    /// CSV has a column with the flags that checks gave
    #[arg(long)]
    pub flags: bool,
    /// Nested fields become fields of their own: `a.b`
    #[arg(long)]
    pub flatten: bool,
    /// CSV begins with a byte order mark, so that Excel reads it as UTF-8
    #[arg(long)]
    pub bom: bool,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultForm {
    Table,
    Csv,
    Jsonl,
    Xlsx,
}

#[derive(Args, Debug)]
pub struct ReportArgs {
    #[arg(default_value = "last")]
    pub job: String,
    /// Into this file (.md or .json), not to standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct AgainArgs {
    #[arg(default_value = "last")]
    pub job: String,
    /// A new cap
    #[arg(long, value_name = "USD")]
    pub max_cost: Option<f64>,
    /// Sets a limit: `concurrency=20`
    #[arg(long, value_name = "LIMIT=VALUE")]
    pub set: Vec<String>,
    /// Watch it until it is over
    #[arg(long)]
    pub watch: bool,
}

#[derive(Args, Debug)]
pub struct PlanArgs {
    #[arg(default_value = "last")]
    pub job: String,
    /// Change it in your editor and send it; only while it waits for approval
    #[arg(long, short, conflicts_with = "send")]
    pub edit: bool,
    /// Send the stages in this file (`-`: standard input); only while it waits for approval
    #[arg(long, value_name = "FILE")]
    pub send: Option<PathBuf>,
    /// The stages alone as JSON, as a submit takes them
    #[arg(long)]
    pub stages: bool,
}

#[derive(Args, Debug)]
pub struct SchedulesArgs {
    #[command(subcommand)]
    pub command: Option<SchedulesCommand>,
}

#[derive(Subcommand, Debug)]
pub enum SchedulesCommand {
    /// List all (the default)
    List,
    /// One with its next times and last runs
    Show { id: String },
    /// Make one, from a file with the body or from options
    Make(ScheduleArgs),
    /// Change one
    Change {
        id: String,
        #[command(flatten)]
        args: ScheduleArgs,
    },
    /// No run is due until it is resumed
    Pause { id: String },
    /// Runs are due again
    Resume { id: String },
    /// Run it now
    Run { id: String },
    /// Delete it; its jobs stay
    Delete { id: String },
}

#[derive(Args, Debug)]
pub struct ScheduleArgs {
    /// The body as JSON; other options are laid over it
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[arg(long)]
    pub name: Option<String>,
    /// Five fields, or `@daily` and its like
    #[arg(long)]
    pub cron: Option<String>,
    /// Of the IANA database: `Europe/Berlin`
    #[arg(long)]
    pub time_zone: Option<String>,
    /// The policy for a run that is due while an earlier one is at work: skip, queue, parallel
    #[arg(long)]
    pub overlap: Option<String>,
    /// A public address that is read at each run
    #[arg(long, value_name = "URL")]
    pub input_url: Option<String>,
    /// The body of the submit as JSON
    #[arg(long, value_name = "FILE")]
    pub job: Option<PathBuf>,
    /// Sets a field of the schedule: `job.limits.max_cost_usd=2`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

#[derive(Args, Debug)]
pub struct TokensArgs {
    #[command(subcommand)]
    pub command: Option<TokensCommand>,
}

#[derive(Subcommand, Debug)]
pub enum TokensCommand {
    /// List all (the default)
    List,
    /// One, without its text
    Show { id: String },
    /// Make one; its text is shown this once, on standard output
    Make {
        /// Its purpose
        name: String,
        /// Whose jobs it reads and submits
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        bounds: TokenBounds,
    },
    /// Change one
    Change {
        id: String,
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        bounds: TokenBounds,
    },
    /// Revoke one at once
    Revoke { id: String },
}

#[derive(Args, Debug)]
pub struct TokenBounds {
    /// read, run, admin
    #[arg(long, value_delimiter = ',')]
    pub scopes: Vec<String>,
    /// The time from which it is refused: `2030-01-01T00:00:00Z`; `none` removes a bound, here and below
    #[arg(long)]
    pub expires_at: Option<String>,
    /// Dollars that its jobs may spend in a UTC day
    #[arg(long, value_name = "USD")]
    pub daily_budget: Option<String>,
    /// Calls in flight of all its jobs together
    #[arg(long)]
    pub concurrency: Option<String>,
}

#[derive(Args, Debug)]
pub struct LoginArgs {
    /// Address of the deployment; asked for if left out
    pub address: Option<String>,
}

#[derive(Args, Debug)]
pub struct DeployArgs {
    /// Print every step and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The folder that wrangler.toml is in
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub dir: PathBuf,
    /// Dollars that all jobs together may spend on a UTC day; asked for where wrangler.toml has no cap
    #[arg(long, value_name = "USD", value_parser = crate::deploy::daily_cap::dollars)]
    pub daily_cap: Option<f64>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Region of a new database, and of the Worker in front of it: choose the one closest to you. A database never moves
    #[arg(long, value_name = "REGION")]
    pub location: Option<crate::deploy::location::Location>,
}
