//! What holds after any command, however it ended, and whatever befell it: docs/invariants.md, whose numbers these are.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Process, Ran};

use crate::world::World;

/// What does not hold, in a sentence or two.
pub(super) type Broken = String;

/// How long "soon" is, on a machine that has more to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The codes of docs/exit-codes.md that knaller's own failures have.
const CODES: std::ops::RangeInclusive<i32> = 1..=14;

/// All of them, soon after the next command: the machines there are then. Soon, since the kernel takes its time for
/// processes that were killed; and since a child that was forked and is not its program yet shares its parent's claim,
/// and the machine counts as one that is being started for that moment.
pub(super) fn hold(world: &World) -> Result<Vec<Value>, Broken> {
    in_time(|| {
        let machines = next_command(world)?;
        // 6. Prune finds the rest, and finds it once.
        let _ = json(world, &["prune", "-o", "json"])?;
        let again = json(world, &["prune", "-o", "json"])?;
        if again.as_array().is_none_or(|found| !found.is_empty()) {
            return Err(format!("a second prune still finds {again}"));
        }
        processes(world, &machines)?;
        folders(world, &machines)?;
        for machine in machines.iter().filter(|machine| is(machine, "running")) {
            // 1. What is said to run does, unless it was told to end.
            done(world, &["exec", name(machine), "true"])?;
        }
        Ok(machines)
    })
}

/// 2. How a command ends: with a code that is written down, a sentence, and no panic.
pub(super) fn ended_well(code: Option<i32>, stderr: &str) -> Result<(), Broken> {
    if stderr.contains("panicked at") {
        return Err(format!("it panicked: {stderr}"));
    }
    match code {
        None | Some(0) => Ok(()),
        Some(code) if !CODES.contains(&code) => Err(format!("it ended with {code}: {stderr}")),
        Some(_) if !stderr.lines().any(|line| line.contains("error")) => {
            Err(format!("it failed without a word: {stderr:?}"))
        }
        Some(_) => Ok(()),
    }
}

/// 1. Each machine is either running or stopped.
fn next_command(world: &World) -> Result<Vec<Value>, Broken> {
    let listed = json(world, &["list", "-o", "json"])?;
    let machines = listed.as_array().cloned().ok_or("no list")?;
    let settled = |machine: &Value| {
        ["running", "stopped", "paused"]
            .iter()
            .any(|state| is(machine, state))
    };
    match machines.iter().find(|machine| !settled(machine)) {
        Some(machine) => Err(format!("{} is {}", name(machine), machine["state"])),
        None => Ok(machines),
    }
}

/// 3. Every process belongs to a machine that runs.
fn processes(world: &World, machines: &[Value]) -> Result<(), Broken> {
    let boots: Vec<&str> = machines
        .iter()
        .filter(|machine| !is(machine, "stopped"))
        .filter_map(|machine| machine["instance"].as_str())
        .collect();
    match world
        .sandbox
        .processes()
        .iter()
        .find(|process| !belongs(process, &boots))
    {
        Some(process) => Err(format!("process {} is nobody's: {}", process.pid, process.line)),
        None => Ok(()),
    }
}

/// Whether it, or one that it descends from, has the id of one of these boots in its command line.
fn belongs(process: &Process, boots: &[&str]) -> bool {
    let mut line = process.line.clone();
    let mut pid = process.pid;
    loop {
        if boots.iter().any(|boot| line.contains(boot)) {
            return true;
        }
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        match parent {
            None | Some(0 | 1) => return false,
            Some(parent) => pid = parent,
        }
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line = String::from_utf8_lossy(&bytes).into_owned();
    }
}

/// 4. and 5. What is on the disk is a machine's, a snapshot's, a template's or a volume's, and whole.
fn folders(world: &World, machines: &[Value]) -> Result<(), Broken> {
    let data = world.sandbox.data().join("knaller");
    let all: BTreeSet<String> = machines.iter().map(|machine| name(machine).to_owned()).collect();
    same("machines", &entries(&data.join("vms")), &all)?;
    let awake = machines.iter().filter(|machine| !is(machine, "stopped"));
    let awake: BTreeSet<String> = awake.map(|machine| name(machine).to_owned()).collect();
    let mut sockets = entries(&world.sandbox.runtime().join("knaller"));
    sockets
        .retain(|name| world.sandbox.runtime().join("knaller").join(name).is_dir() && name != "supervisors");
    same("folders of sockets", &sockets, &awake)?;
    for machine in machines {
        let folder = data.join("vms").join(name(machine));
        for unfinished in [
            "creating",
            "pausing",
            "commit.ext4",
            "handover/state",
            "handover/memory",
        ] {
            if folder.join(unfinished).exists() {
                return Err(format!("{} has {unfinished} still", name(machine)));
            }
        }
    }
    let listed = json(world, &["snapshot", "ls", "-o", "json"])?;
    let listed = listed.as_array().ok_or("no list of snapshots")?;
    let listed = listed.iter().map(|snapshot| name(snapshot).to_owned()).collect();
    same("snapshots", &entries(&data.join("snapshots")), &listed)?;
    let unfinished = |name: &String| name.starts_with('.') || name.ends_with(".new");
    for folder in ["templates", "volumes"] {
        if let Some(left) = entries(&data.join(folder)).iter().find(|name| unfinished(name)) {
            return Err(format!("{folder} have {left} still"));
        }
    }
    Ok(())
}

fn same(what: &str, there: &BTreeSet<String>, listed: &BTreeSet<String>) -> Result<(), Broken> {
    if there == listed {
        return Ok(());
    }
    Err(format!("{what} on the disk are {there:?}, and listed {listed:?}"))
}

pub(super) fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// What holds soon, holds.
pub(super) fn in_time<T>(mut check: impl FnMut() -> Result<T, Broken>) -> Result<T, Broken> {
    let until = Instant::now() + PATIENCE;
    loop {
        match check() {
            Err(_) if Instant::now() < until => std::thread::yield_now(),
            held => return held,
        }
    }
}

pub(super) fn is(machine: &Value, state: &str) -> bool {
    machine["state"] == state
}

pub(super) fn name(thing: &Value) -> &str {
    thing["name"].as_str().unwrap_or_default()
}

/// What a command says that has to succeed.
pub(super) fn done(world: &World, words: &[&str]) -> Result<String, Broken> {
    let ran: Ran = world.run(words);
    if ran.code() == 0 {
        return Ok(ran.stdout);
    }
    Err(format!("a command after it failed: {ran}"))
}

pub(super) fn json(world: &World, words: &[&str]) -> Result<Value, Broken> {
    let text = done(world, words)?;
    serde_json::from_str(&text).map_err(|error| format!("{words:?} said {text:?}: {error}"))
}
