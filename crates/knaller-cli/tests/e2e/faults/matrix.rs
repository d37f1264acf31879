//! One command, and every fault at every step of it.
//!
//! First the command runs once without a fault, and its steps are noted; then once for each of them and each fault that can
//! be there, and after each the invariants have to hold. All of that takes hours for all commands: `make faults`.
//! `make test` takes a part of it, by lot (`FAULTS_SEED`).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Instant;

use serde_json::Value;
use testkit::faults::{Act, Errno, Point, Step, Traced, follow};

use super::invariants::{Broken, ended_well, hold};
use super::seed::Seed;
use crate::world::World;

/// How many faults of each command `make test` has; by this variable `all`, another number, or those that are called so:
/// `killed at rename`, `pasta`.
const HOW_MANY: &str = "FAULTS";
const FEW: usize = 6;

/// How many of the same calls about the same are gone through, beside the last.
const FIRST: u32 = 4;

/// All that a machine with a network consists of, from the outside in.
const PROCESSES: &[&str] = &["pasta", "knaller-netns", "sparkler", "qemu-system"];

/// What befalls a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is killed.
    Kill,
    /// A call of it fails.
    Fail(Errno),
    /// A process of the machine that it is about is killed, by the program's name.
    Lose(&'static str),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With 0: what it has acknowledged holds.
    Done,
    /// With an error.
    Refused,
    Killed,
}

/// What a fault left, for a command to be judged by.
pub(super) struct After<'a> {
    pub(super) world: &'a World,
    pub(super) machines: Vec<Value>,
    pub(super) fault: Option<Fault>,
    pub(super) ended: Ended,
    /// Its standard error.
    pub(super) said: &'a str,
}

/// A command in a situation that can be had again and again.
pub(super) trait Scenario {
    fn words(&self) -> Vec<&str>;

    /// Processes of the machine that may be lost meanwhile.
    fn victims(&self) -> &'static [&'static str] {
        PROCESSES
    }

    /// Brings the situation about, whatever the last run left.
    fn ready(&mut self, world: &World) -> Result<(), Broken>;

    /// What has to hold beside the invariants, which hold already.
    fn judge(&mut self, after: &After<'_>) -> Result<(), Broken>;
}

/// The fault, and where.
struct Case {
    point: Point,
    fault: Fault,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Kill => write!(f, "killed at {}", self.point),
            Fault::Fail(errno) => write!(f, "{errno} at {}", self.point),
            Fault::Lose(program) => write!(f, "{program} killed at {}", self.point),
        }
    }
}

/// Runs the cases of a scenario.
#[expect(clippy::print_stderr, reason = "a long test says how far it is")]
pub(super) fn sweep(what: &str, scenario: &mut dyn Scenario) {
    let world = World::new();
    let begun = Instant::now();
    let mut steps = Vec::new();
    // The first leaves a template for the others, and so has other steps.
    for _ in 0..2 {
        steps.clear();
        let noted = scenario.ready(&world).and_then(|()| {
            let traced = run(&world, scenario, |step| {
                steps.push(step.clone());
                Act::Go
            });
            judge(&world, scenario, &traced, None)
        });
        assert_eq!(noted, Ok(()), "{what} without a fault");
    }
    let cases = choose(cases(&steps, scenario.victims()));
    let mut broken = Vec::new();
    let mut hit = 0;
    for case in &cases {
        let mut met = false;
        let result = one(&world, scenario, case, &mut met);
        hit += usize::from(met);
        if let Err(reason) = result {
            eprintln!("{what}, {case}: {reason}");
            broken.push(format!("{case}: {reason}"));
            start_over(&world);
        }
    }
    let took = begun.elapsed().as_secs();
    eprintln!(
        "{what}: {} steps, {} faults, {hit} of them met, {} broke something, {took} s",
        steps.len(),
        cases.len(),
        broken.len()
    );
    start_over(&world);
    assert!(broken.is_empty(), "{what}:\n{}", broken.join("\n\n"));
    assert!(hit * 2 >= cases.len(), "{what}: most steps were not met again");
    world.sandbox.assert_clean();
}

fn one(world: &World, scenario: &mut dyn Scenario, case: &Case, met: &mut bool) -> Result<(), Broken> {
    scenario
        .ready(world)
        .map_err(|reason| format!("before it: {reason}"))?;
    let traced = run(world, scenario, |step| {
        if *met || step.point != case.point {
            return Act::Go;
        }
        *met = true;
        match case.fault {
            Fault::Kill => Act::Kill,
            Fault::Fail(errno) => Act::Fail(errno),
            Fault::Lose(program) => {
                let processes = world.sandbox.processes();
                let lost = processes
                    .iter()
                    .filter(|process| process.program().starts_with(program));
                lost.for_each(testkit::Process::kill);
                Act::Go
            }
        }
    });
    judge(world, scenario, &traced, Some(case.fault))
}

fn run(world: &World, scenario: &dyn Scenario, act: impl FnMut(&Step) -> Act + Send) -> Traced {
    follow(&mut world.command(&scenario.words()), world.sandbox.path(), act)
}

fn judge(
    world: &World,
    scenario: &mut dyn Scenario,
    traced: &Traced,
    fault: Option<Fault>,
) -> Result<(), Broken> {
    let said = |reason| {
        format!(
            "{reason}\n  it said: {}",
            traced.stderr.trim().replace('\n', "\n  ")
        )
    };
    if traced.hung {
        return Err(said("it did not come to its end".to_owned()));
    }
    ended_well(traced.status.code(), &traced.stderr)?;
    let ended = match traced.status.code() {
        Some(0) => Ended::Done,
        Some(_) => Ended::Refused,
        None => Ended::Killed,
    };
    let machines = hold(world).map_err(said)?;
    let after = After {
        world,
        machines,
        fault,
        ended,
        said: &traced.stderr,
    };
    scenario.judge(&after).map_err(said)
}

fn cases(steps: &[Step], victims: &[&'static str]) -> Vec<Case> {
    let mut cases = Vec::new();
    let last: HashMap<&str, u32> = steps
        .iter()
        .map(|step| (&*step.point.what, step.point.earlier))
        .collect();
    // A file is read and written in many pieces, of which one is as the other.
    let matters = |point: &Point| point.earlier < FIRST || last.get(&*point.what) == Some(&point.earlier);
    for step in steps.iter().filter(|step| matters(&step.point)) {
        let case = |fault| Case {
            point: step.point.clone(),
            fault,
        };
        if step.changes {
            cases.push(case(Fault::Kill));
            cases.extend(victims.iter().map(|victim| case(Fault::Lose(victim))));
        }
        cases.extend(step.fails.iter().map(|errno| case(Fault::Fail(*errno))));
    }
    cases
}

/// All of them, or as many as are wanted: of each kind of fault as many, and at different kinds of steps first.
fn choose(mut cases: Vec<Case>) -> Vec<Case> {
    let wanted = std::env::var(HOW_MANY).unwrap_or_default();
    if wanted == "all" {
        return cases;
    }
    if !wanted.is_empty() && wanted.parse::<usize>().is_err() {
        cases.retain(|case| case.to_string().starts_with(&wanted));
        return cases;
    }
    let wanted = wanted.parse().unwrap_or(FEW);
    let mut seed = Seed::of_environment("FAULTS_SEED", 1);
    seed.shuffle(&mut cases);
    let mut seen = HashSet::new();
    // Sorting keeps the order of the lots among equals.
    cases.sort_by_key(|case| !seen.insert(case.point.what.clone()));
    let (mut kills, mut others): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| case.fault == Fault::Kill);
    kills.truncate(wanted.div_ceil(2));
    others.truncate(wanted / 2);
    kills.append(&mut others);
    kills
}

/// Takes everything away, so that one broken case does not spoil the next.
pub(super) fn start_over(world: &World) {
    let machines = world.run(&["list", "-o", "name"]).stdout;
    for machine in machines.lines() {
        let _ = world.run(&["rm", "--force", machine]);
    }
    let _ = world.run(&["prune", "--force"]);
}
