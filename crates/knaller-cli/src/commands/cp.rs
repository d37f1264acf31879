//! `knaller cp`: files and folders into and out of machines.

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueHint};
use knaller::{CopyEvent, CopyOptions, Name};

use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::{Progress, human};

/// Copy files and folders into or out of a machine
#[derive(Args, Debug)]
#[command(after_help = "\
NAME:PATH, or USER@NAME:PATH, is in the machine; anything else is here (write ./a:b for a file of that name). Folders \
go with all they hold. Modes, times and symbolic links are kept. Hard links become files of their own; setuid and \
setgid bits are dropped on the way out; named pipes, sockets and devices are left out, with a warning.

Examples:
  knaller cp site web:/srv/www
  knaller cp web:/var/log .")]
pub(crate) struct CpArgs {
    /// What to copy
    #[arg(
        value_name = "SOURCE",
        required = true,
        value_parser = NonEmptyStringValueParser::new(),
        value_hint = ValueHint::AnyPath
    )]
    sources: Vec<String>,

    /// Where to; a folder gets the sources inside
    #[arg(value_name = "TARGET", value_parser = NonEmptyStringValueParser::new(), value_hint = ValueHint::AnyPath)]
    target: String,

    /// Copy what a SOURCE that is a symbolic link points at
    #[arg(short = 'L', long)]
    follow: bool,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Here(PathBuf),
    Guest { user: String, name: Name, path: String },
}

impl Place {
    /// As scp reads it: a colon before any slash makes it a guest's.
    fn parse(text: &str) -> Result<Self, CommandError> {
        let Some((host, path)) = text.split_once(':').filter(|(host, _)| !host.contains('/')) else {
            return Ok(Self::Here(text.into()));
        };
        let (user, name) = host.rsplit_once('@').unwrap_or(("root", host));
        let name = name.parse().map_err(|error: knaller::InvalidName| {
            CommandError::usage(error.to_string()).hint(format!("write ./{text} for a file of that name"))
        })?;
        Ok(Self::Guest {
            user: user.to_owned(),
            name,
            path: path.to_owned(),
        })
    }
}

impl CpArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let target = Place::parse(&self.target)?;
        let sources = self
            .sources
            .iter()
            .map(|source| Place::parse(source))
            .collect::<Result<Vec<_>, _>>()?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        tokio::select! {
            copied = self.copy(&context, &sources, &target) => copied,
            signal = signals.next() => Err(CommandError::Ended(signal)),
        }
    }

    async fn copy(&self, context: &Context, sources: &[Place], target: &Place) -> Result<(), CommandError> {
        let progress = Progress::start(context.ui, "copying");
        let mut tally = Tally::default();
        for source in sources {
            let mut observer = |event| tally.note(&progress, event);
            match (source, target) {
                (Place::Here(from), Place::Guest { user, name, path }) => {
                    let machine = context.machine(name).await?;
                    let to = in_home(path);
                    machine
                        .copy_in(from, to, &self.options(user), &mut observer)
                        .await?;
                }
                (Place::Guest { user, name, path }, Place::Here(to)) => {
                    let machine = context.machine(name).await?;
                    machine
                        .copy_out(in_home(path), to, &self.options(user), &mut observer)
                        .await?;
                }
                (Place::Here(from), Place::Here(_)) => return Err(neither(from)),
                (Place::Guest { .. }, Place::Guest { .. }) => {
                    return Err(CommandError::usage(
                        "a copy has one end here: two machines cannot be named at once",
                    )
                    .hint("copy to a folder here first"));
                }
            }
        }
        drop(progress);
        let entries = if tally.entries == 1 { "entry" } else { "entries" };
        context.ui.note(format_args!(
            "{} {entries} copied, {}",
            tally.entries,
            human::bytes(tally.bytes)
        ));
        Ok(())
    }

    fn options(&self, user: &str) -> CopyOptions {
        let mut options = CopyOptions::default();
        user.clone_into(&mut options.user);
        options.follow = self.follow;
        options
    }
}

/// Nothing behind the colon is the home folder, as with scp.
fn in_home(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

fn neither(from: &Path) -> CommandError {
    CommandError::usage(format!(
        "neither {} nor the target is in a machine",
        from.display()
    ))
    .hint("write NAME:PATH for a path in a machine")
}

/// What went so far.
#[derive(Debug, Default)]
struct Tally {
    entries: u64,
    bytes: u64,
    current: String,
}

impl Tally {
    fn note(&mut self, progress: &Progress, event: CopyEvent) {
        match event {
            CopyEvent::Entry { path, .. } => {
                self.entries += 1;
                self.current = path;
            }
            CopyEvent::Bytes(bytes) => self.bytes += bytes,
            CopyEvent::Skipped { path, reason } => progress.warning(&format!("{path} is left out: {reason}")),
            _ => {}
        }
        progress.doing(&format!(
            "copying {}, {} so far",
            self.current,
            human::bytes(self.bytes)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_before_any_slash_names_a_machine() {
        let guest = |user: &str, path: &str| Place::Guest {
            user: user.to_owned(),
            name: "web".parse().unwrap(),
            path: path.to_owned(),
        };
        let places = [
            ("web:/etc/passwd", guest("root", "/etc/passwd")),
            ("web:", guest("root", "")),
            ("me@web:a:b", guest("me", "a:b")),
            ("./web:x", Place::Here("./web:x".into())),
            ("/a/b", Place::Here("/a/b".into())),
            ("plain", Place::Here("plain".into())),
        ];
        for (text, place) in places {
            assert_eq!(Place::parse(text).unwrap(), place, "{text}");
        }
        assert!(Place::parse("no_name:/x").is_err());
    }
}
