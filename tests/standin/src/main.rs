//! The program: flags, one line when it listens, then it serves until ended.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use standin::{
    Config, Engine,
    faults::{Modes, Rule, Shares},
    http,
};

const USAGE: &str = "standin: a stand-in for Claude's Messages API

  --port N           listen on 127.0.0.1:N (default 0: a free port)
  --latency-ms N     mean time to finish an answer (default 0)
  --jitter X         latency varies by this share (default 0)
  --first-byte X     share of the latency before the answer begins (default 0.3)
  --chunks N         deltas per text in a stream (default 4)
  --api-key KEY      the only key accepted (default: any)
  --rpm N            enforce requests per minute, per model class
  --itpm N           enforce input tokens per minute
  --otpm N           enforce output tokens per minute
  --burst X          share of a minute's worth a bucket holds (default 1/6)
  --faults SPEC      shares of calls with faults: 429=0.05,500=0.03,cut=0.01
  --modes LIST       in force for all calls: usage_zero,no_rate_headers
  --outage-ms N      502 on every path for N ms, from the first call on
  --served-model ID  the model that answers name
  --context N        no model's context is larger than N tokens
  --seed N           seed of faults and jitter (default 1)
  --batch-ms N       how long a batch is in progress (default 2000)

GET /control/faults lists the faults; /control/config changes all of it at run time.";

struct Options {
    port: u16,
    config: Config,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(fault) => {
            eprintln!("standin: {fault}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("standin: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        port: 0,
        config: Config::default(),
    };
    while let Some(flag) = args.next() {
        if matches!(flag.as_str(), "--help" | "-h") {
            return Ok(None);
        }
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), value.to_owned()),
            None => {
                let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
                (flag, value)
            }
        };
        set(&mut options, &flag, &value).map_err(|fault| format!("{flag} {value}: {fault}"))?;
    }
    options.config = options.config.check()?;
    Ok(Some(options))
}

fn set(options: &mut Options, flag: &str, value: &str) -> Result<(), String> {
    fn read<T: std::str::FromStr>(value: &str) -> Result<T, String> {
        value
            .parse()
            .map_err(|_| "not a number in range".to_owned())
    }
    let config = &mut options.config;
    match flag {
        "--port" => options.port = read(value)?,
        "--latency-ms" => config.latency_ms = read(value)?,
        "--jitter" => config.jitter = read(value)?,
        "--first-byte" => config.first_byte = read(value)?,
        "--chunks" => config.chunks = read(value)?,
        "--api-key" => config.api_key = Some(value.to_owned()),
        "--rpm" => config.limits.rpm = Some(read(value)?),
        "--itpm" => config.limits.itpm = Some(read(value)?),
        "--otpm" => config.limits.otpm = Some(read(value)?),
        "--burst" => config.limits.burst = read(value)?,
        "--faults" => config.faults = Shares::parse(value)?,
        "--modes" => config.modes = Modes::parse(value)?,
        "--outage-ms" => config.rules.push(Rule::outage(read(value)?)),
        "--served-model" => config.served_model = Some(value.to_owned()),
        "--context" => config.context_tokens = Some(read(value)?),
        "--seed" => config.seed = read(value)?,
        "--batch-ms" => config.batch_ms = read(value)?,
        _ => return Err("unknown flag".to_owned()),
    }
    Ok(())
}

fn run(options: Options) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (listener, address) = http::listen(options.port).await?;
        let now_ms = http::now_ms();
        // Ids of different runs differ, as request ids do.
        let shared = http::Shared::new(Engine::new(options.config, now_ms, now_ms));
        let mut out = io::stdout();
        writeln!(out, "standin listening on http://{address}")?;
        out.flush()?;
        tokio::select! {
            () = http::serve(listener, shared) => Ok(()),
            ended = tokio::signal::ctrl_c() => ended,
        }
    })
}
