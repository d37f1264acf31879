//! What the server is told when it starts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::authorized_keys::Entry;
use super::host_key::{self, HostKey};

/// All that the server is told.
#[derive(Clone, Debug)]
pub struct Settings {
    pub host_key: Arc<HostKey>,
    /// Keys that open every account.
    pub keys: Vec<Entry>,
    /// Whether `~/.ssh/authorized_keys` opens its owner's account.
    pub user_keys: bool,
    /// Variables for every session.
    pub environment: BTreeMap<String, String>,
    /// Where `passwd`, `group`, `environment`, `hosts` and `resolv.conf` are.
    pub etc: PathBuf,
    /// What is executed to serve SFTP on its standard input and output, and its arguments.
    pub sftp_server: (PathBuf, Vec<OsString>),
    pub limits: Limits,
}

impl Settings {
    /// Settings with the host key, in OpenSSH's PEM form, and keys, in the form of `authorized_keys`, that open every
    /// account. Key lines that open nothing are passed over with a warning.
    ///
    /// # Errors
    ///
    /// The host key is not one.
    pub fn new(host_key: &str, keys: &[String]) -> Result<Self, host_key::Error> {
        let parsed = keys.iter().filter_map(|line| Entry::parse(line));
        let keys = parsed.filter_map(|entry| {
            entry
                .inspect_err(|error| tracing::warn!(%error, "a key of the host's config opens nothing"))
                .ok()
        });
        Ok(Self {
            host_key: Arc::new(HostKey::from_openssh(host_key)?),
            keys: keys.collect(),
            user_keys: true,
            environment: BTreeMap::new(),
            etc: "/etc".into(),
            sftp_server: ("/proc/self/exe".into(), vec![super::SFTP_SERVER.into()]),
            limits: Limits::default(),
        })
    }
}

/// How much strangers and users may ask for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first byte to a successful login.
    pub login_time: Duration,
    /// Connections over TCP that are not logged in; with one more, the oldest of them is ended.
    pub logging_in: usize,
    /// Keys offered and signatures made, in one connection.
    pub attempts: usize,
    /// Channels open at once in one connection: sessions, forwarded connections.
    pub channels: usize,
    /// Sockets that wait for connections in one connection's name.
    pub listeners: usize,
    /// A client that says nothing for so long is asked whether it is there.
    pub keepalive: Duration,
    /// How often it may leave the question unanswered.
    pub keepalives: u32,
    /// Bytes in one direction after which new keys are made. RFC 4344 allows 64 GiB for these ciphers.
    pub rekey_after: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            login_time: Duration::from_secs(120),
            logging_in: 64,
            attempts: 64,
            channels: 512,
            listeners: 64,
            keepalive: Duration::from_secs(60),
            keepalives: 5,
            rekey_after: 16 << 30,
        }
    }
}
