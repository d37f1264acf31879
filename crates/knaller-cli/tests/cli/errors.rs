//! What a user reads who asked for something wrong.

use crate::support::World;

#[test]
fn wrong_words() {
    let world = World::new();
    insta::assert_snapshot!(world.run(&["strat"]).shown());
    insta::assert_snapshot!(world.run(&["stop"]).shown());
    insta::assert_snapshot!(world.run(&["start", "no_name"]).shown());
    insta::assert_snapshot!(world.run(&["start", "--memory", "12X"]).shown());
    insta::assert_snapshot!(world.run(&["start", "-p", "80"]).shown());
    insta::assert_snapshot!(world.run(&["start", "--metadata", "no-such-file"]).shown());
    insta::assert_snapshot!(world.run(&["cp", "a", "b"]).shown());
    insta::assert_snapshot!(world.run(&["cp", "web:/a", "api:/b"]).shown());
    insta::assert_snapshot!(world.run(&["list", "--log", "==="]).shown());
}

#[test]
fn a_spec_that_cannot_be() {
    let world = World::new();
    insta::assert_snapshot!(world.run(&["start", "--memory", "8"]).shown());
    insta::assert_snapshot!(
        world
            .run(&["start", "--network", "none", "-p", "8080:80"])
            .shown()
    );
    insta::assert_snapshot!(world.run(&["start", "-p", "8080:80", "-p", "8080:81"]).shown());
    insta::assert_snapshot!(world.run(&["start", "--disk", "1"]).shown());
    insta::assert_snapshot!(world.run(&["start", "--boot-timeout", "0"]).shown());
}

#[test]
fn run_takes_the_words_of_docker_run() {
    let world = World::new();
    let ran = world.run(&["run", "-it", "--rm", "--memory", "8", "builtin", "sh"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("8 MiB of memory"), "{}", ran.stderr);
}

#[test]
fn what_is_named_and_not_there() {
    let world = World::new();
    for words in [
        &["start", "--kernel", "./nope"][..],
        &["start", "--rootfs", "nope"],
        &["start", "--metadata", "nope"],
        &["start", "--ssh-key", "nope"],
        &["start", "--env-file", "nope"],
        &["kernel", "import", "nope"],
        &["kernel", "import", "./nope"],
        &["kernel", "import", "nope.deb"],
        &["kernel", "rm", "nope"],
    ] {
        let ran = world.run(words);
        assert_eq!(ran.code, Some(3), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("nope"), "{words:?}: {}", ran.stderr);
    }
    insta::assert_snapshot!(world.run(&["kernel", "import", "nope"]).shown());
    let folder = world.run(&["start", "--rootfs", "/"]);
    assert_eq!(folder.stderr, "error: / is no regular file\n");
}

#[test]
fn an_empty_word_names_nothing() {
    let world = World::new();
    for words in [
        &["start", ""][..],
        &["start", "--kernel", ""],
        &["start", "--rootfs", ""],
        &["start", "--ssh-key", ""],
        &["start", "--metadata", ""],
        &["start", "--env-file", ""],
        &["kernel", "import", ""],
        &["kernel", "rm", ""],
        &["cp", "", "web:/tmp"],
        &["cp", "web:/tmp", ""],
        &["exec", "-u", "", "web", "true"],
        &["stop", ""],
    ] {
        let ran = world.run(words);
        assert_eq!(ran.code, Some(2), "{words:?}: {}", ran.stderr);
    }
}

#[test]
fn nothing_of_that_name() {
    let world = World::new();
    for words in [
        &["stop", "web"][..],
        &["kill", "web"],
        &["rm", "web"],
        &["inspect", "web"],
        &["logs", "web"],
        &["wait", "web"],
        &["ssh", "web"],
        &["exec", "web", "true"],
        &["cp", "web:/etc/passwd", "."],
        &["forward", "web", "0:80"],
        &["ssh-config", "web"],
    ] {
        let ran = world.run(words);
        assert_eq!(ran.code, Some(3), "{words:?}: {}", ran.stderr);
        assert_eq!(
            ran.stderr, "error: there is no machine named web\nhint: `knaller list` shows what there is\n",
            "{words:?}"
        );
    }
    let ran = world.run(&["rm", "--force", "web"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}
