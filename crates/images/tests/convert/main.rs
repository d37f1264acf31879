//! Layers through the converter, and what is in the file that comes out.
//!
//! The judges: a model of the rules that was written apart from the converter, `umoci unpack` as root, and e2fsck.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers")]

mod archive;
mod by_hand;
mod commit;
mod hostile;
mod listing;
mod memory;
mod model;
mod property;
mod real;
mod umoci;

use std::fs::File;
use std::io::Cursor;
use std::process::Command;

use images::Task;
use images::convert::{ConvertError, Converted, Limits, convert};
use images::layer::{self, Expected, Layer};
use listing::Listing;

/// Converts layers, each a tar stream as it is, into a new file.
fn converted(layers: &[Vec<u8>], limits: &Limits) -> Result<(File, Converted), ConvertError> {
    let file = tempfile::tempfile().unwrap();
    let open = |layer: &Vec<u8>| {
        Layer::open(
            Cursor::new(layer.clone()),
            Expected::default(),
            &layer::Limits::default(),
        )
    };
    let done = convert(layers.iter().map(open), [7; 16], limits, &file, &Task::new())?;
    Ok((file, done))
}

/// What comes of layers, after e2fsck has agreed to it.
fn listed(layers: &[Vec<u8>]) -> Listing {
    let (file, _) = converted(layers, &Limits::default()).unwrap();
    listing::check(&file);
    Listing::of_image(&file)
}

/// Runs a command that must succeed, and gives what it wrote.
fn done(command: &mut Command) -> Vec<u8> {
    let ran = testkit::run(command);
    assert_eq!(ran.code(), 0, "{ran}");
    ran.bytes
}
