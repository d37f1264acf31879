//! Network mode `direct`: a kernel network namespace of the machine's own and a veth pair to the host, by root.
//!
//! ```text
//! world     host's interfaces
//!             | masquerade, DNAT of forwards: table inet knaller of the host
//! host      knaller7 (10.255.0.14)
//!             | veth
//! machine   eth0 (10.255.0.15)
//!             | forwards, masquerade, egress policy: table inet knaller of the namespace
//! guest     eth0 <- VMM <- knaller0 (TAP)
//! ```
//!
//! The invariant: the machine's processes are what holds its namespace. When the last of them ends, however it does,
//! the kernel removes the namespace with its rules, the veth pair, and so the addresses and the claims of ports. All
//! that can be left on the host is elements in maps of our table, which name a boot that is no more: whoever comes next
//! takes them away, and with the last machine the table goes and what was switched on for it is switched off.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use crate::flocked::Flocked;
use crate::netns::{self, Egress};
use crate::{Error, Forward, Name, Options, Result};

mod change;
mod forwarding;
mod links;
mod mend;
mod namespace;
mod slot;
mod table;

pub(crate) use change::{change, claimed};
pub(crate) use links::claim;
pub(crate) use mend::{Reached, is_torn, mend};
pub use slot::Pool;

use super::routes;
use forwarding::Switched;
use links::{Present, Wanted};
use slot::Slot;
use table::Held;

/// Held while what is the host's is looked at and changed: the same file for all data folders. In a folder that is root's.
const LOCK: &str = "/run/knaller-network.lock";

/// What a machine is connected with.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    pub(crate) helper: PathBuf,
    nft: PathBuf,
    pool: Option<Pool>,
    pub(crate) ipv6: bool,
    pub(crate) egress: Egress,
}

/// Whose connection it is.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) instance: String,
    pub(crate) name: Name,
    /// Its data folder, for whoever looks at the interface.
    pub(crate) folder: PathBuf,
}

impl Direct {
    pub(crate) fn find(options: &Options) -> Result<Self> {
        check_root()?;
        Ok(Self {
            helper: options.netns()?,
            nft: options.nft()?,
            pool: options.pool,
            ipv6: routes::of_host().ipv6,
            egress: Egress::default(),
        })
    }

    /// Makes the machine's namespace and its way to the world: both last as long as the file, and whoever is in the namespace.
    /// Forwards have their ports. Blocks.
    pub(crate) fn connect(&self, owner: &Owner, forwards: &[Forward]) -> Result<File> {
        namespace::on_a_thread(|| self.make(owner, forwards)).map_err(failed("thread"))?
    }

    fn make(&self, owner: &Owner, forwards: &[Forward]) -> Result<File> {
        let own = namespace::new().map_err(failed("namespace"))?;
        let lock = lock()?;
        let present = links::talk(links::present).map_err(failed("interfaces"))?;
        check_ports(&present, forwards)?;
        let slot = self.place(&present)?;
        let held = Held::load(&self.nft).map_err(failed("packet rules"))?;
        let switched = self.note(&present)?;
        let wanted = Wanted {
            slot,
            ipv6: self.ipv6,
            forwards,
            alias: links::alias(
                &owner.instance,
                owner.name.as_str(),
                &owner.folder.to_string_lossy(),
            ),
        };
        links::talk(async |handle| links::make(handle, &own, &wanted).await).map_err(failed("link"))?;
        let live: Vec<&str> = present.ours.iter().map(|link| link.instance.as_str()).collect();
        let commands = [
            held.sweep(&live),
            table::rules(&switched),
            table::forwards(forwards, slot, self.ipv6, &owner.instance),
        ]
        .concat();
        super::nft::apply(&self.nft, &commands).map_err(failed("packet rules"))?;
        forwarding::turn_on(&switched, &slot.interface(), self.ipv6).map_err(failed("forwarding"))?;
        // The host's own addresses are in it, so it is made out here.
        let plan = super::plan(forwards, self.ipv6, &self.nft, Some(self.egress.clone()));
        drop(lock);
        namespace::within(own.as_fd(), || {
            links::talk(async |handle| links::inside(handle, slot, self.ipv6).await)
                .map_err(failed("link"))?;
            netns::set_up(&plan).map_err(|error| Error::Network {
                reason: error.to_string(),
            })
        })
        .map_err(failed("namespace"))??;
        Ok(own)
    }

    /// What is to be switched on, written down.
    fn note(&self, present: &Present) -> Result<Switched> {
        let noted = Switched::noted(&present.of_loopback);
        let mut switched = noted.clone();
        forwarding::plan(&mut switched, self.ipv6);
        let before = noted.notes();
        let mut fresh = switched.notes();
        fresh.retain(|note| !before.contains(note));
        links::talk(async |handle| links::note(handle, &fresh).await)
            .map_err(failed("notes of what is switched on"))?;
        Ok(switched)
    }

    fn place(&self, present: &Present) -> Result<Slot> {
        let names: Vec<&str> = present.names.iter().map(String::as_str).collect();
        slot::find(self.pool, &names, &present.taken).ok_or_else(|| Error::Network {
            reason: "no addresses are left for it: KNALLER_POOL names an IPv4 prefix that this host has no route to".to_owned(),
        })
    }

    pub(crate) fn nft(&self) -> &Path {
        &self.nft
    }

    /// What of others' rules stands between machines and the world, if anything does: a sentence with its remedy.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let chains = table::obstacles(&self.nft).unwrap_or_default();
        (!chains.is_empty()).then(|| {
            format!(
                "the firewall of this host drops what it does not accept by itself (policy of {}), which no rule of ours can \
                 change: let it accept what comes from and goes to the interfaces knaller+, with docker by `iptables -I DOCKER-USER \
                 -i knaller+ -j ACCEPT` and the same with `-o knaller+`",
                chains.join(", ")
            )
        })
    }

    /// Whether there is room, and whether the kernel makes namespaces: leaves nothing.
    pub(crate) fn trial(&self) -> Result<()> {
        namespace::new().map_err(failed("namespace"))?;
        let present = namespace::on_a_thread(|| links::talk(links::present)).and_then(|present| present);
        self.place(&present.map_err(failed("interfaces"))?).map(|_| ())
    }
}

/// Takes away what is left of the boots that have ended, and of this one, whose processes have. Whether there was anything of
/// others'. Blocks, and does nothing where this process is not root, who alone has such machines.
pub(crate) fn release(nft: &Path, instance: Option<&str>) -> Result<bool> {
    if check_root().is_err() {
        return Ok(false);
    }
    namespace::on_a_thread(|| sweep(nft, instance)).map_err(failed("thread"))?
}

/// As [`release`] for one boot whose processes have ended. What cannot be taken away waits for the next that comes.
pub(crate) fn forget(nft: &Path, instance: &str) {
    if let Err(error) = release(nft, Some(instance)) {
        tracing::warn!(instance, %error, "cannot take away a machine's way to the world");
    }
}

fn sweep(nft: &Path, instance: Option<&str>) -> Result<bool> {
    let _lock = lock()?;
    let present = links::talk(links::present).map_err(failed("interfaces"))?;
    let switched = Switched::noted(&present.of_loopback);
    let mut ours = present.ours;
    let gone = ours
        .iter()
        .position(|link| Some(link.instance.as_str()) == instance);
    if let Some(link) = gone.map(|at| ours.swap_remove(at)) {
        // The kernel would do it too, in its own time: a place and ports are to be free when their machine is.
        links::talk(async |handle| links::remove(handle, &link).await).map_err(failed("link"))?;
    }
    let held = Held::load(nft).map_err(failed("packet rules"))?;
    if !held.exists && switched == Switched::default() {
        return Ok(false);
    }
    let live: Vec<&str> = ours.iter().map(|link| link.instance.as_str()).collect();
    let others = held.is_stale(&live.iter().copied().chain(instance).collect::<Vec<_>>());
    if live.is_empty() {
        forwarding::turn_off(&switched).map_err(failed("forwarding"))?;
        if held.exists {
            super::nft::apply(nft, &[table::delete()]).map_err(failed("packet rules"))?;
        }
        let notes = switched.notes();
        links::talk(async |handle| links::drop_notes(handle, &notes).await)
            .map_err(failed("notes of what is switched on"))?;
        return Ok(others || instance.is_none());
    }
    if held.is_stale(&live) {
        super::nft::apply(nft, &held.sweep(&live)).map_err(failed("packet rules"))?;
    }
    Ok(others)
}

fn check_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::NeedsRoot {
        what: "the network mode direct",
        remedy: "take --network pasta, which needs none, or let root run it: sudo knaller …",
    })
}

fn check_ports(present: &Present, forwards: &[Forward]) -> Result<()> {
    let taken = forwards.iter().find(|forward| {
        let name = claim(forward.protocol, forward.host_port);
        present.names.contains(&name)
    });
    match taken {
        None => Ok(()),
        Some(forward) => Err(Error::PortTaken {
            bind: forward.bind,
            port: forward.host_port,
            protocol: forward.protocol,
            by: None,
        }),
    }
}

fn lock() -> Result<Flocked> {
    let path = Path::new(LOCK);
    Flocked::of_root(path).map_err(Error::io("lock", path))
}

/// Which step, in front of the reason.
fn failed(step: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Network {
        reason: format!("{step}: {error}"),
    }
}
