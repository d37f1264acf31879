//! The command `knaller`: words in, calls of the library, results and errors out.
//!
//! ```text
//! commands/   one file per command: its words (clap) and what it does with the library
//! args/       words that several commands share
//! ui/         everything that is written: tables, JSON, YAML, progress, timelines
//! error       what went wrong, with hints, and the exit code for it
//! help        topics that are about no single command
//! complete    answers to the shell while the user types
//! session     a guest's command at the user's terminal
//! input       what is typed
//! ```
//!
//! The invariant: a command returns its exit code or an error; only [`run`] turns either into the end of the process,
//! and only `ui` writes to the standard streams. A reader that went away (a closed pipe) is success.

mod archive;
mod args;
mod commands;
mod complete;
mod context;
mod error;
mod help;
mod input;
mod session;
mod signals;
mod terminal;
mod ui;

use std::ffi::OsString;
use std::panic;
use std::process::ExitCode;

use clap::{ArgAction, ColorChoice, CommandFactory as _, Parser};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use commands::Command;
use error::CommandError;
use ui::Ui;

/// microVMs on one Linux machine, without root and without a daemon
#[derive(Parser, Debug)]
#[command(
    name = "knaller",
    version,
    styles = ui::style::HELP,
    max_term_width = 100,
    disable_help_flag = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "`knaller help COMMAND` tells more, and so do `knaller help exit-codes` and `knaller help environment`."
)]
struct Cli {
    /// When to use colour
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, help_heading = GLOBAL)]
    color: ColorChoice,

    /// What to log to standard error: warn, debug, knaller=trace
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "KNALLER_LOG",
        default_value = "warn",
        hide_default_value = true,
        hide_env = true,
        help_heading = GLOBAL
    )]
    log: String,

    /// Show this help
    #[arg(short, long, global = true, action = ArgAction::HelpShort, help_heading = GLOBAL)]
    help: Option<bool>,

    #[command(subcommand)]
    command: Command,
}

const GLOBAL: &str = "Global options";

/// The definition of all words, as help, completions and manual pages are made from it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Does what `words` (the program's name first) say, to its end.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<_> = words.into_iter().collect();
    if complete::answer(&words) {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let ui = Ui::new(cli.color);
    match start(cli, ui) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(ui.error(&error)),
    }
}

/// Help and versions come as errors too; those are successes.
fn refuse(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell where this fails.
    let _ = error.print();
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(knaller::Class::Usage.code()),
    }
}

fn start(cli: Cli, ui: Ui) -> Result<u8, CommandError> {
    log(&cli.log, ui)?;
    let runtime = event_loop()?;
    let result = runtime.block_on(cli.command.run(ui));
    // A thread may still wait for a key to be pressed: the process does not.
    runtime.shutdown_background();
    result
}

fn event_loop() -> Result<Runtime, CommandError> {
    const FAILED: &str = "cannot start the event loop";
    // Where there are too many open files for the pipe that its signals come through, it panics, which no user is to see.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let built = panic::catch_unwind(|| Builder::new_current_thread().enable_all().build());
    panic::set_hook(hook);
    match built {
        Ok(built) => built.map_err(|error| CommandError::host(FAILED, &error)),
        Err(said) => {
            let why = said
                .downcast_ref::<String>()
                .map_or("it gives no reason", String::as_str);
            Err(CommandError::refused(
                knaller::Class::Host,
                format!("{FAILED}: {why}"),
            ))
        }
    }
}

fn log(filter: &str, ui: Ui) -> Result<(), CommandError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| CommandError::usage(format!("{filter:?} is no filter for the log: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ui.colours_errors())
        .without_time()
        .init();
    Ok(())
}
