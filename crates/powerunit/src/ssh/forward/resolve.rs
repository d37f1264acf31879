//! Names to addresses: hosts(5), then the name servers of resolv.conf(5).
//!
//! The C library's own resolver is no choice in a static program: it loads the image's modules (nsswitch.conf(5)), which
//! were built for another C library.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::net::UdpSocket;

use super::dns::{self, Kind};

/// As resolv.conf(5) has it.
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 6;
const ATTEMPTS: usize = 2;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses of `host`, best first; none if there is no such name.
///
/// # Errors
///
/// No name server answers.
pub(super) async fn resolve(etc: &Path, host: &str) -> io::Result<Vec<IpAddr>> {
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    let listed = from_hosts(&read(etc, "hosts"), host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    let lower = host.trim_end_matches('.').to_ascii_lowercase();
    // RFC 6761, section 6.3: these names never leave the machine.
    if lower == "localhost" || lower.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let servers = Servers::parse(&read(etc, "resolv.conf"));
    for name in servers.candidates(host) {
        let (v6, v4) = tokio::join!(servers.ask(&name, Kind::Aaaa), servers.ask(&name, Kind::A));
        let mut found: Vec<IpAddr> = Vec::new();
        match (v4, v6) {
            (Err(error), Err(_)) => return Err(error),
            (v4, v6) => found.extend(v4.into_iter().chain(v6).flatten()),
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn read(etc: &Path, file: &str) -> String {
    let bytes = std::fs::read(etc.join(file)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    let line = line.split(['#', ';']).next().unwrap_or_default();
    line.split_ascii_whitespace()
}

fn from_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let addresses = text.lines().filter_map(|line| {
        let mut words = words(line);
        let address = words.next()?.parse().ok()?;
        words
            .any(|name| name.eq_ignore_ascii_case(host))
            .then_some(address)
    });
    addresses.collect()
}

/// What resolv.conf(5) says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Servers {
    addresses: Vec<IpAddr>,
    search: Vec<String>,
}

impl Servers {
    fn parse(text: &str) -> Self {
        let mut servers = Self::default();
        for line in text.lines() {
            let mut words = words(line);
            match words.next() {
                Some("nameserver") => servers
                    .addresses
                    .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
                Some("search" | "domain") => {
                    servers.search = words.take(MAX_SEARCH).map(str::to_owned).collect();
                }
                _ => {}
            }
        }
        servers.addresses.truncate(MAX_SERVERS);
        if servers.addresses.is_empty() {
            servers.addresses.push(Ipv4Addr::LOCALHOST.into());
        }
        servers
    }

    /// The full names that `host` may mean, in the order in which they are tried.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(full) = host.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let searched = self
            .search
            .iter()
            .map(|domain| format!("{host}.{}", domain.trim_matches('.')));
        let own = host.to_owned();
        if host.contains('.') {
            [own].into_iter().chain(searched).collect()
        } else {
            searched.chain([own]).collect()
        }
    }

    /// Asks the servers in turn. An answer without addresses is an answer.
    async fn ask(&self, name: &str, kind: Kind) -> io::Result<Vec<IpAddr>> {
        let mut id = [0; 2];
        SystemRandom::new()
            .fill(&mut id)
            .map_err(|_| io::Error::other("the kernel gives no random bytes"))?;
        let id = u16::from_be_bytes(id);
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no host name"));
        let query = dns::query(id, name, kind).ok_or_else(invalid)?;
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        for server in self.addresses.repeat(ATTEMPTS) {
            match tokio::time::timeout(TIMEOUT, exchange(server, &query, id, kind)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no name server answers"),
            }
        }
        Err(last)
    }
}

async fn exchange(server: IpAddr, query: &[u8], id: u16, kind: Kind) -> io::Result<Vec<IpAddr>> {
    let any: SocketAddr = match server {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected: the kernel drops what others send.
    socket.connect((server, 53)).await?;
    socket.send(query).await?;
    let mut answer = [0; 4096];
    loop {
        let length = socket.recv(&mut answer).await?;
        match dns::addresses(answer.get(..length).unwrap_or_default(), id, kind) {
            dns::Answer::Addresses(found) => return Ok(found),
            dns::Answer::Failed => return Err(io::Error::other("the name server has failed")),
            dns::Answer::NotForUs => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_the_hosts_file_and_literals_need_no_server() {
        let etc = tempfile::tempdir().unwrap();
        std::fs::write(
            etc.path().join("hosts"),
            "127.0.0.1 localhost\n10.0.0.1 db.internal DB # x\nbroken\n",
        )
        .unwrap();
        let find = async |host: &str| resolve(etc.path(), host).await.unwrap();
        assert_eq!(find("db").await, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(find("[::1]").await, [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(find("localhost").await, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        assert_eq!(find("app.localhost").await.len(), 2);
    }

    #[test]
    fn short_names_are_searched_first() {
        let servers =
            Servers::parse("nameserver 10.0.0.2\n; x\nsearch a.example b.example\nnameserver fd00::1\n");
        assert_eq!(servers.addresses.len(), 2);
        assert_eq!(
            servers.candidates("web"),
            ["web.a.example", "web.b.example", "web"]
        );
        assert_eq!(
            servers.candidates("web.x"),
            ["web.x", "web.x.a.example", "web.x.b.example"]
        );
        assert_eq!(servers.candidates("web."), ["web"]);
        assert_eq!(Servers::parse("").addresses, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }
}
