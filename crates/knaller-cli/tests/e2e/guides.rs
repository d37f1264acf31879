//! The guides (`docs/guides`): every command in them is run, in the order in which it is read, and what the guide says
//! that it prints is compared with what it does print.
//!
//! In a `console` block a line that begins with `$ ` is a command, and the lines behind it are lines of its output, in
//! order; `…` stands for anything. What is not shown is not compared. A command's code must be 0.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::images::Image;
use testkit::{is_root, run, skip};

use crate::images::stock;
use crate::world::World;

/// Before and after each command's output, in what the shell prints.
const MARK: &str = "@@@@";

struct Step {
    command: String,
    prints: Vec<String>,
}

fn steps(guide: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in guide.lines() {
        match (line, line.strip_prefix("$ ")) {
            ("```console", _) => inside = true,
            ("```", _) => inside = false,
            (_, Some(command)) if inside => steps.push(Step {
                command: command.to_owned(),
                prints: Vec::new(),
            }),
            _ if inside => steps.last_mut().unwrap().prints.push(line.to_owned()),
            _ => {}
        }
    }
    steps
}

/// Whether `line` is as `said`, where `…` stands for anything.
fn is_as(line: &str, said: &str) -> bool {
    let parts: Vec<&str> = said.split('…').collect();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
        return false;
    };
    if parts.len() == 1 {
        return line.trim_end() == said;
    }
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    for part in &parts[1..parts.len() - 1] {
        let Some((_, behind)) = rest.split_once(part) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

/// A copy of an image as a registry has it that is there to be used by others: no program of its own, and root.
fn plain(world: &World, image: Image) -> PathBuf {
    let layout = image.layout().unwrap_or_else(|error| panic!("{error:#}"));
    if image != Image::Python {
        return layout;
    }
    let copy = world.sandbox.path().join(image.name());
    let _ = run(Command::new("cp").arg("-r").args([&layout, &copy])).ok();
    let reference = format!("{}:latest", copy.display());
    let words = [
        "--clear=config.entrypoint",
        "--clear=config.cmd",
        "--config.user=0",
    ];
    let _ = run(Command::new("umoci")
        .args(["config", "--image", &reference])
        .args(words))
    .ok();
    copy
}

fn follow(guide: &str, images: &[(Image, &str)]) {
    if !is_root() {
        return skip(guide, "root, without whom no image can be made");
    }
    let world = World::new();
    for (image, name) in images {
        stock(&world, &plain(&world, *image), name);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides");
    let steps = steps(&std::fs::read_to_string(folder.join(guide)).unwrap());
    assert!(steps.len() > 3, "{guide} has no commands");
    let mut script = String::from("exec 2>&1\n");
    for step in &steps {
        script += &format!("echo '{MARK}'\n{}\necho \"{MARK}$?\"\n", step.command);
    }
    let plain = world.command(&[]);
    let mut shell = world.sandbox.command("bash");
    for (name, value) in plain.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let programs = testkit::knaller().parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    shell
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("LC_ALL", "C.UTF-8")
        .current_dir(world.sandbox.home())
        .args(["-c", &script]);
    let printed = run(&mut shell).ok();
    let mark = format!("{MARK}\n");
    let mut outputs = printed.split(&mark).skip(1);
    for step in &steps {
        let output = outputs
            .next()
            .unwrap_or_else(|| panic!("{guide} ends early: {printed}"));
        let (said, code) = output.rsplit_once(MARK).unwrap();
        let command = &step.command;
        assert_eq!(code.trim(), "0", "{guide}: {command}: {said}");
        let mut lines = said.lines();
        for wanted in &step.prints {
            assert!(
                lines.any(|line| is_as(line, wanted)),
                "{guide}: {command} does not print {wanted:?} but: {said}"
            );
        }
    }
    world.sandbox.assert_clean();
}

#[test]
fn throw_away() {
    follow("throw-away.md", &[(Image::Debian, "debian:12")]);
}

#[test]
fn untrusted_code() {
    follow("untrusted-code.md", &[(Image::Python, "python:3")]);
}

#[test]
fn test_database() {
    follow("test-database.md", &[(Image::Postgres, "postgres:15")]);
}

#[test]
fn service() {
    follow("service.md", &[(Image::Nginx, "nginx:1")]);
}

#[test]
fn ssh_tools() {
    follow("ssh-tools.md", &[(Image::Python, "python:3")]);
}

#[test]
fn every_guide_is_followed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides");
    let own = include_str!("guides.rs");
    // A guide for programs has a program, which that test runs.
    let embed = include_str!("../../../knaller/tests/machines/embed.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "README.md"
                || own.contains(&format!("follow(\"{name}\""))
                || embed.contains(&format!("docs/guides/{name}\"")),
            "{name}"
        );
    }
}

#[test]
fn dots_stand_for_anything() {
    assert!(is_as("1 entry copied, 11 B", "1 entry copied, …") && is_as("abc", "a…c") && is_as("abc", "…"));
    assert!(is_as("same", "same") && !is_as("same!", "same") && !is_as("acb", "a…c"));
    let two = steps("```console\n$ a\nx\n$ b\n```\n$ c\n");
    assert_eq!(two.len(), 2);
    assert_eq!(two[0].prints, ["x"]);
}
