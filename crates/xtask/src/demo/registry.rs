//! A registry of the demo's own: Debian's, on a free port of this machine alone, with its data in the demo's folder.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use testkit::DockerRegistry;

use crate::command::run;

/// Ends when dropped.
pub(super) struct Registry(DockerRegistry);

impl Registry {
    /// Started, with its files in `folder`; returns when it listens.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let folder = folder.join("registry");
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let started = DockerRegistry::start(&folder, "", "");
        started
            .map(Self)
            .context("docker-registry does not listen: dev/setup demo installs it")
    }

    /// What an image is called in here.
    pub(super) fn reference(&self, name: &str) -> String {
        format!("localhost:{}/{name}", self.0.port())
    }

    /// Puts the image of an OCI layout into it.
    pub(super) fn fill(&self, layout: &Path, name: &str) -> Result<()> {
        run(Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:latest", layout.display()))
            .arg(format!("docker://{}", self.reference(name))))
    }
}
