//! Several processes at once that start, stop, pause, name, keep, fork and remove the same few machines, with real
//! guests; every fourth is killed at some step.
//!
//! What each does and where it is killed follows from the seed; who is first is the kernel's choice, so the same seed makes a
//! similar crowd, not the same. After every few commands all of them pause, and the invariants have to hold.

use std::time::{Duration, Instant};

use testkit::faults::{Act, Traced, follow};

use super::interleavings::words;
use super::invariants::{Broken, ended_well, hold};
use super::matrix::start_over;
use super::seed::Seed;
use crate::world::World;

/// For how many seconds; `make test` has few.
const SECONDS: &str = "CROWD_SECONDS";
const FEW: u64 = 20;

const WORKERS: usize = 3;

/// How many commands each has between two looks.
const COMMANDS_EACH: usize = 3;

const NAMES: [&str; 2] = ["a", "b"];

/// What there is to do. `X` and `Y` stand for names of machines.
const COMMANDS: [&str; 20] = [
    "start X --detach --memory 128M -p 127.0.0.1:0:80",
    "start X --detach --memory 128M --network none",
    "start X --detach",
    "start X --detach",
    "stop X --time 1",
    "kill X",
    "restart X --time 1",
    "rm X",
    "rm --force X",
    "pause X",
    "resume X",
    "rename X Y",
    "snapshot create X --name s",
    "snapshot rm s",
    "start X --from-snapshot s --detach",
    "fork X --name Y",
    "ps X",
    "list",
    "inspect X",
    "prune",
];

/// A process is killed before it has changed so much.
const LONGEST: usize = 150;

/// One worker's commands, and what came of each.
fn work(world: &World, seed: u64) -> Vec<(String, Traced)> {
    let mut seed = Seed::new(seed);
    (0..COMMANDS_EACH)
        .map(|_| {
            let words = words(&COMMANDS, &NAMES, &mut seed);
            let killed = seed.next().is_multiple_of(4).then(|| seed.within(0..LONGEST));
            let mut steps = 0;
            let traced = follow(&mut world.command(&words), world.sandbox.path(), |step| {
                steps += usize::from(step.changes);
                if step.changes && killed == Some(steps) {
                    Act::Kill
                } else {
                    Act::Go
                }
            });
            (words.join(" "), traced)
        })
        .collect()
}

fn round(world: &World, number: u64) -> Result<(), Broken> {
    let mut seed = Seed::new(number);
    let seeds: Vec<u64> = (0..WORKERS).map(|_| seed.next()).collect();
    let done: Vec<(String, Traced)> = std::thread::scope(|scope| {
        let workers: Vec<_> = seeds
            .into_iter()
            .map(|seed| scope.spawn(move || work(world, seed)))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    let story = |broken: Broken| {
        let lines = done
            .iter()
            .map(|(words, traced)| format!("\n  {words} ({}): {}", traced.status, traced.stderr.trim()));
        broken + &lines.collect::<String>()
    };
    for (words, traced) in &done {
        if traced.hung {
            return Err(story(format!("{words} did not come to its end")));
        }
        ended_well(traced.status.code(), &traced.stderr).map_err(story)?;
    }
    hold(world).map(drop).map_err(story)
}

#[test]
fn several_processes_and_few_machines() {
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    let seconds = Duration::from_secs(seconds.unwrap_or(FEW));
    let mut seed = Seed::of_environment("CROWD_SEED", 1);
    let world = World::new();
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < seconds {
        if let Err(broken) = round(&world, seed.next()) {
            start_over(&world);
            panic!("after {rounds} rounds: {broken}");
        }
        rounds += 1;
    }
    eprintln!("{rounds} rounds of {} commands", WORKERS * COMMANDS_EACH);
    start_over(&world);
    world.sandbox.assert_clean();
}
