//! Limits and control groups by the command.

use std::path::Path;

use testkit::{ControlGroup, control_group_of, is_root, skip};

use crate::world::World;

/// A command line that puts what follows it into a group first.
fn enter(group: &Path) -> [String; 4] {
    let line = format!("echo 0 > {}/cgroup.procs && exec \"$@\"", group.display());
    ["sh".to_owned(), "-c".to_owned(), line, "sh".to_owned()]
}

/// The group of a machine's VMM.
#[track_caller]
fn group_of(world: &World, name: &str) -> std::path::PathBuf {
    let pid = world.inspect(name)["pid"].as_u64().unwrap();
    control_group_of(u32::try_from(pid).unwrap()).unwrap()
}

#[test]
fn a_machine_of_a_slice_outlives_the_group_of_who_started_it() {
    const NAME: &str = "a_machine_of_a_slice_outlives_the_group_of_who_started_it";
    let Some((group, slices)) = ControlGroup::new().zip(ControlGroup::new()) else {
        return skip(NAME, "cgroup v2 that may be written to");
    };
    let world = World::new().through(enter(group.folder()));
    let place = slices.folder().to_str().unwrap();
    let started = testkit::run(
        world
            .command(&[
                "start", "free", "--detach", "--memory", "128M", "--slice", "vms-ci",
            ])
            .env("KNALLER_CGROUP", place),
    );
    assert_eq!(started.code(), 0, "{started}");
    world.start("bound", &[]);
    assert_eq!(group_of(&world, "bound"), group.folder());
    let own = group_of(&world, "free");
    assert_eq!(
        own.parent(),
        Some(&*slices.folder().join("vms.slice/vms-ci.slice"))
    );
    // As systemd ends a service, with all that it has started.
    group.kill();
    assert_eq!(world.inspect("bound")["state"], "stopped");
    assert_eq!(world.inspect("free")["state"], "running");
    assert_eq!(world.shell("free", "echo alive"), "alive\n");
    let _ = world.ok(&["stop", "free"]);
    assert!(!own.exists());
    let _ = world.ok(&["rm", "free", "bound"]);
}

#[test]
fn an_ordinary_user_has_groups_in_what_is_delegated_to_it() {
    const NAME: &str = "an_ordinary_user_has_groups_in_what_is_delegated_to_it";
    if !is_root() {
        return skip(NAME, "root, who delegates");
    }
    let Some(group) = ControlGroup::new() else {
        return skip(NAME, "cgroup v2 that may be written to");
    };
    let caller = group.within("caller");
    for path in [
        "",
        "cgroup.procs",
        "cgroup.subtree_control",
        "caller",
        "caller/cgroup.procs",
    ] {
        let user = Some(testkit::ORDINARY_USER);
        std::os::unix::fs::chown(group.folder().join(path), user, user).unwrap();
    }
    let world = World::of_ordinary_user().through(enter(&caller));
    let words = ["--slice", "mine"];
    let started = world.start("mine", &words);
    let own = group_of(&world, "mine");
    assert_eq!(
        own.parent(),
        Some(&*group.folder().join("mine.slice")),
        "{started}"
    );
    let _ = world.ok(&["kill", "mine"]);
    assert!(!own.exists());
    let _ = world.ok(&["rm", "mine"]);

    // Who is not in what is delegated cannot move anything into it.
    let stranger = World::of_ordinary_user();
    let outside = testkit::run(
        stranger
            .command(&["start", "other", "--detach", "--slice", "mine"])
            .env("KNALLER_CGROUP", group.folder()),
    );
    outside.fails(6, &["this user may not move processes from", "hint: "]);
    // The top of the tree is root's.
    stranger
        .run(&["start", "other", "--detach", "--slice", "mine"])
        .fails(
            6,
            &["this user may not make groups in", "systemd-run --user --scope"],
        );
    assert_eq!(stranger.ok(&["list", "-o", "name"]), "");
}

#[test]
fn what_the_host_cannot_keep_is_refused() {
    const NAME: &str = "what_the_host_cannot_keep_is_refused";
    if ControlGroup::can("cpu") {
        return skip(NAME, "host without the controller cpu in cgroup v2");
    }
    let world = World::new();
    let start = |words: &[&str]| world.run(&[&["start", "web", "--detach"], words].concat());
    let refusal = ["there can be no control group for the machine", "hint: "];
    start(&["--cpu-quota", "0.5"]).fails(6, &refusal);
    assert_eq!(world.ok(&["list", "-o", "name"]), "");

    // Nor does a machine get it from its next start, which would fail.
    world.start("web", &[]);
    let refused = |words: &[&str]| {
        world
            .run(&[&["update", "web", "-l", "a=b"], words].concat())
            .fails(6, &refusal)
    };
    refused(&["--cpu-quota", "0.5"]);
    let _ = world.ok(&["stop", "web"]);
    for limit in [
        "--cpu-quota=0.5",
        "--cpu-weight=50",
        "--pids=99",
        "--memory-max=1G",
        "--cpuset=0",
    ] {
        refused(&[limit]);
    }
    let spec = &world.inspect("web")["details"]["spec"];
    assert_eq!(
        (&spec["limits"]["cpu_quota"], &spec["labels"]),
        (&serde_json::Value::Null, &serde_json::json!({}))
    );
    // What a group does not keep is changed.
    let _ = world.ok(&["update", "web", "--disk-iops", "100", "--pids", "none"]);
    let _ = world.ok(&["rm", "web"]);
}

#[test]
fn the_next_start_has_what_cannot_be_changed_before() {
    let world = World::new();
    world.start("web", &["--env", "OLD=1", "--env", "LEVEL=info"]);
    let told = world.run(&[
        "update",
        "web",
        "--env",
        "LEVEL=debug",
        "--remove-env",
        "OLD",
        "--hostname",
        "shop",
        "--egress",
        "deny",
        "--boot-timeout",
        "77",
        "--restart",
        "on-failure:3",
    ]);
    let line =
        "web: restart policy changed; environment, host name, egress rules, boot timeout from the next start";
    assert!(told.stderr.contains(line), "{told}");
    let show = "echo $OLD,$LEVEL,$(hostname)";
    assert_eq!(world.shell("web", show), "1,info,web\n");
    let next = world.inspect("web")["next_start"]["others"].clone();
    let others = ["environment", "host name", "egress rules", "boot timeout"];
    assert_eq!(next, serde_json::json!(others));
    // A machine that is there is what it is: what was given for another is refused, if it is the default too.
    let _ = world.ok(&["stop", "web"]);
    world
        .run(&["start", "web", "--detach", "--memory", "256M"])
        .fails(
            4,
            &["a machine named web exists already", "starts it again as it is"],
        );
    let _ = world.ok(&["start", "web", "--detach"]);
    assert_eq!(world.shell("web", show), ",debug,shop\n");
    let web = world.inspect("web");
    let spec = &web["details"]["spec"];
    assert_eq!(
        (&spec["boot_timeout_ms"], web["next_start"].is_null()),
        (&77_000.into(), true)
    );
    assert_ne!(spec["egress"], serde_json::json!([]));
    let _ = world.ok(&["update", "web", "--hostname", "none", "--no-egress"]);
    let _ = world.ok(&["restart", "web"]);
    assert_eq!(world.shell("web", "hostname"), "web\n");
    assert_eq!(
        world.inspect("web")["details"]["spec"]["egress"],
        serde_json::json!([])
    );
    world.stop_and_remove("web");
}

#[test]
fn what_can_be_changed_while_it_runs_is() {
    let world = World::new();
    world.start("web", &["--disk-iops", "1000"]);
    let told = world.run(&[
        "update",
        "web",
        "--disk-bandwidth",
        "50:100",
        "--disk-iops",
        "none",
        "-l",
        "team=a",
        "-c",
        "2",
        "-m",
        "192M",
        "--memory-target",
        "96M",
    ]);
    assert_eq!(told.code(), 0, "{told}");
    let line = "web: memory target, disk limits, labels changed; CPUs, memory from the next start";
    assert!(told.stderr.contains(line), "{told}");
    let spec = &world.inspect("web")["details"]["spec"];
    assert_eq!(spec["labels"]["team"], "a");
    assert_eq!(spec["limits"]["disk_bandwidth"]["per_second"], 50_000_000);
    assert_eq!(spec["limits"]["disk_bandwidth"]["burst"], 100_000_000);
    assert!(spec["limits"]["disk_ops"].is_null());
    assert_eq!(world.shell("web", "nproc"), "1\n");
    // What only the next start has is told as that.
    let listed: serde_json::Value = serde_json::from_str(&world.ok(&["list", "-o", "json"])).unwrap();
    let stats: serde_json::Value =
        serde_json::from_str(&world.ok(&["stats", "web", "--no-stream", "-o", "json"])).unwrap();
    for told in [&world.inspect("web"), &listed[0], &stats[0]] {
        let has = (&told["cpus"], &told["memory_mib"]);
        assert_eq!(has, (&1.into(), &128.into()), "{told}");
    }
    let next = serde_json::json!({"cpus": 2, "memory_mib": 192});
    assert_eq!(world.inspect("web")["next_start"], next);
    assert_eq!(listed[0]["next_start"], next);
    let shown = world.ok(&["inspect", "web", "-o", "table"]);
    assert!(shown.contains("2 CPUs, 192 MiB of memory"), "{shown}");
    // One of them as it was, the other for later still, whatever else changes.
    let told = world.run(&["update", "web", "-c", "1", "-l", "team=b"]);
    assert!(told.stderr.contains("web: labels, CPUs changed"), "{told}");
    let next = serde_json::json!({"memory_mib": 192});
    assert_eq!(world.inspect("web")["next_start"], next);
    let _ = world.ok(&["update", "web", "-c", "2"]);
    // A fork is what the machine is, not what it will be.
    let _ = world.ok(&["fork", "web", "--name", "twin"]);
    let twin = world.inspect("twin");
    assert_eq!((&twin["cpus"], &twin["memory_mib"]), (&1.into(), &128.into()));
    let _ = world.ok(&["rm", "--force", "twin"]);
    world
        .run(&["update", "web", "--memory-target", "1G"])
        .fails(2, &["a memory target of 1024 MiB: 32 to 192 are possible"]);
    world
        .run(&["update", "web"])
        .fails(2, &["nothing to change was named"]);
    let _ = world.ok(&["restart", "web"]);
    assert_eq!(world.shell("web", "nproc"), "2\n");
    let now = world.inspect("web");
    assert_eq!((&now["cpus"], &now["memory_mib"]), (&2.into(), &192.into()));
    assert!(now["next_start"].is_null(), "{now}");
    world.stop_and_remove("web");
}

#[test]
fn a_quota_above_all_cpus_of_the_host_is_warned_of() {
    let world = World::without_kernel();
    // Nothing is started without a kernel; this is said before.
    for (quota, warned) in [("1000", true), ("0.5", false)] {
        let ran = world.run(&["start", "x", "--image", "initramfs", "--cpu-quota", quota]);
        let told = format!("warning: a CPU quota of {quota} limits nothing here");
        assert_eq!(ran.stderr.contains(&told), warned, "{ran}");
        assert_ne!(ran.code(), 0, "{ran}");
    }
    world.sandbox.assert_clean();
}
