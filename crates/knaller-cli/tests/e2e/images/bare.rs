//! Images with one program and no shell.

use testkit::images::Image;

use super::{page, start, wait_for, world_with};

#[test]
fn a_static_binary_alone_is_enough() {
    lone_program(Image::Scratch, "/server", "a_static_binary_alone_is_enough");
}

#[test]
fn a_program_with_its_libraries_needs_no_shell() {
    lone_program(
        Image::Distroless,
        "/usr/bin/server",
        "a_program_with_its_libraries_needs_no_shell",
    );
}

fn lone_program(image: Image, program: &str, test: &str) {
    let Some(world) = world_with(image, test) else {
        return;
    };
    let machine = start(&world, "lone", image, "128M", &["-P"]);
    wait_for(&world, "lone", "listening on 8080");
    assert_eq!(page(&machine, 0, "/"), "all by one\n");
    assert_eq!(
        world.ok(&["exec", "lone", program, "said", "back"]),
        "said back\n"
    );
    let ran = world.run(&["exec", "lone", "sh", "-c", "true"]);
    assert_eq!(ran.code(), 127, "{ran}");
    let there = world.file("there", "carried\n");
    let back = world.sandbox.home().join("back");
    let _ = world.ok(&["cp", there.to_str().unwrap(), "lone:/carried"]);
    let _ = world.ok(&["cp", "lone:/carried", back.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(back).unwrap(), "carried\n");
    world.stop_and_remove("lone");
}
