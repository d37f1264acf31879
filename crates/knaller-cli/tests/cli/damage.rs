//! What is in the folders and cannot be read, or is none of ours, is in nobody's way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::World;

/// Ways for a description to be of no use. Nobody can open the last, root neither.
const WAYS: [&str; 6] = ["", "{", "\u{0}\u{1}garbage", r#"{"form":99}"#, "gone", "loop"];

/// A world with something damaged of each way in the folder `of`, whose description is `file`.
fn world(of: &str, file: &str) -> World {
    let world = World::new();
    // The folders are there as the first command makes them.
    world.succeed(&["ls"]);
    for (number, way) in WAYS.iter().enumerate() {
        let folder = folder(&world, of).join(format!("bad-{number}"));
        fs::create_dir_all(&folder).unwrap();
        let description = folder.join(file);
        match *way {
            "gone" => {}
            "loop" => symlink(file, description).unwrap(),
            bytes => fs::write(description, bytes).unwrap(),
        }
    }
    world
}

fn folder(world: &World, of: &str) -> PathBuf {
    world.path().join("data").join(of)
}

fn add_strays(world: &World, of: &str) {
    let folder = folder(world, of);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("afile"), "a file").unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    symlink("/", folder.join("linked")).unwrap();
    fs::create_dir(folder.join("Odd name")).unwrap();
}

fn json(world: &World, words: &[&str]) -> Value {
    serde_json::from_str(&world.succeed(&[words, &["-o", "json"]].concat())).unwrap()
}

/// Whatever is asked of all that there is, is answered, and says nothing of its own of what is damaged.
fn all_goes_on(world: &World) {
    for words in [
        &["ls", "-o", "name"][..],
        &["ls", "--running"],
        &["snapshot", "ls", "-o", "name"],
        &["template", "ls"],
        &["image", "ls"],
        &["kernel", "ls"],
        &["volume", "ls"],
        &["stats", "--no-stream"],
        &["system", "df"],
        &["system", "info"],
        &["stop", "--all"],
        &["image", "prune", "--all"],
        &["template", "prune"],
        &["volume", "create", "data", "--size", "32M"],
        &["volume", "ls"],
    ] {
        let ran = world.run(words);
        assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("bad-"), "{words:?}: {}", ran.stderr);
    }
}

#[test]
fn damaged_machines_are_listed_told_and_removed() {
    let world = world("vms", "vm.json");
    all_goes_on(&world);
    insta::assert_snapshot!(
        world
            .run(&["ls"])
            .shown()
            .replace(world.path().to_str().unwrap(), "FOLDER")
    );
    let listed = json(&world, &["ls"]);
    assert_eq!(listed.as_array().unwrap().len(), WAYS.len());
    for machine in listed.as_array().unwrap() {
        assert_eq!(machine["state"], "damaged");
        assert_eq!(machine["running"], false);
        assert!(
            machine["reason"].as_str().unwrap().contains("vm.json"),
            "{machine}"
        );
    }
    assert_eq!(json(&world, &["ls", "--filter", "state=damaged"]), listed);
    assert_eq!(
        json(&world, &["ls", "--filter", "state=stopped"]),
        Value::Array(Vec::new())
    );
    assert_eq!(json(&world, &["system", "df"])[0]["count"], WAYS.len());
    let pruned = world.run(&["prune", "-o", "name"]);
    assert_eq!(pruned.code, Some(1), "{}", pruned.stderr);
    for number in 0..WAYS.len() {
        let name = format!("bad-{number}");
        let advice = format!("knaller rm --force {name}");
        assert!(pruned.stdout.contains(&advice), "{}", pruned.stdout);
        let inspected = world.run(&["inspect", &name]);
        assert_ne!(inspected.code, Some(0));
        assert!(inspected.stderr.contains(&advice), "{}", inspected.stderr);
    }
    let renamed = world.run(&["rename", "bad-0", "good"]);
    assert_eq!(renamed.code, Some(1), "{}", renamed.stderr);
    assert!(renamed.stderr.contains("bad-0/vm.json"), "{}", renamed.stderr);
    let kept = world.run(&["volume", "rm", "data"]);
    assert_eq!(kept.code, Some(4), "{}", kept.stderr);
    assert!(
        kept.stderr.contains("knaller rm --force bad-0"),
        "{}",
        kept.stderr
    );
    let kept = world.run(&["system", "prune", "--volumes", "--force"]);
    assert!(kept.stderr.contains("volumes stay"), "{}", kept.stderr);
    assert_eq!(world.succeed(&["volume", "ls", "-o", "name"]), "data\n");
    world.succeed(&["rm", "bad-0"]);
    world.succeed(&["rm", "--force", "bad-1", "bad-2", "bad-5"]);
    world.succeed(&["rm", "--filter", "name=bad-3"]);
    world.succeed(&["rm", "--all"]);
    assert_eq!(world.succeed(&["ls", "-o", "name"]), "");
    assert_eq!(fs::read_dir(folder(&world, "vms")).unwrap().count(), 0);
    world.succeed(&["volume", "rm", "data"]);
}

#[test]
fn damaged_snapshots_are_listed_told_and_removed() {
    let world = world("snapshots", "snapshot.json");
    all_goes_on(&world);
    let listed = json(&world, &["snapshot", "ls"]);
    assert_eq!(listed.as_array().unwrap().len(), WAYS.len());
    let pruned = world.run(&["prune", "-o", "name"]);
    assert_eq!(pruned.code, Some(1), "{}", pruned.stderr);
    for number in 0..WAYS.len() {
        let name = format!("bad-{number}");
        assert_eq!(listed[number]["name"], name.as_str());
        assert_eq!(listed[number]["state"], "damaged");
        let advice = format!("knaller snapshot rm {name}");
        assert!(pruned.stdout.contains(&advice), "{}", pruned.stdout);
        let inspected = world.run(&["snapshot", "inspect", &name]);
        assert!(inspected.stderr.contains(&advice), "{}", inspected.stderr);
        world.succeed(&["snapshot", "rm", &name]);
    }
    assert_eq!(fs::read_dir(folder(&world, "snapshots")).unwrap().count(), 0);
}

#[test]
fn what_is_none_of_ours_is_told_and_stays() {
    let world = World::new();
    world.succeed(&["ls"]);
    let folders = ["vms", "snapshots", "templates", "volumes", "images", "kernels"];
    for of in folders {
        add_strays(&world, of);
    }
    fs::write(
        folder(&world, "templates").join("0123456789abcdef0123456789abcdef"),
        "",
    )
    .unwrap();
    fs::create_dir(folder(&world, "volumes").join("folder.new")).unwrap();
    fs::create_dir(folder(&world, "volumes").join("folder.ext4")).unwrap();
    all_goes_on(&world);
    world.succeed(&["template", "prune", "--all"]);
    assert_eq!(world.succeed(&["ls", "-o", "name"]), "");
    assert_eq!(world.succeed(&["snapshot", "ls", "-o", "name"]), "");
    let told = world.succeed(&["prune", "-o", "name"]);
    for of in ["vms", "snapshots"] {
        for stray in ["afile", "dangling", "linked", "Odd name"] {
            let path = folder(&world, of).join(stray);
            assert!(
                told.contains(&format!("{} is none of ours", path.display())),
                "{told}"
            );
        }
    }
    for name in ["afile", "dangling", "linked"] {
        let ran = world.run(&["rm", "--force", name]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{name}");
    }
    for of in folders {
        let left = fs::read_dir(folder(&world, of)).unwrap().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        for stray in ["afile", "dangling", "linked", "Odd name"] {
            assert!(left.iter().any(|name| name == stray), "{of}/{stray}: {left:?}");
        }
    }
}
