//! Machines in the charge of processes that come and go.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Stdio};

use knaller::{
    Error, Exit, Knaller, Name, Network, Paths, Restart, StartOptions, State, StopOptions, Supervised,
    SupervisedKind, Supervisor,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bed, PATIENCE, bare, end, small};

const DATA: &str = "KNALLER_TEST_DATA";
const RUNTIME: &str = "KNALLER_TEST_RUNTIME";

/// It adopts all machines, says which, and then how each of them ends.
#[tokio::test]
#[ignore = "not a test by itself: the tests below run it in a process of its own"]
async fn adopt_and_tell() {
    let folder = |name| std::env::var_os(name).unwrap().into();
    let paths = Paths {
        data: folder(DATA),
        runtime: folder(RUNTIME),
    };
    let knaller = Knaller::with_paths(paths).unwrap();
    let adoption = knaller.adopt_all().await.unwrap();
    assert!(adoption.refused.is_empty(), "{adoption:?}");
    for adopted in &adoption.adopted {
        say(&format!("adopted {} {}", adopted.name(), adopted.instance()));
    }
    say("all adopted");
    let ends = adoption.adopted.iter().map(async |adopted| {
        let exit = adopted.ended().await.unwrap();
        say(&format!("ended {} {exit:?}", adopted.name()));
    });
    futures_util::future::join_all(ends).await;
}

/// A line that no test harness keeps for itself.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

/// A process that runs [`adopt_and_tell`].
struct Overseer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    adopted: Vec<String>,
}

impl Overseer {
    fn new(bed: &Bed) -> Self {
        let paths = &bed.knaller.options().paths;
        let mut child = bed
            .sandbox
            .command(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "supervision::adopt_and_tell",
                "--ignored",
                "--nocapture",
            ])
            .env(DATA, &paths.data)
            .env(RUNTIME, &paths.runtime)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut overseer = Self {
            child,
            lines,
            adopted: Vec::new(),
        };
        loop {
            let line = overseer.line();
            match line.strip_prefix("adopted ") {
                Some(adopted) => overseer.adopted.push(adopted.to_owned()),
                None if line == "all adopted" => return overseer,
                None => {}
            }
        }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Until it says that.
    fn hear(&mut self, wanted: &str) {
        while self.line() != wanted {}
    }

    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.adopted
    }
}

#[tokio::test]
async fn a_supervisor_that_is_killed_and_started_again_has_every_machine_back() {
    let bed = Bed::new();
    let mut running = Vec::new();
    let mut expected = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let machine = bed.start(bare(name).network(Network::None)).await;
        expected.push(format!("{name} {}", machine.info().await.unwrap().instance));
        running.push(machine);
    }
    // One that lies stopped is nobody's.
    let rests = bed.start(bare("rests").network(Network::None)).await;
    rests.kill().await.unwrap();

    assert_eq!(Overseer::new(&bed).kill(), expected);
    let mut overseer = Overseer::new(&bed);
    assert_eq!(overseer.adopted, expected);
    for machine in &running {
        assert_eq!(machine.info().await.unwrap().state, State::Running);
    }
    // However a machine ends, it is noticed.
    let [a, b, c, d] = running.as_slice() else {
        unreachable!()
    };
    let vmm = a.info().await.unwrap().pid.unwrap();
    kill_process(Pid::from_raw(vmm.cast_signed()).unwrap(), Signal::KILL).unwrap();
    overseer.hear("ended a Lost");
    b.stop(StopOptions::default()).await.unwrap();
    overseer.hear("ended b Off");
    // By another boot of the same name nobody is misled.
    c.kill().await.unwrap();
    overseer.hear("ended c Lost");
    c.start(StartOptions::default(), &mut |_| {}).await.unwrap();
    let adopted = bed.knaller.adopt("c").await.unwrap();
    assert_ne!(format!("c {}", adopted.instance()), expected[2]);
    assert_eq!(adopted.state(), State::Running);
    d.kill().await.unwrap();
    overseer.hear("ended d Lost");
    assert!(overseer.child.wait().unwrap().success());

    c.pause().await.unwrap();
    assert_eq!(bed.knaller.adopt("c").await.unwrap().state(), State::Paused);
    let ended = tokio::join!(adopted.ended(), adopted.ended(), c.kill());
    assert_eq!((ended.0.unwrap(), ended.1.unwrap()), (Exit::Lost, Exit::Lost));
    assert!(matches!(bed.knaller.adopt("c").await, Err(Error::NotRunning(_))));
    assert!(matches!(
        bed.knaller.adopt("nobody").await,
        Err(Error::NotFound(_))
    ));
    for machine in running.iter().chain([&rests]) {
        machine.remove().await.unwrap();
    }
}

/// What a supervisor says until it says something like that.
async fn until(supervisor: &mut Supervisor, wanted: impl Fn(&SupervisedKind) -> bool) -> Vec<Supervised> {
    let mut heard = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, supervisor.next()).await;
        let Ok(next) = next else {
            panic!("silence after {heard:?}")
        };
        let next = next.unwrap();
        let found = wanted(&next.kind);
        heard.push(next);
        if found {
            return heard;
        }
    }
}

fn is_adopted(kind: &SupervisedKind) -> bool {
    matches!(kind, SupervisedKind::Adopted { .. })
}

#[tokio::test]
async fn a_machine_that_fails_is_restarted_as_often_as_it_may_be() {
    let bed = Bed::new();
    let policy = Restart::OnFailure { at_most: Some(2) };
    let machine = bed
        .start(small("flaky").restart(policy).command(["sh", "-c", "exit 3"]))
        .await;
    let mut supervisor = bed.knaller.supervise(Vec::new()).await.unwrap();
    assert!(bed.knaller.is_supervised().unwrap());
    let heard = until(&mut supervisor, |kind| {
        matches!(kind, SupervisedKind::Resting { .. })
    })
    .await;
    let restarts: Vec<u32> = heard
        .iter()
        .filter_map(|told| match told.kind {
            SupervisedKind::Restarted { restarts } => Some(restarts),
            _ => None,
        })
        .collect();
    assert_eq!(restarts, [1, 2], "{heard:?}");
    let SupervisedKind::Resting { reason } = &heard.last().unwrap().kind else {
        unreachable!()
    };
    assert_eq!(
        reason,
        "it was restarted 2 times, which is what its policy, on-failure:2, allows"
    );
    let info = machine.info().await.unwrap();
    assert_eq!((info.state, info.restarts), (State::Stopped, 2));
    // Its user may try again, and the count begins anew.
    machine.start(StartOptions::default(), &mut |_| {}).await.unwrap();
    let heard = until(&mut supervisor, |kind| {
        matches!(kind, SupervisedKind::Restarted { .. })
    })
    .await;
    assert_eq!(
        heard.last().unwrap().kind,
        SupervisedKind::Restarted { restarts: 1 }
    );
    drop(supervisor);
    let _ = machine.kill().await;
    machine.remove().await.unwrap();
}

#[tokio::test]
async fn what_is_always_to_run_is_stopped_by_its_user_alone() {
    let bed = Bed::new();
    let mut supervisor = bed.knaller.supervise(Vec::new()).await.unwrap();
    // The supervisor was there before.
    let machine = bed.start(bare("web").restart(Restart::Always)).await;
    let other = bed.start(bare("other")).await;
    let heard = until(&mut supervisor, is_adopted).await;
    let web: Name = "web".parse().unwrap();
    assert_eq!(heard[0].name, web);
    let first = machine.info().await.unwrap();
    let vmm = Pid::from_raw(first.pid.unwrap().cast_signed()).unwrap();
    kill_process(vmm, Signal::KILL).unwrap();
    let heard = until(&mut supervisor, is_adopted).await;
    assert!(
        heard.iter().any(|told| told.kind
            == SupervisedKind::Ended {
                instance: first.instance.clone(),
                exit: Exit::Lost
            }),
        "{heard:?}"
    );
    assert!(heard.iter().all(|told| told.name == web), "{heard:?}");
    let second = machine.info().await.unwrap();
    assert_eq!((second.state, second.restarts), (State::Running, 1));
    assert_ne!(second.instance, first.instance);
    machine.stop(StopOptions::default()).await.unwrap();
    let heard = until(&mut supervisor, |kind| {
        matches!(kind, SupervisedKind::Resting { .. })
    })
    .await;
    let SupervisedKind::Resting { reason } = &heard.last().unwrap().kind else {
        unreachable!()
    };
    assert_eq!(reason, "it was stopped on purpose");
    drop(supervisor);
    // So it was before this supervisor came.
    let mut supervisor = bed.knaller.supervise(vec![web]).await.unwrap();
    until(&mut supervisor, |kind| {
        matches!(kind, SupervisedKind::Resting { .. })
    })
    .await;
    assert_eq!(machine.info().await.unwrap().state, State::Stopped);
    drop(supervisor);
    machine.remove().await.unwrap();
    end(&other).await;
}
