//! The form that ext4 keeps: only named users and groups have an id (fs/ext4/acl.h).

use super::{Acl, GROUP, NO_ID, Rule, USER};

const VERSION: u32 = 1;

impl Acl {
    /// The value that ext4 keeps.
    pub(crate) fn to_disk(&self) -> Vec<u8> {
        let mut disk = VERSION.to_le_bytes().to_vec();
        for rule in &self.0 {
            disk.extend(rule.tag.to_le_bytes());
            disk.extend(rule.permissions.to_le_bytes());
            if matches!(rule.tag, USER | GROUP) {
                disk.extend(rule.id.to_le_bytes());
            }
        }
        disk
    }

    /// Reads the value that ext4 keeps.
    pub(crate) fn from_disk(disk: &[u8]) -> Option<Self> {
        let (version, mut rest) = disk.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION {
            return None;
        }
        let mut rules = Vec::new();
        while !rest.is_empty() {
            let ([a, b, c, d], behind) = rest.split_first_chunk::<4>()?;
            let tag = u16::from_le_bytes([*a, *b]);
            let (id, behind) = if matches!(tag, USER | GROUP) {
                let (id, behind) = behind.split_first_chunk::<4>()?;
                (u32::from_le_bytes(*id), behind)
            } else {
                (NO_ID, behind)
            };
            rules.push(Rule {
                tag,
                id,
                permissions: u16::from_le_bytes([*c, *d]),
            });
            rest = behind;
        }
        Self::new(rules)
    }
}
