//! Whose processes a boot's are: root's machines have a user of their own, where the host can give them one.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::boot::Start;
use crate::layout::Files;
use crate::network::Wire;
use crate::record::Record;
use crate::user::{self, Obstacle, Switch, Taken};
use crate::{Result, runtime_folder, task, volume};

impl Start<'_> {
    /// Takes a user for this boot, of a machine in a jail that root starts, and says so in the record; or why it has none.
    pub(super) async fn user(&self, files: &Files, record: &mut Record) -> Result<Option<Taken>> {
        let (Some(jail), true) = (&mut record.jail, rustix::process::geteuid().is_root()) else {
            return Ok(None);
        };
        let raw = volume::raw_root(&record.spec).map(|(path, _)| Obstacle::Disk(path.to_owned()));
        let wire = self.means.connection.as_ref().map(|connection| &connection.wire);
        let direct = matches!(wire, Some(Wire::Direct(_))).then_some(Obstacle::Direct);
        if let Some(obstacle) = raw.or(direct) {
            jail.without.push(obstacle.to_string());
            return Ok(None);
        }
        let range = self.inner.options.users;
        let (programs, shown) = (self.programs(wire), self.shown(files, &record.spec.volumes));
        let network = wire.is_some();
        let folder = files.clone();
        let found = task::blocking(move |_| {
            let programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
            let devices = network.then_some(Path::new(user::TUN));
            if let Some(obstacle) = Obstacle::find(&programs, devices.as_slice(), &shown) {
                return Ok(Err(obstacle));
            }
            let taken = match user::take(range) {
                Ok(taken) => taken,
                Err(obstacle) => return Ok(Err(obstacle)),
            };
            runtime_folder::give(&folder, taken.id)?;
            Ok(Ok(taken))
        });
        match found.await? {
            Ok(taken) => {
                jail.user = Some(taken.id);
                Ok(Some(taken))
            }
            Err(obstacle) => {
                jail.without.push(obstacle.to_string());
                Ok(None)
            }
        }
    }

    /// The user, for the processes.
    pub(super) fn switch(user: Option<&Taken>, record: &Record) -> Option<Switch> {
        let first = crate::network::ports::first_unprivileged();
        let ports = record.forwards.iter().any(|forward| forward.host_port < first);
        user.map(|taken| Switch { id: taken.id, ports })
    }

    /// What such a user would run by the host's paths.
    fn programs(&self, wire: Option<&Wire>) -> Vec<PathBuf> {
        let network = wire.and_then(|wire| match wire {
            Wire::Pasta(pasta) => Some([pasta.program.clone(), pasta.nft.clone()]),
            Wire::Direct(_) => None,
        });
        let helper = self.means.jail.clone();
        network.into_iter().flatten().chain(helper).collect()
    }

    /// One file of each file system that the machine has files on.
    fn shown(&self, files: &Files, volumes: &[crate::Volume]) -> Vec<PathBuf> {
        let paths = &self.inner.options.paths;
        let base = self.means.base.as_ref().map(|base| base.disk.path.clone());
        let all = [
            files.data.clone(),
            self.means.kernel.clone(),
            self.means.initrd.clone(),
        ];
        let volumes = volumes.iter().map(|volume| volume::path(paths, &volume.source));
        let mut found = BTreeMap::new();
        for path in all.into_iter().chain(base).chain(volumes) {
            // Devices are made anew. What is not there is missed by others.
            if let Ok(metadata) = path.metadata()
                && (metadata.is_file() || metadata.is_dir())
            {
                found.entry(metadata.dev()).or_insert(path);
            }
        }
        found.into_values().collect()
    }
}
