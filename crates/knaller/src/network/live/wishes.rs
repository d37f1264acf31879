//! Which forwards a machine that runs is to have. The invariant: what was chosen for it stays chosen, and of what cannot be now
//! it is said that it cannot.

use crate::record::Record;
use crate::{Forward, MachineSpec, Network};

/// What a new spec comes to for a boot under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// To be had now; host ports that are 0 are to be chosen.
    pub(crate) now: Vec<Forward>,
    /// Whether some have to wait for the next start: pasta has their ports at other addresses, and lets go of none.
    pub(crate) later: bool,
    /// Whether host ports that lead nowhere are taken until then.
    pub(crate) lingering: bool,
}

impl Wishes {
    pub(crate) fn of(record: &Record, spec: &MachineSpec) -> Self {
        let mut current = record.forwards.clone();
        // What the image publishes is for the guest's ports that no forward leads to. What is to be published instead of one
        // that goes now is so from the next start.
        let named = |spec: &MachineSpec, forward: &Forward| {
            spec.forwards.iter().any(|other| same_guest_port(other, forward))
        };
        let published: Vec<Forward> = current
            .iter()
            .copied()
            .filter(|forward| spec.publish_all && !named(&record.spec, forward) && !named(spec, forward))
            .collect();
        let mut all: Vec<Forward> = spec.forwards.iter().chain(&published).copied().collect();
        current.retain(|forward| !all.contains(forward));
        for wish in all.iter_mut().filter(|wish| wish.host_port == 0) {
            let chosen = current
                .iter()
                .position(|forward| same_guest_port(forward, wish) && forward.bind == wish.bind);
            if let Some(at) = chosen {
                *wish = current.swap_remove(at);
            }
        }
        let held = of_pasta(record);
        let blocked = |wish: &Forward| {
            let has_port = |held: &&Forward| same_port(held, wish);
            held.iter()
                .find(has_port)
                .is_some_and(|held| held.bind != wish.bind)
        };
        let before = all.len();
        all.retain(|wish| !blocked(wish));
        let leads_on = |held: &Forward| all.iter().any(|wish| same_port(held, wish));
        Self {
            later: all.len() < before,
            lingering: held.iter().any(|held| !leads_on(held)),
            now: all,
        }
    }
}

/// What pasta has ports for.
pub(crate) fn of_pasta(record: &Record) -> &[Forward] {
    match (&record.changed, record.spec.network) {
        (Some(changed), Network::Pasta) => &changed.held,
        (None, Network::Pasta) => &record.forwards,
        _ => &[],
    }
}

pub(super) fn same_port(one: &Forward, other: &Forward) -> bool {
    (one.protocol, one.host_port) == (other.protocol, other.host_port)
}

fn same_guest_port(one: &Forward, other: &Forward) -> bool {
    (one.protocol, one.guest_port) == (other.protocol, other.guest_port)
}

/// Whether one of those has its port of the host, wherever it leads.
pub(super) fn is_held(held: &[Forward], forward: &Forward) -> bool {
    held.iter()
        .any(|held| same_port(held, forward) && held.bind == forward.bind)
}

/// `wanted` with the host ports of those that were missing.
pub(super) fn chosen(wanted: &[Forward], missing: &[Forward], reserved: &[Forward]) -> Vec<Forward> {
    let mut found = missing.iter().zip(reserved);
    let one = |forward: &Forward| {
        if forward.host_port != 0 {
            return *forward;
        }
        // In the same order.
        found
            .find(|(missing, _)| *missing == forward)
            .map_or(*forward, |(_, reserved)| *reserved)
    };
    wanted.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Changed;

    fn forwards(texts: &[&str]) -> Vec<Forward> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn spec(texts: &[&str]) -> MachineSpec {
        forwards(texts)
            .into_iter()
            .fold(MachineSpec::new(), MachineSpec::forward)
    }

    /// A boot of a machine with these forwards, and what was chosen for it.
    fn record(wished: &[&str], chosen: &[&str]) -> Record {
        let mut record = Record::new("web".parse().unwrap(), "/run/x".into(), spec(wished));
        record.forwards = forwards(chosen);
        record
    }

    #[test]
    fn what_was_chosen_stays_so() {
        let record = record(
            &["0:80", "0:80", "0:53/udp"],
            &["4001:80", "4002:80", "4003:53/udp"],
        );
        let wishes = Wishes::of(&record, &spec(&["0:53/udp", "0:80", "4001:80", "0:81"]));
        assert_eq!(
            wishes.now,
            forwards(&["4003:53/udp", "4002:80", "4001:80", "0:81"])
        );
        assert!(!wishes.later && !wishes.lingering);
    }

    #[test]
    fn what_pasta_has_at_another_address_waits() {
        let record = record(
            &["8080:80", "127.0.0.1:8443:443"],
            &["8080:80", "127.0.0.1:8443:443"],
        );
        let wishes = Wishes::of(
            &record,
            &spec(&["127.0.0.1:8080:80", "127.0.0.1:8443:444", "8080:80/udp"]),
        );
        assert_eq!(wishes.now, forwards(&["127.0.0.1:8443:444", "8080:80/udp"]));
        assert!(wishes.later && wishes.lingering);
        let same = Wishes::of(&record, &record.spec);
        assert_eq!((same.later, same.lingering), (false, false));
        // Nobody has it but a process that can be ended.
        let mut changed = record;
        changed.changed = Some(Changed {
            held: Vec::new(),
            under_way: false,
        });
        let wishes = Wishes::of(&changed, &spec(&["127.0.0.1:8080:80"]));
        assert_eq!(wishes.now, forwards(&["127.0.0.1:8080:80"]));
        assert!(!wishes.later && !wishes.lingering);
    }

    #[test]
    fn what_the_image_publishes_stays_until_it_is_named() {
        let publishing = |texts| {
            let mut spec = spec(texts);
            spec.publish_all = true;
            spec
        };
        let mut record = record(&["8080:80"], &["8080:80", "4001:443"]);
        record.spec.publish_all = true;
        let wishes = Wishes::of(&record, &publishing(&[]));
        assert_eq!(wishes.now, forwards(&["4001:443"]));
        let wishes = Wishes::of(&record, &publishing(&["8443:443"]));
        assert_eq!(wishes.now, forwards(&["8443:443"]));
        let wishes = Wishes::of(&record, &spec(&["8080:80"]));
        assert_eq!(wishes.now, forwards(&["8080:80"]));
    }

    #[test]
    fn ports_that_were_found_have_their_places() {
        let wanted = forwards(&["0:80", "90:90", "0:80", "0:53/udp"]);
        let missing = forwards(&["0:80", "0:80", "0:53/udp"]);
        let reserved = forwards(&["4001:80", "4002:80", "4003:53/udp"]);
        assert_eq!(
            chosen(&wanted, &missing, &reserved),
            forwards(&["4001:80", "90:90", "4002:80", "4003:53/udp"])
        );
    }
}
