//! The doors to this crate's own parsers for `fuzz/src/targets/knaller_parsers.rs`. Only there with `--cfg fuzzing`.
//!
//! The invariant: each takes any bytes, and returns.

use crate::network::{dns, routes};
use crate::record::Record;
use crate::ssh::control;
use crate::vmm::kvm;
use crate::{memory, pager, process, snapshot, tail};

/// `vm.json`: what is understood is written and understood again, the same.
pub fn record(bytes: &[u8]) {
    if let Ok(record) = Record::parse(bytes) {
        let json = serde_json::to_vec(&record).unwrap_or_default();
        assert_eq!(Record::parse(&json).ok(), Some(record));
    }
}

/// `snapshot.json` of another host: whatever it says, its machines are kept as this host keeps machines, and what was let in
/// once is let in again as it is.
pub fn foreign_description(bytes: &[u8]) {
    snapshot::fuzz_admit(bytes);
}

/// A guest's answer to the control subsystem.
pub fn control_answer(text: &str) {
    if let Err(reason) = control::parse(text) {
        assert!(reason.len() < 8192, "an error is for a person to read");
    }
}

/// A resolv.conf(5).
pub fn resolver(text: &str) {
    for ipv6 in [false, true] {
        let found = dns::parse(text, ipv6);
        assert!(found.servers.iter().all(|server| !server.is_loopback()));
    }
}

/// What is read below /proc.
pub fn proc_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = routes::has_default_v4(&text);
    let _ = routes::has_default_v6(&text);
    let _ = memory::field(&text, "MemAvailable");
    let _ = kvm::virtualises(&text);
    process::fuzz_command_line(bytes);
}

/// What a VMM says of its guest's memory, and what is noted of one.
pub fn pages(bytes: &[u8]) {
    pager::parse_all(bytes);
}

/// The end of a console, as an error shows it.
pub fn console_tail(text: &str) {
    let shown = tail::lines(text);
    assert!(shown.len() <= text.len());
}
