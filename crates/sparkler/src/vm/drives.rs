//! The drives of a running machine.
//!
//! Invariant: a change that fails on the way leaves the drive as it was; nodes and descriptors of a file that is no
//! longer used are gone from QEMU.

use std::os::fd::{AsFd, BorrowedFd};

use firecracker_api::models::{Drive, RateLimiter};
use serde_json::{Value, json};

use super::faults::backing_file;
use super::running::Running;
use crate::devices::drive::{self, Driver, Image, Names};
use crate::devices::throttle::Limits;
use crate::qemu::args::fdset;
use crate::qemu::qmp::QmpError;
use crate::qemu::qmp::command::{
    AddFd, BlockResize, BlockdevAdd, BlockdevDel, BlockdevReopen, Cont, QomSet, QueryStatus, RemoveFd, Stop,
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
        self.add_nodes(after, drive, image.driver, image.file.as_fd())
            .await?;
        if let Err(error) = self.move_drive(before, after, drive, &image).await {
            self.remove_nodes(after).await;
            return Err(error.into());
        }
        self.generations[index] = after.generation;
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

    async fn add_nodes(
        &mut self,
        names: Names,
        drive: &Drive,
        driver: Driver,
        image: BorrowedFd<'_>,
    ) -> Result<(), QmpError> {
        let fdset_id = fdset(names.index, names.generation);
        self.qmp.execute_with_fd(&AddFd { fdset_id }, image).await?;
        let [file, raw, _] = drive::nodes(names, drive, driver, fdset_id);
        for node in [file, raw] {
            if let Err(error) = self.qmp.execute(&BlockdevAdd(node)).await {
                self.remove_nodes(names).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Moves a drive from one file to another; back again if the second step fails.
    async fn move_drive(
        &mut self,
        before: Names,
        after: Names,
        drive: &Drive,
        image: &Image,
    ) -> Result<(), QmpError> {
        if drive.is_read_only.unwrap_or(false) {
            return self.move_read_only(before, after, drive, image.size).await;
        }
        self.put_below(drive::throttle(after, drive)).await?;
        if let Err(error) = self.resize(after, image.size).await {
            self.put_below(drive::throttle(before, drive)).await?;
            return Err(error);
        }
        Ok(())
    }

    /// The same for a drive that cannot be written. QEMU tells the guest of a size only when it changes one, which a
    /// read-only node refuses; so while the guest stands still, the drive stands for a moment on an empty scratch file
    /// of the new size, which may be changed.
    async fn move_read_only(
        &mut self,
        before: Names,
        after: Names,
        drive: &Drive,
        size: u64,
    ) -> Result<(), QmpError> {
        let file = rustix::fs::memfd_create("size", rustix::fs::MemfdFlags::CLOEXEC)
            .and_then(|file| rustix::fs::ftruncate(&file, size).map(|()| file))
            .map_err(std::io::Error::from)?;
        let scratch = Names {
            generation: after.generation + 1,
            ..after
        };
        let writable = Drive {
            is_read_only: Some(false),
            io_engine: None,
            ..drive.clone()
        };
        self.add_nodes(scratch, &writable, Driver::File, file.as_fd())
            .await?;
        let runs = self.qmp.execute(&QueryStatus {}).await?.running;
        self.qmp.execute(&Stop {}).await?;
        let told = match self.put_below(drive::throttle(scratch, &writable)).await {
            Ok(()) => self.resize(scratch, size).await,
            Err(error) => Err(error),
        };
        let there = if told.is_ok() { after } else { before };
        let moved = self.put_below(drive::throttle(there, drive)).await;
        self.remove_nodes(scratch).await;
        if runs {
            self.qmp.execute(&Cont {}).await?;
        }
        told.and(moved)
    }

    async fn put_below(&mut self, throttle: Value) -> Result<(), QmpError> {
        self.qmp
            .execute(&BlockdevReopen {
                options: vec![throttle],
            })
            .await
            .map(drop)
    }

    async fn resize(&mut self, names: Names, size: u64) -> Result<(), QmpError> {
        self.qmp
            .execute(&BlockResize {
                node_name: names.throttle(),
                size,
            })
            .await
            .map(drop)
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
