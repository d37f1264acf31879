//! A registry of the demo's own: Debian's, on a free port of this machine alone, with its data in the demo's folder.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::command::run;

/// Ends when dropped.
pub(super) struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    /// Started, with its files in `folder`; returns when it listens.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let folder = folder.join("registry");
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let configuration = folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
            folder.display()
        );
        std::fs::write(&configuration, text)
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start docker-registry: run dev/setup demo")?;
        let mut registry = Self { child, port: 0 };
        registry.port = registry.listens()?;
        Ok(registry)
    }

    /// The port, as soon as the registry names it. What it says later is read too, or it would wait for a reader.
    fn listens(&mut self) -> Result<u16> {
        let log = self.child.stderr.take().context("its standard error is piped")?;
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let mut said = String::new();
        let port = lines.by_ref().find_map(|line| {
            said.push_str(&line);
            said.push('\n');
            port_in(&line)
        });
        std::thread::spawn(move || lines.for_each(drop));
        port.with_context(|| format!("docker-registry does not listen:\n{said}"))
    }

    /// What an image is called in here.
    pub(super) fn reference(&self, name: &str) -> String {
        format!("localhost:{}/{name}", self.port)
    }

    /// Puts the image of an OCI layout into it.
    pub(super) fn fill(&self, layout: &Path, name: &str) -> Result<()> {
        run(Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:latest", layout.display()))
            .arg(format!("docker://{}", self.reference(name))))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
