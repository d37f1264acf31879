//! The images that tests, demo and benchmarks share, made ahead of them.

use anyhow::{Result, ensure};
use testkit::images::Image;

use crate::command::step;

pub(crate) fn make(names: &[String]) -> Result<()> {
    let known = |name: &String| Image::ALL.iter().any(|image| image.name() == *name);
    for name in names {
        ensure!(
            known(name),
            "no image is called {name}; there are {}",
            Image::ALL.map(Image::name).join(", ")
        );
    }
    for image in Image::ALL {
        if names.is_empty() || names.iter().any(|name| name == image.name()) {
            step(&format!("the image {}", image.name()), || image.layout())?;
        }
    }
    Ok(())
}
