//! Images such as people run, each started from the store as its configuration says.

mod apps;
mod bare;
mod forms;
mod systems;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::images::Image;
use testkit::{is_root, run, skip};

use crate::world::{World, host_port, http_get};

/// A host whose store has this one image, by its short name. Without root the image cannot be made: then `test` is skipped.
fn world_with(image: Image, test: &str) -> Option<World> {
    if !is_root() {
        skip(test, "root, without whom no image can be made");
        return None;
    }
    let world = World::new();
    let layout = image.layout().unwrap_or_else(|error| panic!("{error:#}"));
    stock(&world, &layout, &format!("{}:latest", image.name()));
    Some(world)
}

/// Puts an image into the store, as if it had been pulled from Docker's registry under this name.
pub(crate) fn stock(world: &World, layout: &Path, name: &str) {
    let store = world.sandbox.data().join("knaller/images");
    let mut copy = Command::new("skopeo");
    copy.args(["--insecure-policy", "copy", "--quiet", "--all"])
        .arg(format!("oci:{}:latest", layout.display()))
        .arg(format!("oci:{}:docker.io/library/{name}", store.display()));
    let _ = run(&mut copy).ok();
}

/// Starts a machine of the image with this much memory, in the background, and gives what `inspect` says of it.
#[track_caller]
fn start(world: &World, name: &str, image: Image, memory: &str, words: &[&str]) -> Value {
    let line = [
        "start",
        name,
        "--detach",
        "--image",
        image.name(),
        "--memory",
        memory,
    ];
    let _ = world.ok(&[&line[..], words].concat());
    world.inspect(name)
}

/// What a machine says when its service listens.
#[track_caller]
fn wait_for(world: &World, name: &str, line: &str) {
    world.spawn(&["logs", "--follow", name]).line(line);
}

/// The body of a page from a forwarded port.
#[track_caller]
fn page(machine: &Value, forward: usize, path: &str) -> String {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, host_port(machine, forward)));
    let answer = http_get(address, path).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{answer}");
    body.to_owned()
}
