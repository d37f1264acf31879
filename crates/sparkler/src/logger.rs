//! The log, in Firecracker's form.
//!
//! Invariant: a line is written in one piece or counted as missed, and writing it never waits: a file or named pipe is
//! opened non-blocking, standard output goes through a [`Sink`].
//!
//! ```text
//! 2026-11-22T10:49:31.123456789 [my-vm:main:INFO:crates/sparkler/src/run.rs:42] text
//! ```
//!
//! Level and origin stand there only if asked for. `module` names the start of a Rust module path, here `sparkler::…`.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use firecracker_api::models::{LogLevel, Logger as Config};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::console::open_nonblock;
use crate::sink::Sink;

/// The name of a VM that was given none.
pub const DEFAULT_ID: &str = "anonymous-instance";

/// The log's target could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("Failed to open target file: {0}")]
pub struct LoggerError(#[source] pub io::Error);

/// The process's log; clones are the same log.
#[derive(Debug, Clone)]
pub struct Logger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
    missed: AtomicU64,
}

#[derive(Debug)]
struct State {
    id: String,
    target: Target,
    level: LevelFilter,
    show_level: bool,
    show_origin: bool,
    module: Option<String>,
}

#[derive(Debug)]
enum Target {
    Stdout(Sink),
    File(File),
}

impl Logger {
    /// A log to standard output, level Info.
    #[must_use]
    pub fn new(stdout: Sink) -> Self {
        let state = State {
            id: DEFAULT_ID.to_owned(),
            target: Target::Stdout(stdout),
            level: LevelFilter::INFO,
            show_level: false,
            show_origin: false,
            module: None,
        };
        Self {
            shared: Arc::new(Shared {
                state: RwLock::new(state),
                missed: AtomicU64::new(0),
            }),
        }
    }

    /// Names the VM in every line from now on.
    pub fn set_id(&self, id: &str) {
        self.change(|state| id.clone_into(&mut state.id));
    }

    /// Changes what is given and keeps the rest; a level not given becomes Info, as in Firecracker.
    pub fn update(&self, config: &Config) -> Result<(), LoggerError> {
        let file = config
            .log_path
            .as_deref()
            .map(open_nonblock)
            .transpose()
            .map_err(LoggerError)?;
        self.change(|state| {
            state.level = config.level.map_or(LevelFilter::INFO, filter);
            if let Some(file) = file {
                state.target = Target::File(file);
            }
            state.show_level = config.show_level.unwrap_or(state.show_level);
            state.show_origin = config.show_log_origin.unwrap_or(state.show_origin);
            if config.module.is_some() {
                state.module.clone_from(&config.module);
            }
        });
        Ok(())
    }

    /// Lines that could not be written so far.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The level a word on the command line means, in any case; `warning` is Warn.
pub fn parse_level(word: &str) -> Result<LogLevel, UnknownLevel> {
    match word.to_ascii_lowercase().as_str() {
        "off" => Ok(LogLevel::Off),
        "trace" => Ok(LogLevel::Trace),
        "debug" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "error" => Ok(LogLevel::Error),
        _ => Err(UnknownLevel(word.to_owned())),
    }
}

/// Not a level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Failed to parse string to level filter: {0}")]
pub struct UnknownLevel(pub String);

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

impl<S: Subscriber> Layer<S> for Logger {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        let data = event.metadata();
        let wanted = state.module.as_deref().unwrap_or("");
        if *data.level() > state.level || !data.module_path().unwrap_or("").starts_with(wanted) {
            return;
        }
        let line = state.line(event);
        let written = match &state.target {
            Target::Stdout(sink) => sink.push(line.as_bytes()) == line.len(),
            Target::File(file) => (&mut &*file).write_all(line.as_bytes()).is_ok(),
        };
        if !written {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl State {
    fn line(&self, event: &Event<'_>) -> String {
        let data = event.metadata();
        let thread = std::thread::current();
        let time = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S.%9f").to_string();
        let mut line = format!("{time} [{}:{}", self.id, thread.name().unwrap_or("-"));
        if self.show_level {
            let _ = write!(line, ":{}", data.level());
        }
        if self.show_origin {
            let _ = write!(
                line,
                ":{}:{}",
                data.file().unwrap_or("?"),
                data.line().unwrap_or(0)
            );
        }
        line.push_str("] ");
        event.record(&mut Text(&mut line));
        line.push('\n');
        line
    }
}

/// Writes an event's message, then its other fields as `name=value`.
struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail. Line feeds would let a text pose as a line of its own.
        let text = format!("{value:?}").replace('\n', " ");
        let _ = match field.name() {
            "message" => write!(self.0, "{text}"),
            name => write!(self.0, " {name}={text}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::str::FromStr;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn logged(config: &Config, log: impl FnOnce()) -> String {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let sink = Sink::start(write).unwrap();
        let logger = Logger::new(sink.clone());
        logger.set_id("my-vm");
        logger.update(config).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(logger), log);
        sink.flush();
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        let mut text = vec![0; 4096];
        let count = File::from(read).read(&mut text).unwrap_or(0);
        String::from_utf8_lossy(&text[..count]).into_owned()
    }

    /// The line without its time, which is checked for its form.
    fn without_time(line: &str) -> &str {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(
            jiff::civil::DateTime::from_str(time).is_ok() && time.len() == 29,
            "{time}"
        );
        rest
    }

    #[test]
    fn a_line_is_firecrackers() {
        let name = std::thread::current().name().unwrap().to_owned();
        let plain = logged(&Config::default(), || tracing::info!("hello {}", 1));
        assert_eq!(without_time(&plain), format!("[my-vm:{name}] hello 1\n"));
        let full = Config {
            show_level: Some(true),
            show_log_origin: Some(true),
            ..Config::default()
        };
        let line = logged(&full, || tracing::warn!("two\nlines"));
        let rest = without_time(&line)
            .strip_prefix(&format!("[my-vm:{name}:WARN:"))
            .unwrap();
        assert!(
            rest.contains("src/logger.rs:") && rest.ends_with("] two lines\n"),
            "{rest}"
        );
    }

    #[test]
    fn level_and_module_choose() {
        let log = || {
            tracing::debug!("d");
            tracing::info!("i");
            tracing::error!("e");
        };
        let level = |level| {
            logged(
                &Config {
                    level: Some(level),
                    ..Config::default()
                },
                log,
            )
            .lines()
            .count()
        };
        assert_eq!(
            [LogLevel::Off, LogLevel::Error, LogLevel::Info, LogLevel::Debug].map(level),
            [0, 1, 2, 3]
        );
        let module = |module: &str| {
            logged(
                &Config {
                    module: Some(module.into()),
                    ..Config::default()
                },
                log,
            )
            .lines()
            .count()
        };
        assert_eq!(["sparkler::logger", "sparkler::vm"].map(module), [2, 0]);
    }

    #[test]
    fn words_for_levels() {
        assert_eq!(parse_level("WARNING"), Ok(LogLevel::Warn));
        assert_eq!(parse_level("loud"), Err(UnknownLevel("loud".to_owned())));
    }
}
