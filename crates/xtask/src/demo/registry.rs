//! A registry of the demo's own: Debian's, on a free port of this machine alone, with its data in the demo's folder;
//! and the way to it, which is no quicker than a network, so that there is something to see of a pull.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use testkit::DockerRegistry;
use testkit::registry::{Fault, Network};

use crate::command::run;

/// What a blob comes with, in bytes a second: a fair line.
const RATE: u32 = 24_000_000;

/// Ends when dropped.
pub(super) struct Registry {
    registry: DockerRegistry,
    network: Network,
}

impl Registry {
    /// Started, with its files in `folder`; returns when it listens.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let folder = folder.join("registry");
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let registry = DockerRegistry::start(&folder, "", "")
            .context("docker-registry does not listen: dev/setup demo installs it")?;
        let network = Network::to(registry.port());
        network.fault("GET", "/blobs/", u32::MAX, Fault::Slow { rate: RATE });
        Ok(Self { registry, network })
    }

    /// What an image is called in here.
    pub(super) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.network.host())
    }

    /// Puts the image of an OCI layout into it.
    pub(super) fn fill(&self, layout: &Path, name: &str) -> Result<()> {
        run(Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:latest", layout.display()))
            .arg(format!("docker://localhost:{}/{name}", self.registry.port())))
    }
}
