//! Builds the library that runs inside QEMU, to be carried in sparkler itself.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    preload::build("inside/lib.rs")
}
