//! `knaller update`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::{Change, EgressRule, Forward, Restart, Update, Updated};
use serde::Serialize;

use super::each::{Done, each};
use super::start::pair;
use crate::args::limits::{LimitChanges, warn_of_quota};
use crate::args::machine::MachineArgs;
use crate::args::size;
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Change what machines may take and are to be, while they run as far as that can be
#[derive(Args, Debug)]
#[command(after_help = "\
Limits, labels, the restart policy and forwarded ports hold at once in a machine that runs; all else from its next start, which is said. \
Ports that stay keep their connections. Limits of CPU time, processes and the VMM's memory hold at once only where the machine was started with one of them, or with \
--slice.

What a machine is made of stays: its image, disks, volumes, kernel, VMM and kind of network. Another of those is another machine: \
`knaller rm` and `knaller start`, or `knaller commit` and `start --image` to take the files along.

Examples:
  knaller update web --cpu-quota 0.5 --disk-bandwidth 20:100
  knaller update web --memory-target 128M
  knaller update web -p 8080:80 -p 127.0.0.1:5353:53/udp
  knaller update web --restart always --env LEVEL=debug --remove-env TRACE
  knaller update --all --net-send none --label team=a")]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    machines: MachineArgs,

    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitChanges,

    /// A label to add or change
    #[arg(short, long = "label", value_name = "NAME=VALUE", value_parser = pair, help_heading = "Machine")]
    labels: Vec<(String, String)>,

    /// A label to take away
    #[arg(long = "remove-label", value_name = "NAME", help_heading = "Machine")]
    removed_labels: Vec<String>,

    /// When a supervisor starts the machine again: no, on-failure, on-failure:COUNT, always
    #[arg(long, value_name = "POLICY", help_heading = "Machine", add = ArgValueCandidates::new(complete::restarts))]
    restart: Option<Restart>,

    /// Seconds until SSH must answer, from the next start
    #[arg(long, value_name = "SECONDS", help_heading = "Machine")]
    boot_timeout: Option<u64>,

    /// A variable to add or change, from the next start
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair, help_heading = "Guest")]
    env: Vec<(String, String)>,

    /// A variable to take away, from the next start
    #[arg(long, value_name = "NAME", help_heading = "Guest")]
    remove_env: Vec<String>,

    /// The guest's host name, from the next start; none for the machine's name
    #[arg(long, value_name = "NAME", help_heading = "Guest")]
    hostname: Option<String>,

    /// What it may reach from the next start, instead of what was said before: as `start` has it
    #[arg(long, value_name = "RULE", help_heading = "Network")]
    egress: Vec<EgressRule>,

    /// No rules of what it may reach, from the next start
    #[arg(long, conflicts_with = "egress", help_heading = "Network")]
    no_egress: bool,

    /// Virtual CPUs, from the next start
    #[arg(short, long, value_name = "N", help_heading = "Machine")]
    cpus: Option<u8>,

    /// Memory, from the next start
    #[arg(short, long, visible_alias = "mem", value_name = "SIZE", value_parser = size::mebibytes, help_heading = "Machine")]
    memory: Option<u32>,

    // An attribute, since rustdoc takes the brackets for a link.
    #[arg(
        short,
        long = "publish",
        visible_alias = "port",
        value_name = "PORTS",
        help_heading = "Machine",
        help = "Forward these ports instead of those named before: [ADDR:]HOST:GUEST[/udp]"
    )]
    publish: Vec<Forward>,

    /// Forward each port that the image exposes from a free one, from the next start
    #[arg(short = 'P', long, conflicts_with = "no_publish", help_heading = "Machine")]
    publish_all: bool,

    /// Forward no port, of --publish or of --publish-all
    #[arg(long, conflicts_with = "publish", help_heading = "Machine")]
    no_publish: bool,

    #[command(flatten)]
    report: ReportArgs,
}

impl UpdateArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let output = self.report.output;
        let (machines, update) = self.update();
        if update == Update::default() {
            let nothing = CommandError::usage("nothing to change was named");
            return Err(nothing.hint("`knaller help update` shows what can be changed"));
        }
        if let Change::Set(quota) = &update.cpu_quota {
            warn_of_quota(context.ui, Some(*quota));
        }
        let names = machines.existing(&context).await?;
        each(&context, names, "updating", output, async |name| {
            let updated = context.machine(name).await?.update(update.clone()).await?;
            let sentence = format!("{name}: {}", told(&updated));
            let Updated { now, next_start, .. } = updated;
            Ok(Some(Done::with("updated", sentence, Changed { now, next_start })))
        })
        .await
    }

    fn update(self) -> (MachineArgs, Update) {
        let mut update = Update::default();
        self.limits.apply(&mut update);
        let added = self.labels.into_iter().map(|(name, value)| (name, Some(value)));
        let removed = self.removed_labels.into_iter().map(|name| (name, None));
        update.labels = removed.chain(added).collect();
        let added = self.env.into_iter().map(|(name, value)| (name, Some(value)));
        let removed = self.remove_env.into_iter().map(|name| (name, None));
        update.env = removed.chain(added).collect();
        update.hostname = match self.hostname.as_deref() {
            None => Change::Keep,
            Some("none") => Change::Remove,
            Some(name) => Change::Set(name.to_owned()),
        };
        update.restart = self.restart;
        update.boot_timeout_ms = self.boot_timeout.map(|seconds| seconds.saturating_mul(1000));
        update.egress = (self.no_egress || !self.egress.is_empty()).then_some(self.egress);
        update.cpus = self.cpus;
        update.memory_mib = self.memory;
        update.forwards = (self.no_publish || !self.publish.is_empty()).then_some(self.publish);
        update.publish_all = (self.no_publish || self.publish_all).then_some(self.publish_all);
        (self.machines, update)
    }
}

/// What is other than it was, in words.
#[derive(Serialize)]
struct Changed {
    now: Vec<&'static str>,
    next_start: Vec<&'static str>,
}

/// What came of it, in one line.
fn told(updated: &Updated) -> String {
    let now = (!updated.now.is_empty()).then(|| format!("{} changed", updated.now.join(", ")));
    let later = (!updated.next_start.is_empty())
        .then(|| format!("{} from the next start", updated.next_start.join(", ")));
    let both: Vec<String> = [now, later].into_iter().flatten().collect();
    if both.is_empty() {
        return "nothing is other than it was".to_owned();
    }
    both.join("; ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use knaller::Rate;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        update: UpdateArgs,
    }

    fn update(words: &str) -> Update {
        let line = Line::try_parse_from(std::iter::once("update").chain(words.split_whitespace())).unwrap();
        line.update.update().1
    }

    #[test]
    fn every_word_has_its_place() {
        let found = update(
            "web --cpu-quota 0.5 --cpuset none --pids 99 --memory-target 1G --disk-iops 5:10 --net-send none -l a=b \
             --remove-label c -c 2 -m 2G -p 80:80 --restart always --boot-timeout 5 -e A=1 --remove-env B --hostname none \
             --egress deny",
        );
        let mut expected = Update::default();
        expected.cpu_quota = Change::Set("0.5".parse().unwrap());
        expected.cpu_set = Change::Remove;
        expected.pids = Change::Set(99);
        expected.memory_target_mib = Change::Set(1024);
        expected.disk_ops = Change::Set(Rate::new(5).burst(10));
        expected.send = Change::Remove;
        expected.labels.insert("a".to_owned(), Some("b".to_owned()));
        expected.labels.insert("c".to_owned(), None);
        expected.cpus = Some(2);
        expected.memory_mib = Some(2048);
        expected.forwards = Some(vec!["80:80".parse().unwrap()]);
        expected.restart = Some(Restart::Always);
        expected.boot_timeout_ms = Some(5000);
        expected.env.insert("A".to_owned(), Some("1".to_owned()));
        expected.env.insert("B".to_owned(), None);
        expected.hostname = Change::Remove;
        expected.egress = Some(vec!["deny".parse().unwrap()]);
        assert_eq!(found, expected);
        assert_eq!(update("web"), Update::default());
        let none = update("web --no-publish");
        assert_eq!((none.forwards, none.publish_all), (Some(Vec::new()), Some(false)));
        assert_eq!(update("web -P").publish_all, Some(true));
    }
}
