//! From start to removal.

use knaller::{Error, Exit, LogSource, Network, Side, StartEvent, State, StopOptions, StopOutcome, Vmm};

use crate::support::{Bed, bare, end, said, small, vmm};

#[tokio::test]
async fn a_machine_is_started_stopped_started_again_and_removed() {
    let bed = Bed::new();
    let mut events = Vec::new();
    let machine = bed
        .watch(small("web").cpus(2), &mut |event| events.push(event))
        .await
        .unwrap();
    let claimed =
        |event: &StartEvent| matches!(event, StartEvent::Claimed { name, .. } if name.as_str() == "web");
    assert!(events.iter().any(claimed), "{events:?}");
    let steps: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            StartEvent::Step(step) => Some((step.side, step.name.as_str())),
            _ => None,
        })
        .collect();
    for step in [
        (Side::Host, "api"),
        (Side::Host, "disks"),
        (Side::Guest, "kernel"),
        (Side::Guest, "ready"),
    ] {
        assert!(steps.contains(&step), "{steps:?}");
    }

    let listed = bed.knaller.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    let info = machine.info().await.unwrap();
    let expected = match vmm() {
        Vmm::Firecracker => "firecracker",
        _ => "sparkler",
    };
    assert_eq!((info.state, info.vmm.as_str()), (State::Running, expected));
    assert_eq!(info, listed[0]);
    // The process that the API's socket belongs to is the VMM of this boot.
    let line = std::fs::read(format!("/proc/{}/cmdline", info.pid.unwrap())).unwrap();
    assert!(String::from_utf8_lossy(&line).contains(&info.instance));
    assert_eq!(said(&machine, "nproc").await, "2");
    assert_eq!(said(&machine, "hostname").await, "web");
    said(&machine, "echo kept > /root/file && sync").await;
    assert!(matches!(machine.remove().await, Err(Error::Running(_))));

    assert_eq!(
        machine.stop(StopOptions::default()).await.unwrap(),
        StopOutcome::Orderly
    );
    let stopped = machine.info().await.unwrap();
    assert_eq!((stopped.state, stopped.pid), (State::Stopped, None));
    assert!(matches!(
        machine.stop(StopOptions::default()).await,
        Err(Error::NotRunning(_))
    ));
    assert!(matches!(machine.kill().await, Err(Error::NotRunning(_))));
    assert_eq!(machine.wait().await.unwrap(), Exit::Off);

    let timeline = machine
        .start(knaller::StartOptions::default(), &mut |_| {})
        .await
        .unwrap();
    assert!(timeline.steps.iter().any(|step| step.name == "ready"));
    assert_eq!(said(&machine, "cat /root/file").await, "kept");
    let again = machine.info().await.unwrap();
    assert_ne!(again.instance, info.instance);
    assert!(matches!(
        machine.start(knaller::StartOptions::default(), &mut |_| {}).await,
        Err(Error::Running(_))
    ));
    end(&machine).await;
    assert!(bed.knaller.list().await.unwrap().is_empty());
    assert!(matches!(bed.knaller.get("web").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_command_is_what_the_machine_exists_for() {
    let bed = Bed::new();
    let spec = small("job")
        .env("WORD", "two words")
        .user("nobody")
        .workdir("/tmp")
        .command(["sh", "-c", "echo \"$WORD $(id -un) $PWD\"; exit 3"]);
    let machine = bed.start(spec).await;
    assert_eq!(
        machine.wait().await.unwrap(),
        Exit::Command(guest_protocol::Exit::Code(3))
    );
    let mut logs = machine.logs(LogSource::Console, false).await.unwrap();
    let mut console = Vec::new();
    while let Some(piece) = logs.next().await.unwrap() {
        console.extend_from_slice(&piece);
    }
    let console = String::from_utf8_lossy(&console);
    assert!(console.contains("two words nobody /tmp"), "{console}");
    machine.remove().await.unwrap();
}

#[tokio::test]
async fn a_machine_to_be_removed_on_exit_is_gone_once_its_end_is_told() {
    let bed = Bed::new();
    let machine = bed
        .start(small("once").remove_on_exit(true).command(["sh", "-c", "exit 0"]))
        .await;
    let exit = machine.wait().await.unwrap();
    assert_eq!(exit, Exit::Command(guest_protocol::Exit::Code(0)));
    assert!(!machine.folder().exists());
}

#[tokio::test]
async fn names_are_made_up_and_a_taken_one_is_refused() {
    let bed = Bed::new();
    let mut spec = bare("x").network(Network::None);
    spec.name = None;
    let machine = bed.start(spec).await;
    let name = machine.name().clone();
    assert_eq!(name.as_str().split('-').count(), 2);
    let error = bed.try_start(bare(name.as_str())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("a machine named {name} exists already (running)")
    );
    end(&machine).await;
}

#[tokio::test]
async fn a_guest_that_ignores_its_init_is_stopped_the_hard_way() {
    let bed = Bed::new();
    let machine = bed.start(small("deaf")).await;
    // Nothing answers any more, neither SSH nor Ctrl-Alt-Del.
    let info = machine.info().await.unwrap();
    let api = firecracker_api::Client::new(bed.sandbox.runtime().join("knaller/deaf/api.sock"));
    api.patch_vm(firecracker_api::models::VmState::Paused)
        .await
        .unwrap();
    assert_eq!(machine.info().await.unwrap().state, State::Paused);
    // A paused one is resumed first, and then ends in order.
    assert_eq!(
        machine.stop(StopOptions::default()).await.unwrap(),
        StopOutcome::Orderly
    );
    assert!(info.pid.is_some());
    machine.remove().await.unwrap();
}

#[tokio::test]
async fn ctrl_alt_del_ends_a_machine_in_order() {
    let bed = Bed::new();
    let script = "trap 'echo asked nicely; exit 7' TERM; echo up; while :; do sleep 1 & wait; done";
    let machine = bed.start(small("keys").command(["sh", "-c", script])).await;
    let mut logs = machine.logs(LogSource::Console, true).await.unwrap();
    let mut console = Vec::new();
    while !console.windows(2).any(|word| word == b"up") {
        console.extend_from_slice(&logs.next().await.unwrap().unwrap());
    }
    let api = firecracker_api::Client::new(bed.sandbox.runtime().join("knaller/keys/api.sock"));
    api.put_action(firecracker_api::models::ActionType::SendCtrlAltDel)
        .await
        .unwrap();
    assert_eq!(
        machine.wait().await.unwrap(),
        Exit::Command(guest_protocol::Exit::Code(7))
    );
    while let Some(piece) = logs.next().await.unwrap() {
        console.extend_from_slice(&piece);
    }
    let console = String::from_utf8_lossy(&console);
    assert!(console.contains("asked nicely"), "{console}");
    machine.remove().await.unwrap();
}
