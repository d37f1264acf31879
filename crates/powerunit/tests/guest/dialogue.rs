//! The boot dialogue, from the guest's end.

use guest_protocol::{GuestMessage, Interface, Network, VERSION};
use testkit::Sandbox;

use crate::guest::{Answer, Guest, Plan};

fn initramfs() -> Plan {
    Plan::new(guest_protocol::Root::Initramfs, "")
}

#[test]
fn a_guest_asks_again_when_the_host_hangs_up() {
    let sandbox = Sandbox::new();
    let plan = initramfs();
    let config = Box::new(plan.config.clone());
    let mut guest = Guest::start_with(&sandbox, &plan, move |count| match count {
        0 | 1 => Answer::HangUp,
        _ => Answer::Config(config.clone()),
    });
    let mut hellos = Vec::new();
    guest.wait(|message| {
        if let GuestMessage::Hello(hello) = message {
            hellos.push(hello.clone());
        }
        matches!(message, GuestMessage::Ready(_)).then_some(())
    });
    assert_eq!(hellos.len(), 3);
    assert!(
        hellos
            .iter()
            .all(|hello| hello.version == VERSION && hello.init_us == hellos[0].init_us)
    );
    assert!(hellos[0].init_us > 0 && hellos.is_sorted_by_key(|hello| hello.uptime_us));
}

/// A template is made of a guest that has said so; each machine made from it asks again.
#[test]
fn a_guest_that_waits_says_when_nothing_else_is_left_to_do() {
    let sandbox = Sandbox::new();
    // The kernel's log has a clock of its own: a mark in it tells by how much it is ahead.
    let script = "echo mark > /dev/kmsg; read now _ < /proc/uptime; echo now: $now; \
                  dmesg | sed -n 's/^\\[ *\\([0-9.]*\\)\\] \\(fuse: init\\|mark\\).*/\\2: \\1/p'";
    let plan = Plan::overlay(&sandbox, script);
    let config = Box::new(plan.config.clone());
    let mut guest = Guest::start_with(&sandbox, &plan, move |count| match count {
        0 | 1 => Answer::HangUpLater,
        _ => Answer::Later(config.clone()),
    });
    let (mut settled, mut asked) = (Vec::new(), 0);
    let root_up = guest.wait(|message| {
        match message {
            GuestMessage::Hello(_) => asked += 1,
            GuestMessage::Settled { uptime_us } => settled.push((asked, *uptime_us)),
            GuestMessage::Phase { name, uptime_us } if name.contains("root") => return Some(*uptime_us),
            _ => {}
        }
        None
    });
    let since = settled[0].1;
    assert_eq!(settled, [(1, since), (2, since), (3, since)]);
    guest.exited();
    let console = guest.off();
    let time = |name: &str| -> f64 {
        let time = console.lines().find_map(|line| line.strip_prefix(name));
        time.unwrap_or_else(|| panic!("{console}")).parse().unwrap()
    };
    let loaded = time("fuse: init: ") - (time("mark: ") - time("now: "));
    assert!(loaded * 1e6 < root_up as f64, "{root_up}: {console}");
}

/// What is prepared in vain is not a guest's trouble until its config asks for it.
#[test]
fn a_guest_that_is_prepared_settles_again() {
    let sandbox = Sandbox::new();
    let mut plan = initramfs();
    let interface = Interface {
        name: "eth0".into(),
        mac: String::new(),
        addresses: vec!["192.0.2.2/24".into()],
        routes: Vec::new(),
        mtu: None,
    };
    plan.config.network = Some(Network {
        interfaces: vec![interface.clone()],
        ..Network::default()
    });
    let config = Box::new(plan.config.clone());
    let mut guest = Guest::start_with(&sandbox, &plan, move |_| {
        Answer::Prepare(vec![interface.clone()], config.clone())
    });
    let mut order = Vec::new();
    guest.wait(|message| {
        order.push(match message {
            GuestMessage::Hello(_) => "hello",
            GuestMessage::Settled { .. } => "settled",
            GuestMessage::Warning { step, .. } if step == "network" => "network",
            GuestMessage::Ready(_) => "ready",
            _ => return None,
        });
        (order.last() == Some(&"ready")).then_some(())
    });
    assert_eq!(order, ["hello", "settled", "settled", "network", "ready"]);
    assert!(guest.ssh_banner().starts_with("SSH-2.0-"));
}

#[test]
fn a_guest_that_is_refused_goes_off_and_says_why() {
    let sandbox = Sandbox::new();
    let guest = Guest::start_with(&sandbox, &initramfs(), |_| Answer::Refuse("another guest has it"));
    let console = guest.off();
    let line = "powerunit: failed: config: the host refuses to give the config: another guest has it\n";
    assert!(console.contains(line), "{console}");
}

#[test]
fn a_host_of_another_version_is_named() {
    let sandbox = Sandbox::new();
    let mut plan = initramfs();
    plan.config.version = VERSION + 1;
    let console = Guest::start(&sandbox, &plan).off();
    let line =
        "powerunit: failed: config: the host speaks version 2 of the boot dialogue, this guest version 1\n";
    assert!(console.contains(line), "{console}");
}

#[test]
fn logins_are_taken_before_the_root_is_there() {
    let sandbox = Sandbox::new();
    let mut guest = Guest::start(&sandbox, &initramfs());
    let mut order = Vec::new();
    guest.wait(|message| {
        order.push(match message {
            GuestMessage::Listening { .. } => "listening",
            GuestMessage::Phase { name, .. } if name.contains("root") => "root",
            GuestMessage::Ready(_) => "ready",
            _ => return None,
        });
        (order.last() == Some(&"ready")).then_some(())
    });
    assert_eq!(order, ["listening", "root", "ready"]);
    assert!(guest.ssh_banner().starts_with("SSH-2.0-"));
    assert_eq!(guest.console(), "", "a guest that boots well has nothing to say");
}

#[test]
fn a_kernel_that_insists_on_signed_modules_gets_them() {
    let sandbox = Sandbox::new();
    let plan = Plan {
        boot_args: "module.sig_enforce=1",
        ..initramfs()
    };
    Guest::start(&sandbox, &plan).ready();
}

#[test]
fn a_host_key_that_is_none_is_told_to_the_host() {
    let sandbox = Sandbox::new();
    let mut plan = initramfs();
    plan.config.host_key = "no key".into();
    let mut guest = Guest::start(&sandbox, &plan);
    let (step, why) = guest.failed();
    assert_eq!((step.as_str(), why.contains("host key")), ("ssh", true), "{why}");
}
