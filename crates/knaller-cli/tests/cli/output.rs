//! Results, in pipes and without colour.

use std::process::Stdio;

use testkit::Terminal;

use crate::support::World;

#[test]
fn an_empty_list_in_every_format() {
    let world = World::new();
    insta::assert_snapshot!(world.run(&["list"]).shown());
    assert_eq!(world.succeed(&["ls", "-o", "json"]), "[]\n");
    assert_eq!(world.succeed(&["ls", "-o", "yaml"]), "[]\n");
    assert_eq!(world.succeed(&["ls", "-o", "name"]), "");
}

#[test]
fn a_list_that_filters_leave_empty_says_so() {
    let world = World::new();
    for of in [
        &["ls"][..],
        &["snapshot", "ls"],
        &["volume", "ls"],
        &["template", "ls"],
        &["image", "ls"],
        &["kernel", "ls"],
    ] {
        let ran = world.run(&[of, &["--filter", "name=web"]].concat());
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(0), "None meets --filter name=web.\n"),
            "{of:?}"
        );
        let none = world.run(of);
        assert!(none.stderr.contains("yet: "), "{of:?}: {}", none.stderr);
    }
    assert_eq!(world.run(&["ls", "--running"]).stderr, "No machine runs.\n");
    assert_eq!(
        world.run(&["stop", "--filter", "state=running"]).stderr,
        "No machine is meant.\n"
    );
    for (words, told) in [
        (
            ["ls", "--filter", "status=foo"],
            "starting, running, paused, unresponsive, stopped, damaged",
        ),
        (
            ["stop", "--filter", "colour=red"],
            "is no filter: write label=NAME[=VALUE], name=PART",
        ),
        (["events", "--filter", "reference=a"], "these have no reference"),
    ] {
        let ran = world.run(&words);
        assert_eq!(ran.code, Some(2), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{words:?}: {}", ran.stderr);
    }
}

#[test]
fn a_machine_that_is_gone_is_not_adopted_as_another() {
    let world = World::new();
    let ran = world.run(&["start", "web", "--adopt"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("there is no machine named web"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        world.run(&["start", "web", "--adopt", "--memory", "1G"]).code,
        Some(2)
    );
}

#[test]
fn versions() {
    let world = World::new();
    let version: serde_json::Value = serde_json::from_str(&world.succeed(&["version", "--json"])).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(world.succeed(&["version"]).contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(
        world.succeed(&["--version"]),
        format!("knaller {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_reader_that_goes_away_is_success() {
    let world = World::new();
    let mut child = world
        .command(&["help", "start"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn colour_is_only_where_it_is_wanted() {
    let world = World::new();
    let escapes = |words: &[&str], variables: &[(&str, &str)]| {
        let output = world
            .command(words)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        output.stderr.contains(&0x1b)
    };
    let words = ["stop", "web"];
    assert!(!escapes(&words, &[]));
    assert!(escapes(&words, &[("CLICOLOR_FORCE", "1")]));
    assert!(!escapes(&words, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "0")]));
    assert!(escapes(
        &["stop", "web", "--color", "always"],
        &[("NO_COLOR", "1")]
    ));
    assert!(!escapes(
        &["stop", "web", "--color", "never"],
        &[("CLICOLOR_FORCE", "1")]
    ));
}

/// What `knaller` logs of a damaged machine, to a terminal.
fn logged_to_a_terminal(variables: &[(&str, &str)]) -> String {
    let world = World::new();
    let machine = world.path().join("data/vms/web");
    std::fs::create_dir_all(&machine).unwrap();
    std::fs::write(machine.join("vm.json"), "{").unwrap();
    let terminal = Terminal::new(80);
    let status = world
        .command(&["list", "-o", "name", "--log", "info"])
        .env("TERM", "xterm")
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(terminal.device())
        .status();
    assert!(status.unwrap().success());
    terminal.rest()
}

#[test]
fn the_log_has_colours_only_where_everything_else_has() {
    let coloured = logged_to_a_terminal(&[]);
    assert!(
        coloured.contains("stays as it is") && coloured.contains('\x1b'),
        "{coloured:?}"
    );
    let plain = logged_to_a_terminal(&[("NO_COLOR", "1")]);
    assert!(
        plain.contains("stays as it is") && !plain.contains('\x1b'),
        "{plain:?}"
    );
}
