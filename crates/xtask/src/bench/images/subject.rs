//! An image that is measured, in the forms in which the tools want it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use testkit::images::Image;

use super::rivals;
use crate::bench::ground::{Ground, quiet};

pub(super) struct Subject {
    /// For people: what it is and its size.
    pub(super) title: &'static str,
    /// In the store and in the registry.
    pub(super) name: &'static str,
    /// How often it is measured.
    pub(super) turns: usize,
    pub(super) layout: PathBuf,
    /// The layout, as an OCI archive.
    pub(super) archive: PathBuf,
    /// All layers in one.
    pub(super) merged: PathBuf,
    /// Unpacked by umoci.
    pub(super) root: PathBuf,
}

impl Subject {
    pub(super) fn debian(ground: &Ground) -> Result<Self> {
        Self::new(ground, Image::Debian, "bench/debian", "Debian, 120 MiB", 5)
    }

    pub(super) fn big(ground: &Ground) -> Result<Self> {
        Self::new(ground, Image::Big, "bench/big", "1 GiB in 100,000 files", 3)
    }

    fn new(
        ground: &Ground,
        image: Image,
        name: &'static str,
        title: &'static str,
        turns: usize,
    ) -> Result<Self> {
        let layout = image.layout()?;
        // Its name has the recipe's digest in it: what is made of it is made again with the next recipe.
        let room = ground
            .data
            .join("subjects")
            .join(layout.file_name().unwrap_or_default());
        let subject = Self {
            title,
            name,
            turns,
            archive: room.join("oci.tar"),
            merged: room.join("merged.tar"),
            root: room.join("bundle/rootfs"),
            layout,
        };
        if !room.exists() {
            let fresh = emptied(&room.with_extension("new"))?;
            pack(&subject.layout, &fresh.join("oci.tar"))?;
            rivals::unpack(&subject.layout, &fresh.join("bundle"))?;
            pack(&fresh.join("bundle/rootfs"), &fresh.join("merged.tar"))?;
            std::fs::rename(&fresh, &room)?;
        }
        Ok(subject)
    }

    /// Whether this turn has what takes minutes with a large image, be it to do or, for a tree of files, to remove: of those,
    /// once must do.
    pub(super) fn all_of(&self, turn: usize) -> bool {
        turn == 0 || self.turns > 3
    }

    /// Brings it into the stage's own store, where machines start from it.
    pub(super) fn import(&self, ground: &Ground) -> Result<()> {
        let import = ["image", "import", "--quiet", "--name", self.name];
        quiet(ground.knaller(&import).arg(&self.archive))
    }
}

/// An empty folder in the place of whatever is there.
pub(super) fn emptied(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    Ok(folder.to_owned())
}

fn pack(folder: &Path, into: &Path) -> Result<()> {
    quiet(
        Command::new("tar")
            .args(["--create", "--numeric-owner", "--xattrs", "--file"])
            .arg(into)
            .arg("--directory")
            .arg(folder)
            .arg("."),
    )
}
