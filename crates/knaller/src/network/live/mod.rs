//! The forwards of a machine that runs. The invariant: what the record names leads to the guest and nothing else does, or the
//! record says that a change is under way; then whoever comes next makes it as the record has it.
//!
//! | network | of a forward that is there from the start | of one that came later |
//! |---|---|---|
//! | `pasta` | pasta has the port until the end; a rule in its namespace leads on or not | a process carries it ([`relays`]) |
//! | `direct` | a name of the interface, elements in the host's maps, a rule | the same |
//!
//! What is carried is seen from the processes, as all that runs is: the record tells what there should be.

use std::fs::File;
use std::io;

use super::direct;
use super::ports::{self, Reserved};
use crate::helper::Errand;
use crate::layout::Files;
use crate::netns::Doors;
use crate::process::{self, Process};
use crate::record::{Changed, Record};
use crate::{Error, Forward, Network, Options, Result};

mod errand;
mod relays;
mod wishes;

pub(crate) use wishes::{Wishes, of_pasta};

/// A machine that runs.
struct Scene<'a> {
    options: &'a Options,
    record: &'a Record,
    vmm: Process,
    /// The network that its VMM is in.
    network: File,
}

impl<'a> Scene<'a> {
    fn of(options: &'a Options, files: &Files, record: &'a Record) -> Result<Self> {
        let failed = |error| Error::system("find a machine's VMM")(error);
        let vmm = process::listening(&files.api_socket(), &record.boot()).map_err(failed)?;
        let vmm = vmm.ok_or_else(|| Error::NotRunning(record.name.clone()))?;
        let network = vmm.network().map_err(failed)?;
        Ok(Self {
            options,
            record,
            vmm,
            network,
        })
    }

    fn reserve(&self, forwards: &[Forward]) -> Result<Reserved> {
        let lock = ports::lock_of(&self.options.paths);
        ports::reserve(forwards, self.record.ipv6, &lock)
    }

    /// Has these ports of the machine's namespace lead to the guest, and no other.
    fn doors(&self, forwards: &[Forward]) -> Result<()> {
        let doors = Doors {
            ports: forwards.iter().map(super::port).collect(),
            ipv6: self.record.ipv6,
            nft: self.options.nft()?,
        };
        errand::run(self, &Errand::Doors(doors), None, &[])
    }
}

/// Makes the machine have these forwards, and gives them with the host ports chosen. What is so already is left alone. Whoever
/// fails has done some of it. Blocks.
pub(crate) fn apply(
    options: &Options,
    files: &Files,
    record: &Record,
    wanted: &[Forward],
) -> Result<Vec<Forward>> {
    let scene = Scene::of(options, files, record)?;
    match record.spec.network {
        Network::None => Ok(Vec::new()),
        Network::Pasta => by_pasta(&scene, wanted),
        Network::Direct => by_rules(&scene, wanted),
    }
}

fn by_pasta(scene: &Scene<'_>, wanted: &[Forward]) -> Result<Vec<Forward>> {
    let boot = &scene.record.boot();
    let held = of_pasta(scene.record);
    let (own, carried): (Vec<Forward>, Vec<Forward>) =
        wanted.iter().partition(|forward| wishes::is_held(held, forward));
    let mut missing = carried.clone();
    missing.retain({
        let there = relays::forwards(boot)?;
        move |forward| !there.contains(forward)
    });
    relays::end(boot, |there| {
        missing.iter().any(|new| wishes::same_port(new, there))
    })?;
    let reserved = scene.reserve(&missing)?;
    scene.doors(&own)?;
    for forward in &reserved.forwards {
        relays::start(scene, *forward, &reserved)?;
    }
    relays::end(boot, |there| {
        !carried.contains(there) && !reserved.forwards.contains(there)
    })?;
    Ok(wishes::chosen(wanted, &missing, &reserved.forwards))
}

fn by_rules(scene: &Scene<'_>, wanted: &[Forward]) -> Result<Vec<Forward>> {
    let instance = &scene.record.instance;
    let claimed = direct::claimed(instance)?;
    let missing: Vec<Forward> = wanted
        .iter()
        .copied()
        .filter(|forward| !claimed.contains(&direct::claim(forward.protocol, forward.host_port)))
        .collect();
    // Others are kept from the ports until the machine has them.
    let reserved = scene.reserve(&missing)?;
    let forwards = wishes::chosen(wanted, &missing, &reserved.forwards);
    let nft = scene.options.nft()?;
    direct::change(&nft, instance, &forwards, scene.record.ipv6, || {
        scene.doors(&forwards)
    })?;
    Ok(forwards)
}

/// Makes the forwards of a machine that runs as the record has them, if they are not; whether they were not. The caller has the
/// machine's claim. Blocks.
pub(crate) fn heal(options: &Options, files: &Files, record: &mut Record) -> Result<bool> {
    let Some(changed) = &record.changed else {
        return Ok(false);
    };
    if !changed.under_way && is_so(record)? {
        return Ok(false);
    }
    // One port that another has by now is no reason to be without the rest.
    let mut wanted = record.forwards.clone();
    let mut refused = None;
    loop {
        match apply(options, files, record, &wanted) {
            Ok(_) => break,
            // It is about to end.
            Err(Error::NotRunning(_)) => return Ok(false),
            Err(Error::PortTaken {
                port,
                protocol,
                bind,
                by,
            }) if !wanted.is_empty() => {
                wanted.retain(|forward| (forward.host_port, forward.protocol) != (port, protocol));
                refused = Some(Error::PortTaken {
                    port,
                    protocol,
                    bind,
                    by,
                });
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(changed) = &mut record.changed {
        changed.under_way = false;
    }
    record.save(&files.record())?;
    refused.map_or(Ok(true), Err)
}

/// Of the forwards that the record of a machine which runs has, those that lead to it now.
pub(crate) fn shown(record: &Record) -> Result<Vec<Forward>> {
    let mut forwards = record.forwards.clone();
    if record.changed.is_some() && record.spec.network == Network::Pasta {
        let carried = relays::forwards(&record.boot())?;
        let held = of_pasta(record);
        forwards.retain(|forward| wishes::is_held(held, forward) || carried.contains(forward));
    }
    Ok(forwards)
}

/// Whether what carries ports is what the record asks for.
fn is_so(record: &Record) -> Result<bool> {
    if record.spec.network != Network::Pasta {
        return Ok(true);
    }
    let there = relays::forwards(&record.boot())?;
    let held = of_pasta(record);
    let wanted = record
        .forwards
        .iter()
        .filter(|forward| !wishes::is_held(held, forward));
    Ok(wanted.clone().all(|forward| there.contains(forward))
        && there
            .iter()
            .all(|forward| wanted.clone().any(|wanted| wanted == forward)))
}

/// Ends what carries ports of a boot that is over, if it has not noticed yet. Blocks.
pub(crate) fn over(record: &Record) {
    if record.changed.is_none() {
        return;
    }
    if let Err(error) = relays::end(&record.boot(), |_| true) {
        tracing::warn!(name = %record.name, %error, "a port of the host may still be taken");
    }
}

/// What the record says while its forwards are changed.
pub(crate) fn under_way(record: &Record) -> Changed {
    Changed {
        held: of_pasta(record).to_vec(),
        under_way: true,
    }
}

/// Which step, in front of the reason.
fn failed(step: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Network {
        reason: format!("{step}: {error}"),
    }
}
