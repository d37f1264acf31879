//! A network that fails on purpose.
//!
//! The invariant: each connection carries one request to the registry behind and one answer back, byte for byte but for
//! the fault of the first rule that fits. All that came by can be asked for afterwards.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::head::{self, Seen};
use super::socks;

/// What happens to an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Cut { after: u64 },
    /// One byte of the body is another one.
    Flip { at: u64 },
    /// After so many bytes, one by one, slowly.
    Trickle { after: u64 },
    /// No quicker than so many bytes a second.
    Slow { rate: u32 },
    /// The body never ends, and no length is said.
    Endless,
    /// This instead; the registry is not asked.
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// To the same path at another place (`http://HOST:PORT`).
    Redirect { to: String },
    /// The registry does not hear of `Range`.
    NoRanges,
    /// Requests whose body has more bytes are refused (413); smaller ones are no matter of this rule.
    TooLarge { limit: u64 },
    /// The connection ends after so many bytes of the request's body, which the registry gets; shorter ones are no matter of
    /// this rule.
    CutRequest { after: u64 },
    /// The request waits so long before it goes on to the registry.
    Hold(Duration),
}

/// To which requests a fault happens.
#[derive(Clone, Debug)]
pub struct Rule {
    pub method: &'static str,
    /// Part of the request's target.
    pub part: String,
    /// How often; then the rule is gone.
    pub times: u32,
    pub fault: Fault,
}

/// What stands between a client and a registry: a reverse proxy, or (asked with CONNECT, for a whole address, or in SOCKS 5) a
/// forward one that leads everywhere to the same registry. It ends when dropped.
#[derive(Debug)]
pub struct Network {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    over: std::sync::atomic::AtomicBool,
}

impl Network {
    /// In front of the port `upstream` of 127.0.0.1.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a bound socket").port();
        let shared = Arc::new(Shared {
            upstream,
            rules: Mutex::default(),
            seen: Mutex::default(),
            over: false.into(),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.over.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&serving);
                // Either side may go at any time.
                std::thread::spawn(move || drop(serve(client, &shared)));
            }
        });
        Self { port, shared }
    }

    /// What stands before an image's name.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// From now on `fault` happens to the next `times` requests of `method` whose target has `part` in it.
    pub fn fault(&self, method: &'static str, part: &str, times: u32, fault: Fault) {
        let part = part.to_owned();
        let rule = Rule {
            method,
            part,
            times,
            fault,
        };
        lock(&self.shared.rules).push(rule);
    }

    /// All requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Those of `method` with `part` in the target.
    #[must_use]
    pub fn seen_of(&self, method: &str, part: &str) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.method == method && seen.target.contains(part));
        seen
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.over.store(true, std::sync::atomic::Ordering::Relaxed);
        // Wakes the listening thread, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut first = [0];
    if client.peek(&mut first)? == 1 && first[0] == socks::VERSION {
        lock(&shared.seen).push(socks::accept(&mut client)?);
        let upstream = TcpStream::connect(("127.0.0.1", shared.upstream))?;
        return both_ways(client, upstream);
    }
    let Some(mut seen) = head::request(&mut client)? else {
        return Ok(());
    };
    lock(&shared.seen).push(seen.clone());
    if seen.method == "CONNECT" {
        if let Some(Fault::Answer { status, .. }) = take(&mut lock(&shared.rules), &seen) {
            return client.write_all(&head::answer(status, &[], ""));
        }
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        let upstream = TcpStream::connect(("127.0.0.1", shared.upstream))?;
        return both_ways(client, upstream);
    }
    // A forward proxy is asked for a whole address.
    if let Some((_, path)) = seen
        .target
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
    {
        seen.target = format!("/{path}");
    }
    let fault = take(&mut lock(&shared.rules), &seen);
    match &fault {
        Some(Fault::Answer {
            status,
            headers,
            body,
        }) => {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            return client.write_all(&head::answer(*status, &headers, body));
        }
        Some(Fault::Redirect { to }) => {
            let place = format!("{to}{}", seen.target);
            return client.write_all(&head::answer(307, &[("Location", &place)], ""));
        }
        Some(Fault::NoRanges) => seen
            .headers
            .retain(|(name, _)| !name.eq_ignore_ascii_case("range")),
        Some(Fault::TooLarge { .. }) => {
            client.write_all(&head::answer(413, &[], "too large"))?;
            client.shutdown(Shutdown::Write)?;
            // Who closes at once takes the answer away from one that still sends.
            return io::copy(&mut client, &mut io::sink()).map(drop);
        }
        Some(Fault::Hold(time)) => std::thread::sleep(*time),
        _ => {}
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", shared.upstream))?;
    seen.headers
        .retain(|(name, _)| !name.eq_ignore_ascii_case("connection"));
    seen.headers.push(("Connection".to_owned(), "close".to_owned()));
    let line = format!("{} {} HTTP/1.1", seen.method, seen.target);
    upstream.write_all(&head::write(&line, &seen.headers))?;
    if let Some(Fault::CutRequest { after }) = fault {
        io::copy(&mut client.take(after), &mut upstream)?;
        upstream.shutdown(Shutdown::Write)?;
        // The registry has seen the end before the client does.
        return io::copy(&mut upstream, &mut io::sink()).map(drop);
    }
    // What the client still sends, while the answer comes.
    let (mut from, mut to) = (client.try_clone()?, upstream.try_clone()?);
    std::thread::spawn(move || io::copy(&mut from, &mut to));
    let done = answer(&mut upstream, &mut client, fault.as_ref());
    let _ = client.shutdown(Shutdown::Both);
    let _ = upstream.shutdown(Shutdown::Both);
    done
}

fn take(rules: &mut Vec<Rule>, seen: &Seen) -> Option<Fault> {
    let size = seen.header("content-length");
    let size: u64 = size.and_then(|size| size.parse().ok()).unwrap_or(0);
    let fits = |rule: &Rule| {
        let small = match rule.fault {
            Fault::TooLarge { limit } => size <= limit,
            Fault::CutRequest { after } => size <= after,
            _ => false,
        };
        rule.method == seen.method && seen.target.contains(&rule.part) && !small
    };
    let rule = rules.iter_mut().find(|rule| fits(rule))?;
    rule.times -= 1;
    let fault = rule.fault.clone();
    rules.retain(|rule| rule.times > 0);
    Some(fault)
}

fn answer(upstream: &mut TcpStream, client: &mut TcpStream, fault: Option<&Fault>) -> io::Result<()> {
    let Some((line, mut headers)) = head::read(upstream)? else {
        return Ok(());
    };
    if matches!(fault, Some(Fault::Endless)) {
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
    }
    client.write_all(&head::write(&line, &headers))?;
    match fault {
        Some(Fault::Cut { after }) => io::copy(&mut upstream.take(*after), client).map(drop),
        Some(Fault::Flip { at }) => {
            io::copy(&mut upstream.take(*at), client)?;
            let mut byte = [0];
            upstream.read_exact(&mut byte)?;
            client.write_all(&[!byte[0]])?;
            io::copy(upstream, client).map(drop)
        }
        Some(Fault::Trickle { after }) => {
            io::copy(&mut upstream.take(*after), client)?;
            for byte in io::BufReader::new(upstream).bytes() {
                client.write_all(&[byte?])?;
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        Some(Fault::Slow { rate }) => slowly(upstream, client, *rate),
        Some(Fault::Endless) => {
            io::copy(upstream, client)?;
            io::copy(&mut io::repeat(b'.'), client).map(drop)
        }
        _ => io::copy(upstream, client).map(drop),
    }
}

/// Passes on what comes, in pieces of a tenth of a second's worth.
fn slowly(from: &mut TcpStream, to: &mut TcpStream, rate: u32) -> io::Result<()> {
    let piece = u64::from(rate / 10).max(1);
    while io::copy(&mut from.take(piece), to)? == piece {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn both_ways(client: TcpStream, upstream: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (client.try_clone()?, upstream.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (upstream, client);
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}
