//! Which blocks and inodes are in use, group by group.

use std::io;

use super::blocks::{Blocks, DESCRIPTORS_PER_BLOCK};
use super::geometry::{BLOCKS_PER_GROUP, Geometry};
use super::plan::Plan;
use super::{BLOCK, FIRST_INODE};

/// What a group descriptor counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) free_blocks: u32,
    pub(super) free_inodes: u32,
    pub(super) directories: u32,
}

/// The bitmaps of all groups, by the runs of free blocks.
#[derive(Debug)]
pub(super) struct Bitmaps<'a> {
    geometry: &'a Geometry,
    /// First block and count, in order.
    free: Vec<(u32, u32)>,
    used_inodes: u32,
    pub(super) counts: Vec<Counts>,
}

impl<'a> Bitmaps<'a> {
    /// `free` are runs among the data; what is left of the room for group descriptors is free too, and so is what is behind the
    /// last table.
    pub(super) fn new(geometry: &'a Geometry, plan: &Plan, free: &[(u32, u32)], first_data: u32) -> Self {
        let mut all = Vec::with_capacity(free.len() + 2);
        let head = 1 + descriptor_blocks(geometry);
        all.push((head, first_data - head));
        all.extend_from_slice(free);
        all.push((geometry.end(), geometry.blocks - geometry.end()));
        all.retain(|(_, count)| *count > 0);
        let used_inodes = plan.inode_count();
        let mut counts = vec![Counts::default(); geometry.groups as usize];
        for (group, counts) in (0..).zip(&mut counts) {
            let first = group * geometry.inodes_per_group;
            let used = used_inodes.saturating_sub(first).min(geometry.inodes_per_group);
            counts.free_inodes = geometry.inodes_per_group - used;
        }
        for inode in plan.directory_inodes() {
            counts[((inode - 1) / geometry.inodes_per_group) as usize].directories += 1;
        }
        for (group, start, end) in all.iter().flat_map(|run| by_group(*run)) {
            counts[group as usize].free_blocks += end - start;
        }
        Self {
            geometry,
            free: all,
            used_inodes,
            counts,
        }
    }

    /// Writes all block bitmaps, then all inode bitmaps.
    pub(super) fn write(&self, blocks: &mut Blocks<'_>) -> io::Result<()> {
        let mut free = self.free.iter().flat_map(|run| by_group(*run)).peekable();
        for group in 0..self.geometry.groups {
            let mut bitmap = [0xff; BLOCK];
            while let Some((_, start, end)) = free.next_if(|(of, _, _)| *of == group) {
                (start..end).for_each(|bit| clear(&mut bitmap, bit));
            }
            blocks.append(&bitmap)?;
        }
        for group in 0..self.geometry.groups {
            let first = group * self.geometry.inodes_per_group;
            let used = self.used_inodes.max(FIRST_INODE - 1);
            let used = used.saturating_sub(first).min(self.geometry.inodes_per_group);
            let mut bitmap = [0xff; BLOCK];
            (used..self.geometry.inodes_per_group).for_each(|bit| clear(&mut bitmap, bit));
            blocks.append(&bitmap)?;
        }
        Ok(())
    }
}

/// Blocks that the descriptors of all groups take.
pub(super) fn descriptor_blocks(geometry: &Geometry) -> u32 {
    geometry.groups.div_ceil(DESCRIPTORS_PER_BLOCK)
}

/// A run, cut at the ends of groups: the group, and from which to before which of its blocks.
fn by_group((start, count): (u32, u32)) -> impl Iterator<Item = (u32, u32, u32)> {
    let end = start + count;
    (start / BLOCKS_PER_GROUP..end.div_ceil(BLOCKS_PER_GROUP)).map(move |group| {
        let first = group * BLOCKS_PER_GROUP;
        let (from, to) = (start.max(first) - first, (end - first).min(BLOCKS_PER_GROUP));
        (group, from, to)
    })
}

fn clear(bitmap: &mut [u8; BLOCK], bit: u32) {
    bitmap[(bit / 8) as usize] &= !(1 << (bit % 8));
}
