//! What a VMM says when it asks for its guest's memory: where that is to be, and the userfaultfd for it.
//!
//! Source of the form: Firecracker, `docs/snapshotting/handling-page-faults-on-snapshot-resume.md`, `src/vmm/src/persist.rs`
//! (`GuestRegionUffdMapping`). The invariant: the VMM may have been taken over; whatever it says, nothing but the guest's own
//! memory file is read, and only within its bounds.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Deserialize;

use super::uffd::PAGE;

/// The longest message, in bytes: a line for each region.
const MAX_MESSAGE: usize = 16 << 10;

/// The most regions: a guest's memory is one, or two around the gap for devices, and some more of architectures to come.
const MAX_REGIONS: usize = 64;

/// A part of the memory file, and where it is to be in the VMM's memory. All in bytes, and multiples of [`PAGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the VMM says where its guest's memory is in no known form: {0}")]
    Form(#[from] serde_json::Error),
    #[error("the VMM names {0} regions of memory, where 1 to {MAX_REGIONS} are possible")]
    Count(usize),
    #[error("the VMM names a region of {length} bytes at {offset} of a memory of {memory} bytes")]
    Bounds { offset: u64, length: u64, memory: u64 },
    #[error("the VMM's guest has pages of {0} bytes, where {PAGE} are served")]
    PageSize(u64),
    #[error("the VMM has sent no userfaultfd")]
    NoDescriptor,
}

/// As it comes. Fields that newer versions add are of no interest.
#[derive(Deserialize)]
struct Mapping {
    base_host_virt_addr: u64,
    size: u64,
    offset: u64,
    /// Since 1.12.
    page_size: Option<u64>,
}

/// One message, with a descriptor if one came along. Does not wait.
pub(super) fn receive(socket: impl AsFd) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
    )?;
    bytes.truncate(received.bytes);
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((bytes, fd))
}

/// The regions of a memory file of `memory` bytes.
pub(super) fn parse(bytes: &[u8], memory: u64) -> Result<Vec<Region>, Refused> {
    let mappings: Vec<Mapping> = serde_json::from_slice(bytes)?;
    if mappings.is_empty() || mappings.len() > MAX_REGIONS {
        return Err(Refused::Count(mappings.len()));
    }
    mappings.iter().map(|mapping| region(mapping, memory)).collect()
}

fn region(mapping: &Mapping, memory: u64) -> Result<Region, Refused> {
    let Mapping {
        size: length, offset, ..
    } = *mapping;
    let start = mapping.base_host_virt_addr;
    if let Some(size) = mapping.page_size.filter(|size| *size != PAGE) {
        return Err(Refused::PageSize(size));
    }
    let aligned = [start, offset, length]
        .iter()
        .all(|number| number.is_multiple_of(PAGE));
    let inside = offset.checked_add(length).is_some_and(|end| end <= memory);
    if !aligned || !inside || length == 0 || start.checked_add(length).is_none() {
        return Err(Refused::Bounds {
            offset,
            length,
            memory,
        });
    }
    Ok(Region {
        start,
        offset,
        length,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_version_says_it_a_little_differently() {
        let old =
            br#"[{"base_host_virt_addr":140000000000001,"size":8192,"offset":4096,"page_size_kib":4096}]"#;
        let new = br#"[{"base_host_virt_addr":4096,"size":4096,"offset":0,"page_size":4096,"page_size_kib":4096,"x":1}]"#;
        assert!(parse(old, 12288).is_err(), "not at the beginning of a page");
        let old = String::from_utf8_lossy(old).replace("140000000000001", "139637976727552");
        let region = Region {
            start: 139_637_976_727_552,
            offset: 4096,
            length: 8192,
        };
        assert_eq!(parse(old.as_bytes(), 12288).unwrap(), [region]);
        assert!(matches!(parse(old.as_bytes(), 8192), Err(Refused::Bounds { .. })));
        assert_eq!(parse(new, 4096).unwrap().len(), 1);
        let huge = String::from_utf8_lossy(new).replace("\"page_size\":4096", "\"page_size\":2097152");
        assert!(matches!(
            parse(huge.as_bytes(), 4096),
            Err(Refused::PageSize(2_097_152))
        ));
        assert!(matches!(parse(b"[]", 4096), Err(Refused::Count(0))));
    }

    proptest! {
        #[test]
        fn whatever_is_said_nothing_is_out_of_bounds(
            start in any::<u64>(), size in any::<u64>(), offset in any::<u64>(), memory in any::<u64>(), pages in any::<bool>()
        ) {
            let align = |number: u64| if pages { number / PAGE * PAGE } else { number };
            let text = format!(
                r#"[{{"base_host_virt_addr":{},"size":{},"offset":{}}}]"#, align(start), align(size), align(offset)
            );
            if let Ok(regions) = parse(text.as_bytes(), memory) {
                prop_assert!(regions.iter().all(|region| region.offset + region.length <= memory));
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse(&bytes, 4096);
        }
    }
}
