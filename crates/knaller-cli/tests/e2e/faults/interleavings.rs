//! Commands of several processes at once, on few names, step by step in the order that a seed says; now and then one is killed.
//!
//! A round is one interleaving: two or three commands about machines that lie stopped, volumes and snapshots, for which
//! no guest has to boot, so that there can be thousands. Which commands they are, whose step is next, and which one is
//! killed where, follows from the round's seed, which is printed when it breaks something, and can be given (`ROUND`).
//! Only where a command waits for another, or this machine is busy, the order is the kernel's: a round is not the same
//! again then, but alike.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::faults::{Act, Traced, follow};

use super::invariants::{Broken, done, ended_well, hold, name};
use super::scenarios::copy;
use super::seed::Seed;
use super::turns::Turns;
use crate::world::World;

/// For how many seconds; `make test` has few.
const SECONDS: &str = "INTERLEAVINGS_SECONDS";
const FEW: u64 = 30;

/// One round alone.
const ROUND: &str = "ROUND";

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What may come at once. `X` and `Y` stand for names of machines.
const COMMANDS: [&str; 16] = [
    "rename X Y",
    "rename X Y",
    "rename X Y",
    "rm X",
    "rm --force X",
    "update X --label k=v",
    "list",
    "inspect X",
    "prune",
    "volume create v --size 32M",
    "volume create v --size 32M",
    "volume rm v",
    "volume ls",
    "snapshot rm s",
    "snapshot ls",
    "system df",
];

/// A process is killed before it has changed so much.
const LONGEST: usize = 80;

/// What a command was and how it ended: `None` if it was killed.
struct Ran {
    words: Vec<&'static str>,
    code: Option<i32>,
}

struct Bed {
    world: World,
    /// A machine that lies stopped.
    machine: PathBuf,
    snapshot: PathBuf,
}

impl Bed {
    fn new() -> Self {
        let world = World::new();
        world.start("kept", &[]);
        let _ = world.ok(&["snapshot", "create", "kept", "--name", "s"]);
        let _ = world.ok(&["stop", "kept"]);
        let data = world.sandbox.data().join("knaller");
        let [machine, snapshot] = ["machine", "snapshot"].map(|kept| world.sandbox.home().join(kept));
        copy(&data.join("vms/kept"), &machine);
        copy(&data.join("snapshots/s"), &snapshot);
        let _ = world.ok(&["rm", "kept"]);
        Self {
            world,
            machine,
            snapshot,
        }
    }

    fn data(&self) -> PathBuf {
        self.world.sandbox.data().join("knaller")
    }

    /// Puts machines there, and perhaps the snapshot. Who is called what then.
    fn furnish(&self, seed: &mut Seed) -> BTreeMap<String, String> {
        let mut there = BTreeMap::new();
        for machine in NAMES {
            let folder = self.data().join("vms").join(machine);
            let missing = !folder.exists();
            if missing && seed.next().is_multiple_of(2) {
                continue;
            }
            if missing {
                copy(&self.machine, &folder);
            }
            let path = folder.join("vm.json");
            let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            if missing {
                let id = format!(
                    "{:08x}-0000-4000-8000-{:012x}",
                    seed.next() >> 32,
                    seed.next() >> 16
                );
                let runtime = self.world.sandbox.runtime().join("knaller").join(machine);
                record["instance"] = id.into();
                record["name"] = machine.into();
                record["spec"]["name"] = machine.into();
                record["runtime"] = runtime.to_str().into();
                std::fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
            }
            there.insert(id_of(&record), machine.to_owned());
        }
        let snapshot = self.data().join("snapshots/s");
        if !snapshot.exists() && seed.next().is_multiple_of(4) {
            copy(&self.snapshot, &snapshot);
        }
        there
    }

    /// The machines there are: who is called what.
    fn machines(&self) -> Result<BTreeMap<String, String>, Broken> {
        let listed = hold(&self.world)?;
        Ok(listed
            .iter()
            .map(|machine| (id_of(machine), name(machine).to_owned()))
            .collect())
    }

    fn round(&self, number: u64) -> Result<usize, Broken> {
        let mut seed = Seed::new(number);
        let before = self.furnish(&mut seed);
        let count = seed.within(2..4);
        let all: Vec<Vec<&'static str>> = (0..count).map(|_| words(&COMMANDS, &NAMES, &mut seed)).collect();
        let killed = seed
            .next()
            .is_multiple_of(3)
            .then(|| (seed.within(0..count), seed.within(0..LONGEST)));
        let turns = Turns::new(seed.next(), count);
        let traced: Vec<std::thread::Result<Traced>> = std::thread::scope(|scope| {
            let threads: Vec<_> = all
                .iter()
                .enumerate()
                .map(|(who, words)| {
                    let turns = &turns;
                    scope.spawn(move || self.one(who, words, turns, killed))
                })
                .collect();
            threads.into_iter().map(ScopedJoinHandle::join).collect()
        });
        // What went wrong there has been said there.
        let traced: Result<Vec<Traced>, _> = traced.into_iter().collect();
        let traced = traced.map_err(|_| format!("{all:?} could not be followed"))?;
        let story: Vec<String> = all
            .iter()
            .zip(&traced)
            .map(|(words, traced)| {
                format!(
                    "{} ({}): {}",
                    words.join(" "),
                    traced.status,
                    traced.stderr.trim()
                )
            })
            .collect();
        let story = |broken| format!("{broken}\n  {}", story.join("\n  "));
        for traced in &traced {
            if traced.hung {
                return Err(story("a command did not come to its end".to_owned()));
            }
            ended_well(traced.status.code(), &traced.stderr).map_err(story)?;
        }
        let ran: Vec<Ran> = all
            .into_iter()
            .zip(&traced)
            .map(|(words, traced)| Ran {
                words,
                code: traced.status.code(),
            })
            .collect();
        let after = self.machines().map_err(story)?;
        self.judge(&ran, &before, &after).map_err(story)?;
        Ok(count)
    }

    fn one(&self, who: usize, words: &[&str], turns: &Turns, killed: Option<(usize, usize)>) -> Traced {
        let player = turns.player(who);
        let mut steps = 0;
        let mut command = self.world.command(words);
        follow(&mut command, self.world.sandbox.path(), |step| {
            player.wait(step.point.what.starts_with("flock"));
            steps += usize::from(step.changes);
            let last = step.changes && killed == Some((who, steps));
            if last { Act::Kill } else { Act::Go }
        })
    }

    /// 7. Nothing that was acknowledged is lost, and nothing goes that nobody removed.
    fn judge(
        &self,
        ran: &[Ran],
        before: &BTreeMap<String, String>,
        after: &BTreeMap<String, String>,
    ) -> Result<(), Broken> {
        let is = |ran: &Ran, words: &[&str]| ran.words.starts_with(words);
        let removed = ran
            .iter()
            .any(|ran| is(ran, &["rm"]) && ran.code.is_none_or(|code| code == 0));
        let renamed = ran.iter().any(|ran| is(ran, &["rename"]));
        for (id, name) in before {
            match after.get(id) {
                None if !removed => return Err(format!("{name} is gone, and nobody removed it")),
                Some(now) if now != name && !renamed => return Err(format!("{name} is called {now}")),
                _ => {}
            }
        }
        if let Some(name) = after.iter().find(|(id, _)| !before.contains_key(*id)) {
            return Err(format!("{name:?} is new"));
        }
        let one = |words: &[&str], code| ran.iter().any(|ran| is(ran, words) && ran.code == Some(code));
        for Ran { words, .. } in ran.iter().filter(|ran| ran.code == Some(0)) {
            match words.as_slice() {
                ["rename", from, _]
                    if !removed && ran.iter().filter(|ran| is(ran, &["rename"])).count() == 1 =>
                {
                    let was = before.iter().find(|(_, name)| name == from).map(|(id, _)| id);
                    let now = was.and_then(|id| after.get(id));
                    if now.map(String::as_str) != words.last().copied() {
                        return Err(format!("{from} is called {now:?}"));
                    }
                }
                ["rm", name] if !renamed && after.values().any(|there| there == name) => {
                    return Err(format!("{name} is still there"));
                }
                _ => {}
            }
        }
        let volume = self.data().join("volumes/v.ext4");
        if volume.exists() {
            whole(&volume)?;
        } else if one(&["volume", "create"], 0) && !ran.iter().any(|ran| is(ran, &["volume", "rm"])) {
            return Err("the volume that was made is not there".to_owned());
        }
        Ok(())
    }
}

/// Whether a file holds an ext4 (its magic number, at byte 56 of the superblock: fs/ext4/ext4.h).
fn whole(disk: &Path) -> Result<(), Broken> {
    let mut magic = [0; 2];
    let read = File::open(disk).and_then(|file| file.read_exact_at(&mut magic, 1024 + 56));
    match read {
        Ok(()) if magic == [0x53, 0xef] => Ok(()),
        read => Err(format!("the volume is no file system: {magic:?}, {read:?}")),
    }
}

fn id_of(machine: &Value) -> String {
    machine["instance"].as_str().unwrap_or_default().to_owned()
}

/// One of these commands, about some of these machines.
pub(super) fn words(commands: &[&'static str], names: &[&'static str], seed: &mut Seed) -> Vec<&'static str> {
    let words = seed.one_of(commands).split(' ');
    words
        .map(|word| match word {
            "X" | "Y" => *seed.one_of(names),
            word => word,
        })
        .collect()
}

#[test]
fn commands_step_by_step_in_any_order() {
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<u64>().ok();
    let bed = Bed::new();
    if let Some(round) = number(ROUND) {
        assert_eq!(bed.round(round).map(drop), Ok(()), "{ROUND}={round}");
    } else {
        let seconds = Duration::from_secs(number(SECONDS).unwrap_or(FEW));
        let mut seed = Seed::of_environment("INTERLEAVINGS_SEED", 1);
        let begun = Instant::now();
        let (mut rounds, mut commands) = (0, 0);
        while begun.elapsed() < seconds {
            let round = seed.next() >> 32;
            match bed.round(round) {
                Ok(count) => commands += count,
                Err(broken) => panic!("{ROUND}={round}, after {rounds} others: {broken}"),
            }
            rounds += 1;
        }
        eprintln!("{rounds} interleavings of {commands} commands");
    }
    for machine in NAMES {
        let removed = done(&bed.world, &["rm", "--force", machine]);
        removed.unwrap_or_else(|reason| panic!("after all of it: {reason}"));
    }
    bed.world.sandbox.assert_clean();
}
