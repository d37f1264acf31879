//! What shells complete.

use std::process::Command;

use crate::support::World;

#[test]
fn every_shell_gets_a_script() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish"] {
        let script = world.succeed(&["completion", shell]);
        assert!(
            script.contains("knaller") && script.contains("KNALLER_COMPLETE"),
            "{shell}: {script}"
        );
    }
}

/// What bash offers for `line`, with the cursor at its end.
fn bash_offers(world: &World, line: &str) -> Vec<String> {
    let script = world.path().join("completion.bash");
    std::fs::write(&script, world.succeed(&["completion", "bash"])).unwrap();
    let words: Vec<_> = line.split(' ').collect();
    let program = r#"
        source "$SCRIPT" || exit 9
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
        _clap_complete_knaller knaller "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_knaller"));
    let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
    let output = Command::new("bash")
        .args(["--norc", "-c", program, "bash"])
        .args(words)
        .env("PATH", path)
        .env("SCRIPT", script)
        .env("KNALLER_DATA", world.path().join("data"))
        .env("KNALLER_RUNTIME", world.path().join("run"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let world = World::new();
    assert_eq!(bash_offers(&world, "knaller star"), ["start"]);
    assert_eq!(bash_offers(&world, "knaller start --detac"), ["--detach"]);
    assert_eq!(bash_offers(&world, "knaller list --output js"), ["json"]);
    assert!(bash_offers(&world, "knaller help ex").contains(&"exit-codes".to_owned()));
}

#[test]
fn names_are_completed_those_of_what_is_damaged_too() {
    let world = World::new();
    world.succeed(&["ls"]);
    for (of, file) in [("vms", "vm.json"), ("snapshots", "snapshot.json")] {
        let folder = world.path().join("data").join(of).join(format!("bad-{of}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file), "{").unwrap();
    }
    assert_eq!(bash_offers(&world, "knaller rm bad"), ["bad-vms"]);
    assert_eq!(bash_offers(&world, "knaller start bad"), ["bad-vms"]);
    assert_eq!(bash_offers(&world, "knaller snapshot rm bad"), ["bad-snapshots"]);
}
