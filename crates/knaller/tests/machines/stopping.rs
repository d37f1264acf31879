//! The ways in which a machine is stopped, from the polite one to the last.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use knaller::{ExecRequest, LogSource, Machine, Network, StopOptions, StopOutcome};

use crate::support::{Bed, small};

/// Takes the machine's SSH server out of action, for good.
const STOP_THE_SERVER: &str = r#"
    for process in /proc/[0-9]*; do
        case "$(cat $process/comm)" in powerunit*) [ ${process#/proc/} -gt 1 ] && server=${process#/proc/};; esac
    done
    (kill -STOP $server; echo "nobody answers now" > /dev/console) > /dev/null 2>&1 &
    read forever
"#;

/// Lets Ctrl-Alt-Del reach a process that does not mind.
const NO_KEYS: &str = r#"
    sh -c 'trap "" INT; while :; do sleep 3600; done' > /dev/null 2>&1 < /dev/null &
    echo $! > /proc/sys/kernel/cad_pid
"#;

async fn hears(machine: &Machine, text: &str) {
    let mut logs = machine.logs(LogSource::Console, true).await.unwrap();
    let mut console = String::new();
    while !console.contains(text) {
        let piece = logs.next().await.unwrap();
        console.push_str(&String::from_utf8_lossy(&piece.unwrap()));
    }
}

fn soon() -> StopOptions {
    StopOptions {
        grace: Some(Duration::from_secs(1)),
    }
}

#[tokio::test]
async fn a_command_that_does_not_heed_its_signal_is_killed_and_that_is_told() {
    let bed = Bed::new();
    let deaf = [
        "sh",
        "-c",
        "trap '' TERM; echo listening; while :; do sleep 1; done",
    ];
    let machine = bed
        .start(small("deaf").network(Network::None).command(deaf))
        .await;
    hears(&machine, "listening").await;
    assert_eq!(machine.stop(soon()).await.unwrap(), StopOutcome::CommandKilled);
    machine.remove().await.unwrap();
}

#[tokio::test]
async fn a_machine_whose_init_cannot_be_asked_is_powered_off() {
    let bed = Bed::new();
    let machine = bed.start(small("mute").network(Network::None)).await;
    let _server = machine.exec(ExecRequest::line(STOP_THE_SERVER)).await.unwrap();
    hears(&machine, "nobody answers now").await;
    assert_eq!(machine.stop(soon()).await.unwrap(), StopOutcome::CtrlAltDel);
    machine.remove().await.unwrap();
}

/// A process that only knows of a machine's boot.
fn who_mentions(instance: &str, as_nobody: bool) -> Child {
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo; read line", "sh", "--id", instance])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if as_nobody {
        command.uid(65_534).gid(65_534);
    }
    let mut child = command.spawn().unwrap();
    // It has its command line from here on.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

#[tokio::test]
async fn who_only_mentions_a_machine_is_neither_waited_for_nor_ended() {
    let bed = Bed::new();
    let machine = bed.start(small("web").network(Network::None)).await;
    let instance = machine.info().await.unwrap().instance;
    let root = rustix::process::geteuid().is_root();
    let mut strangers = [who_mentions(&instance, false), who_mentions(&instance, root)];
    assert_eq!(machine.stop(soon()).await.unwrap(), StopOutcome::Orderly);
    machine.remove().await.unwrap();
    for stranger in &mut strangers {
        drop(stranger.stdin.take());
        assert!(stranger.wait().unwrap().code().is_some(), "it was killed");
    }
}

#[tokio::test]
async fn a_machine_that_heeds_nothing_is_killed() {
    let bed = Bed::new();
    let machine = bed.start(small("stone").network(Network::None)).await;
    let script = format!("{NO_KEYS}{STOP_THE_SERVER}");
    let _server = machine.exec(ExecRequest::line(&script)).await.unwrap();
    hears(&machine, "nobody answers now").await;
    assert_eq!(machine.stop(soon()).await.unwrap(), StopOutcome::Killed);
    machine.remove().await.unwrap();
}
