//! Access control lists, from the form of setxattr(2) to that of ext4.
//!
//! The sources: include/uapi/linux/posix_acl_xattr.h and fs/ext4/acl.h. A list is taken if the kernel would take it
//! (posix_acl_valid).

use super::bytes::{put16, put32};

const XATTR_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// A valid list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Rule>);

/// Reads the value of `system.posix_acl_access` or `…_default`.
pub(crate) fn parse(value: &[u8]) -> Option<Acl> {
    let (version, rules) = value.split_first_chunk::<4>()?;
    let (rules, rest) = rules.as_chunks::<8>();
    if u32::from_le_bytes(*version) != XATTR_VERSION || !rest.is_empty() {
        return None;
    }
    let rules = rules.iter().map(|[a, b, c, d, e, f, g, h]| Rule {
        tag: u16::from_le_bytes([*a, *b]),
        permissions: u16::from_le_bytes([*c, *d]),
        id: u32::from_le_bytes([*e, *f, *g, *h]),
    });
    let list = Acl(rules.collect());
    list.is_valid().then_some(list)
}

impl Acl {
    /// The owner, named users, the group, named groups, the mask (which named ones need) and the others, in this order.
    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|rule| rule.tag == tag).count();
        let named = count(USER) + count(GROUP);
        self.0.iter().all(|rule| rule.permissions <= 7)
            && self.0.is_sorted_by_key(|rule| rule.tag)
            && [USER_OBJ, GROUP_OBJ, OTHER].map(count) == [1, 1, 1]
            && (count(MASK) == 1 || count(MASK) == 0 && named == 0)
            && self.0.len() == 3 + named + count(MASK)
    }

    /// Whether it says no more than nine bits of permissions do.
    pub(crate) fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// The nine bits: those of the group are the mask's, if there is one.
    pub(crate) fn mode(&self) -> u16 {
        let of = |tag| {
            self.0
                .iter()
                .find(|rule| rule.tag == tag)
                .map(|rule| rule.permissions)
        };
        let group = of(MASK).or(of(GROUP_OBJ));
        of(USER_OBJ).unwrap_or(0) << 6 | group.unwrap_or(0) << 3 | of(OTHER).unwrap_or(0)
    }

    /// The value that ext4 keeps.
    pub(super) fn to_disk(&self) -> Vec<u8> {
        let mut disk = DISK_VERSION.to_le_bytes().to_vec();
        for rule in &self.0 {
            let named = matches!(rule.tag, USER | GROUP);
            let mut bytes = [0; 8];
            put16(&mut bytes, 0, rule.tag);
            put16(&mut bytes, 2, rule.permissions);
            put32(&mut bytes, 4, rule.id);
            disk.extend_from_slice(&bytes[..if named { 8 } else { 4 }]);
        }
        disk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(rules: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = XATTR_VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in rules {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    #[test]
    fn a_named_user_needs_a_mask() {
        let none = u32::MAX;
        let full = value(&[
            (1, 7, none),
            (2, 6, 70_000),
            (4, 5, none),
            (16, 6, none),
            (32, 0, none),
        ]);
        let list = parse(&full).unwrap();
        assert_eq!((list.mode(), list.is_minimal()), (0o760, false));
        assert_eq!(list.to_disk().len(), 4 + 4 * 4 + 8);
        assert!(parse(&value(&[(1, 7, none), (2, 6, 7), (4, 5, none), (32, 0, none)])).is_none());
        assert!(parse(&full[..full.len() - 1]).is_none());
        assert!(parse(&[]).is_none());
        let minimal = parse(&value(&[(1, 6, none), (4, 4, none), (32, 0, none)])).unwrap();
        assert_eq!((minimal.mode(), minimal.is_minimal()), (0o640, true));
    }
}
