//! What a snapshot of another host may say here.
//!
//! The invariant: a stranger's file says what the guest is, and nothing of this host: not how its VMM is confined, which of
//! the host's files, ports, processors or control groups it has, or when it starts by itself. Each field is decided on by its
//! name, so that a new one comes in only when somebody has said here that it may.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use images::oci::Digest;

use super::description::Description;
use super::restore::volume_file;
use crate::network::egress::is_metadata;
use crate::record::Record;
use crate::vmm::{FIRECRACKER, SPARKLER};
use crate::{
    EgressRule, Forward, Kernel, Limits, MachineSpec, Network, Prefix, Restart, Root, Vmm, Volume,
    VolumeSource, layout,
};

/// Addresses that nobody has (RFC 5737, TEST-NET-1). A rule that allows them opens nothing, and is a policy all the same: public
/// addresses alone.
const NOWHERE: Prefix = Prefix::v4(192, 0, 2, 0, 24);

/// The share of CPU time that everybody has.
const USUAL_WEIGHT: u16 = 100;

/// The longest that a guest may be waited for, in milliseconds.
const LONGEST_WAIT: u64 = 60 * 60 * 1000;

/// The most bytes of a version, an id or a digest in words.
const MAX_WORD: usize = 160;

/// A description that may be kept here.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) description: Description,
    /// What it said that does not hold here, and what does: a sentence each.
    pub(super) changed: Vec<String>,
}

/// What is left of a description for this host, where `folder` is going to be the snapshot's and `runtime` is that of machines;
/// or why it cannot be had here.
pub(super) fn admit(description: Description, folder: &Path, runtime: &Path) -> Result<Admitted, String> {
    let Description {
        form,
        name,
        id,
        parent,
        created,
        record,
        vmm_version,
        cpu,
        paused_ms,
        generation_id,
        base,
        read: _,
        files,
    } = description;
    for (what, text) in [("id", &id), ("VMM's version", &vmm_version), ("processor", &cpu)] {
        if !is_word(text) {
            return Err(format!("its {what} is no plain text"));
        }
    }
    if let Some(parent) = parent {
        return Err(format!("it is a difference to {}", parent.name));
    }
    // The guest has pages of it in its memory, and reads on what it is given.
    if record.image.is_some() && base.as_ref().is_none_or(|base| base.checksum.is_none()) {
        return Err("it does not say what is in the root file system of its image".to_owned());
    }
    let mut changed = Vec::new();
    let record = admit_record(record, folder, runtime, &mut changed)?;
    Ok(Admitted {
        description: Description {
            form,
            name,
            id,
            parent: None,
            created,
            record,
            vmm_version,
            cpu,
            paused_ms,
            generation_id,
            base,
            read: BTreeMap::new(),
            files,
        },
        changed,
    })
}

/// As if the machine had been made here: what its boot there had of its host is nothing here.
fn admit_record(
    record: Record,
    folder: &Path,
    runtime: &Path,
    changed: &mut Vec<String>,
) -> Result<Record, String> {
    let Record {
        form: _,
        name,
        instance: _,
        created: _,
        started: _,
        runtime: _,
        vmm,
        kernel,
        image,
        forwards: _,
        changed: _,
        limiting: _,
        ipv6,
        tells,
        checked,
        origin: _,
        cgroup: _,
        jail: _,
        moment: _,
        restarts: _,
        spec,
        boots: _,
    } = record;
    if ![FIRECRACKER, SPARKLER].contains(&vmm.as_str()) {
        return Err("it was taken with a VMM that is not known".to_owned());
    }
    if !is_hex(&kernel, 64) {
        return Err("what it calls its kernel is no id of one".to_owned());
    }
    // A name would be whatever is called so here.
    let fits = match (&spec.root, &image) {
        (Root::Image(_), Some(image)) => image.parse::<Digest>().is_ok(),
        (Root::Builtin, Some(image)) => image
            .strip_prefix("builtin-")
            .is_some_and(|digest| is_hex(digest, 32)),
        (Root::Initramfs | Root::File(_), None) => true,
        _ => false,
    };
    if !fits {
        return Err("what it calls its image is no id of one".to_owned());
    }
    let spec = admit_spec(spec, &kernel, folder, changed)?;
    Ok(Record {
        vmm,
        kernel,
        image,
        ipv6,
        tells,
        checked,
        ..Record::new(name, runtime.to_owned(), spec)
    })
}

#[expect(
    clippy::too_many_lines,
    reason = "a line for each field, and a line for what becomes of it"
)]
fn admit_spec(
    spec: MachineSpec,
    kernel_id: &str,
    folder: &Path,
    changed: &mut Vec<String>,
) -> Result<MachineSpec, String> {
    let MachineSpec {
        name,
        cpus,
        memory_mib,
        root,
        disk_mib,
        kernel,
        network,
        forwards,
        egress,
        env,
        command,
        entrypoint,
        attached,
        user,
        workdir,
        stop_signal,
        hostname,
        mac,
        volumes,
        read_only,
        publish_all,
        init,
        ssh_keys,
        user_keys,
        vmm,
        jail,
        track_dirty,
        metadata,
        limits,
        slice,
        remove_on_exit: _,
        restart,
        labels,
        boot_timeout_ms,
        stop_grace_ms,
    } = spec;
    let mut instead = |differs: bool, sentence: &str| {
        if differs {
            changed.push(sentence.to_owned());
        }
    };
    instead(!jail, "it ran without a jail: its machines have one here");
    instead(
        vmm != Vmm::Auto,
        "it named the VMM to run on: its machines run on this host's own choice",
    );
    instead(
        network == Network::Direct,
        "its network was `direct`: its machines have pasta's here",
    );
    let elsewhere = forwards.iter().any(|forward| forward.bind != Some(LOOPBACK));
    instead(
        elsewhere,
        "its ports were forwarded from other addresses: here they are from 127.0.0.1, unless --publish says otherwise",
    );
    instead(
        publish_all,
        "it forwarded each port that its image exposes: here none is that --publish does not name",
    );
    instead(
        restart != Restart::No,
        "it was to start again by itself: here it does not",
    );
    instead(
        slice.is_some(),
        "it was in a slice of its host's control groups: its machines are in none here",
    );
    let longest = boot_timeout_ms.max(stop_grace_ms);
    instead(
        longest > LONGEST_WAIT,
        "it was waited for for longer than an hour: here it is for no longer",
    );
    let root = match root {
        Root::Initramfs | Root::Builtin | Root::Image(_) => root,
        Root::File(_) => Root::File(folder.join(layout::ROOTFS)),
        Root::Raw(path) => return Err(format!("it reads a disk of this host, {}", path.display())),
    };
    let kernel = match kernel {
        Kernel::Default => Kernel::Default,
        Kernel::Id(_) | Kernel::Path(_) => Kernel::Id(kernel_id.to_owned()),
    };
    let volumes = volumes.into_iter().enumerate().map(|(number, volume)| {
        let Volume {
            source: _,
            path,
            read_only,
        } = volume;
        Volume {
            source: VolumeSource::File(folder.join(volume_file(number))),
            path,
            read_only,
        }
    });
    let forwards = forwards.into_iter().map(|forward| {
        let Forward {
            bind: _,
            host_port: _,
            guest_port,
            protocol,
        } = forward;
        Forward {
            bind: Some(LOOPBACK),
            host_port: 0,
            guest_port,
            protocol,
        }
    });
    Ok(MachineSpec {
        name,
        cpus,
        memory_mib,
        root,
        disk_mib,
        kernel,
        forwards: forwards.collect(),
        egress: admit_egress(network, egress, changed),
        network: match network {
            Network::Pasta | Network::Direct => Network::Pasta,
            Network::None => Network::None,
        },
        env,
        command,
        entrypoint,
        attached,
        user,
        workdir,
        stop_signal,
        hostname,
        mac,
        volumes: volumes.collect(),
        read_only,
        publish_all: false,
        init,
        ssh_keys,
        user_keys,
        vmm: Vmm::Auto,
        jail: true,
        track_dirty,
        metadata,
        limits: admit_limits(limits, changed),
        slice: None,
        remove_on_exit: false,
        restart: Restart::No,
        labels,
        boot_timeout_ms: boot_timeout_ms.min(LONGEST_WAIT),
        stop_grace_ms: stop_grace_ms.min(LONGEST_WAIT),
    })
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What is no wider than what every machine reaches, and no wider than it was. Names open no metadata service whoever gives
/// them (see [`crate::network::egress`]).
fn admit_egress(network: Network, egress: Vec<EgressRule>, changed: &mut Vec<String>) -> Vec<EgressRule> {
    let had_policy = network == Network::Direct || !egress.is_empty();
    let mut kept = Vec::new();
    for rule in egress {
        match &rule {
            EgressRule::Allow { prefix, .. } if is_metadata(*prefix) => changed.push(format!(
                "its egress rule {rule} opens metadata services: it is left out here"
            )),
            EgressRule::Deny | EgressRule::Allow { .. } | EgressRule::Name { .. } => kept.push(rule),
        }
    }
    if had_policy && kept.is_empty() {
        kept.push(EgressRule::Allow {
            prefix: NOWHERE,
            port: None,
        });
    }
    kept
}

/// Limits limit, whoever sets them; what takes from others, or names this host's processors, is left out.
fn admit_limits(limits: Limits, changed: &mut Vec<String>) -> Limits {
    let Limits {
        cpu_quota,
        cpu_weight,
        cpu_set,
        memory_max_mib,
        pids,
        disk_bandwidth,
        disk_ops,
        receive,
        send,
        memory_target_mib,
    } = limits;
    if cpu_weight.is_some_and(|weight| weight > USUAL_WEIGHT) {
        changed.push("it had a larger share of CPU time than others: here it has the usual one".to_owned());
    }
    if cpu_set.is_some() {
        changed.push("it was pinned to CPUs of its host: here it runs on all".to_owned());
    }
    Limits {
        cpu_quota,
        cpu_weight: cpu_weight.filter(|weight| *weight <= USUAL_WEIGHT),
        cpu_set: None,
        memory_max_mib,
        pids,
        disk_bandwidth,
        disk_ops,
        receive,
        send,
        memory_target_mib,
    }
}

/// What can stand in an error and in a table as it is.
fn is_word(text: &str) -> bool {
    text.len() <= MAX_WORD && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(fuzzing)]
pub(crate) fn fuzz_admit(bytes: &[u8]) {
    let (folder, runtime) = (Path::new("/snapshots/x"), Path::new("/run/x"));
    let Ok(description) = serde_json::from_slice::<Description>(bytes) else {
        return;
    };
    let Ok(once) = admit(description, folder, runtime) else {
        return;
    };
    let spec = once.description.record.spec.clone();
    assert!(spec.jail && spec.slice.is_none() && spec.network != Network::Direct);
    assert!(spec.volumes.iter().all(|volume| matches!(
        &volume.source,
        VolumeSource::File(path) if path.starts_with(folder)
    )));
    let again = admit(once.description, folder, runtime).map(|again| again.description.record.spec);
    assert_eq!(again, Ok(spec));
}

#[cfg(test)]
mod tests;
