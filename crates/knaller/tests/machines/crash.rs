//! Starts that are called off, and processes that are killed: nothing is left that the next command does not put right.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use knaller::{StartEvent, StartOptions, State, Vmm};

use crate::support::{Bed, PATIENCE, bare, end, small, vmm};

/// Steps of both sides, in the order in which a start has them.
const STEPS: [&str; 8] = [
    "checks",
    "spawn",
    "disks",
    "api",
    "boot",
    "kernel",
    "config",
    "ssh listening",
];

#[tokio::test]
async fn a_start_called_off_at_any_step_leaves_nothing() {
    let bed = Bed::new();
    for step in STEPS {
        let (reached, has_reached) = tokio::sync::oneshot::channel();
        let mut reached = Some(reached);
        let mut observer = |event| match event {
            StartEvent::Step(done) if done.name == step => {
                let _ = reached.take().map(|reached| reached.send(()));
            }
            _ => {}
        };
        let spec = small("gone").forward("0:80".parse().unwrap());
        let start = bed.knaller.start(spec, StartOptions::default(), &mut observer);
        tokio::select! {
            biased;
            _ = has_reached => {}
            started = start => panic!("{step}: it was not called off: {:?}", started.map(|_| ())),
        }
        assert_eq!(bed.sandbox.settle(), [], "{step}");
    }
}

#[tokio::test]
async fn a_command_killed_at_any_step_is_healed_by_the_next() {
    let bed = Bed::new();
    for step in STEPS {
        let mut command =
            bed.sandbox
                .knaller(&["start", "half", "-p", "0:80", "--log", "knaller::start=debug"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let wanted = format!("{step:?}");
        for line in lines {
            let line = line.unwrap();
            let found = line.contains("step") && line.contains(&wanted);
            said.push(line);
            if found {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            said.last().is_some_and(|line| line.contains(&wanted)),
            "{step}: {said:?}"
        );
        // A child that was forked and has not become pasta yet shares its parent's claim: for that moment the machine
        // counts as one that is being started.
        let healed = async {
            while !bed.knaller.list().await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, healed).await;
        assert!(in_time.is_ok(), "{step}");
        assert_eq!(bed.sandbox.settle(), [], "{step}");
    }
    // And the name and all else is free again.
    let machine = bed.start(bare("half")).await;
    crate::support::end(&machine).await;
}

#[tokio::test]
async fn a_machine_whose_process_is_killed_is_stopped() {
    let bed = Bed::new();
    let machine = bed.start(small("hit")).await;
    let mut victims = vec!["pasta", "vmm"];
    if vmm() == Vmm::Sparkler {
        victims.push("qemu");
    }
    for victim in victims {
        let info = machine.info().await.unwrap();
        let vmm = info.pid.unwrap();
        let pid = match victim {
            "pasta" => parent(vmm),
            "vmm" => vmm,
            _ => child(vmm),
        };
        let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        machine.wait().await.unwrap();
        assert_eq!(machine.info().await.unwrap().state, State::Stopped, "{victim}");
        machine.start(StartOptions::default(), &mut |_| {}).await.unwrap();
    }
    crate::support::end(&machine).await;
}

fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn child(pid: u32) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks.flatten().flat_map(|task| {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        text.split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect::<Vec<u32>>()
    });
    children.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_vmm_that_does_not_answer_has_figures_all_the_same() {
    use rustix::process::{Pid, Signal, kill_process};

    let bed = Bed::new();
    let machine = bed.start(small("busy")).await;
    let pid = machine.info().await.unwrap().pid.unwrap();
    let vmm = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(vmm, Signal::STOP).unwrap();
    assert_eq!(machine.info().await.unwrap().state, State::Unresponsive);
    let stats = machine.stats().await.unwrap();
    assert!(stats.usage.processes >= 2 && stats.usage.memory > 0, "{stats:?}");
    kill_process(vmm, Signal::CONT).unwrap();
    assert_eq!(machine.info().await.unwrap().state, State::Running);
    end(&machine).await;
}
