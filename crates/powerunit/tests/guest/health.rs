//! Health checks, beside powerunit and beside an image's own init.

use guest_protocol::control::{CheckResult, HealthState, Status};
use guest_protocol::{Exit, Health, HealthTest, Init};
use testkit::Sandbox;

use crate::door::{Door, with_key};
use crate::guest::{Guest, Plan, image};

fn health(test: &str) -> Health {
    Health {
        test: HealthTest::Shell(test.into()),
        interval_ms: 100,
        timeout_ms: 60_000,
        start_period_ms: 0,
        start_interval_ms: 0,
        retries: 2,
        user: String::new(),
        workdir: String::new(),
    }
}

#[test]
fn a_machine_without_an_entrypoint_is_checked() {
    let sandbox = Sandbox::new();
    let mut plan = with_key(Plan::overlay(&sandbox, ""));
    plan.config.env.insert("WORD".into(), "well".into());
    let test = "echo $WORD in $PWD as $(id -u); sleep 1000 & cat /tmp/ok";
    plan.config.health = Some(Health {
        user: "65534".into(),
        workdir: "/srv/check".into(),
        ..health(test)
    });
    let mut guest = Guest::start(&sandbox, &plan);
    guest.ready();
    let door = Door::open(guest.folder());
    let seen = door.status_when(|status| status.health.as_ref().unwrap().state == HealthState::Unhealthy);
    let seen = seen.health.unwrap();
    assert!(seen.failing_streak >= 2, "{seen:?}");
    let last = seen.last.unwrap();
    assert_eq!(last.result, CheckResult::Exit(Exit::Code(1)));
    assert!(
        last.output.starts_with("well in /srv/check as 65534\n") && last.output.contains("/tmp/ok"),
        "{last:?}"
    );
    assert!(door.run("echo fine > /tmp/ok").status.success());
    let seen = door.status_when(|status| status.health.as_ref().unwrap().state == HealthState::Healthy);
    let seen = seen.health.unwrap();
    assert_eq!(seen.failing_streak, 0);
    assert!(seen.last.unwrap().output.ends_with("fine\n"));
    // Many checks later no more is left of them than of one.
    let left = door.run("ps | grep -c 'sleep 100[0]'; ps -o stat | grep -c Z");
    let counts = String::from_utf8(left.stdout).unwrap();
    let counts: Vec<u32> = counts.lines().map(|count| count.parse().unwrap()).collect();
    assert!(counts[0] <= 1 && counts[1] <= 1, "{counts:?}");
    guest.ctrl_alt_del();
    guest.off();
}

/// The checks of this one come at once until one succeeds, and then once an hour: what the second worker knows, it has
/// not seen.
#[test]
fn a_new_worker_knows_what_the_last_one_saw() {
    let sandbox = Sandbox::new();
    let mut plan = with_key(Plan::overlay(&sandbox, ""));
    plan.config.health = Some(Health {
        start_period_ms: 3_600_000,
        start_interval_ms: 50,
        interval_ms: 3_600_000,
        ..health("echo checked by $PPID")
    });
    let mut guest = Guest::start(&sandbox, &plan);
    guest.ready();
    let door = Door::open(guest.folder());
    let healthy = |status: &Status| status.health.as_ref().unwrap().state == HealthState::Healthy;
    let first = door.status_when(healthy).health.unwrap();
    let worker = first
        .last
        .as_ref()
        .unwrap()
        .output
        .trim()
        .rsplit(' ')
        .next()
        .unwrap();
    // The connection goes with the worker.
    assert!(!door.run(&format!("kill -KILL {worker}")).status.success());
    let second = door.status().health.unwrap();
    assert_eq!(second, first);
    let there = door.run(&format!("[ -e /proc/{worker} ]"));
    assert_eq!(there.status.code(), Some(1));
    guest.ctrl_alt_del();
    guest.off();
}

/// The init is the entrypoint: it gets its arguments and the image's variables, and finds the volumes.
#[test]
fn an_entrypoint_that_is_an_init_takes_over_and_is_checked_beside_it() {
    let sandbox = Sandbox::new();
    let init = sandbox.path().join("init");
    let script = "#!/bin/sh\necho \"I am $$ with $1 and $WORD${container}\"; touch /run/shown/yes && echo written\n\
                  while [ ! -e /run/end ]; do sleep 1; done\nsync\nreboot -f\n";
    std::fs::write(&init, script).unwrap();
    let write = format!("write {} sbin/init", init.display());
    let base = image(&sandbox, &["rm sbin/init", &write, "sif sbin/init mode 0100755"]);
    let mut plan = with_key(Plan::overlay(&sandbox, "unused"));
    plan.disks[0].0 = base;
    plan.config.init = Init::Auto;
    plan.config.env = [("WORD", "a word"), ("container", "docker")]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    plan.config.volumes.push(
        serde_json::from_value(serde_json::json!({ "path": "/run/shown", "source": "folder" })).unwrap(),
    );
    plan.entrypoint().argv = ["/sbin/init", "an argument"].map(Into::into).into();
    plan.config.health = Some(health("echo checked"));
    let mut guest = Guest::start(&sandbox, &plan);
    assert_eq!(guest.ready().init, Init::Image);
    let door = Door::open(guest.folder());
    let seen = door.status_when(|status| status.health.as_ref().unwrap().state == HealthState::Healthy);
    assert_eq!(seen.health.unwrap().last.unwrap().output, "checked\n");
    assert!(door.run("touch /run/end").status.success());
    let console = guest.off();
    assert!(
        console.contains("I am 1 with an argument and a word\nwritten\n"),
        "{console}"
    );
}
