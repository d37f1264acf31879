//! `vm.json`: what was asked for and how it was resolved. The invariant: nothing in it says what runs, it is written before
//! the VMM starts, and only by whoever holds the machine's [`crate::claim::Claim`].

use std::io::{Read as _, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::cgroup::Group;
use crate::layout::Files;
use crate::network::{direct, live};
use crate::process::Boot;
use crate::{Error, Forward, Limits, MachineSpec, Name, Network, Options, Origin, Result};

/// The form of the file.
const FORM: u32 = 1;

/// The most bytes of a record: a spec has at most half a MiB of texts, and metadata has its own limit in the VMM.
const MAX_SIZE: u64 = 4 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) form: u32,
    pub(crate) name: Name,
    /// New for each boot, and part of the command line of every process of that boot.
    pub(crate) instance: String,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    /// When this boot began.
    pub(crate) started: u64,
    /// Where this boot's sockets are; processes with another environment find them too.
    pub(crate) runtime: PathBuf,
    pub(crate) vmm: String,
    /// The kernel bundle's id.
    pub(crate) kernel: String,
    /// The base image's id, where the machine has an overlay over one.
    pub(crate) image: Option<String>,
    /// The forwards with the host ports chosen.
    pub(crate) forwards: Vec<Forward>,
    /// What else there is to know of the forwards, once they were changed while this boot ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) changed: Option<Changed>,
    /// The limits that somebody is about to give this boot: if nobody is any more, it may have some of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limiting: Option<Box<Limits>>,
    /// Whether the guest has IPv6.
    pub(crate) ipv6: bool,
    /// Whether the guest's console tells how its program ended: there is one, and powerunit runs it.
    #[serde(default)]
    pub(crate) tells: bool,
    /// Whether the guest checks its health, and can be asked for it.
    #[serde(default)]
    pub(crate) checked: bool,
    /// How this boot's guest came to be. Earlier records only say whether it was warm.
    #[serde(default, alias = "warm", deserialize_with = "origin")]
    pub(crate) origin: Origin,
    /// The control group of this boot's processes, where the spec asks for one.
    #[serde(default)]
    pub(crate) cgroup: Option<Group>,
    /// The jail of this boot's VMM.
    #[serde(default)]
    pub(crate) jail: Option<Jailed>,
    /// When this boot began, by a clock that nobody sets. None if the kernel does not tell.
    #[serde(default)]
    pub(crate) moment: Option<Moment>,
    /// How often a supervisor has started the machine since its user did.
    #[serde(default)]
    pub(crate) restarts: u32,
    /// What was last asked for: what the next start is of.
    pub(crate) spec: MachineSpec,
    /// What this boot has instead, where it was updated and not all of that can be had while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boots: Option<Box<MachineSpec>>,
}

fn origin<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Origin, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Warm(bool),
        Origin(Origin),
    }
    Ok(match Said::deserialize(from)? {
        Said::Warm(false) => Origin::Cold,
        Said::Warm(true) => Origin::Warm,
        Said::Origin(origin) => origin,
    })
}

/// What a boot whose forwards were changed began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {
    /// The forwards whose host ports pasta holds until the boot is over.
    pub(crate) held: Vec<Forward>,
    /// Whether somebody is about to change them: if nobody is any more, what is there may be half of it.
    pub(crate) under_way: bool,
}

/// What is known of a jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Jailed {
    /// The folder in which the VMM makes files, as the jail has it, whatever the machine is called by now.
    folder: PathBuf,
    /// The parts of it that this host did not have, in words.
    pub(crate) without: Vec<String>,
    /// The user that this boot's processes have for themselves alone.
    #[serde(default)]
    pub(crate) user: Option<u32>,
}

impl Jailed {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            without: Vec::new(),
            user: None,
        }
    }
}

/// A moment in the life of the host. Of two of one boot of it, it is plain which was first, whatever its clock was set to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// Which boot of the host (/proc/sys/kernel/random/boot_id).
    pub(crate) boot: String,
    /// How long it had been up, in milliseconds (`CLOCK_BOOTTIME`).
    pub(crate) up_ms: u64,
}

impl Moment {
    pub(crate) fn now() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let up = std::time::Duration::try_from(up).ok()?;
        Some(Self {
            boot: boot.trim().to_owned(),
            up_ms: u64::try_from(up.as_millis()).ok()?,
        })
    }
}

impl Record {
    /// A record of a boot that begins now, with nothing resolved yet.
    pub(crate) fn new(name: Name, runtime: PathBuf, spec: MachineSpec) -> Self {
        let now = now();
        Self {
            form: FORM,
            name,
            instance: uuid::Uuid::new_v4().to_string(),
            created: now,
            started: now,
            runtime,
            vmm: String::new(),
            kernel: String::new(),
            image: None,
            forwards: spec.forwards.clone(),
            changed: None,
            limiting: None,
            ipv6: false,
            tells: false,
            checked: false,
            origin: Origin::Cold,
            cgroup: None,
            moment: Moment::now(),
            restarts: 0,
            jail: None,
            spec,
            boots: None,
        }
    }

    /// What this boot has.
    pub(crate) fn current(&self) -> &MachineSpec {
        self.boots.as_deref().unwrap_or(&self.spec)
    }

    /// This boot, as its processes are known.
    pub(crate) fn boot(&self) -> Boot {
        Boot {
            instance: self.instance.clone(),
            user: self.jail.as_ref().and_then(|jail| jail.user),
        }
    }

    /// What the guest is called.
    pub(crate) fn hostname(&self) -> String {
        let own = self.spec.hostname.clone();
        own.unwrap_or_else(|| self.name.to_string())
    }

    /// Removes the control group of this boot, of which nothing runs any more, if it has one. Blocks.
    pub(crate) fn remove_cgroup(&self) {
        if let Some(group) = &self.cgroup {
            group.remove();
        }
    }

    /// Gives back what this boot, of which nothing runs any more, had of the host: ports that are carried, its control group,
    /// its way to the world. Blocks.
    pub(crate) fn release(&self, options: &Options) {
        live::over(self);
        self.remove_cgroup();
        if self.spec.network == Network::Direct
            && let Ok(nft) = options.nft()
        {
            direct::forget(&nft, &self.instance);
        }
    }

    /// The same machine, booted anew.
    pub(crate) fn again(self, runtime: PathBuf) -> Self {
        Self {
            created: self.created,
            image: self.image,
            restarts: self.restarts,
            ..Self::new(self.name, runtime, self.spec)
        }
    }

    /// [`Files::handover`] as the VMM is to be told it.
    pub(crate) fn handover(&self, files: &Files) -> PathBuf {
        let own = self.jail.as_ref().map(|jail| jail.folder.clone());
        own.unwrap_or_else(|| files.handover())
    }

    pub(crate) fn load(path: &Path) -> Result<Self> {
        let failed = || Error::io("read", path);
        let file = std::fs::File::open(path).map_err(failed())?;
        let mut json = Vec::new();
        file.take(MAX_SIZE).read_to_end(&mut json).map_err(failed())?;
        Self::parse(&json).map_err(|source| Error::Record {
            path: path.to_owned(),
            source,
        })
    }

    pub(crate) fn parse(json: &[u8]) -> serde_json::Result<Self> {
        known_form(json, FORM..=FORM)?;
        serde_json::from_slice(json)
    }

    /// Replaces the file as a whole, readable by this user only: it holds the environment's secrets.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let mut json =
            serde_json::to_vec_pretty(self).map_err(|e| Error::system("write a record")(e.into()))?;
        json.push(b'\n');
        write_private(path, &json)
    }
}

/// Refuses a description of a form that is not known, whatever else is in it: nothing of that can be told.
pub(crate) fn known_form(json: &[u8], known: RangeInclusive<u32>) -> serde_json::Result<()> {
    #[derive(Deserialize)]
    struct Form {
        form: u32,
    }
    let Form { form } = serde_json::from_slice(json)?;
    if known.contains(&form) {
        return Ok(());
    }
    let text = format!(
        "it has form {form}, and this knaller knows none above {}",
        known.end()
    );
    Err(serde::de::Error::custom(text))
}

/// Writes a file of mode 0600 under another name and renames it, so that no reader sees half of it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let fresh = path.with_extension("new");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh);
    file.and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(|e| {
            crate::disk::explain(
                Error::io("write", path)(e),
                "writing a file",
                path,
                bytes.len() as u64,
            )
        })
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record::new(
            "web".parse().unwrap(),
            "/run/x".into(),
            MachineSpec::new().forward("0:80".parse().unwrap()),
        )
    }

    #[test]
    fn what_is_saved_is_loaded() {
        use std::os::unix::fs::PermissionsExt as _;

        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("vm.json");
        let saved = record();
        saved.save(&path).unwrap();
        assert_eq!(Record::load(&path).unwrap(), saved);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_earlier_record_tells_whether_its_start_was_warm() {
        let mut saved = record();
        for origin in [
            Origin::Cold,
            Origin::Warm,
            Origin::Forked {
                machine: "db".parse().unwrap(),
            },
        ] {
            saved.origin = origin;
            let json = serde_json::to_vec(&saved).unwrap();
            assert_eq!(Record::parse(&json).unwrap(), saved);
        }
        let mut json = serde_json::to_value(&saved).unwrap();
        let fields = json.as_object_mut().unwrap();
        fields.remove("origin");
        for (warm, origin) in [(true, Origin::Warm), (false, Origin::Cold)] {
            json["warm"] = warm.into();
            assert_eq!(Record::parse(json.to_string().as_bytes()).unwrap().origin, origin);
        }
    }

    #[test]
    fn another_boot_has_another_instance() {
        let first = record();
        let second = first.clone().again("/run/y".into());
        assert_ne!(first.instance, second.instance);
        assert_eq!((first.created, &first.spec), (second.created, &second.spec));
        let [one, other] = [first, second].map(|record| record.moment.unwrap());
        assert_eq!(one.boot, other.boot);
        assert!(one.up_ms <= other.up_ms);
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("vm.json");
        for bad in ["", "{", "[]", "{\"form\":2}"] {
            std::fs::write(&path, bad).unwrap();
            let error = Record::load(&path).unwrap_err();
            assert!(error.to_string().contains("vm.json"), "{error}");
        }
        // What a newer knaller wrote is told from garbage, whatever else is in it.
        let newer = std::error::Error::source(&Record::load(&path).unwrap_err()).map(ToString::to_string);
        assert!(newer.is_some_and(|said| said.contains("form 2")));
    }
}
