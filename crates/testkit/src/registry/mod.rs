//! A real registry (Debian's docker-registry) on a port of its own, and what stands between it and a client: a token server,
//! certificates, and a network that fails.

mod certificates;
mod head;
mod network;
mod socks;
mod tokens;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

pub use certificates::Authority;
pub use head::Seen;
pub use network::{Fault, Network, Rule};
pub use tokens::{Grant, TokenServer};

/// The one user that the registries know.
pub const USER: &str = "driver";
/// The user's password.
pub const PASSWORD: &str = "slick tyres:only";
/// Its bcrypt hash, of the smallest cost that the registry takes.
const PASSWORD_HASH: &str = "$2b$04$1YUZiP7Q5br3lKQzjbezXuKwG5pfw55ZMasVZAmtAePJ9Ii2AXsDi";

/// How long a registry may take to listen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom a registry lets in.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Everybody.
    Anyone,
    /// [`USER`] with [`PASSWORD`].
    Password,
    /// Who has a token of this server.
    Token(&'a TokenServer),
}

/// A running registry; it ends, and all it holds is gone, when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Registry {
    /// On HTTP.
    #[must_use]
    pub fn plain(access: Access<'_>) -> Self {
        Self::start(access, None, None)
    }

    /// On HTTPS, with a certificate of `authority` for `localhost`, `127.0.0.1` and `secure.test`.
    #[must_use]
    pub fn tls(access: Access<'_>, authority: &Authority) -> Self {
        Self::start(access, Some(authority), None)
    }

    /// The same, for none but those with a certificate of `clients`.
    #[must_use]
    pub fn mutual(access: Access<'_>, authority: &Authority, clients: &Authority) -> Self {
        Self::start(access, Some(authority), Some(clients))
    }

    fn start(access: Access<'_>, authority: Option<&Authority>, clients: Option<&Authority>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let configuration = folder.path().join("config.yml");
        let text = configuration_of(folder.path(), access, authority, clients);
        std::fs::write(&configuration, text).expect("a file in our own folder");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry: run dev/setup test");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let (sender, port) = mpsc::channel();
        // Reads on to the end, or the registry would block on its own words.
        std::thread::spawn(move || {
            let mut all = String::new();
            for line in log.lines().map_while(Result::ok) {
                if let Some(port) = port_of(&line) {
                    let _ = sender.send(Ok(port));
                }
                all.push_str(&line);
                all.push('\n');
            }
            let _ = sender.send(Err(all));
        });
        let port = match port.recv_timeout(PATIENCE) {
            Ok(Ok(port)) => port,
            other => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("docker-registry does not listen: {other:?}");
            }
        };
        Self { child, port, folder }
    }

    /// `localhost` and its port: what stands before an image's name.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps a blob, given the digest's hexadecimal digits.
    #[must_use]
    pub fn blob(&self, hex: &str) -> PathBuf {
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        blobs
            .join(hex.get(..2).unwrap_or_default())
            .join(hex)
            .join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The registry says it as `listening on 127.0.0.1:PORT`, or that with `, tls` after it.
fn port_of(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn configuration_of(
    folder: &Path,
    access: Access<'_>,
    authority: Option<&Authority>,
    clients: Option<&Authority>,
) -> String {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file in our own folder");
        path.display().to_string()
    };
    let mut text = format!(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http:\n  addr: 127.0.0.1:0\n",
        folder.join("data").display()
    );
    if let Some(authority) = authority {
        let (certificate, key) = authority.certify(&["localhost", "127.0.0.1", "secure.test"]);
        let (certificate, key) = (write("tls.pem", &certificate), write("tls.key", &key));
        let clients = clients.map_or_else(String::new, |clients| {
            format!(", clientcas: [{}]", clients.file().display())
        });
        text += &format!("  tls: {{certificate: {certificate}, key: {key}{clients}}}\n");
    }
    match access {
        Access::Anyone => {}
        Access::Password => {
            let path = write("htpasswd", &format!("{USER}:{PASSWORD_HASH}\n"));
            text += &format!("auth: {{htpasswd: {{realm: pits, path: {path}}}}}\n");
        }
        Access::Token(server) => {
            let bundle = write("tokens.pem", server.certificate());
            text += &format!(
                "auth: {{token: {{realm: '{}', service: {}, issuer: {}, rootcertbundle: {bundle}}}}}\n",
                server.realm(),
                tokens::SERVICE,
                tokens::ISSUER,
            );
        }
    }
    text
}
