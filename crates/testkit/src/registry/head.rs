//! As much of HTTP as a test's network needs: the head of a message.

use std::io::{self, Read};
use std::net::TcpStream;

const LIMIT: usize = 64 * 1024;

/// A request that came by.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// As it stood in the request line.
    pub target: String,
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }
}

pub(super) type Headers = Vec<(String, String)>;

/// The head of a message: its first line, and its headers. `None`: the other side has gone.
pub(super) fn read(stream: &mut TcpStream) -> io::Result<Option<(String, Headers)>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() > LIMIT || stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        bytes.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.trim_end().split("\r\n").map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    });
    Ok(Some((first, headers.collect())))
}

/// The same as bytes again.
pub(super) fn write(first: &str, headers: &[(String, String)]) -> Vec<u8> {
    let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    format!("{first}\r\n{}\r\n", lines.collect::<String>()).into_bytes()
}

/// A request's head.
pub(super) fn request(stream: &mut TcpStream) -> io::Result<Option<Seen>> {
    let Some((line, headers)) = read(stream)? else {
        return Ok(None);
    };
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    Ok(Some(Seen {
        method,
        target,
        headers,
    }))
}

/// An answer with a body, after which the connection ends.
pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut all = vec![
        ("Content-Length".to_owned(), body.len().to_string()),
        ("Connection".to_owned(), "close".to_owned()),
    ];
    let own = headers.iter();
    all.extend(own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut bytes = write(&format!("HTTP/1.1 {status} Status"), &all);
    bytes.extend_from_slice(body.as_bytes());
    bytes
}
