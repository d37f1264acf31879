//! The command line: Firecracker's own, so that whatever starts Firecracker starts sparkler.
//!
//! Invariant: what Firecracker takes is taken, with the same defaults, the same conflicts and the same words when it is
//! wrong; a flag that has no meaning here is named by [`Args::without_meaning`] and logged, never an error.
//!
//! Source: `main_exec` in Firecracker's `src/firecracker/src/main.rs`.

mod error;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

pub use self::error::ArgsError;
use crate::logger::DEFAULT_ID;
use crate::qemu::accel::Choice;

/// Longest body of a request taken unless told otherwise, bytes.
const DEFAULT_PAYLOAD: &str = "51200";

/// What the command line says.
#[derive(Debug, Parser)]
#[command(
    name = "sparkler",
    about = "Runs a microVM under QEMU and serves Firecracker's API for it.",
    disable_version_flag = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Args {
    /// Path to unix domain socket used by the API.
    #[arg(long, value_name = "api-sock", default_value = "/run/firecracker.socket")]
    pub api_sock: PathBuf,
    /// MicroVM unique identifier.
    #[arg(long, value_name = "id", default_value = DEFAULT_ID, value_parser = instance_id)]
    pub id: String,
    /// Path to a custom seccomp filter. Taken and not used: QEMU has a sandbox of its own.
    #[arg(long, value_name = "seccomp-filter", conflicts_with = "no_seccomp")]
    pub seccomp_filter: Option<PathBuf>,
    /// Do without Firecracker's seccomp filters. Taken and not used: QEMU's sandbox stays on.
    #[arg(long)]
    pub no_seccomp: bool,
    /// Process start time (monotonic clock, microseconds), for the metrics.
    #[arg(long, value_name = "start-time-us")]
    pub start_time_us: Option<u64>,
    /// Process start CPU time (microseconds), for the metrics.
    #[arg(long, value_name = "start-time-cpu-us")]
    pub start_time_cpu_us: Option<u64>,
    /// Parent process CPU time (microseconds), for the metrics.
    #[arg(long, value_name = "parent-cpu-time-us")]
    pub parent_cpu_time_us: Option<u64>,
    /// Path to a file that contains the microVM configuration in JSON format.
    #[arg(long, value_name = "config-file")]
    pub config_file: Option<PathBuf>,
    /// Path to a file that contains metadata in JSON format to add to the mmds.
    #[arg(long, value_name = "metadata")]
    pub metadata: Option<PathBuf>,
    /// Start and use a microVM without an active API socket.
    #[arg(long, requires = "config_file")]
    pub no_api: bool,
    /// Path to a fifo or a file used for configuring the logger on startup.
    #[arg(long, value_name = "log-path")]
    pub log_path: Option<PathBuf>,
    /// Set the logger level: Off, Trace, Debug, Info, Warn or Error.
    #[arg(long, value_name = "level")]
    pub level: Option<String>,
    /// Set the logger module filter.
    #[arg(long, value_name = "module")]
    pub module: Option<String>,
    /// Whether or not to output the level in the logs.
    #[arg(long)]
    pub show_level: bool,
    /// Whether or not to include the file path and line number of the log's origin.
    #[arg(long)]
    pub show_log_origin: bool,
    /// Path to a fifo or a file used for configuring the metrics on startup.
    #[arg(long, value_name = "metrics-path")]
    pub metrics_path: Option<PathBuf>,
    /// Load the boot timer device. Taken and not used: QEMU has no such device.
    #[arg(long)]
    pub boot_timer: bool,
    /// Print the binary version number.
    #[arg(long)]
    pub version: bool,
    /// Print the supported snapshot data format version.
    #[arg(long)]
    pub snapshot_version: bool,
    /// Print the data format version of the provided snapshot state file.
    #[arg(long, value_name = "describe-snapshot")]
    pub describe_snapshot: Option<PathBuf>,
    /// Http API request payload max size, in bytes.
    #[arg(long, value_name = "http-api-max-payload-size", default_value = DEFAULT_PAYLOAD)]
    pub http_api_max_payload_size: usize,
    /// Mmds data store limit, in bytes [default: that of --http-api-max-payload-size].
    #[arg(long, value_name = "mmds-size-limit")]
    pub mmds_size_limit: Option<usize>,
    /// Enable PCIe support. Taken and not used: the devices are virtio-mmio.
    #[arg(long)]
    pub enable_pci: bool,
    /// How the guest is run: auto, kvm or tcg. Not a flag of Firecracker.
    #[arg(long, value_name = "accel", default_value = "auto")]
    pub accel: Choice,
    /// How many bytes of standard output are kept at its end, where that is a file: what is older takes no room on the disk
    /// any more [default: all]. Not a flag of Firecracker.
    #[arg(long, value_name = "keep-output")]
    pub keep_output: Option<u64>,
    /// What follows `--`: taken and not used, as by Firecracker.
    #[arg(last = true, hide = true)]
    rest: Vec<OsString>,
}

impl Args {
    /// Reads a command line, the program's name first.
    pub fn parse_from(args: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let args: Vec<OsString> = args.into_iter().collect();
        // As Firecracker: asked for its version, nothing else on the line matters.
        if args
            .iter()
            .skip(1)
            .take_while(|arg| *arg != "--")
            .any(|arg| arg == "--version")
        {
            let version = ["sparkler", "--version"];
            return Self::try_parse_from(version).map_err(ArgsError::from);
        }
        Self::try_parse_from(args).map_err(ArgsError::from)
    }

    /// The flags given that have no meaning here, each with the reason.
    #[must_use]
    pub fn without_meaning(&self) -> Vec<(&'static str, &'static str)> {
        let all = [
            (
                self.seccomp_filter.is_some(),
                "--seccomp-filter",
                "QEMU has a sandbox of its own, which stays on",
            ),
            (self.no_seccomp, "--no-seccomp", "QEMU's sandbox stays on"),
            (self.boot_timer, "--boot-timer", "QEMU has no boot timer device"),
            (
                self.enable_pci,
                "--enable-pci",
                "the devices are virtio-mmio, and none can be added or removed",
            ),
        ];
        all.into_iter()
            .filter(|(given, ..)| *given)
            .map(|(_, flag, reason)| (flag, reason))
            .collect()
    }

    /// Limit of the metadata store, bytes.
    #[must_use]
    pub fn mmds_limit(&self) -> usize {
        self.mmds_size_limit.unwrap_or(self.http_api_max_payload_size)
    }
}

/// One to 64 letters, digits and hyphens (`validate_instance_id` in Firecracker).
fn instance_id(text: &str) -> Result<String, String> {
    if !(1..=64).contains(&text.len()) {
        return Err(format!(
            "Invalid len ({});  the length must be between 1 and 64",
            text.len()
        ));
    }
    match text
        .chars()
        .enumerate()
        .find(|(_, char)| !(*char == '-' || char.is_alphanumeric()))
    {
        Some((place, char)) => Err(format!("Invalid char ({char}) at position {place}")),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse_from(
            std::iter::once("sparkler")
                .chain(line.split_whitespace())
                .map(OsString::from),
        )
    }

    fn wrong(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    #[test]
    fn firecrackers_whole_command_line_is_taken() {
        let args = parse(
            "--api-sock /a --id 12-3aa --config-file c --metadata m --no-api --log-path l --level Warning --module x \
             --show-level --show-log-origin --metrics-path p --boot-timer --mmds-size-limit 5 \
             --http-api-max-payload-size 7 --start-time-us 1 --start-time-cpu-us 2 --parent-cpu-time-us 3 \
             --no-seccomp --enable-pci -- anything --at all",
        )
        .unwrap();
        assert_eq!(
            (
                args.id.as_str(),
                args.mmds_limit(),
                args.http_api_max_payload_size
            ),
            ("12-3aa", 5, 7)
        );
        let flags: Vec<_> = args.without_meaning().into_iter().map(|(flag, _)| flag).collect();
        assert_eq!(flags, ["--no-seccomp", "--boot-timer", "--enable-pci"]);
    }

    #[test]
    fn defaults_are_firecrackers() {
        let args = parse("").unwrap();
        assert_eq!(args.api_sock, PathBuf::from("/run/firecracker.socket"));
        assert_eq!(args.id, "anonymous-instance");
        assert_eq!(
            (args.http_api_max_payload_size, args.mmds_limit()),
            (51200, 51200)
        );
        assert!(args.without_meaning().is_empty());
        assert_eq!(args.keep_output, None);
    }

    #[test]
    fn wrong_lines_are_refused_in_firecrackers_words() {
        assert_eq!(
            wrong("--foo"),
            "Found argument 'foo' which wasn't expected, or isn't valid in this context."
        );
        assert_eq!(
            wrong("foo"),
            "Found argument 'foo' which wasn't expected, or isn't valid in this context."
        );
        assert_eq!(
            wrong("--api-sock"),
            "The argument 'api-sock' requires a value, but none was supplied."
        );
        assert_eq!(
            wrong("--no-api"),
            "Argument 'config-file' required, but not found."
        );
        assert_eq!(
            wrong("--id a --id b"),
            "The argument 'id' was provided more than once."
        );
        let both = "Argument 'no-seccomp' cannot be used together with argument 'seccomp-filter'.";
        assert_eq!(wrong("--seccomp-filter f --no-seccomp"), both);
        assert_eq!(
            wrong("--id a_b"),
            "The argument 'id' has an invalid value 'a_b': Invalid char (_) at position 1."
        );
        let size = wrong("--mmds-size-limit x");
        assert_eq!(
            size,
            "The argument 'mmds-size-limit' has an invalid value 'x': invalid digit found in string."
        );
    }

    #[test]
    fn the_version_is_told_whatever_else_is_there() {
        assert!(parse("--foo --version").unwrap().version);
    }
}
