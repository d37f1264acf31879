//! Other forwards for a machine that runs. The invariant: a port is claimed before it leads anywhere and until it leads
//! nowhere, and the host's part of a change is one transaction of the kernel's.

use std::path::Path;

use rtnetlink::Handle;

use super::forwarding::Switched;
use super::links::{self, Link};
use super::table::{self, Held};
use super::{check_root, failed, lock, namespace};
use crate::network::nft;
use crate::{Error, Forward, Result};

/// The names of the ports that this boot has. Blocks.
pub(crate) fn claimed(instance: &str) -> Result<Vec<String>> {
    let link = namespace::on_a_thread(|| link_of(instance)).map_err(failed("thread"))?;
    link.map(|(link, _)| link.claims)
}

/// Has these ports of the host lead to the machine, and no other. `inside` has its namespace take them. Blocks.
pub(crate) fn change(
    nft: &Path,
    instance: &str,
    forwards: &[Forward],
    ipv6: bool,
    inside: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    check_root()?;
    let work = || {
        let _lock = lock()?;
        let (link, switched) = link_of(instance)?;
        let names: Vec<String> = forwards
            .iter()
            .map(|forward| links::claim(forward.protocol, forward.host_port))
            .collect();
        let (mut fresh, mut over) = (names.clone(), link.claims.clone());
        fresh.retain(|name| !link.claims.contains(name));
        over.retain(|name| !names.contains(name));
        for (name, forward) in names.iter().zip(forwards) {
            if fresh.contains(name) {
                claim(&link, name, *forward)?;
            }
        }
        inside()?;
        let slot = links::talk(async |handle: Handle| links::slot(handle, &link).await);
        let slot = slot.map_err(failed("addresses"))?;
        let held = Held::load(nft).map_err(failed("packet rules"))?;
        let commands = [
            held.or_rules(&switched),
            held.forget(instance),
            table::forwards(forwards, slot, ipv6, instance),
        ]
        .concat();
        nft::apply(nft, &commands).map_err(failed("packet rules"))?;
        links::talk(async |handle: Handle| links::drop_claims(handle, &link, &over).await)
            .map_err(failed("ports"))
    };
    namespace::on_a_thread(work).map_err(failed("thread"))?
}

/// A boot's interface, and what is switched on for all of them.
fn link_of(instance: &str) -> Result<(Link, Switched)> {
    let present = links::talk(links::present).map_err(failed("interfaces"))?;
    let switched = Switched::noted(&present.of_loopback);
    let own = present.ours.into_iter().find(|link| link.instance == instance);
    own.map(|link| (link, switched)).ok_or_else(|| Error::Network {
        reason: "the machine has no interface any more".to_owned(),
    })
}

fn claim(link: &Link, name: &str, forward: Forward) -> Result<()> {
    let claimed = links::talk(async |handle: Handle| links::add_claim(handle, link, name).await);
    claimed.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            crate::network::ports::refused(std::io::ErrorKind::AddrInUse.into(), forward)
        }
        _ => failed("ports")(error),
    })
}
