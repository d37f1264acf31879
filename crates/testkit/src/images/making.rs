//! An image under way: umoci's layout and bundle in a folder of their own.
//!
//! The layers are umoci's: it compares the unpacked tree with what it was, and so writes the whiteouts as every other builder
//! does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Image, sure};

pub(super) struct Making {
    folder: PathBuf,
    /// Where the package lists are that the base was made with.
    lists: Option<PathBuf>,
}

impl Making {
    /// An image with no layer.
    pub(super) fn empty(folder: &Path) -> Result<Self> {
        let making = Self {
            folder: folder.to_owned(),
            lists: None,
        };
        let layout = making.layout();
        sure(Command::new("umoci").args(["init", "--layout"]).arg(layout))?;
        making.umoci("new", &[])?;
        Ok(making)
    }

    /// What `base` has, and more to come.
    pub(super) fn over(base: Image, folder: &Path) -> Result<Self> {
        let base = base.layout()?;
        let making = Self {
            folder: folder.to_owned(),
            lists: Some(super::debian::lists_of(&base)),
        };
        let layout = making.layout();
        sure(
            Command::new("cp")
                .args(["-a", "--reflink=auto"])
                .args([&base, &layout]),
        )?;
        Ok(making)
    }

    fn layout(&self) -> PathBuf {
        self.folder.join("layout")
    }

    /// A path of this work's own.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs umoci's `verb` on the image.
    fn umoci(&self, verb: &str, words: &[&str]) -> Result<()> {
        let image = format!("{}:latest", self.layout().display());
        sure(
            Command::new("umoci")
                .args(verb.split(' '))
                .args(["--image", &image])
                .args(words),
        )?;
        Ok(())
    }

    /// Puts a tar file on top, as it is.
    pub(super) fn add_tar(&self, tar: &Path) -> Result<()> {
        self.umoci("raw add-layer", &[&tar.to_string_lossy()])
    }

    /// Puts on top what `change` does to the tree.
    pub(super) fn layer(&self, change: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let bundle = self.path("bundle");
        let words = bundle.to_string_lossy();
        if !bundle.exists() {
            self.umoci("unpack", &[&words])?;
        }
        change(&bundle.join("rootfs"))?;
        self.umoci("repack", &["--refresh-bundle", &words])
    }

    /// Puts on top what installing Debian's `packages` does.
    pub(super) fn install(&self, packages: &[&str]) -> Result<()> {
        let lists = self
            .lists
            .as_deref()
            .context("packages go on top of Debian only")?;
        self.layer(|root| super::debian::install(root, lists, packages, &self.path("apt.conf")))
    }

    /// Sets what the image says of itself: umoci's words, such as `user`, and their values.
    pub(super) fn config(&self, settings: &[(&str, &str)]) -> Result<()> {
        let words: Vec<_> = settings
            .iter()
            .map(|(name, value)| match *name {
                "architecture" => format!("--architecture={value}"),
                name => format!("--config.{name}={value}"),
            })
            .collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.umoci("config", &words)
    }

    /// The layout, rid of all that it went through.
    pub(super) fn done(self) -> Result<PathBuf> {
        let layout = self.layout();
        sure(Command::new("umoci").args(["gc", "--layout"]).arg(&layout))?;
        Ok(layout)
    }
}

/// Writes a file of the image, with its folders.
pub(super) fn write(root: &Path, path: &str, contents: impl AsRef<[u8]>) -> Result<PathBuf> {
    let path = root.join(path);
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
