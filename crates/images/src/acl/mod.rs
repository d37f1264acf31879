//! Access control lists (POSIX.1e), in the three forms they come in: the value that setxattr(2) takes, ext4's, and text.
//!
//! The invariant: an [`Acl`] is one that Linux would take (`posix_acl_valid` of fs/posix_acl.c), whichever form it was read
//! from. The value's source is include/uapi/linux/posix_acl_xattr.h, version 2.

mod disk;
mod text;

pub(crate) use text::TextError;

/// The names of the extended attributes that hold the lists.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// What is made in a folder gets this list.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
/// What stands in the place of an id where there is none.
const NO_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    tag: u16,
    id: u32,
    permissions: u16,
}

/// A valid list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Rule>);

impl Acl {
    /// The owner, named users, the group, named groups, the mask (which named ones need) and the others, in this order.
    fn new(rules: Vec<Rule>) -> Option<Self> {
        let count = |tag| rules.iter().filter(|rule| rule.tag == tag).count();
        let named = count(USER) + count(GROUP);
        let is_valid = rules.iter().all(|rule| rule.permissions <= 7)
            && rules.is_sorted_by_key(|rule| rule.tag)
            && rules
                .iter()
                .all(|rule| rule.id != NO_ID || !matches!(rule.tag, USER | GROUP))
            && [USER_OBJ, GROUP_OBJ, OTHER].map(count) == [1, 1, 1]
            && (count(MASK) == 1 || count(MASK) == 0 && named == 0)
            && rules.len() == 3 + named + count(MASK);
        is_valid.then_some(Self(rules))
    }

    /// Reads the value of an extended attribute.
    pub(crate) fn from_xattr(value: &[u8]) -> Option<Self> {
        let (version, rules) = value.split_first_chunk::<4>()?;
        let (rules, rest) = rules.as_chunks::<8>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return None;
        }
        let rules = rules.iter().map(|[a, b, c, d, e, f, g, h]| Rule {
            tag: u16::from_le_bytes([*a, *b]),
            permissions: u16::from_le_bytes([*c, *d]),
            id: u32::from_le_bytes([*e, *f, *g, *h]),
        });
        Self::new(rules.collect())
    }

    /// The value of an extended attribute.
    pub(crate) fn to_xattr(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for rule in &self.0 {
            value.extend(rule.tag.to_le_bytes());
            value.extend(rule.permissions.to_le_bytes());
            let is_named = matches!(rule.tag, USER | GROUP);
            value.extend(if is_named { rule.id } else { NO_ID }.to_le_bytes());
        }
        value
    }

    /// Whether it says no more than nine bits of permissions do.
    pub(crate) fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// The nine bits: those of the group are the mask's, if there is one.
    pub(crate) fn mode(&self) -> u16 {
        let of = |tag| {
            let rule = self.0.iter().find(|rule| rule.tag == tag);
            rule.map(|rule| rule.permissions)
        };
        let group = of(MASK).or(of(GROUP_OBJ));
        of(USER_OBJ).unwrap_or(0) << 6 | group.unwrap_or(0) << 3 | of(OTHER).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(rules: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in rules {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    #[test]
    fn a_named_user_needs_a_mask_and_a_number() {
        let full = value(&[
            (1, 7, NO_ID),
            (2, 6, 70_000),
            (4, 5, NO_ID),
            (16, 6, NO_ID),
            (32, 0, NO_ID),
        ]);
        let list = Acl::from_xattr(&full).unwrap();
        assert_eq!((list.mode(), list.is_minimal()), (0o760, false));
        assert_eq!(list.to_xattr(), full);
        let refused = [
            value(&[(1, 7, NO_ID), (2, 6, 7), (4, 5, NO_ID), (32, 0, NO_ID)]),
            value(&[
                (1, 7, NO_ID),
                (2, 6, NO_ID),
                (4, 5, NO_ID),
                (16, 6, NO_ID),
                (32, 0, NO_ID),
            ]),
            value(&[(1, 8, NO_ID), (4, 5, NO_ID), (32, 0, NO_ID)]),
            value(&[(4, 5, NO_ID), (1, 7, NO_ID), (32, 0, NO_ID)]),
            full[..full.len() - 1].to_vec(),
            Vec::new(),
        ];
        for value in refused {
            assert_eq!(Acl::from_xattr(&value), None, "{value:?}");
        }
        let minimal = Acl::from_xattr(&value(&[(1, 6, NO_ID), (4, 4, NO_ID), (32, 0, NO_ID)])).unwrap();
        assert_eq!((minimal.mode(), minimal.is_minimal()), (0o640, true));
    }

    #[test]
    fn what_ext4_keeps_is_read_back() {
        let rules = [
            (1, 7, NO_ID),
            (2, 6, 70_000),
            (4, 5, NO_ID),
            (8, 1, 0),
            (16, 6, NO_ID),
            (32, 0, NO_ID),
        ];
        let list = Acl::from_xattr(&value(&rules)).unwrap();
        let disk = list.to_disk();
        assert_eq!(disk.len(), 4 + 4 * 4 + 2 * 8);
        assert_eq!(Acl::from_disk(&disk), Some(list));
        for length in 0..disk.len() {
            assert_eq!(Acl::from_disk(&disk[..length]), None, "{length}");
        }
    }
}
