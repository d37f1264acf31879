//! Standing still for a snapshot, and going on as the same machine.

use std::process::Stdio;

use guest_protocol::control::{Frozen, Reply, Request};
use guest_protocol::{Exit, GuestMessage};
use testkit::Sandbox;

use crate::door::{Control, Door, with_key};
use crate::guest::{Answer, Guest, PATIENCE, Plan, blank, journal_is_closed};

/// Says what time it is, on and on.
const TICK: &str = "while :; do read now _ < /proc/uptime; echo tick $now; sleep 0.02; done";

const FREEZE: Request = Request::Freeze { patience_ms: 10_000 };

pub(crate) fn freeze(control: &mut Control, request: &Request) -> Frozen {
    match control.ask(request) {
        Reply::Frozen(frozen) => frozen,
        other => panic!("{other:?}"),
    }
}

fn refusal(reply: Reply) -> String {
    match reply {
        Reply::Failed { message } => message,
        other => panic!("{other:?}"),
    }
}

/// Lets so much of the guest's own time pass; gives its beginning and its end.
fn pass(control: &mut Control, ms: u64) -> (u64, u64) {
    let (start, from) = (std::time::Instant::now(), control.status().uptime_us);
    loop {
        let now = control.status().uptime_us;
        if now >= from + ms * 1_000 {
            return (from, now);
        }
        assert!(start.elapsed() < PATIENCE);
    }
}

/// The times that [`TICK`] has said, microseconds.
fn ticks(console: &str) -> Vec<u64> {
    let times = console.lines().filter_map(|line| line.strip_prefix("tick "));
    let times = times.filter_map(|time| time.trim().parse::<f64>().ok());
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times since a boot"
    )]
    times.map(|time| (time * 1e6) as u64).collect()
}

/// Waits until the entrypoint has said a time after that.
fn ticks_after(guest: &Guest, time: u64) {
    let start = std::time::Instant::now();
    while ticks(&guest.console()).last().is_none_or(|last| *last <= time) {
        assert!(start.elapsed() < PATIENCE, "{}", guest.console());
        std::thread::yield_now();
    }
}

#[test]
fn a_frozen_machine_stands_still_until_it_is_thawed() {
    let sandbox = Sandbox::new();
    let mut plan = with_key(Plan::overlay(&sandbox, TICK));
    let data = blank(&sandbox, "data");
    plan.disks.push((data.clone(), false));
    let volume = serde_json::json!({
        "path": "/srv/data",
        "source": { "disk": { "device": "vdc", "filesystem": "ext4" } },
    });
    plan.config.volumes.push(serde_json::from_value(volume).unwrap());
    let mut guest = Guest::start(&sandbox, &plan);
    guest.ready();
    let door = Door::open(guest.folder());
    let mut control = door.control();
    assert_eq!(
        refusal(control.ask(&Request::Thaw)),
        "the guest does not stand still"
    );
    // A session outside the entrypoint's tree, and a file that nobody has written out.
    assert!(
        door.run("echo new > /root/new; echo new > /srv/data/new")
            .status
            .success()
    );
    let upper = &plan.disks[1].0;
    assert!(!journal_is_closed(upper) && !journal_is_closed(&data));
    for _ in 0..2 {
        let frozen = freeze(&mut control, &FREEZE);
        assert_eq!(frozen.warnings, [""; 0]);
        let (from, to) = pass(&mut control, 500);
        assert_eq!(refusal(control.ask(&FREEZE)), "the guest stands still already");
        assert!(journal_is_closed(upper) && journal_is_closed(&data));
        let mut late = door.ssh(&[]).arg("true").spawn().unwrap();
        assert_eq!(control.ask(&Request::Thaw), Reply::Done);
        assert!(late.wait().unwrap().success());
        ticks_after(&guest, to);
        let console = guest.console();
        let inside = ticks(&console)
            .into_iter()
            .filter(|time| (from..=to).contains(time));
        assert_eq!(inside.count(), 0, "from {from} to {to}: {console}");
    }
    let groups = door.run("cat /proc/1/cgroup /proc/self/cgroup; ls /sys/fs/cgroup | grep powerunit");
    assert_eq!(String::from_utf8_lossy(&groups.stdout), "0::/\n0::/\n");
    guest.ctrl_alt_del();
    assert_eq!(guest.exited(), Exit::Signal(15));
    guest.off();
    assert!(journal_is_closed(upper) && journal_is_closed(&data));
}

#[test]
fn a_machine_that_is_asked_to_end_does_not_stand_still() {
    let sandbox = Sandbox::new();
    let plan = with_key(Plan::overlay(
        &sandbox,
        "trap 'exit 5' TERM; while :; do sleep 1; done",
    ));
    let mut guest = Guest::start(&sandbox, &plan);
    guest.ready();
    let door = Door::open(guest.folder());
    let mut control = door.control();
    freeze(&mut control, &FREEZE);
    guest.ctrl_alt_del();
    assert_eq!(guest.exited(), Exit::Code(5));
    guest.off();
    assert!(journal_is_closed(&plan.disks[1].0));
}

/// As it is left by a worker that dies in the middle: its file systems and processes are in a state that only the kernel knows.
#[test]
fn a_worker_that_dies_leaves_nothing_frozen() {
    let sandbox = Sandbox::new();
    let script = "cd /sys/fs/cgroup; mkdir powerunit-frozen; echo 1 > powerunit-frozen/cgroup.freeze; \
                  (while :; do echo still here; sleep 1; done) & echo $! > powerunit-frozen/cgroup.procs; \
                  fsfreeze --freeze /srv/data; \
                  kill -KILL $(basename $(dirname $(grep -l powerunit-ssh /proc/[0-9]*/comm))); \
                  while [ -e powerunit-frozen ]; do :; done; echo written > /srv/data/file; exit 6";
    let mut plan = Plan::overlay(&sandbox, script);
    plan.disks.push((blank(&sandbox, "data"), false));
    let volume = serde_json::json!({
        "path": "/srv/data",
        "source": { "disk": { "device": "vdc", "filesystem": "ext4" } },
    });
    plan.config.volumes.push(serde_json::from_value(volume).unwrap());
    let mut guest = Guest::start(&sandbox, &plan);
    assert_eq!(guest.exited(), Exit::Code(6));
    guest.off();
}

#[test]
fn what_cannot_be_frozen_is_told() {
    let sandbox = Sandbox::new();
    let plan = with_key(Plan::overlay(
        &sandbox,
        "umount /sys/fs/cgroup && echo ready; while :; do sleep 1; done",
    ));
    let mut guest = Guest::start(&sandbox, &plan);
    guest.ready();
    guest.console_when("ready");
    let door = Door::open(guest.folder());
    let mut control = door.control();
    let frozen = freeze(&mut control, &FREEZE);
    assert!(
        matches!(&frozen.warnings[..], [one] if one.contains("no freezer for processes at /sys/fs/cgroup")),
        "{frozen:?}"
    );
    assert!(!frozen.generation_id, "no VMM of this suite has one");
    assert!(journal_is_closed(&plan.disks[1].0));
    assert_eq!(control.ask(&Request::Thaw), Reply::Done);
}

#[test]
fn a_machine_that_still_starts_is_not_frozen() {
    let sandbox = Sandbox::new();
    let mut plan = with_key(Plan::overlay(&sandbox, "true"));
    // The boot waits for a disk that does not come, for a while.
    plan.config.root = serde_json::from_value(serde_json::json!({
        "kind": "disk",
        "disk": { "device": "vdq", "filesystem": "ext4" },
    }))
    .unwrap();
    let mut guest = Guest::start(&sandbox, &plan);
    guest.phase("network up");
    let door = Door::open(guest.folder());
    let mut control = door.control();
    assert_eq!(refusal(control.ask(&FREEZE)), "the guest is still starting");
}

/// As under Firecracker, which breaks the connections of the machine whose snapshot it takes.
#[test]
fn the_same_machine_goes_on_when_its_host_says_so_or_says_nothing() {
    let sandbox = Sandbox::new();
    let plan = with_key(Plan::overlay(&sandbox, TICK));
    let config = Box::new(plan.config.clone());
    let later = 2_000_000_000_000_000_000;
    let mut guest = Guest::start_with(&sandbox, &plan, move |count| match count {
        0 => Answer::Config(config.clone()),
        1 => Answer::Unchanged(later),
        2 => Answer::Refuse("nobody knows you"),
        _ => Answer::HangUp,
    });
    guest.ready();
    let door = Door::open(guest.folder());
    let key = door.host_key();
    let mut session = door.ssh(&[]).arg("cat").stdin(Stdio::piped()).spawn().unwrap();
    let request = Request::Freeze { patience_ms: 1_000 };
    let break_off = || {
        let mut control = door.control();
        freeze(&mut control, &request);
    };
    break_off();
    let asked = guest.wait(|message| match message {
        GuestMessage::Hello(hello) => Some(hello.clone()),
        _ => None,
    });
    assert!(
        asked.renewal && asked.init_us > 0 && asked.uptime_us > asked.init_us,
        "{asked:?}"
    );
    guest.ready();
    let date = door.run("date +%Y");
    assert_eq!(String::from_utf8_lossy(&date.stdout), "2033\n");
    break_off();
    guest.console_when("this machine goes on as it was: the host refuses to say who it is: nobody knows you");
    break_off();
    guest.console_when("this machine goes on as it was: the host did not say within 1 s who it is");
    // The sessions of the same machine are still there.
    drop(session.stdin.take());
    assert!(session.wait().unwrap().success());
    assert_eq!(door.host_key(), key);
}
