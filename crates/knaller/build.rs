//! Builds the library that runs inside pasta, to be carried in knaller itself.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    preload::build("inside/lib.rs")
}
