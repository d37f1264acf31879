//! The commands of a machine's life, each with every fault.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::invariants::{Broken, done, entries, in_time, is, json, name};
use super::matrix::{After, Ended, Fault, Scenario, sweep};
use crate::world::World;

pub(super) const START: [&str; 5] = ["start", "x", "--detach", "--memory", "128M"];

fn find<'a>(machines: &'a [Value], wanted: &str) -> Option<&'a Value> {
    machines.iter().find(|machine| name(machine) == wanted)
}

pub(super) fn gone(world: &World, machine: &str) -> Result<(), Broken> {
    done(world, &["rm", "--force", machine]).map(drop)
}

/// Sees to it that `x` runs, with something in its memory and on its disk. What was on its disk is still there. In a moment: it
/// may be about to end, since somebody has told it to who was killed.
pub(super) fn running(world: &World, known: &mut bool) -> Result<(), Broken> {
    running_by(world, &START, known)
}

/// As [`running`], where these words are its first start.
pub(super) fn running_by(world: &World, start: &[&str], known: &mut bool) -> Result<(), Broken> {
    in_time(|| try_running(world, start, known))
}

fn try_running(world: &World, start: &[&str], known: &mut bool) -> Result<(), Broken> {
    let machines = json(world, &["list", "-o", "json"])?;
    let machines = machines.as_array().cloned().unwrap_or_default();
    let shell = |line: &str| done(world, &["exec", "x", "sh", "-c", line]);
    match find(&machines, "x") {
        Some(x) if is(x, "running") => {}
        Some(_) => {
            done(world, &["start", "x", "--detach"])?;
        }
        None => {
            done(world, start)?;
            *known = false;
        }
    }
    if *known && shell("cat /root/mark")? != "kept\n" {
        return Err("what was on the disk is lost".to_owned());
    }
    shell("mkdir -p /root; echo kept > /root/mark; echo alive > /run/mark; sync")?;
    *known = true;
    Ok(())
}

/// Whether `x` is the machine that it was, and goes on.
pub(super) fn goes_on(after: &After<'_>) -> Result<(), Broken> {
    let x = find(&after.machines, "x").ok_or("x is gone")?;
    if matches!(after.fault, Some(Fault::Lose(_))) && is(x, "stopped") {
        return Ok(());
    }
    if !is(x, "running") {
        return Err(format!("x is {}", x["state"]));
    }
    let memory = done(after.world, &["exec", "x", "cat", "/run/mark"])?;
    if memory == "alive\n" {
        Ok(())
    } else {
        Err("x is another boot".to_owned())
    }
}

/// A machine that was being made is there, or not at all.
pub(super) fn made(after: &After<'_>, machine: &str) -> Result<(), Broken> {
    let state = find(&after.machines, machine).map(|found| found["state"].as_str().unwrap_or_default());
    let lost = matches!(after.fault, Some(Fault::Lose(_)));
    match (after.ended, state) {
        (Ended::Done | Ended::Killed, Some("running")) | (Ended::Refused | Ended::Killed, None) => Ok(()),
        (Ended::Done, Some("stopped")) if lost => Ok(()),
        (Ended::Refused, Some("running")) if after.said.contains("runs, but cannot be shown") => Ok(()),
        (ended, state) => Err(format!("{machine} is {state:?}, and the command {ended:?}")),
    }
}

/// A first start.
struct Start {
    port: String,
    words: Vec<String>,
}

impl Start {
    fn new(words: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let forward = format!("{port}:80");
        let words = START.iter().chain(words).copied().chain(["-p", &forward]);
        let words = words.map(str::to_owned).collect();
        Self { port, words }
    }
}

impl Scenario for Start {
    fn words(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        gone(world, "x")?;
        // In a moment: another test may have been given it for one.
        in_time(|| {
            let port = TcpListener::bind(&self.port).map(drop);
            port.map_err(|error| format!("the port is taken: {error}"))
        })
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        made(after, "x")
    }
}

#[test]
fn a_first_start() {
    sweep("start", &mut Start::new(&[]));
}

/// The start of a machine that was there already.
#[derive(Default)]
struct Again {
    known: bool,
}

impl Scenario for Again {
    fn words(&self) -> Vec<&str> {
        vec!["start", "x", "--detach"]
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        running(world, &mut self.known)?;
        done(world, &["kill", "x"]).map(drop)
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        let x = find(&after.machines, "x").ok_or("x is gone")?;
        if after.ended == Ended::Done && !is(x, "running") && !matches!(after.fault, Some(Fault::Lose(_))) {
            return Err("x does not run".to_owned());
        }
        Ok(())
    }
}

#[test]
fn a_later_start() {
    sweep("start again", &mut Again::default());
}

/// A port that comes in place of another while the machine runs.
struct Ports {
    was: u16,
    is: u16,
    forwards: [String; 2],
    known: bool,
}

impl Ports {
    fn new() -> Self {
        // Both at once, so that they differ.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [was, is] = free.map(|socket| socket.local_addr().unwrap().port());
        Self {
            was,
            is,
            // Where powerunit listens for SSH.
            forwards: [was, is].map(|port| format!("127.0.0.1:{port}:22")),
            known: false,
        }
    }
}

/// pasta, which has the forwards of a start until the machine ends, accepts connections that lead nowhere.
fn leads_to_ssh(port: u16) -> bool {
    let ask = || -> std::io::Result<[u8; 4]> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(b"SSH-2.0-nobody\r\n")?;
        let mut banner = [0; 4];
        stream.read_exact(&mut banner)?;
        Ok(banner)
    };
    ask().is_ok_and(|banner| &banner == b"SSH-")
}

impl Scenario for Ports {
    fn words(&self) -> Vec<&str> {
        vec!["update", "x", "--publish", &self.forwards[1]]
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        running(world, &mut self.known)?;
        // In a moment: as for a start.
        in_time(|| done(world, &["update", "x", "--publish", &self.forwards[0]]).map(drop))
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        goes_on(after)?;
        let x = find(&after.machines, "x").ok_or("x is gone")?;
        if is(x, "stopped") {
            return Ok(());
        }
        let forwards = x["forwards"].as_array().ok_or("it has no forwards")?;
        let shown: Vec<u64> = forwards
            .iter()
            .filter_map(|forward| forward["host_port"].as_u64())
            .collect();
        let (was, is) = (vec![u64::from(self.was)], vec![u64::from(self.is)]);
        let right = match after.ended {
            Ended::Done => shown == is,
            Ended::Refused => shown == was,
            Ended::Killed => shown == was || shown == is,
        };
        if !right {
            return Err(format!("of {was:?} and {is:?} there is {shown:?}"));
        }
        let wrong = |port: &u16| leads_to_ssh(*port) != shown.contains(&u64::from(*port));
        match [self.was, self.is].into_iter().find(wrong) {
            Some(port) => Err(format!("{port} is not as {shown:?} has it")),
            None => Ok(()),
        }
    }
}

#[test]
fn another_port() {
    sweep("update --publish", &mut Ports::new());
}

/// An end, of whichever kind.
struct End {
    words: &'static [&'static str],
    stays: bool,
    known: bool,
}

impl Scenario for End {
    fn words(&self) -> Vec<&str> {
        self.words.to_vec()
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        running(world, &mut self.known)
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        let x = find(&after.machines, "x");
        match x {
            None if self.stays => Err("x is gone".to_owned()),
            Some(x) if after.ended == Ended::Done && (!self.stays || !is(x, "stopped")) => {
                Err(format!("x is {}", x["state"]))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn a_stop() {
    let words = &["stop", "x"];
    sweep(
        "stop",
        &mut End {
            words,
            stays: true,
            known: false,
        },
    );
}

#[test]
fn a_removal_by_force() {
    let words = &["rm", "--force", "x"];
    sweep(
        "rm --force",
        &mut End {
            words,
            stays: false,
            known: false,
        },
    );
}

/// Something that is done to a stopped machine, which a copy of its folder brings back.
struct Lying {
    words: &'static [&'static str],
    /// The names that it may have afterwards.
    names: &'static [&'static str],
    goes: bool,
    copy: Option<PathBuf>,
}

impl Lying {
    fn folder(world: &World, machine: &str) -> PathBuf {
        world.sandbox.data().join("knaller/vms").join(machine)
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    let _ = testkit::run(
        cp.args(["-a", "--reflink=auto", "--sparse=always", "-T"])
            .args([from, to]),
    )
    .ok();
}

impl Scenario for Lying {
    fn words(&self) -> Vec<&str> {
        self.words.to_vec()
    }

    fn victims(&self) -> &'static [&'static str] {
        // It does not run.
        &[]
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        let folder = Self::folder(world, "x");
        match &self.copy {
            Some(kept) => {
                for machine in self.names {
                    gone(world, machine)?;
                }
                copy(kept, &folder);
            }
            None => {
                done(world, &START)?;
                done(world, &["stop", "x"])?;
                let kept = world.sandbox.home().join("kept");
                copy(&folder, &kept);
                self.copy = Some(kept);
            }
        }
        Ok(())
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        let there: Vec<&str> = after.machines.iter().map(name).collect();
        let right = match there.as_slice() {
            [] => self.goes,
            [one] => self.names.contains(one) && (after.ended != Ended::Done || (!self.goes && *one != "x")),
            _ => false,
        };
        if !right {
            return Err(format!("there is {there:?}, and the command {:?}", after.ended));
        }
        let whole = self.copy.as_deref().map(entries).unwrap_or_default();
        for machine in there {
            let now = entries(&Self::folder(after.world, machine));
            if !whole.is_subset(&now) {
                return Err(format!("of {whole:?} only {now:?} is left of {machine}"));
            }
        }
        Ok(())
    }
}

#[test]
fn a_removal() {
    let (words, names) = (&["rm", "x"], &["x"]);
    sweep(
        "rm",
        &mut Lying {
            words,
            names,
            goes: true,
            copy: None,
        },
    );
}

#[test]
fn a_new_name() {
    let (words, names) = (&["rename", "x", "z"], &["x", "z"]);
    sweep(
        "rename",
        &mut Lying {
            words,
            names,
            goes: false,
            copy: None,
        },
    );
}

/// A moment that is kept.
#[derive(Default)]
struct Snapshot {
    known: bool,
}

impl Scenario for Snapshot {
    fn words(&self) -> Vec<&str> {
        vec!["snapshot", "create", "x", "--name", "s"]
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        gone(world, "y")?;
        running(world, &mut self.known)
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        goes_on(after)?;
        let listed = json(after.world, &["snapshot", "ls", "-o", "json"])?;
        let there = listed.as_array().is_some_and(|all| !all.is_empty());
        if !there {
            return if after.ended == Ended::Done {
                Err("there is no snapshot".to_owned())
            } else {
                Ok(())
            };
        }
        // Whole is what can be loaded.
        done(after.world, &["start", "y", "--from-snapshot", "s", "--detach"])?;
        let memory = done(after.world, &["exec", "y", "cat", "/run/mark", "/root/mark"])?;
        done(after.world, &["rm", "--force", "y"])?;
        done(after.world, &["snapshot", "rm", "s"])?;
        if memory == "alive\nkept\n" {
            Ok(())
        } else {
            Err(format!("the snapshot has {memory:?}"))
        }
    }
}

#[test]
fn a_snapshot() {
    sweep("snapshot create", &mut Snapshot::default());
}

/// A machine of a snapshot.
#[derive(Default)]
struct Restore {
    taken: bool,
}

impl Scenario for Restore {
    fn words(&self) -> Vec<&str> {
        vec!["start", "y", "--from-snapshot", "s", "--detach"]
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        if !self.taken {
            running(world, &mut false)?;
            done(world, &["snapshot", "create", "x", "--name", "s"])?;
            gone(world, "x")?;
            self.taken = true;
        }
        gone(world, "y")
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        made(after, "y")?;
        done(after.world, &["snapshot", "inspect", "s"]).map(drop)
    }
}

#[test]
fn a_restore() {
    sweep("start --from-snapshot", &mut Restore::default());
}

/// A machine of another.
#[derive(Default)]
struct Fork {
    known: bool,
}

impl Scenario for Fork {
    fn words(&self) -> Vec<&str> {
        vec!["fork", "x", "--name", "y"]
    }

    fn ready(&mut self, world: &World) -> Result<(), Broken> {
        gone(world, "y")?;
        running(world, &mut self.known)
    }

    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken> {
        goes_on(after)?;
        made(after, "y")
    }
}

#[test]
fn a_fork() {
    sweep("fork", &mut Fork::default());
}
