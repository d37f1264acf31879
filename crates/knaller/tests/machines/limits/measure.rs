//! What passes in a guest in how much time.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use knaller::{ExecRequest, Machine, Rate, SessionEvent};

use crate::support::{PATIENCE, said};

/// The largest frame or request, which a bucket that is smaller lets through on credit, and as much that is under way.
pub(super) const CREDIT: u64 = 128 << 10;

/// Fails if so much in so many seconds is more than the rate allows; a bucket may have been full at first, and may have
/// given `credit`. And if it is less than a third: then something else is kept than what was said.
#[track_caller]
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
pub(super) fn at_the_rate(amount: u64, seconds: f64, per_second: u64, credit: u64, what: &str) {
    let (amount, rate) = (amount as f64, per_second as f64);
    // A tenth of a second is in the bucket, and the guest's clock tells hundredths.
    let most = rate * (seconds + 0.2) + credit as f64;
    assert!(
        amount <= most && amount >= rate * seconds / 3.0,
        "{what}: {amount} in {seconds} s, at {rate} a second"
    );
}

/// Reads from the guest's own disk: how many bytes came in how many requests and seconds, as the guest's kernel counts them.
pub(super) async fn read(machine: &Machine, amount: u64) -> (u64, u64, f64) {
    let blocks = amount >> 16;
    // The clock is read first and last, so that what the reading itself takes is not left out.
    let line = format!(
        "echo 3 > /proc/sys/vm/drop_caches; read since _ < /proc/uptime; read before < /sys/block/vdb/stat; \
         dd if=/dev/vdb of=/dev/null bs=64k count={blocks} skip=128 2>/dev/null; \
         read after < /sys/block/vdb/stat; read until _ < /proc/uptime; echo $before $since; echo $after $until"
    );
    let told = said(machine, &line).await;
    let numbers = |line: &str| -> Vec<f64> {
        line.split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    };
    let looks: Vec<Vec<f64>> = told.lines().map(numbers).collect();
    // Documentation/block/stat.rst: read I/Os, read merges, read sectors. The time since boot is the last word.
    let grown = |field: usize| looks[1][field] - looks[0][field];
    let uptime = looks[0].len() - 1;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters")]
    let count = |field: usize| grown(field) as u64;
    (count(2) * 512, count(0), grown(uptime))
}

/// Fails if the first of these amounts in so many seconds did not pass at once, or if all of them were more than the burst
/// and the rate allow in all the time that `passed`, or the last came at less than a third of the rate. The first is to be
/// less than the burst.
#[track_caller]
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
pub(super) fn burst(took: &[(u64, f64)], passed: Duration, rate: Rate, what: &str) {
    let per_second = rate.per_second() as f64;
    let (first, seconds) = took[0];
    assert!(
        first as f64 >= 3.0 * per_second * seconds,
        "{what}: {first} bytes took {seconds} s, no less than at {rate:?}"
    );
    let all: u64 = took.iter().map(|(amount, _)| amount).sum();
    let most = rate.at_once().unwrap() + CREDIT;
    let (last, lasted) = took[took.len() - 1];
    assert!(
        all > most,
        "{what}: {all} bytes tell nothing of what holds after the burst"
    );
    assert!(
        all as f64 <= most as f64 + per_second * passed.as_secs_f64(),
        "{what}: {all} bytes in {passed:?} at {rate:?}"
    );
    assert!(
        last as f64 >= per_second * lasted / 3.0,
        "{what}: {last} bytes in {lasted} s at {rate:?}"
    );
}

/// Has the guest receive so much: bytes and seconds, by the guest's own clock and counter when its program ends. Its port
/// 81 is forwarded from `port`.
pub(super) async fn receive(machine: &Machine, port: u16, amount: usize) -> (u64, f64) {
    let line = format!(
        "nc -l -p 81 -e sh -c 'cut -d\" \" -f1 /proc/uptime >&2; head -c {amount} | wc -c >&2; \
         cut -d\" \" -f1 /proc/uptime >&2' 2>&1"
    );
    let mut session = machine.exec(ExecRequest::line(&line)).await.unwrap();
    session.input().close().await.unwrap();
    // Port 81, listened on (proc_net_tcp: local address, state).
    said(
        machine,
        "until cat /proc/net/tcp* | grep -q ':0051 .* 0A '; do :; done",
    )
    .await;
    let sent = tokio::task::spawn_blocking(move || send(port, amount));
    let mut told = Vec::new();
    while let Some(event) = session.next().await {
        if let SessionEvent::Stdout(bytes) = event {
            told.extend_from_slice(&bytes);
        }
    }
    sent.await.unwrap();
    let told = String::from_utf8_lossy(&told).into_owned();
    let words: Vec<&str> = told.split_whitespace().collect();
    let [before, bytes, after] = words[..] else {
        panic!("{told}")
    };
    let clock = |word: &str| word.parse::<f64>().unwrap();
    let bytes: u64 = bytes.parse().unwrap();
    assert_eq!(bytes, amount as u64, "{told}");
    (bytes, clock(after) - clock(before))
}

/// Fetches the large file: bytes and seconds.
pub(super) fn get(port: u16) -> (u64, f64) {
    let since = Instant::now();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /large HTTP/1.0\r\n\r\n").unwrap();
    let mut body = Vec::new();
    stream.read_to_end(&mut body).unwrap();
    (body.len() as u64, since.elapsed().as_secs_f64())
}

/// Sends so much.
fn send(port: u16, amount: usize) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&vec![0; amount]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // Until the other side has read it all and ends.
    let _ = stream.read(&mut [0]);
}
