//! The kernel's switches for carrying packets from one interface to another (Linux:
//! Documentation/networking/ip-sysctl.rst). The invariant: an interface that was switched on for machines is noted
//! before, is in the table ([`super::table`]), which lets nothing new in by it but to them, and is switched off with the
//! last of them unless somebody has switched on all. The notes are other names of the loopback: whoever loads a firewall
//! anew takes the table away, and they last for as long as the switches do.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::slot::INTERFACE;
use crate::network::nft::Family;

const OFF: &str = "0";
const ON: &str = "1";
/// Advertisements are taken though the interface forwards.
const ADVICE_ALL_THE_SAME: &str = "2";

/// How the notes begin.
const NOTES: [&str; 3] = ["kn-opened4-", "kn-opened6-", "kn-advised-"];

/// What was switched on for machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Switched {
    /// Interfaces that forward, by family.
    pub(super) opened: [BTreeSet<String>; 2],
    /// Interfaces that take routers' advertisements though they forward.
    advised: BTreeSet<String>,
}

impl Switched {
    /// What the other names of the loopback say.
    pub(super) fn noted(names: &[String]) -> Self {
        let of = |note: &str| {
            let interfaces = names.iter().filter_map(|name| name.strip_prefix(note));
            interfaces.map(str::to_owned).collect()
        };
        let [v4, v6, advised] = NOTES.map(of);
        Self {
            opened: [v4, v6],
            advised,
        }
    }

    /// The names that say it.
    pub(super) fn notes(&self) -> Vec<String> {
        let [v4, v6] = &self.opened;
        let sets = NOTES.into_iter().zip([v4, v6, &self.advised]);
        sets.flat_map(|(note, set)| set.iter().map(move |interface| format!("{note}{interface}")))
            .collect()
    }
}

/// What is to be switched on beside what is, so that packets find to machines and back. Nothing is switched yet: what is not
/// noted before would stay on if this process were killed.
pub(super) fn plan(switched: &mut Switched, ipv6: bool) {
    let names = interfaces();
    let [v4, v6] = &mut switched.opened;
    // Where all are on, one that is off is so by somebody's will.
    if is(Family::V4, "all", "forwarding", OFF) {
        let closed = |name: &&String| is(Family::V4, name, "forwarding", OFF);
        v4.extend(names.iter().filter(closed).cloned());
    }
    if ipv6 && is(Family::V6, "all", "forwarding", OFF) {
        // An interface that forwards forgets what routers have told it (`accept_ra`), the way to the world among it.
        let listens = |name: &&String| is(Family::V6, name, "accept_ra", ON);
        switched.advised.extend(names.iter().filter(listens).cloned());
        v6.extend(names);
    }
}

/// Switches on what is noted, and the machine's own interface.
pub(super) fn turn_on(switched: &Switched, interface: &str, ipv6: bool) -> io::Result<()> {
    let [v4, v6] = &switched.opened;
    for name in v4 {
        write_if_there(&switch(Family::V4, name, "forwarding"), ON)?;
    }
    write(&switch(Family::V4, interface, "forwarding"), ON)?;
    // Connections from the host's loopback leave by it under another address; their answers come back in.
    write(&switch(Family::V4, interface, "route_localnet"), ON)?;
    if ipv6 {
        for name in &switched.advised {
            write_if_there(&switch(Family::V6, name, "accept_ra"), ADVICE_ALL_THE_SAME)?;
        }
        if !v6.is_empty() {
            // IPv6 has one switch for all.
            write(&switch(Family::V6, "all", "forwarding"), ON)?;
        }
        // What the machine says of routes is nothing to the host.
        write(&switch(Family::V6, interface, "accept_ra"), OFF)?;
    }
    Ok(())
}

/// Switches off what was noted, when no machine is left.
pub(super) fn turn_off(switched: &Switched) -> io::Result<()> {
    let [v4, v6] = &switched.opened;
    if is(Family::V4, "all", "forwarding", OFF) {
        for name in v4 {
            write_if_there(&switch(Family::V4, name, "forwarding"), OFF)?;
        }
    }
    if !v6.is_empty() {
        write_if_there(&switch(Family::V6, "all", "forwarding"), OFF)?;
    }
    for name in &switched.advised {
        write_if_there(&switch(Family::V6, name, "accept_ra"), ON)?;
    }
    Ok(())
}

/// The host's, without its loopback and ours.
fn interfaces() -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir("/proc/sys/net/ipv4/conf") else {
        return BTreeSet::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| !["all", "default", "lo"].contains(&name.as_str()) && !name.starts_with(INTERFACE))
        .collect()
}

fn switch(family: Family, interface: &str, name: &str) -> PathBuf {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    Path::new("/proc/sys/net")
        .join(family)
        .join("conf")
        .join(interface)
        .join(name)
}

fn is(family: Family, interface: &str, name: &str, value: &str) -> bool {
    std::fs::read_to_string(switch(family, interface, name)).is_ok_and(|text| text.trim() == value)
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    std::fs::write(path, value).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

/// An interface may go at any time.
fn write_if_there(path: &Path, value: &str) -> io::Result<()> {
    match write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_found_among_other_names() {
        let mut switched = Switched::default();
        switched.opened[0].extend(["eth0".to_owned(), "br-1.5".to_owned()]);
        switched.opened[1].insert("eth0".to_owned());
        switched.advised.insert("wlan0".to_owned());
        let mut names = switched.notes();
        assert_eq!(names.len(), 4);
        names.extend(["loopback".to_owned(), "kn-tcp-80".to_owned()]);
        assert_eq!(Switched::noted(&names), switched);
        assert_eq!(Switched::noted(&[]).notes(), Vec::<String>::new());
    }
}
