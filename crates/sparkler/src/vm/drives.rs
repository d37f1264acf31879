//! The drives of a running machine.
//!
//! Invariant: a change that fails on the way leaves the drive as it was; nodes and descriptors of a file that is no
//! longer used are gone from QEMU.

use std::os::fd::AsFd;

use firecracker_api::models::{Drive, RateLimiter};
use serde_json::json;

use super::faults::backing_file;
use super::running::Running;
use crate::devices::drive::{self, Image, Names};
use crate::devices::throttle::Limits;
use crate::qemu::args::fdset;
use crate::qemu::qmp::QmpError;
use crate::qemu::qmp::command::{
    AddFd, BlockResize, BlockdevAdd, BlockdevDel, BlockdevReopen, QomSet, RemoveFd,
};

/// Why a drive was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriveError {
    /// The new image cannot be opened.
    #[error("Block: {0}")]
    Image(String),
    /// QEMU did not take it.
    #[error("Block: {0}")]
    Qemu(#[from] QmpError),
}

impl Running {
    /// Puts another file below a drive and tells the guest its size.
    pub(super) async fn replace_image(
        &mut self,
        index: usize,
        drive: &Drive,
        path: &str,
    ) -> Result<(), DriveError> {
        let read_only = drive.is_read_only.unwrap_or(false);
        let image =
            Image::open(path, read_only).map_err(|error| DriveError::Image(backing_file(&error, path)))?;
        let before = Names {
            index,
            generation: self.generations[index],
        };
        let after = Names {
            index,
            generation: before.generation + 1,
        };
        // A name is never used twice, whether the change succeeds or not.
        self.generations[index] = after.generation;
        self.add_nodes(after, drive, &image).await?;
        if let Err(error) = self.move_drive(after, drive, &image).await {
            self.generations[index] = before.generation;
            self.remove_nodes(after).await;
            return Err(error.into());
        }
        self.remove_nodes(before).await;
        Ok(())
    }

    /// Sets how much may go through a drive.
    pub(super) async fn limit_drive(
        &mut self,
        index: usize,
        limiter: Option<&RateLimiter>,
    ) -> Result<(), DriveError> {
        let names = Names { index, generation: 0 };
        let set = QomSet {
            path: format!("/objects/{}", names.group()),
            property: "limits".to_owned(),
            value: json!(Limits::new(limiter)),
        };
        self.qmp.execute(&set).await?;
        Ok(())
    }

    async fn add_nodes(&mut self, names: Names, drive: &Drive, image: &Image) -> Result<(), QmpError> {
        let fdset_id = fdset(names.index, names.generation);
        self.qmp
            .execute_with_fd(&AddFd { fdset_id }, image.file.as_fd())
            .await?;
        let [file, raw, _] = drive::nodes(names, drive, fdset_id);
        for node in [file, raw] {
            if let Err(error) = self.qmp.execute(&BlockdevAdd(node)).await {
                self.remove_nodes(names).await;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn move_drive(&mut self, names: Names, drive: &Drive, image: &Image) -> Result<(), QmpError> {
        self.qmp
            .execute(&BlockdevReopen {
                options: vec![drive::throttle(names, drive)],
            })
            .await?;
        self.qmp
            .execute(&BlockResize {
                node_name: names.throttle(),
                size: image.size,
            })
            .await?;
        Ok(())
    }

    /// Removes what there is of a file's nodes; what never came to be cannot be removed, and that is no error.
    async fn remove_nodes(&mut self, names: Names) {
        for node_name in [names.raw(), names.file()] {
            if let Err(error) = self.qmp.execute(&BlockdevDel { node_name }).await {
                tracing::debug!("{error}");
            }
        }
        let fdset_id = fdset(names.index, names.generation);
        if let Err(error) = self.qmp.execute(&RemoveFd { fdset_id }).await {
            tracing::debug!("{error}");
        }
    }
}
