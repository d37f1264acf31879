//! The command: reads the command line, answers questions about itself, or runs a machine.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where the program speaks"
)]

use std::process::ExitCode;
use std::sync::Arc;

use sparkler::arch::Clock;
use sparkler::cli::{Args, ArgsError};
use sparkler::exit::Exit;
use sparkler::logger::{Logger, parse_level};
use sparkler::qemu::process;
use sparkler::run::run;
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
        let version = std::fs::File::open(path)
            .map_err(snapshot::HeadError::from)
            .and_then(snapshot::read_version);
        return match version {
            Ok(version) => {
                println!("v{version}");
                Exit::Ok.into()
            }
            Err(error) => {
                eprintln!("Error: Invalid data format version of snapshot file: {error}");
                Exit::GenericError.into()
            }
        };
    }
    let stdout = match rustix::io::dup(rustix::stdio::stdout())
        .map_err(Into::into)
        .and_then(Sink::start)
    {
        Ok(stdout) => stdout,
        Err(error) => {
            eprintln!("Error: no standard output: {error}");
            return Exit::GenericError.into();
        }
    };
    let exit = serve(&args, clock, &stdout);
    match exit {
        Exit::Ok => tracing::info!("Firecracker exiting successfully. exit_code=0"),
        exit => tracing::error!("Firecracker exiting with error. exit_code={}", exit.code()),
    }
    stdout.flush();
    exit.into()
}

/// Runs a machine; an error is told on standard error and in the log.
fn serve(args: &Args, clock: Clock, stdout: &Sink) -> Exit {
    let logger = Logger::new(stdout.clone());
    tracing_subscriber::registry().with(logger.clone()).init();
    let fail = |exit: Exit, error: &dyn std::fmt::Display| {
        tracing::error!("{error}");
        eprintln!("Error: {error}");
        exit
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
    let config = firecracker_api::models::Logger {
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
    let vm = Vm::new(args.id.clone(), host, logger, args.mmds_limit());
    match run(args, vm) {
        Ok(exit) => exit,
        Err(error) => fail(Exit::GenericError, &error),
    }
}
