//! How many groups there are, and where their tables lie.

use super::{BLOCK, INODE};

/// As many as a block of bitmap has bits.
pub(super) const BLOCKS_PER_GROUP: u32 = 32_768;
const MAX_INODES_PER_GROUP: u32 = 32_768;
const INODES_PER_BLOCK: u32 = 16;
const _: () = assert!(INODE * INODES_PER_BLOCK as usize == BLOCK);

/// The whole file system in numbers. Block numbers count from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) groups: u32,
    pub(super) blocks: u32,
    pub(super) inodes_per_group: u32,
    /// Blocks of one group's inode table.
    pub(super) table_blocks: u32,
    /// The first block bitmap; those of the other groups follow, then the inode bitmaps, then the inode tables.
    pub(super) bitmaps: u32,
}

impl Geometry {
    /// For `inodes` inodes, with `used` blocks before the bitmaps.
    pub(super) fn new(inodes: u32, used: u32) -> Self {
        // More groups have more bitmaps, which may take one group more: twice is enough, for a group holds far more than
        // its own bitmaps.
        let mut groups = inodes
            .div_ceil(MAX_INODES_PER_GROUP)
            .max(used.div_ceil(BLOCKS_PER_GROUP));
        loop {
            let geometry = Self::of(groups, inodes, used);
            let needed = geometry.end().div_ceil(BLOCKS_PER_GROUP);
            if needed <= groups {
                return geometry;
            }
            groups = needed;
        }
    }

    fn of(groups: u32, inodes: u32, used: u32) -> Self {
        let inodes_per_group = inodes.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK);
        let mut geometry = Self {
            groups,
            blocks: 0,
            inodes_per_group,
            table_blocks: inodes_per_group / INODES_PER_BLOCK,
            bitmaps: used,
        };
        // The last group has at least one block.
        geometry.blocks = geometry.end().max((groups - 1) * BLOCKS_PER_GROUP + 1);
        geometry
    }

    /// The block after the last inode table.
    pub(super) fn end(&self) -> u32 {
        self.inode_table(0) + self.groups * self.table_blocks
    }

    pub(super) fn block_bitmap(&self, group: u32) -> u32 {
        self.bitmaps + group
    }

    pub(super) fn inode_bitmap(&self, group: u32) -> u32 {
        self.bitmaps + self.groups + group
    }

    pub(super) fn inode_table(&self, group: u32) -> u32 {
        self.bitmaps + 2 * self.groups + group * self.table_blocks
    }

    pub(super) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_inodes_and_blocks_have_a_group() {
        for inodes in [11, 16, 17, 32_768, 32_769, 1_000_000] {
            for used in [3, 5, 32_766, 32_768, 40_000_000, 2_000_000_000] {
                let geometry = Geometry::new(inodes, used);
                assert!(geometry.inodes() >= inodes, "{geometry:?}");
                assert!(geometry.inodes_per_group <= MAX_INODES_PER_GROUP, "{geometry:?}");
                assert_eq!(
                    geometry.blocks.div_ceil(BLOCKS_PER_GROUP),
                    geometry.groups,
                    "{geometry:?}"
                );
                assert!(geometry.end() <= geometry.blocks, "{geometry:?}");
            }
        }
    }
}
