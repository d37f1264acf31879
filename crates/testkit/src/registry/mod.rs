//! A real registry (Debian's docker-registry) on a port of its own, and what stands between it and a client: a token server,
//! certificates, and a network that fails.

mod certificates;
mod head;
mod network;
mod socks;
mod tokens;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use certificates::Authority;
pub use head::Seen;
pub use network::{Fault, Network, Rule};
pub use tokens::{Grant, TokenServer};

use crate::DockerRegistry;

/// The one user that the registries know.
pub const USER: &str = "driver";
/// The user's password.
pub const PASSWORD: &str = "slick tyres:only";
/// Its bcrypt hash, of the smallest cost that the registry takes.
const PASSWORD_HASH: &str = "$2b$04$1YUZiP7Q5br3lKQzjbezXuKwG5pfw55ZMasVZAmtAePJ9Ii2AXsDi";

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
    process: DockerRegistry,
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
        let (http, more) = configuration(folder.path(), access, authority, clients);
        let process = DockerRegistry::start(folder.path(), &http, &more);
        let process = process.expect("docker-registry listens: dev/setup test installs it");
        Self { process, folder }
    }

    /// `localhost` and its port: what stands before an image's name.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port())
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.process.port()
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

/// What the registry's configuration says of HTTP, and after that.
fn configuration(
    folder: &Path,
    access: Access<'_>,
    authority: Option<&Authority>,
    clients: Option<&Authority>,
) -> (String, String) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file in our own folder");
        path.display().to_string()
    };
    let (mut http, mut more) = (String::new(), String::new());
    if let Some(authority) = authority {
        let (certificate, key) = authority.certify(&["localhost", "127.0.0.1", "secure.test"]);
        let (certificate, key) = (write("tls.pem", &certificate), write("tls.key", &key));
        let clients = clients.map_or_else(String::new, |clients| {
            format!(", clientcas: [{}]", clients.file().display())
        });
        http += &format!("  tls: {{certificate: {certificate}, key: {key}{clients}}}\n");
    }
    match access {
        Access::Anyone => {}
        Access::Password => {
            let path = write("htpasswd", &format!("{USER}:{PASSWORD_HASH}\n"));
            more += &format!("auth: {{htpasswd: {{realm: pits, path: {path}}}}}\n");
        }
        Access::Token(server) => {
            let bundle = write("tokens.pem", server.certificate());
            more += &format!(
                "auth: {{token: {{realm: '{}', service: {}, issuer: {}, rootcertbundle: {bundle}}}}}\n",
                server.realm(),
                tokens::SERVICE,
                tokens::ISSUER,
            );
        }
    }
    (http, more)
}
