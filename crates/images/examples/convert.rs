//! Makes the root file system of an image that is stored already, where it is not there yet, and tells where it is.
//!
//! ```text
//! cargo run --release -p images --example convert -- ~/.local/share/knaller debian:12
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::path::Path;
use std::process::ExitCode;

use images::Task;
use images::convert::{Limits, RootfsError, root_file_system};
use images::store::{Rootfs, Store};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(data), Some(image), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: convert DATA-FOLDER IMAGE");
        return ExitCode::from(64);
    };
    match convert(Path::new(&data), &image.to_string_lossy()) {
        Ok(rootfs) => {
            println!("{}: {} bytes", rootfs.path.display(), rootfs.size);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn convert(data: &Path, image: &str) -> Result<Rootfs, RootfsError> {
    let task = Task::new();
    let store = Store::open(data)?;
    let adding = store.adding(&task)?;
    let image = store.resolve(image)?;
    root_file_system(&adding, &image, &Limits::default(), &task)
}
