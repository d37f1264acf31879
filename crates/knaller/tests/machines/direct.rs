//! Network mode `direct` through the whole life of a machine, on a host of the test's own: a thread in another network
//! namespace, with all that it starts.

use std::io::Write as _;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::Command;

use knaller::{Error, Forward, Machine, Network, RestoreSpec, StartOptions};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::forwards::{broken_off, change, update};
use crate::network::{Outside, ask, refuses, said_before_it_was_cut};
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
    let reaches = async |machine: &Machine| {
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
    ports_come_and_go(&bed, &web, &outside).await;
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

/// While it runs. Afterwards they are as before.
async fn ports_come_and_go(bed: &Bed, web: &Machine, outside: &Outside) {
    let before = web.info().await.unwrap();
    let first = before.forwards[0];
    let wishes: Vec<Forward> = ["0:7001", "127.0.0.1:0:7001"]
        .map(|text| text.parse().unwrap())
        .into();
    let (updated, forwards) = change(web, &[&wishes[..], &[first]].concat()).await;
    assert!(updated.next_start.is_empty(), "{updated:?}");
    let [second, bound, same] = forwards[..] else {
        panic!("{forwards:?}")
    };
    assert_eq!(same, first);
    let loopback = IpAddr::from([127, 0, 0, 1]);
    for forward in [first, second] {
        assert_eq!(outside.ask("tcp", "198.51.100.1", forward), "x");
        assert_eq!(outside.ask("tcp", "fd00:6b6e::1", forward), "x");
        assert_eq!(ask(loopback, forward).as_deref(), Some("x"));
    }
    assert_eq!(ask(loopback, bound).as_deref(), Some("x"));
    let claims = on_host("ip link");
    assert!(
        claims.contains(&format!("kn-tcp-{}", second.host_port)),
        "{claims}"
    );

    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let wish = format!("{port}:7001").parse().unwrap();
    let error = web.update(update(&[second, wish])).await.unwrap_err();
    assert!(matches!(error, Error::PortTaken { .. }), "{error}");
    assert_eq!(web.info().await.unwrap().forwards, forwards);
    assert_eq!(on_host("ip link"), claims);
    assert_eq!(ask(loopback, first).as_deref(), Some("x"));

    // What is open ends too.
    let mut open = TcpStream::connect((loopback, second.host_port)).unwrap();
    let (updated, forwards) = change(web, &[first]).await;
    assert!(updated.next_start.is_empty(), "{updated:?}");
    assert_eq!(forwards, [first]);
    assert!(refuses(loopback, second) && refuses(loopback, bound));
    let _ = open.write_all(b"x");
    assert_eq!(said_before_it_was_cut(open), 0);
    let claims = on_host("ip link");
    assert!(
        !claims.contains(&format!("kn-tcp-{}", second.host_port)),
        "{claims}"
    );
    let table = on_host("nft list table inet knaller");
    assert!(!table.contains(&format!(". {} ", second.host_port)), "{table}");
    drop(TcpListener::bind(("0.0.0.0", second.host_port)).unwrap());
    assert_eq!(outside.ask("tcp", "198.51.100.1", first), "x");

    let _ = change(web, &[first, second]).await;
    assert_eq!(ask(loopback, second).as_deref(), Some("x"));
    broken_off(bed, "web", 1).await;
    assert_eq!(web.info().await.unwrap().forwards, [first]);
    assert_eq!(on_host("ip link"), claims);
    assert_eq!(on_host("nft list table inet knaller"), table);
    assert!(refuses(loopback, second));
    let _ = change(web, &[second, first]).await;
    let _ = change(web, &[first]).await;
}
