//! What takes how much of the disk.
//!
//! The invariant: every byte is counted once, and as the file system has it: a sparse file by what is in it, a file
//! with several names as one.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use images::bundle::KernelStore;
use images::oci::Digest;
use images::store::{Listed, Prune};
use serde::{Deserialize, Serialize};

use crate::knaller::Inner;
use crate::snapshot::Snapshots;
use crate::template::Templates;
use crate::{Knaller, Result, State, heal, list, task};

/// What one kind of thing takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Disk {
    /// How many there are.
    pub count: usize,
    /// How many of them a machine has, on how many snapshots others build, or how many machines run.
    pub used: usize,
    /// Bytes of the disk.
    pub size: u64,
    /// How much of it several of them have in common.
    pub shared: u64,
    /// How much of it a pruning would free.
    pub reclaimable: u64,
}

/// What everything takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DiskUsage {
    pub machines: Disk,
    pub images: Disk,
    pub kernels: Disk,
    pub templates: Disk,
    pub snapshots: Disk,
    pub volumes: Disk,
}

pub(crate) async fn disk_usage(inner: &Arc<Inner>, all: bool) -> Result<DiskUsage> {
    let knaller = Knaller {
        inner: Arc::clone(inner),
    };
    heal::all(inner).await?;
    let machines = list::all(inner).await?;
    let damaged = knaller.damaged().await?;
    let volumes = knaller.volumes().await?;
    let dry = Prune { all, dry_run: true };
    // While an image comes in nobody can say what none needs.
    let pruned = knaller
        .prune_images(dry, &[])
        .await?
        .map_or(0, |collected| collected.bytes);
    let inner = Arc::clone(inner);
    task::blocking(move |_| {
        let paths = &inner.options.paths;
        let taken = |name: &str| folder_takes(&paths.data.join(name));
        let store = knaller.images()?;
        let listed = store.list()?;
        let size = taken("images");
        let images = Disk {
            count: listed.len(),
            used: listed
                .iter()
                .filter(|listed| !knaller.image_users(&listed.image.digest).is_empty())
                .count(),
            size,
            shared: shared(&listed).min(size),
            reclaimable: pruned.min(size),
        };
        let kernels = KernelStore::open(&paths.data)?;
        let kernels = kernels.list()?;
        let has_kernel = |id: &str| machines.iter().any(|machine| machine.kernel == id);
        let templates = Templates::open(paths)?.list()?;
        let kept = Snapshots::open(paths)?;
        let (snapshots, damaged_snapshots) = (kept.list()?, kept.damaged()?);
        Ok(DiskUsage {
            machines: Disk {
                count: machines.len() + damaged.len(),
                used: machines
                    .iter()
                    .filter(|machine| machine.state != State::Stopped)
                    .count()
                    + damaged.iter().filter(|machine| machine.running).count(),
                size: taken("vms"),
                ..Disk::default()
            },
            images,
            kernels: Disk {
                count: kernels.len(),
                used: kernels.iter().filter(|kernel| has_kernel(kernel.id())).count(),
                size: taken("kernels"),
                ..Disk::default()
            },
            templates: Disk {
                count: templates.len(),
                used: templates.iter().filter(|template| !template.stale).count(),
                size: taken("templates"),
                shared: 0,
                reclaimable: templates
                    .iter()
                    .filter(|template| all || template.stale)
                    .map(|template| template.size)
                    .sum(),
            },
            snapshots: Disk {
                count: snapshots.len() + damaged_snapshots.len(),
                used: snapshots
                    .iter()
                    .filter(|one| {
                        snapshots
                            .iter()
                            .any(|other| other.parent.as_ref() == Some(&one.name))
                    })
                    .count(),
                size: taken("snapshots"),
                reclaimable: snapshots.iter().map(|snapshot| snapshot.cached).sum(),
                ..Disk::default()
            },
            volumes: Disk {
                count: volumes.len(),
                used: volumes.iter().filter(|volume| !volume.users.is_empty()).count(),
                size: taken("volumes"),
                shared: 0,
                reclaimable: volumes
                    .iter()
                    .filter(|volume| volume.users.is_empty())
                    .map(|volume| volume.taken)
                    .sum(),
            },
        })
    })
    .await
}

/// What several images have in common: blobs, and root file systems of the same layers.
fn shared(listed: &[Listed]) -> u64 {
    let mut parts: HashMap<Digest, (u32, u64)> = HashMap::new();
    let mut count = |digest: Digest, size: u64| {
        let part = parts.entry(digest).or_default();
        *part = (part.0.saturating_add(1), size);
    };
    for one in listed {
        for blob in one.image.blobs() {
            count(blob.digest.clone(), blob.size);
        }
        count(one.image.config.chain_id(), one.sizes.rootfs_shared);
    }
    let several = parts.values().filter(|(times, _)| *times > 1);
    several.map(|(_, size)| size).sum()
}

/// What everything in a folder takes of the disk, in bytes. What cannot be looked at, or is not there, takes nothing.
fn folder_takes(folder: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut folders = vec![folder.to_owned()];
    let mut blocks: u64 = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Of a link itself, not of what it leads to.
            let Ok(metadata) = entry.metadata() else { continue };
            if !seen.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            blocks = blocks.saturating_add(metadata.blocks());
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    // Of 512 bytes, whatever the file system's are (stat(2)).
    blocks.saturating_mul(512)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Paths;

    #[test]
    fn files_count_once_and_holes_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        let empty = folder_takes(temp.path());
        fs::write(path("sub/one"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(path("sub/one"), path("two")).unwrap();
        std::os::unix::fs::symlink(path("sub"), path("sub/loop")).unwrap();
        let sparse = fs::File::create(path("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let taken = folder_takes(temp.path()) - empty;
        assert!(((1 << 20)..(1 << 20) + (64 << 10)).contains(&taken), "{taken}");
        assert_eq!(folder_takes(&path("nowhere")), 0);
    }

    #[tokio::test]
    async fn what_there_is_is_counted() {
        let temp = tempfile::tempdir().unwrap();
        let paths = Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        };
        let knaller = Knaller::with_paths(paths).unwrap();
        let none = knaller.disk_usage(true).await.unwrap();
        assert_eq!(
            (none.volumes.count, none.images.count, none.machines.count),
            (0, 0, 0)
        );
        knaller
            .create_volume(&"data".parse().unwrap(), Some(64))
            .await
            .unwrap();
        let usage = knaller.disk_usage(false).await.unwrap();
        assert_eq!((usage.volumes.count, usage.volumes.used), (1, 0));
        assert!(usage.volumes.size > none.volumes.size, "{usage:?}");
        assert!(
            (1..=usage.volumes.size).contains(&usage.volumes.reclaimable),
            "{usage:?}"
        );
    }
}
