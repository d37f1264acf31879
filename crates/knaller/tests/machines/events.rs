//! What is told of machines while things happen to them: all of it, once, and in order.

use knaller::{Change, EventKind, Events, Exit, SnapshotOptions, StartOptions, StopOptions, Update};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bed, PATIENCE, said, small};

/// The next ones are these, of a machine of this name; gives the boot that the last was of.
async fn told<const N: usize>(events: &mut Events, name: &str, kinds: [EventKind; N]) -> String {
    let mut instance = String::new();
    for kind in kinds {
        let event = tokio::time::timeout(PATIENCE, events.next()).await;
        let event = event.unwrap_or_else(|_| panic!("{kind:?} is not told")).unwrap();
        assert_eq!((event.name.as_str(), event.kind), (name, kind));
        instance = event.instance;
    }
    instance
}

#[tokio::test]
async fn what_happens_is_told_once_and_in_order() {
    use EventKind::{Created, Paused, Removed, Renamed, Resumed, Running, Starting, Stopped};
    let stopped = |exit| Stopped { exit };
    let bed = Bed::new();
    let mut events = bed.knaller.events().await.unwrap();
    // Its guest is kept on its way up, and stands still for that.
    let machine = bed.start(small("web")).await;
    let first = told(&mut events, "web", [Created, Starting, Running]).await;
    assert_eq!(machine.info().await.unwrap().instance, first);
    // So it does for a snapshot, which is nobody's pause.
    let mut looks = tokio::spawn(async move {
        let told = told(&mut events, "web", [Paused]).await;
        (told, events)
    });
    for _ in 0..2 {
        tokio::select! {
            told = &mut looks => panic!("{told:?}"),
            taken = machine.snapshot(SnapshotOptions::default()) => drop(taken.unwrap()),
        }
    }
    machine.pause().await.unwrap();
    let (_, mut events) = looks.await.unwrap();
    machine.resume().await.unwrap();
    told(&mut events, "web", [Resumed]).await;
    let from = machine.name().clone();
    let machine = machine.rename(&"api".parse().unwrap()).await.unwrap();
    assert_eq!(told(&mut events, "api", [Renamed { from }]).await, first);
    machine.stop(StopOptions::default()).await.unwrap();
    assert_eq!(told(&mut events, "api", [stopped(Exit::Off)]).await, first);
    // Whoever changes one that is stopped does not start it.
    let mut update = Update::default();
    update.disk_ops = Change::Set(knaller::Rate::new(1000));
    machine.update(update).await.unwrap();
    machine.start(StartOptions::default(), &mut |_| {}).await.unwrap();
    let second = told(&mut events, "api", [Starting, Running]).await;
    assert_ne!(second, first);
    let options = StopOptions::default();
    let restarted = machine
        .restart(options, StartOptions::default(), &mut |_| {})
        .await;
    let _ = restarted.unwrap();
    assert_eq!(told(&mut events, "api", [stopped(Exit::Off)]).await, second);
    let third = told(&mut events, "api", [Starting, Running]).await;
    assert_eq!(machine.info().await.unwrap().instance, third);
    let vmm = machine.info().await.unwrap().pid.unwrap();
    kill_process(Pid::from_raw(vmm.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(told(&mut events, "api", [stopped(Exit::Lost)]).await, third);
    machine.remove().await.unwrap();
    told(&mut events, "api", [Removed]).await;

    // One that goes with its end has told how that was.
    let wait = "until [ -e /run/go ]; do sleep 0.1; done; exit 3";
    let once = small("once").command(["sh", "-c", wait]).remove_on_exit(true);
    let machine = bed.start(once).await;
    told(&mut events, "once", [Created, Starting, Running]).await;
    let _ = said(&machine, "touch /run/go").await;
    let exit = Exit::Command(guest_protocol::Exit::Code(3));
    told(&mut events, "once", [stopped(exit), Removed]).await;

    // A start that comes to nothing is not one that has come up.
    let bad = small("bad").command(["/nonexistent"]);
    let begun = told(&mut events, "bad", [Created, Starting]);
    let (failed, begun) = tokio::join!(bed.try_start(bad), begun);
    assert!(failed.is_err());
    let over = events.next().await.unwrap();
    assert!(matches!(over.kind, Stopped { .. }), "{over:?}");
    assert_eq!(over.instance, begun);
    told(&mut events, "bad", [Removed]).await;
}
