//! The command: reads the command line, answers questions about itself, or runs a machine.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where the program speaks"
)]

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use firecracker_api::models;
use rustix::time::{ClockId, clock_gettime};
use sparkler::arch::Clock;
use sparkler::cli::{Args, ArgsError};
use sparkler::exit::Exit;
use sparkler::keep::Keep;
use sparkler::logger::{Logger, parse_level};
use sparkler::metrics::{Metrics, MetricsError};
use sparkler::mmds::Mmds;
use sparkler::qemu::process;
use sparkler::run::{Ending, run};
use sparkler::signals::die_by;
use sparkler::sink::Sink;
use sparkler::snapshot;
use sparkler::vm::start::Host;
use sparkler::vm::{VERSION, Vm};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let clock = Clock::start();
    let args = match Args::parse_from(std::env::args_os()) {
        Ok(args) => args,
        Err(ArgsError::Help(text)) => {
            println!("{text}");
            return Exit::Ok.into();
        }
        Err(error) => {
            eprintln!("Error: Arguments parsing error: {error} \n\nFor more information try --help.");
            return Exit::ArgParsing.into();
        }
    };
    if args.version {
        println!("Firecracker v{VERSION}\n");
        return Exit::Ok.into();
    }
    if args.snapshot_version {
        println!("v{}", snapshot::VERSION);
        return Exit::Ok.into();
    }
    if let Some(path) = &args.describe_snapshot {
        return describe(path).into();
    }
    let stdout = match rustix::io::dup(rustix::stdio::stdout())
        .map_err(Into::into)
        .and_then(|stdout| Sink::start_keeping(stdout, args.keep_output.map(Keep::last)))
    {
        Ok(stdout) => stdout,
        Err(error) => {
            eprintln!("Error: no standard output: {error}");
            return Exit::GenericError.into();
        }
    };
    let ending = serve(&args, clock, &stdout);
    let exit = match ending {
        Ending::Exit(exit) => exit,
        Ending::Signal(number) => {
            stdout.flush();
            die_by(number);
            Exit::UnexpectedError
        }
    };
    match exit {
        Exit::Ok => tracing::info!("Firecracker exiting successfully. exit_code=0"),
        exit => tracing::error!("Firecracker exiting with error. exit_code={}", exit.code()),
    }
    stdout.flush();
    exit.into()
}

/// Prints the version of a state file's format.
fn describe(path: &Path) -> Exit {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("Error: Unable to open snapshot state file: {error}");
            return Exit::GenericError;
        }
    };
    match snapshot::read_version(file) {
        Ok(version) => {
            println!("v{version}");
            Exit::Ok
        }
        Err(error) => {
            eprintln!("Error: Invalid data format version of snapshot file: {error}");
            Exit::GenericError
        }
    }
}

/// Runs a machine; an error is told on standard error and in the log.
fn serve(args: &Args, clock: Clock, stdout: &Sink) -> Ending {
    let logger = Logger::new(stdout.clone());
    tracing_subscriber::registry().with(logger.clone()).init();
    let fail = |exit: Exit, error: &dyn std::fmt::Display| {
        tracing::error!("{error}");
        eprintln!("Error: {error}");
        Ending::Exit(exit)
    };
    logger.set_id(&args.id);
    let level = match args.level.as_deref().map(parse_level).transpose() {
        Ok(level) => level,
        Err(error) => {
            let text = format!(
                "Invalid value for logger level: {error}.Possible values: [Error, Warning, Info, Debug]"
            );
            return fail(Exit::BadConfiguration, &text);
        }
    };
    let config = models::Logger {
        log_path: args.log_path.clone(),
        level,
        show_level: args.show_level.then_some(true),
        show_log_origin: args.show_log_origin.then_some(true),
        module: args.module.clone(),
    };
    if let Err(error) = logger.update(&config) {
        return fail(
            Exit::GenericError,
            &format!("Could not initialize logger: {error}"),
        );
    }
    tracing::info!("Running Firecracker v{VERSION}");
    for (flag, reason) in args.without_meaning() {
        tracing::warn!("{flag} has no effect: {reason}");
    }
    let host = Host {
        accel: args.accel.decide(),
        qemu: process::program(),
        clock,
        stdout: stdout.clone(),
        console: Arc::default(),
    };
    let metrics = match metrics(args) {
        Ok(metrics) => metrics,
        Err(error) => {
            return fail(
                Exit::GenericError,
                &format!("Could not initialize metrics: {error}"),
            );
        }
    };
    let mmds = match mmds(args) {
        Ok(mmds) => mmds,
        Err(error) => return fail(Exit::GenericError, &error),
    };
    let vm = Vm::new(args.id.clone(), host, logger, metrics, mmds);
    match run(args, vm) {
        Ok(ending) => ending,
        Err(error) => fail(Exit::GenericError, &error),
    }
}

/// The metrics as the command line wants them. Times are those of Firecracker's `ProcessTimeReporter`.
fn metrics(args: &Args) -> Result<Metrics, MetricsError> {
    let mut metrics = Metrics::new(args.id.clone());
    if let Some(path) = &args.metrics_path {
        let config = models::Metrics {
            metrics_path: path.clone(),
            ..models::Metrics::default()
        };
        metrics.open(config)?;
    }
    let since = |start: u64, clock| micros(clock).saturating_sub(start);
    let parent = args.parent_cpu_time_us.unwrap_or(0);
    metrics.set_startup(
        args.start_time_us.map(|start| since(start, ClockId::Monotonic)),
        args.start_time_cpu_us
            .map(|start| since(start, ClockId::ProcessCPUTime) + parent),
    );
    Ok(metrics)
}

fn micros(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let whole = |number: i64| u64::try_from(number).unwrap_or(0);
    whole(now.tv_sec) * 1_000_000 + whole(now.tv_nsec) / 1000
}

/// The metadata service, with what the command line gives it.
fn mmds(args: &Args) -> Result<Mmds, String> {
    let mmds = Mmds::new(&args.id, args.mmds_limit()).map_err(|error| format!("MMDS: {error}"))?;
    if let Some(path) = &args.metadata {
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!(
                "Unable to open or read from the mmds content file {}: {error}",
                path.display()
            )
        })?;
        let contents = serde_json::from_str(&text)
            .map_err(|error| format!("MMDS error: metadata provided not valid json: {error}"))?;
        mmds.put(contents)
            .map_err(|fault| format!("Populating MMDS from file failed: {fault}"))?;
        tracing::info!("Successfully added metadata to mmds from file");
    }
    Ok(mmds)
}
