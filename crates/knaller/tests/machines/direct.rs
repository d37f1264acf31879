//! Network mode `direct` through the whole life of a machine, on a host of the test's own: a thread in another network
//! namespace, with all that it starts.

use std::process::Command;

use knaller::{Network, RestoreSpec, StartOptions};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::network::Outside;
use crate::support::{Bed, end, said, small};

/// What the host's network has now.
fn on_host(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const STATE: &str = "ip -o link | cut -d: -f2; ip -4 route; ip -6 route | grep -v fe80; nft list ruleset; \
                     cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";

#[test]
fn a_life_on_a_network_of_roots() {
    if !testkit::is_root() {
        return testkit::skip("a_life_on_a_network_of_roots", "root, whose network mode it is");
    }
    let thread = std::thread::spawn(|| {
        // SAFETY: no flag concerns descriptors; what is changed is this thread's alone, and of those that it starts.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(live());
    });
    thread.join().unwrap();
}

async fn live() {
    let _ = on_host("ip link set lo up");
    let outside = Outside::new();
    let (v4, v6) = (outside.v4, outside.v6);
    let _ = on_host(&format!(
        "ip route add default via {v4} && ip -6 route add default via {v6}"
    ));
    let before = on_host(STATE);
    let bed = Bed::new();
    let spec = small("web")
        .network(Network::Direct)
        .forward("0:7001".parse().unwrap())
        .egress("allow=fd00:6b6e::/64".parse().unwrap())
        .command(["nc", "-ll", "-p", "7001", "-e", "head", "-c", "1"]);
    let web = bed.start(spec).await;
    let reaches = async |machine: &knaller::Machine| {
        for outer in [v4.to_string(), v6.to_string()] {
            let line = format!("nc -w 60 {outer} 7000 </dev/null");
            assert_eq!(said(machine, &line).await, "outside", "{outer}");
        }
        let _ = said(machine, "until nc -w 9 127.0.0.1 7001 </dev/null; do :; done").await;
        let forward = machine.info().await.unwrap().forwards[0];
        for host in ["198.51.100.1", "fd00:6b6e::1"] {
            assert_eq!(outside.ask("tcp", host, forward), "x", "{host}");
        }
        forward.host_port
    };
    let port = reaches(&web).await;
    let adopted = bed.knaller.adopt("web").await.unwrap();
    drop(adopted);

    let mut twin = RestoreSpec::default();
    twin.name = Some("twin".parse().unwrap());
    let twins = web.fork(vec![twin], StartOptions::default(), &mut |_| {}).await;
    let (twin, _) = twins.unwrap().remove(0);
    assert_ne!(reaches(&twin).await, port);
    assert_eq!(reaches(&web).await, port);
    assert!(on_host("ip -o link").contains("knaller1"));

    // Whoever kills a VMM leaves elements of the table at most.
    let pid = twin.info().await.unwrap().pid.unwrap();
    let instance = twin.info().await.unwrap().instance;
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    let _ = twin.wait().await.unwrap();
    let _ = bed.knaller.prune(false).await.unwrap();
    let table = on_host("nft list table inet knaller");
    assert!(!table.contains(&instance), "{table}");
    twin.remove().await.unwrap();
    assert_eq!(reaches(&web).await, port);
    end(&web).await;
    assert_eq!(on_host(STATE), before);
}
