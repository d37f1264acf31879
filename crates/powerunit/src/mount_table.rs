//! What the kernel's lists of mounts have in common (proc_pid_mounts(5), proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Undoes the octal escapes of /proc/self/mounts (space, tab, newline, backslash; proc_pid_mounts(5)).
pub(crate) fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'\\')
            .then(|| after.first_chunk::<3>())
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_escaped_path_is_found_again(bytes in prop::collection::vec(1u8..=255, 1..30)) {
            use std::os::unix::ffi::OsStrExt;
            let escape = |byte: &u8| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                byte => vec![*byte],
            };
            let escaped: Vec<u8> = bytes.iter().flat_map(escape).collect();
            if let Ok(escaped) = String::from_utf8(escaped) {
                let path = unescape(&escaped);
                prop_assert_eq!(path.as_os_str().as_bytes(), bytes.as_slice());
            }
        }
    }
}
