//! Going on as another machine, made from the snapshot of one that stood still: here without the snapshot.

use std::io::Read;
use std::process::Stdio;

use guest_protocol::control::Request;
use guest_protocol::{GuestMessage, Init, Renewal};
use testkit::Sandbox;

use crate::door::{Door, with_key};
use crate::freeze::freeze;
use crate::guest::{Answer, Guest, Plan, make_key, systemd};

const FREEZE: Request = Request::Freeze { patience_ms: 120_000 };

const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";

/// A new machine, its host key's public part, and the private key that opens it.
fn renewal() -> (Renewal, String, String) {
    let ((host_key, public), (private, opens)) = (make_key(), make_key());
    let renewal = Renewal {
        hostname: "fork".into(),
        host_key,
        authorized_keys: vec![opens],
        clock_ns: 2_000_000_000_000_000_000,
        entropy: "a5".repeat(64),
        machine_id: MACHINE_ID.into(),
        network: None,
    };
    let public = public.split(' ').nth(1).unwrap().to_owned();
    (renewal, public, private)
}

/// Starts a guest that is told to become `renewal` whenever it asks.
fn start(sandbox: &Sandbox, plan: &Plan, renewal: &Renewal) -> Guest {
    let (config, renewal) = (Box::new(plan.config.clone()), Box::new(renewal.clone()));
    Guest::start_with(sandbox, plan, move |count| match count {
        0 => Answer::Config(config.clone()),
        _ => Answer::Renew(renewal.clone()),
    })
}

/// Freezes the guest and breaks the connection; waits until it is another. Gives what it warned of.
fn renew(guest: &mut Guest, door: &Door) -> Vec<String> {
    freeze(&mut door.control(), &FREEZE);
    let mut warnings = Vec::new();
    guest.wait(|message| {
        match message {
            GuestMessage::Ready(_) => return Some(()),
            GuestMessage::Warning { step, message } | GuestMessage::Failed { step, message } => {
                warnings.push(format!("{step}: {message}"));
            }
            _ => {}
        }
        None
    });
    warnings
}

fn output(door: &Door, command: &str) -> String {
    let output = door.run(command);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const WHO: &str = "hostname; cat /etc/hostname /etc/machine-id; date +%Y; grep -c fork /etc/hosts";
const FORK: &str = "fork\nfork\n0123456789abcdef0123456789abcdef\n2033\n1\n";

#[test]
fn a_machine_that_was_restored_elsewhere_is_another() {
    let sandbox = Sandbox::new();
    let plan = with_key(Plan::overlay(&sandbox, "while :; do sleep 1; done"));
    let (renewal, public, private) = renewal();
    let mut guest = start(&sandbox, &plan, &renewal);
    guest.ready();
    let old = Door::open(guest.folder());
    let mut session = old
        .ssh(&[])
        .arg("echo in; exec sleep 7777")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    session.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    assert_eq!(renew(&mut guest, &old), [""; 0]);
    // Who had a connection to the old machine has none any more; neither has its key.
    assert_eq!(session.wait().unwrap().code(), Some(255));
    assert_eq!(old.run("true").status.code(), Some(255));
    let door = Door::open_with(guest.folder(), "fork", &private);
    assert_eq!(output(&door, WHO), FORK);
    assert_eq!(door.host_key(), public);
    // The next worker is the new machine's too.
    let kill = "kill -KILL $(basename $(dirname $(grep -l powerunit-ssh /proc/[0-9]*/comm)))";
    door.run(kill);
    guest.console_when("is started again");
    assert_eq!(door.host_key(), public);
    assert_eq!(output(&door, "hostname"), "fork\n");
    // And it can stand still again.
    assert_eq!(renew(&mut guest, &door), [""; 0]);
    assert_eq!(output(&door, WHO), FORK);
}

#[test]
fn a_root_that_cannot_be_written_to_gets_its_new_names_as_well() {
    let sandbox = Sandbox::new();
    let mut plan = with_key(Plan::overlay(&sandbox, "while :; do sleep 1; done"));
    plan.config.read_only = true;
    let (renewal, _, private) = renewal();
    let mut guest = start(&sandbox, &plan, &renewal);
    guest.ready();
    let door = Door::open(guest.folder());
    assert_eq!(renew(&mut guest, &door), [""; 0]);
    let door = Door::open_with(guest.folder(), "fork", &private);
    assert_eq!(
        output(
            &door,
            "hostname; cat /etc/hostname; touch /etc/x 2>&1 || echo sealed"
        ),
        "fork\nfork\ntouch: /etc/x: Read-only file system\nsealed\n"
    );
    let mounts = output(&door, "grep -c ' /etc/' /proc/mounts");
    renew(&mut guest, &door);
    assert_eq!(output(&door, "grep -c ' /etc/' /proc/mounts"), mounts);
}

#[test]
fn a_key_that_is_none_is_told_and_the_rest_is_in_force() {
    let sandbox = Sandbox::new();
    let plan = with_key(Plan::overlay(&sandbox, "while :; do sleep 1; done"));
    let (mut renewal, ..) = renewal();
    renewal.host_key = "no key".into();
    renewal.machine_id = "no id".into();
    let mut guest = start(&sandbox, &plan, &renewal);
    guest.ready();
    let door = Door::open(guest.folder());
    let warnings = renew(&mut guest, &door);
    assert!(
        warnings.iter().any(|warning| warning.starts_with("ssh: ")),
        "{warnings:?}"
    );
    assert!(
        warnings
            .iter()
            .any(|warning| warning.starts_with("names: `no id`")),
        "{warnings:?}"
    );
    assert_eq!(output(&door, "hostname"), "fork\n");
}

#[test]
fn systemd_and_its_services_stand_still_and_go_on_as_another() {
    let sandbox = Sandbox::new();
    let mut plan = with_key(Plan::overlay(&sandbox, ""));
    plan.disks[0].0 = systemd(&sandbox, &[]);
    plan.config.init = Init::Auto;
    let (renewal, public, private) = renewal();
    let mut guest = start(&sandbox, &plan, &renewal);
    assert_eq!(guest.ready().init, Init::Image);
    let door = Door::open(guest.folder());
    output(
        &door,
        "until systemctl --quiet is-active basic.target 2>/dev/null; do sleep 0.2; done",
    );
    let unit = "systemd-run --unit=tick --collect sh -c 'while :; do cat /proc/uptime > /run/tick; done'";
    output(&door, unit);
    assert_eq!(renew(&mut guest, &door), [""; 0]);
    let door = Door::open_with(guest.folder(), "fork", &private);
    assert_eq!(door.host_key(), public);
    assert_eq!(output(&door, WHO), FORK);
    assert_eq!(
        output(
            &door,
            "systemctl is-active tick; systemctl stop tick; cat /sys/fs/cgroup/*/cgroup.freeze | sort -u"
        ),
        "active\n0\n"
    );
}
