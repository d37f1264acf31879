//! Limits, as the guest finds them when it measures. A busy host makes everything slower, never quicker: so what is asserted is
//! that a limit was not exceeded, that a third of it was reached, and that the guest was told of none once it was taken away.

mod measure;

use std::time::Instant;

use firecracker_api::models::FullVmConfiguration;
use knaller::{Change, ExecRequest, Exit, Limits, Machine, Origin, Rate, StartOptions, StopOptions, Update};
use testkit::{ControlGroup, control_group_of};

use self::measure::{CREDIT, at_the_rate, burst, get, read, receive};
use crate::support::{Bed, PATIENCE, end, run, said, small};

/// Bytes that are moved to measure.
const AMOUNT: u64 = 8 << 20;

#[tokio::test]
async fn disks_are_no_quicker_than_said() {
    let bed = Bed::new();
    let mut limits = Limits::default();
    limits.disk_bandwidth = Some(Rate::new(2_000_000));
    let machine = bed.start(small("slow").limits(limits)).await;
    for start in ["first", "warm"] {
        let (bytes, _, seconds) = read(&machine, AMOUNT).await;
        assert!(bytes >= AMOUNT, "{start}: {bytes} bytes were read");
        at_the_rate(bytes, seconds, 2_000_000, CREDIT, start);
        if start == "first" {
            machine.stop(StopOptions::default()).await.unwrap();
            // The template that it left knows of no limit; this start has it all the same.
            let timeline = machine.start(StartOptions::default(), &mut |_| {}).await;
            timeline.unwrap();
        }
    }
    // Other limits, and then none, without a start between.
    let mut update = Update::default();
    update.disk_bandwidth = Change::Remove;
    update.disk_ops = Change::Set(Rate::new(20));
    let updated = machine.update(update).await.unwrap();
    assert_eq!((updated.now, updated.next_start), (vec!["disk limits"], vec![]));
    // Page by page, so that there is something to count.
    said(&machine, "echo 0 > /sys/block/vdb/queue/read_ahead_kb").await;
    let (_, requests, seconds) = read(&machine, 256 << 10).await;
    assert!(requests >= 40, "{requests} requests");
    at_the_rate(requests, seconds, 20, 4, "requests");
    let mut update = Update::default();
    update.disk_ops = Change::Remove;
    machine.update(update).await.unwrap();
    let config = config(&bed, "slow").await;
    assert!(
        config.drives.iter().all(|drive| drive.rate_limiter.is_none()),
        "{config:?}"
    );
    end(&machine).await;
}

#[tokio::test]
async fn the_network_is_no_quicker_than_said() {
    let bed = Bed::new();
    let mut limits = Limits::default();
    limits.send = Some(Rate::new(200_000));
    limits.receive = Some(Rate::new(100_000));
    let spec = small("slow")
        .limits(limits)
        .forward("127.0.0.1:0:80".parse().unwrap())
        .forward("127.0.0.1:0:81".parse().unwrap());
    let machine = bed.start(spec).await;
    let forwards = machine.info().await.unwrap().forwards;
    let [out, into] = [forwards[0].host_port, forwards[1].host_port];
    serve(&machine).await;
    let (bytes, seconds) = get(out);
    assert!(bytes >= 1 << 20, "{bytes} bytes came");
    at_the_rate(bytes, seconds, 200_000, CREDIT, "sent");

    let (bytes, seconds) = receive(&machine, into, 500_000).await;
    at_the_rate(bytes, seconds, 100_000, CREDIT, "received");

    let mut update = Update::default();
    update.send = Change::Remove;
    update.receive = Change::Remove;
    let updated = machine.update(update).await.unwrap();
    assert_eq!(updated.now, ["network limits"]);
    let config = config(&bed, "slow").await;
    let interface = &config.network_interfaces[0];
    assert!(interface.rx_rate_limiter.is_none() && interface.tx_rate_limiter.is_none());
    end(&machine).await;
}

#[tokio::test]
async fn what_has_rested_passes_at_once_and_then_at_the_rate() {
    let bed = Bed::new();
    let spec = small("bursts")
        .forward("127.0.0.1:0:80".parse().unwrap())
        .forward("127.0.0.1:0:81".parse().unwrap());
    let machine = bed.start(spec).await;
    let forwards = machine.info().await.unwrap().forwards;
    let [out, into] = [forwards[0].host_port, forwards[1].host_port];
    serve(&machine).await;
    // Set while it runs, so that nothing of the start has taken of them.
    let disk = Rate::new(400_000).burst(4_000_000);
    let network = Rate::new(100_000).burst(1_500_000);
    let mut update = Update::default();
    update.disk_bandwidth = Change::Set(disk);
    update.send = Change::Set(network);
    update.receive = Change::Set(network);
    // Firecracker fills a bucket when it is found empty, and with all that it has missed since it was last (`TokenBucket::reduce`):
    // so more than it holds may pass after a rest, but never more than has come since it was set.
    let set = Instant::now();
    machine.update(update).await.unwrap();
    let mut took = Vec::new();
    for _ in 0..2 {
        let (bytes, _, seconds) = read(&machine, 3_000_000).await;
        took.push((bytes, seconds));
    }
    burst(&took, set.elapsed(), disk, "read");
    let took: Vec<_> = (0..2).map(|_| get(out)).collect();
    burst(&took, set.elapsed(), network, "sent");
    let mut took = Vec::new();
    for _ in 0..2 {
        took.push(receive(&machine, into, 1_000_000).await);
    }
    burst(&took, set.elapsed(), network, "received");
    end(&machine).await;
}

#[tokio::test]
async fn a_guest_gives_memory_back_and_gets_it_again() {
    let bed = Bed::new();
    let mut limits = Limits::default();
    limits.memory_target_mib = Some(96);
    let spec = small("lean").memory_mib(256).limits(limits);
    let machine = bed.start(spec.clone()).await;
    available(&machine, "-lt", 96 << 10).await;
    let mut update = Update::default();
    update.memory_target_mib = Change::Remove;
    assert_eq!(machine.update(update).await.unwrap().now, ["memory target"]);
    available(&machine, "-gt", 150 << 10).await;
    // All that it had once is the host's again.
    said(&machine, "mkdir /fill && mount -t tmpfs -o size=200m none /fill").await;
    said(
        &machine,
        "dd if=/dev/zero of=/fill/x bs=1M count=128 && rm /fill/x",
    )
    .await;
    let full = machine.stats().await.unwrap().usage.memory;
    let mut update = Update::default();
    update.memory_target_mib = Change::Set(96);
    machine.update(update).await.unwrap();
    available(&machine, "-lt", 96 << 10).await;
    let lean = machine.stats().await.unwrap().usage.memory;
    assert!(lean + (64 << 20) < full, "{full} bytes of the host, then {lean}");
    end(&machine).await;

    // The same by a thawed guest.
    let mut again = spec;
    again.name = Some("lean2".parse().unwrap());
    let machine = bed.start(again).await;
    assert_eq!(machine.info().await.unwrap().origin, Origin::Warm);
    available(&machine, "-lt", 96 << 10).await;
    end(&machine).await;
}

#[tokio::test]
async fn a_control_group_limits_and_goes_with_the_machine() {
    const NAME: &str = "a_control_group_limits_and_goes_with_the_machine";
    if !["cpu", "cpuset", "memory", "pids"]
        .iter()
        .all(|name| ControlGroup::can(name))
    {
        return testkit::skip(
            NAME,
            "cgroup v2 with the controllers cpu, cpuset, memory and pids",
        );
    }
    let Some(group) = ControlGroup::new() else {
        return testkit::skip(NAME, "cgroup v2 that may be written to");
    };
    let bed = Bed::with(|options| options.cgroup = Some(group.folder().to_owned()));
    let mut limits = Limits::default();
    limits.cpu_quota = Some("0.5".parse().unwrap());
    limits.cpu_weight = Some(50);
    limits.cpu_set = Some("0".parse().unwrap());
    limits.memory_max_mib = Some(512);
    limits.pids = Some(200);
    let machine = bed.start(small("tight").limits(limits)).await;
    let pid = machine.info().await.unwrap().pid.unwrap();
    let own = control_group_of(pid).unwrap();
    assert_eq!(own.parent(), Some(group.folder()));
    for (file, value) in [
        ("cpu.max", "50000 100000"),
        ("cpu.weight", "50"),
        ("cpuset.cpus", "0"),
        ("memory.max", "536870912"),
        ("pids.max", "200"),
    ] {
        let said = std::fs::read_to_string(own.join(file)).unwrap();
        assert_eq!(said.trim(), value, "{file}");
    }
    // A guest that takes all it gets, for some time by the host's clock: it gets half a CPU.
    let used = || cpu_us(&own);
    let (before, since) = (used(), Instant::now());
    run(&machine, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done").await;
    let (used_us, passed) = (used() - before, since.elapsed());
    let most = passed.as_micros() / 2 + 200_000;
    assert!(u128::from(used_us) <= most, "{used_us} us of CPU in {passed:?}");

    let mut update = Update::default();
    update.cpu_quota = Change::Remove;
    update.cpu_set = Change::Remove;
    update.pids = Change::Set(300);
    let updated = machine.update(update).await.unwrap();
    assert_eq!(updated.now, ["limits of the processes"]);
    let said = |file: &str| std::fs::read_to_string(own.join(file)).unwrap().trim().to_owned();
    assert_eq!(
        (said("cpu.max").as_str(), said("pids.max").as_str()),
        ("max 100000", "300")
    );
    assert_eq!(said("cpu.weight"), "50");
    let all = std::fs::read_to_string(group.folder().join("cpuset.cpus.effective")).unwrap();
    assert_eq!(said("cpuset.cpus.effective"), all.trim());
    // What carries a port that comes later is one of its processes.
    let of_group = || {
        let members = said("cgroup.procs");
        let lines = members
            .lines()
            .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap());
        lines.filter(|line| line.contains("\0errand\0")).count()
    };
    let mut update = Update::default();
    update.forwards = Some(vec!["127.0.0.1:0:80".parse().unwrap()]);
    machine.update(update).await.unwrap();
    assert_eq!(of_group(), 1);
    machine.stop(StopOptions::default()).await.unwrap();
    assert!(!own.exists());
    machine.remove().await.unwrap();
}

#[tokio::test]
async fn a_machine_that_takes_more_memory_than_it_may_is_ended() {
    const NAME: &str = "a_machine_that_takes_more_memory_than_it_may_is_ended";
    if !ControlGroup::can("memory") {
        return testkit::skip(NAME, "cgroup v2 with the controller memory");
    }
    let Some(group) = ControlGroup::new() else {
        return testkit::skip(NAME, "cgroup v2 that may be written to");
    };
    let bed = Bed::with(|options| options.cgroup = Some(group.folder().to_owned()));
    let mut limits = Limits::default();
    // All that the guest has, and so nothing for the VMM.
    limits.memory_max_mib = Some(256);
    // What is kept for later starts would count, where the data folder is in memory.
    let options = StartOptions {
        cold: true,
        ..StartOptions::default()
    };
    let spec = small("greedy").memory_mib(256).limits(limits);
    let (machine, _) = bed.knaller.start(spec, options, &mut |_| {}).await.unwrap();
    let own = control_group_of(machine.info().await.unwrap().pid.unwrap()).unwrap();
    let fill = "mkdir /fill && mount -t tmpfs -o size=250m none /fill && dd if=/dev/zero of=/fill/x bs=1M";
    let filled = machine.output(ExecRequest::line(fill)).await;
    assert_eq!(machine.wait().await.unwrap(), Exit::Lost, "{filled:?}");
    assert!(!own.exists());
    machine.remove().await.unwrap();
}

#[tokio::test]
async fn of_a_processor_that_two_want_each_gets_its_weight() {
    const NAME: &str = "of_a_processor_that_two_want_each_gets_its_weight";
    if !["cpu", "cpuset"].iter().all(|name| ControlGroup::can(name)) {
        return testkit::skip(NAME, "cgroup v2 with the controllers cpu and cpuset");
    }
    let Some(group) = ControlGroup::new() else {
        return testkit::skip(NAME, "cgroup v2 that may be written to");
    };
    let bed = Bed::with(|options| options.cgroup = Some(group.folder().to_owned()));
    let mut machines = Vec::new();
    for (name, weight) in [("heavy", 800), ("light", 100)] {
        let mut limits = Limits::default();
        limits.cpu_weight = Some(weight);
        limits.cpu_set = Some("0".parse().unwrap());
        let machine = bed.start(small(name).limits(limits)).await;
        let own = control_group_of(machine.info().await.unwrap().pid.unwrap()).unwrap();
        machines.push((machine, own));
    }
    for (machine, _) in &machines {
        run(machine, "(while :; do :; done) > /dev/null 2>&1 < /dev/null &").await;
    }
    let used = || [0, 1].map(|which: usize| cpu_us(&machines[which].1));
    let before = used();
    let grown = || {
        let now = used();
        [now[0] - before[0], now[1] - before[1]]
    };
    while grown().iter().sum::<u64>() < 6_000_000 {
        std::thread::yield_now();
    }
    let [heavy, light] = grown();
    assert!(
        heavy > 2 * light && light > 0,
        "{heavy} us and {light} us of CPU at 800 to 100"
    );
    for (machine, own) in machines {
        machine.kill().await.unwrap();
        assert!(!own.exists());
        machine.remove().await.unwrap();
    }
}

#[tokio::test]
async fn a_machine_that_may_not_have_its_processes_does_not_start() {
    const NAME: &str = "a_machine_that_may_not_have_its_processes_does_not_start";
    if !ControlGroup::can("pids") {
        return testkit::skip(NAME, "cgroup v2 with the controller pids");
    }
    let Some(group) = ControlGroup::new() else {
        return testkit::skip(NAME, "cgroup v2 that may be written to");
    };
    let bed = Bed::with(|options| options.cgroup = Some(group.folder().to_owned()));
    let start = async |pids, cpus| {
        let mut limits = Limits::default();
        limits.pids = Some(pids);
        let spec = small("few").cpus(cpus).limits(limits);
        bed.knaller
            .start(spec, StartOptions::default(), &mut |_| {})
            .await
    };
    // A thread of the VMM for each of its processors, beside the VMM's own, and pasta.
    let refused = start(6, 4).await;
    assert!(refused.is_err(), "it started with 6 processes");
    let (machine, _) = start(200, 4).await.unwrap();
    end(&machine).await;
}

fn cpu_us(group: &std::path::Path) -> u64 {
    let stat = std::fs::read_to_string(group.join("cpu.stat")).unwrap();
    let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
    used.unwrap().parse().unwrap()
}

/// Waits until the guest has less, or more, memory to give than this.
async fn available(machine: &Machine, how: &str, kib: u64) {
    let line =
        format!("until [ $(awk '/MemAvailable/ {{ print $2 }}' /proc/meminfo) {how} {kib} ]; do :; done");
    let waited = tokio::time::timeout(PATIENCE, said(machine, &line)).await;
    assert!(waited.is_ok(), "the guest's memory is never {how} {kib} KiB");
}

/// What the VMM says of itself.
async fn config(bed: &Bed, name: &str) -> FullVmConfiguration {
    let socket = bed.sandbox.runtime().join("knaller").join(name).join("api.sock");
    firecracker_api::Client::new(socket)
        .get_vm_config()
        .await
        .unwrap()
}

/// Has it give out a file of 1 MiB.
async fn serve(machine: &Machine) {
    let line = "mkdir /srv/w; dd if=/dev/zero of=/srv/w/large bs=1M count=1; httpd -p 80 -h /srv/w";
    said(machine, line).await;
}
