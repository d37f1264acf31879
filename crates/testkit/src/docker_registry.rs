//! Debian's docker-registry, the process alone: for whoever wants nothing of it but that it listens.

use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a registry may take to listen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A registry that listens on a free port of 127.0.0.1. It ends when dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    port: u16,
}

impl DockerRegistry {
    /// Starts one that keeps all it has in `folder`, which is there already. `more`: what its configuration says
    /// besides that, in YAML, and of `http` what stands below that.
    ///
    /// # Errors
    /// It cannot be started, or does not listen within a minute; what it said is part of the error.
    pub fn start(folder: &Path, http: &str, more: &str) -> io::Result<Self> {
        let configuration = folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http:\n  addr: 127.0.0.1:0\n{http}{more}",
            folder.join("data").display()
        );
        std::fs::write(&configuration, text)?;
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take();
        let mut registry = Self { child, port: 0 };
        let (sender, port) = mpsc::channel();
        // Reads on to the end, or the registry would block on its own words.
        std::thread::spawn(move || {
            let mut all = String::new();
            for line in log
                .into_iter()
                .flat_map(|log| BufReader::new(log).lines().map_while(Result::ok))
            {
                if let Some(port) = port_in(&line) {
                    let _ = sender.send(Ok(port));
                }
                all.push_str(&line);
                all.push('\n');
            }
            let _ = sender.send(Err(all));
        });
        registry.port = match port.recv_timeout(PATIENCE) {
            Ok(Ok(port)) => port,
            Ok(Err(said)) => return Err(io::Error::other(format!("docker-registry ended: {said}"))),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        Ok(registry)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The registry says it as `listening on 127.0.0.1:PORT`, or that with `, tls` after it.
fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
