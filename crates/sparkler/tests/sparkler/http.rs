//! A bare HTTP client over a Unix socket: the tests see statuses and bodies as they are.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

/// One request on a connection of its own; returns the status and the body (null if there is none).
pub(crate) fn call(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(super::machine::PATIENCE)).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n");
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    stream
        .write_all(format!("{head}{length}{body}").as_bytes())
        .unwrap();
    answer(BufReader::new(stream))
}

fn answer(mut stream: impl BufRead) -> (u16, Value) {
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line
    };
    let status = line().split(' ').nth(1).unwrap().trim().parse().unwrap();
    let mut length = 0;
    loop {
        let header = line().to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (
        status,
        if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        },
    )
}
