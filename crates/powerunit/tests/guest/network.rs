//! What the guest makes of a network that is not there. Real interfaces are tested from outside, through `knaller`.

use guest_protocol::{GuestMessage, Interface, Network};
use testkit::Sandbox;

use crate::guest::{Guest, Plan};

#[test]
fn a_missing_interface_is_a_warning_and_loopback_is_up() {
    let sandbox = Sandbox::new();
    let script = "ping -c 1 127.0.0.1 > /dev/null && ping -6 -c 1 ::1 > /dev/null";
    let mut plan = Plan::overlay(&sandbox, script);
    plan.config.network = Some(Network {
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: String::new(),
            addresses: vec!["192.0.2.2/24".into()],
            routes: Vec::new(),
            mtu: None,
        }],
        dns: Vec::new(),
        search: Vec::new(),
        pins: Vec::new(),
    });
    let mut guest = Guest::start(&sandbox, &plan);
    let why = guest.wait(|message| match message {
        GuestMessage::Warning { step, message } if step == "network" => Some(message.clone()),
        _ => None,
    });
    assert_eq!(why, "there is no network device; the kernel has lo");
    assert_eq!(guest.exited(), guest_protocol::Exit::Code(0));
    guest.off();
}
