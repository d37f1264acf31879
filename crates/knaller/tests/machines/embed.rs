//! The example that embeds the library does what it says, and the guide shows the example.

#[path = "../../examples/embed.rs"]
#[allow(dead_code, reason = "its main is for `cargo run --example`")]
mod example;

use crate::raw_disk::{disk, tool};
use crate::support::{Bed, bare};

const GUIDE: &str = include_str!("../../../../docs/guides/embed.md");
const EXAMPLE: &str = include_str!("../../examples/embed.rs");

#[tokio::test]
async fn the_example_keeps_a_machine_and_its_disk_in_one_moment() {
    let bed = Bed::new();
    let own = disk(&bed, "own.ext4");
    let copy = bed.sandbox.path().join("copy.ext4");
    example::run(&bed.knaller, bare("unnamed"), &own, &copy)
        .await
        .unwrap();
    assert!(bed.knaller.list().await.unwrap().is_empty());
    for path in [own, copy] {
        tool("e2fsck -fn", &path);
    }
}

#[test]
fn the_guide_shows_what_the_example_does() {
    let lines = |text: &str| {
        text.lines()
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let example = lines(EXAMPLE);
    let mut blocks = GUIDE
        .split("```rust\n")
        .skip(1)
        .map(|rest| lines(rest.split("```").next().unwrap()))
        .peekable();
    assert!(blocks.peek().is_some());
    for block in blocks {
        let shown = example.windows(block.len()).any(|window| window == block);
        assert!(shown, "the example has no {block:#?}");
    }
}
