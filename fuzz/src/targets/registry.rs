//! What registries, credential helpers and a user's files say. The first byte chooses the parser, from `0` on, so that
//! seeds are text.

use std::time::SystemTime;

use images::registry::{Challenge, config, credentials, parse_challenge, retry_after};

pub(crate) fn run(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match kind.wrapping_sub(b'0') % 5 {
        0 => {
            if let Some(Challenge::Bearer { realm, .. }) = parse_challenge(text.lines()) {
                assert!(realm.len() <= rest.len());
            }
        }
        1 => {
            if let Ok(hosts) = config::parse_hosts(rest) {
                assert!(hosts.named.keys().all(|host| !host.contains('/')));
            }
        }
        2 => {
            if let Ok(file) = credentials::parse_auth_file(rest) {
                let _ = file.check();
            }
        }
        3 => drop(credentials::parse_helper_output(rest)),
        _ => drop(retry_after(&text, SystemTime::UNIX_EPOCH)),
    }
}
