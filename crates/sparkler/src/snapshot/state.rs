//! A snapshot's state file: the machine as it was configured, and what QEMU says of its devices.
//!
//! Invariant: a file is taken whole or not at all. Sizes are judged before anything of that size is allocated, the
//! checksum before anything is understood.
//!
//! ```text
//! 8 bytes  "sparkler"
//! 6 bytes  version of the format: major, minor, patch, 16 bits each
//! 4 bytes  length of the machine
//! 4 bytes  length of the devices
//!          the machine, JSON ([`SavedMachine`])
//!          the devices, QEMU's migration stream without memory
//! 32 bytes SHA-256 of all before
//! ```
//!
//! Numbers are little-endian.

use std::fmt;
use std::io::{self, Read};

use firecracker_api::models::FullVmConfiguration;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{HEAD, HeadError, MAGIC, VERSION, Version, read_version};

/// Longest state file, bytes: Firecracker's limit (`SNAPSHOT_DESERIALIZATION_BYTES_LIMIT`).
const LIMIT: usize = 10_000_000;
const SUM: usize = 32;
const LENGTHS: usize = 8;

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read.
    #[error("IO Error: {0}")]
    Read(#[from] io::Error),
    /// Another program's file.
    #[error("the file is not a state file of sparkler")]
    Foreign,
    /// A later program's file.
    #[error("Invalid data version: {0} (this program reads {VERSION})")]
    Version(Version),
    /// More than any machine has.
    #[error("Snapshot size exceeds limit of {LIMIT} bytes")]
    TooLong,
    /// Not all of it is there, or something else is.
    #[error("the file is damaged: its checksum or its lengths do not fit what is in it")]
    Damaged,
    /// Right by its checksum, and yet not understood.
    #[error("the machine in the file is not understood: {0}")]
    Machine(#[source] serde_json::Error),
}

/// All that is in a state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The machine.
    pub machine: SavedMachine,
    /// What QEMU said of its devices.
    pub devices: Vec<u8>,
}

/// A machine as it was configured when its snapshot was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMachine {
    /// What Firecracker would answer to `GET /vm/config`.
    pub config: FullVmConfiguration,
    /// What it ran on.
    pub maker: Maker,
    /// The ids that the guest sees of its drives, in their order.
    pub serials: Vec<String>,
    /// Interfaces whose frames pass through sparkler: the guest was offered less of them.
    pub pumped: Vec<String>,
    /// When, in milliseconds since 1970.
    pub taken_ms: u64,
}

/// What a machine ran on. One that differs in any of it cannot take the state over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// QEMU's version and package.
    pub qemu: String,
    /// The processor's architecture.
    pub arch: String,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// Under KVM, the host's processor.
    pub processor: Option<String>,
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QEMU {} with {} on {}", self.qemu, self.accel, self.arch)?;
        match &self.processor {
            Some(processor) => write!(f, " ({processor})"),
            None => Ok(()),
        }
    }
}

impl State {
    /// The file's contents.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        let machine = serde_json::to_vec(&self.machine).map_err(StateError::Machine)?;
        let mut bytes = Vec::with_capacity(HEAD + LENGTHS + machine.len() + self.devices.len() + SUM);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.encode());
        for part in [machine.len(), self.devices.len()] {
            let len = u32::try_from(part).map_err(|_| StateError::TooLong)?;
            bytes.extend(len.to_le_bytes());
        }
        bytes.extend(machine);
        bytes.extend(&self.devices);
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        if bytes.len() > LIMIT {
            return Err(StateError::TooLong);
        }
        Ok(bytes)
    }

    /// Reads a file.
    pub fn read(file: impl Read) -> Result<Self, StateError> {
        let mut bytes = Vec::new();
        file.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
        Self::decode(&bytes)
    }

    /// Understands a file's contents.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.len() > LIMIT {
            return Err(StateError::TooLong);
        }
        // Another version's file is told as such whatever follows its head.
        check_head(bytes)?;
        let (body, sum) = bytes.split_last_chunk::<SUM>().ok_or(StateError::Damaged)?;
        if Sha256::digest(body)[..] != sum[..] {
            return Err(StateError::Damaged);
        }
        Self::decode_body(body)
    }

    /// Understands what the checksum is of.
    pub fn decode_body(body: &[u8]) -> Result<Self, StateError> {
        check_head(body)?;
        let rest = body.get(HEAD..).ok_or(StateError::Damaged)?;
        let (machine, rest) = length(rest)?;
        let (devices, rest) = length(rest)?;
        let (machine, rest) = rest.split_at_checked(machine).ok_or(StateError::Damaged)?;
        if rest.len() != devices {
            return Err(StateError::Damaged);
        }
        Ok(Self {
            machine: serde_json::from_slice(machine).map_err(StateError::Machine)?,
            devices: rest.to_vec(),
        })
    }
}

fn check_head(bytes: &[u8]) -> Result<(), StateError> {
    let version = read_version(bytes).map_err(|error| match error {
        HeadError::Read(error) => StateError::Read(error),
        HeadError::Foreign => StateError::Foreign,
    })?;
    if VERSION.reads(version) {
        Ok(())
    } else {
        Err(StateError::Version(version))
    }
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), StateError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(StateError::Damaged)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| StateError::Damaged)?;
    Ok((length, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state() -> State {
        State {
            machine: SavedMachine {
                config: FullVmConfiguration::default(),
                maker: Maker {
                    qemu: "7.2.22".to_owned(),
                    arch: "x86_64".to_owned(),
                    accel: "tcg".to_owned(),
                    processor: None,
                },
                serials: vec!["1".to_owned()],
                pumped: Vec::new(),
                taken_ms: 5,
            },
            devices: b"QEVM and so on".to_vec(),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = state().encode().unwrap();
        assert_eq!(State::read(&bytes[..]).unwrap(), state());
        assert_eq!(read_version(&bytes[..]).unwrap(), VERSION);
    }

    #[test]
    fn files_that_are_not_whole_or_not_ours_are_told_apart() {
        let bytes = state().encode().unwrap();
        let short = State::decode(&bytes[..bytes.len() - 1]);
        assert!(matches!(short, Err(StateError::Damaged)), "{short:?}");
        assert!(matches!(State::decode(&bytes[..20]), Err(StateError::Damaged)));
        assert!(matches!(State::decode(&bytes[..10]), Err(StateError::Foreign)));
        assert!(matches!(
            State::decode(b"another program's"),
            Err(StateError::Foreign)
        ));
        let mut newer = bytes.clone();
        newer[8] = 9;
        let refused = State::decode(&newer).unwrap_err().to_string();
        assert!(refused.starts_with("Invalid data version: 9.0.0"), "{refused}");
        let long = vec![0; LIMIT + 1];
        assert!(matches!(State::read(&long[..]), Err(StateError::TooLong)));
    }

    #[test]
    fn lengths_that_lie_are_found() {
        let mut bytes = state().encode().unwrap();
        bytes.truncate(bytes.len() - SUM);
        bytes[HEAD..HEAD + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        assert!(matches!(State::decode(&bytes), Err(StateError::Damaged)));
    }

    proptest! {
        #[test]
        fn any_damage_is_found(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = state().encode().unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(State::decode(&bytes).is_err());
        }
    }
}
