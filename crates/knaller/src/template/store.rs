//! The templates of a data folder: finding, making and removing them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Shape;
use super::shape::Version;
use crate::folder::{self, Fresh, Locked};
use crate::handover::{MEMORY, STATE};
use crate::record::write_private;
use crate::sealed::seal;
use crate::{Error, Filter, Paths, Result, holes};

/// The form of `template.json`. The first had the sizes of the files alone.
const FORM: u32 = 2;

/// How many templates are kept, and how much room they may take. Those used last stay.
const MOST: usize = 16;
const ROOM: u64 = 4 << 30;

/// How long a template stays that nobody uses.
const AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The templates of one data folder.
#[derive(Clone, Debug)]
pub(crate) struct Templates {
    folder: PathBuf,
}

/// What there is for a shape.
#[derive(Debug)]
pub(crate) enum Found {
    Template(Template),
    /// None, and whoever asked is to make it.
    Absent(Maker),
    /// As [`Self::Absent`], but there was one that somebody had written to. It is gone.
    Spoilt(Maker),
    /// None yet: another start is making it.
    InTheMaking,
}

/// What is under a shape's key.
enum Look {
    Whole(Template),
    /// Its files are not what they were when it was finished.
    Spoilt(Template),
    None,
}

/// A template that can be thawed, and that nobody removes for as long as this lives.
#[derive(Debug)]
pub(crate) struct Template {
    folder: Locked,
}

/// A template in the making, removed unless it is finished.
#[derive(Debug)]
pub(crate) struct Maker {
    templates: Templates,
    shape: Box<Shape>,
    fresh: Fresh,
}

/// A template, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TemplateInfo {
    /// Its name.
    pub key: String,
    /// The kernel bundle's id.
    pub kernel: String,
    pub vmm: String,
    pub cpus: u8,
    pub memory_mib: u32,
    /// How many drives a machine of it has.
    pub drives: usize,
    pub network: bool,
    /// What it takes of the disk, in bytes.
    pub size: u64,
    /// When a start last used it, seconds since the Unix epoch; as JSON RFC 3339.
    #[serde(with = "crate::unix_time")]
    pub used: u64,
    /// Whether the host has been booted since, and it serves nobody any more.
    pub stale: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Description {
    form: u32,
    shape: Shape,
    /// The files as they were when the template was finished. Checksums would say the same of every program's writes, and
    /// more of a disk's faults; reading the whole memory for them takes longer than a warm start may. A snapshot, which is
    /// kept for years and goes to other hosts, has them; a template goes with its host's next boot.
    state: Version,
    memory: Version,
}

impl Templates {
    /// Makes the folder if need be.
    pub(crate) fn open(paths: &Paths) -> Result<Self> {
        let folder = paths.data.join("templates");
        images::files::private_folder(&folder).map_err(|error| Error::Folder {
            path: folder.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self { folder })
    }

    pub(crate) fn find(&self, shape: &Shape) -> Result<Found> {
        let key = shape.key();
        let spoilt = match self.take(&key) {
            Look::Whole(template) => return Ok(Found::Template(template)),
            Look::Spoilt(template) => {
                template.discard();
                true
            }
            Look::None => false,
        };
        let fresh = Fresh::make(&self.folder, &key).map_err(Error::io("make a folder in", &self.folder))?;
        let Some(fresh) = fresh else {
            return Ok(Found::InTheMaking);
        };
        // Made between the two looks.
        if let Look::Whole(template) = self.take(&key) {
            return Ok(Found::Template(template));
        }
        let maker = Maker {
            templates: self.clone(),
            shape: Box::new(shape.clone()),
            fresh,
        };
        Ok(if spoilt {
            Found::Spoilt(maker)
        } else {
            Found::Absent(maker)
        })
    }

    fn take(&self, key: &str) -> Look {
        let Ok(Some(locked)) = Locked::shared(&self.folder.join(key)) else {
            return Look::None;
        };
        let folder = locked.path();
        let Ok(description) = Description::load(folder) else {
            return Look::None;
        };
        let as_it_was =
            |name: &str, was: &Version| Version::of(&folder.join(name)).is_ok_and(|now| now == *was);
        if !as_it_was(STATE, &description.state) || !as_it_was(MEMORY, &description.memory) {
            return Look::Spoilt(Template { folder: locked });
        }
        // Of use for the order of removal alone.
        let _ =
            File::open(folder.join("template.json")).and_then(|file| file.set_modified(SystemTime::now()));
        Look::Whole(Template { folder: locked })
    }

    /// All there are, those used last first.
    pub(crate) fn list(&self) -> Result<Vec<TemplateInfo>> {
        let boot = super::shape::host().map(|(_, boot)| boot).unwrap_or_default();
        let mut all = Vec::new();
        for (key, folder) in self.folders()? {
            // One that goes just now, or cannot be read: not to be thawed either.
            let Ok(description) = Description::load(&folder) else {
                continue;
            };
            let shape = description.shape;
            let last = used(&folder);
            all.push((
                last,
                TemplateInfo {
                    key,
                    stale: shape.boot != boot,
                    kernel: shape.kernel,
                    vmm: shape.vmm,
                    cpus: shape.cpus,
                    memory_mib: shape.memory_mib,
                    drives: shape.drives.len(),
                    network: !shape.interfaces.is_empty(),
                    size: folder::size(&folder),
                    used: last
                        .duration_since(SystemTime::UNIX_EPOCH)
                        .map_or(0, |time| time.as_secs()),
                },
            ));
        }
        all.sort_by(|(one, _), (other, _)| other.cmp(one));
        Ok(all.into_iter().map(|(_, info)| info).collect())
    }

    /// Removes the template whose key begins so. Machines made of it live on.
    pub(crate) fn remove(&self, key: &str) -> Result<String> {
        let mut found = self.folders()?;
        found.retain(|(name, _)| !key.is_empty() && name.starts_with(key));
        match found.as_slice() {
            [(name, folder)] => match remove(folder).map_err(Error::io("remove", folder))? {
                true => Ok(name.clone()),
                false => Err(Error::TemplateInUse(name.clone())),
            },
            [] => Err(Error::NoTemplate(key.to_owned())),
            _ => Err(Error::ManyTemplates(key.to_owned())),
        }
    }

    /// Removes what is stale, broken, old, or more than there is to be, and what killed makers left: how many templates,
    /// and their bytes. Those that do not meet all of `filters` stay.
    pub(crate) fn prune(&self, everything: bool, filters: &[Filter]) -> Result<(usize, u64)> {
        folder::sweep(&self.folder);
        let listed = self.list()?;
        let now = crate::record::now();
        let (mut kept, mut kept_size) = (0, 0);
        let (mut gone, mut gone_size) = (0, 0);
        for (key, folder) in self.folders()? {
            if !listed.iter().any(|info| info.key == key) {
                remove(&folder).map_err(Error::io("remove", &folder))?;
            }
        }
        for info in listed {
            let old = now.saturating_sub(info.used) > AGE.as_secs();
            let full = kept >= MOST || kept_size + info.size > ROOM;
            let meant = Filter::all_match(filters, &info);
            if !meant || !(everything || info.stale || old || full) {
                kept += 1;
                kept_size += info.size;
                continue;
            }
            let folder = self.folder.join(&info.key);
            if remove(&folder).map_err(Error::io("remove", &folder))? {
                gone += 1;
                gone_size += info.size;
            }
        }
        Ok((gone, gone_size))
    }

    fn folders(&self) -> Result<Vec<(String, PathBuf)>> {
        let entries = fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))?;
        let key = |name: &str| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(entries
            .flatten()
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            // What is no folder is none of ours.
            .filter(|(name, path)| key(name) && folder::is_one(path))
            .collect())
    }
}

impl Template {
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join(STATE)
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.folder.path().join(MEMORY)
    }

    /// Removes it, unless others are thawing it just now: it could not be thawed.
    pub(crate) fn discard(self) {
        let folder = self.folder.path().to_owned();
        drop(self);
        if let Err(error) = remove(&folder) {
            tracing::warn!(%error, folder = %folder.display(), "cannot remove a template");
        }
    }
}

impl Maker {
    /// The folder that the VMM's state and the guest's memory are to come into.
    pub(crate) fn folder(&self) -> &Path {
        self.fresh.path()
    }

    fn files(&self) -> (PathBuf, PathBuf) {
        (self.folder().join(STATE), self.folder().join(MEMORY))
    }

    /// Both files are written: from now on it is there for everybody.
    pub(crate) fn finish(self) -> Result<()> {
        let (state, memory) = self.files();
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&memory)
            .map_err(Error::io("finish", &memory))?;
        holes::dig(&file).map_err(Error::io("finish", &memory))?;
        drop(file);
        // Before they are looked at: what their state is hangs on it.
        for file in [&state, &memory] {
            seal(file)?;
        }
        let description = Description {
            form: FORM,
            shape: Shape::clone(&self.shape),
            state: Version::of(&state).map_err(Error::io("finish", &state))?,
            memory: Version::of(&memory).map_err(Error::io("finish", &memory))?,
        };
        let json = serde_json::to_vec_pretty(&description)
            .map_err(|error| Error::system("describe a template")(error.into()))?;
        write_private(&self.fresh.path().join("template.json"), &json)?;
        let folder = self.templates.folder.join(self.shape.key());
        // One that is broken: whole ones were looked for before.
        remove(&folder).map_err(Error::io("finish", &folder))?;
        self.fresh
            .publish(&folder)
            .map_err(Error::io("finish", &folder))?;
        self.templates.prune(false, &[]).map(|_| ())
    }
}

impl Description {
    fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("template.json");
        let bytes = images::files::read(&path, 1 << 20)
            .map_err(|error| Error::io("read", &path)(io::Error::other(error)))?;
        let parsed: Self = serde_json::from_slice(&bytes).map_err(|source| Error::Record {
            path: path.clone(),
            source,
        })?;
        if parsed.form == FORM {
            return Ok(parsed);
        }
        Err(Error::io("read", &path)(io::ErrorKind::Unsupported.into()))
    }
}

/// Removes a template, unless somebody is thawing it.
fn remove(folder: &Path) -> io::Result<bool> {
    match Locked::alone(folder) {
        Ok(Some(locked)) => locked.remove().map(|()| true),
        Ok(None) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn used(folder: &Path) -> SystemTime {
    folder
        .join("template.json")
        .metadata()
        .and_then(|metadata| metadata.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
