//! Network interfaces: frames to the host, limits, the metadata service.

use serde_json::json;

use super::machine::{BOOT_ARGS, Machine};

const UP: &str = "ifconfig eth0 172.16.0.2 up && ping -c 3 -W 60 172.16.0.1";

/// A machine in a namespace with this interface, not started.
fn with_interface(interface: &serde_json::Value) -> Machine {
    let machine = Machine::in_namespace(&[]);
    machine.put("/network-interfaces/eth0", interface);
    machine.boot_source(BOOT_ARGS);
    machine
}

#[test]
fn frames_reach_the_host_through_the_tap() {
    let interface =
        json!({ "iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "06:00:ac:10:00:02", "mtu": 1400 });
    let mut machine = with_interface(&interface);
    let metrics = machine.path("metrics");
    machine.put("/metrics", &json!({ "metrics_path": metrics }));
    machine.go();
    assert_eq!(
        machine.sh("cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu"),
        "06:00:ac:10:00:02\n1400"
    );
    assert!(machine.sh(UP).contains("0% packet loss"));
    let unknown = machine.refused(
        "PATCH",
        "/network-interfaces/eth1",
        &json!({ "iface_id": "eth1" }),
    );
    assert_eq!(
        unknown,
        "Network config error: Unable to update the net device: Failed perform action on device: Device not found"
    );
    machine.action("FlushMetrics");
    let lines = std::fs::read_to_string(metrics).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(
        last["net_eth0"]["tx_packets_count"].as_u64() >= Some(3),
        "{}",
        last["net_eth0"]
    );
    assert_eq!(last["net"]["rx_bytes_count"], last["net_eth0"]["rx_bytes_count"]);
}

#[test]
fn a_limited_interface_can_be_limited_otherwise_while_the_guest_runs() {
    let bucket = |size: u32| json!({ "bandwidth": { "size": size, "refill_time": 1000 } });
    let interface =
        json!({ "iface_id": "eth0", "host_dev_name": "tap0", "tx_rate_limiter": bucket(1 << 20) });
    let mut machine = with_interface(&interface);
    machine.go();
    assert!(machine.sh(UP).contains("0% packet loss"));
    let change =
        json!({ "iface_id": "eth0", "tx_rate_limiter": bucket(2000), "rx_rate_limiter": bucket(3000) });
    machine.patch("/network-interfaces/eth0", &change);
    let shown = &machine.get("/vm/config")["network-interfaces"][0];
    assert_eq!(shown["tx_rate_limiter"]["bandwidth"]["size"], 2000);
    assert_eq!(shown["rx_rate_limiter"]["bandwidth"]["size"], 3000);
    let start = std::time::Instant::now();
    // Six packets of 1,042 bytes at 2,000 bytes a second, less what the bucket held.
    machine.sh("ping -c 6 -A -s 1000 -W 60 172.16.0.1");
    assert!(start.elapsed().as_secs_f64() > 1.5, "{:?}", start.elapsed());
}

#[test]
fn any_interface_can_be_limited_while_the_guest_runs() {
    let mut machine = with_interface(&json!({ "iface_id": "eth0", "host_dev_name": "tap0" }));
    machine.go();
    assert!(machine.sh(UP).contains("0% packet loss"));
    let ping = "ping -c 5 -A -s 1000 -W 60 172.16.0.1";
    for direction in ["rx_rate_limiter", "tx_rate_limiter"] {
        let change = |size: u32, refill_time: u32| json!({ "iface_id": "eth0", direction: { "bandwidth": { "size": size, "refill_time": refill_time } } });
        machine.patch("/network-interfaces/eth0", &change(2200, 1000));
        assert_eq!(
            machine.get("/vm/config")["network-interfaces"][0][direction]["bandwidth"]["size"],
            2200
        );
        let start = std::time::Instant::now();
        // Five packets of 1,054 bytes at 2,200 bytes a second, less the two the bucket held.
        assert!(machine.sh(ping).contains(" 0% packet loss"));
        assert!(
            start.elapsed().as_secs_f64() > 1.0,
            "{direction}: {:?}",
            start.elapsed()
        );
        machine.patch("/network-interfaces/eth0", &change(0, 0));
        assert!(machine.get("/vm/config")["network-interfaces"][0][direction].is_null());
        // Far more at once than the limit let through.
        assert!(
            machine
                .sh("ping -c 3 -A -s 9000 -W 60 172.16.0.1")
                .contains(" 0% packet loss")
        );
    }
}

#[test]
fn the_metadata_service_answers_the_guest() {
    let interface = json!({ "iface_id": "eth0", "host_dev_name": "tap0" });
    let mut machine = with_interface(&interface);
    machine.put("/mmds/config", &json!({ "network_interfaces": ["eth0"] }));
    machine.put("/mmds", &json!({ "latest": { "name": "from the host" } }));
    machine.go();
    machine.sh("ifconfig eth0 172.16.0.2 up && route add 169.254.169.254 eth0");
    // busybox's own wget needs name service libraries even for a number.
    let get = r"printf 'GET /latest/name HTTP/1.0\r\n\r\n' | nc -w 60 169.254.169.254 80";
    assert!(machine.sh(get).contains("from the host"));
    machine.patch("/mmds", &json!({ "latest": { "name": "changed" } }));
    assert!(machine.sh(get).contains("changed"));
    assert_eq!(machine.get("/mmds")["latest"]["name"], "changed");
    assert_eq!(
        machine.get("/vm/config")["mmds-config"]["ipv4_address"],
        "169.254.169.254"
    );
    // What is not for the service goes to the host.
    assert!(
        machine
            .sh("ping -c 1 -W 60 172.16.0.1")
            .contains("0% packet loss")
    );
}
