//! The host's rules for machines that run, where somebody has taken them away: whoever loads a firewall anew does so. The
//! invariant: who runs is seen from the interfaces, what was switched on for them from its notes, and which ports lead to
//! them from their records; so all of the table can be made again.

use std::collections::HashMap;
use std::path::Path;

use rtnetlink::Handle;

use super::forwarding::Switched;
use super::links::{self, Link, Present};
use super::table::{self, Held};
use super::{check_root, failed, lock, namespace};
use crate::network::nft;
use crate::{Forward, Result};

/// The ports that lead to a machine that runs, and whether it has IPv6.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) forwards: Vec<Forward>,
    pub(crate) ipv6: bool,
}

/// Whether machines run without rules, and reach nothing, or are not reached by ports of theirs. Only root can tell. Blocks.
pub(crate) fn is_torn(nft: &Path) -> Result<bool> {
    namespace::on_a_thread(|| {
        let _lock = lock()?;
        let (present, held) = look(nft)?;
        let torn = |link: &Link| !held.exists || lacks(&held, link);
        Ok(present.ours.iter().any(torn))
    })
    .map_err(failed("thread"))?
}

/// Puts in again what the table lacks of machines that run, which are known by their instances; whether it lacked anything.
/// Blocks, and does nothing where this process is not root, who alone has such machines.
pub(crate) fn mend(nft: &Path, machines: &HashMap<String, Reached>) -> Result<bool> {
    if check_root().is_err() {
        return Ok(false);
    }
    namespace::on_a_thread(|| {
        let _lock = lock()?;
        let (present, held) = look(nft)?;
        if present.ours.is_empty() {
            return Ok(false);
        }
        let mut commands = held.or_rules(&Switched::noted(&present.of_loopback));
        for link in present.ours.iter().filter(|link| lacks(&held, link)) {
            // One of another data folder is that folder's to know.
            let Some(reached) = machines.get(&link.instance) else {
                continue;
            };
            let slot = links::talk(async |handle: Handle| links::slot(handle, link).await);
            let slot = slot.map_err(failed("addresses"))?;
            commands.extend(table::forwards(
                &reached.forwards,
                slot,
                reached.ipv6,
                &link.instance,
            ));
        }
        if commands.is_empty() {
            return Ok(false);
        }
        nft::apply(nft, &commands).map_err(failed("packet rules"))?;
        Ok(true)
    })
    .map_err(failed("thread"))?
}

fn look(nft: &Path) -> Result<(Present, Held)> {
    let present = links::talk(links::present).map_err(failed("interfaces"))?;
    let held = Held::load(nft).map_err(failed("packet rules"))?;
    Ok((present, held))
}

/// Whether ports of the host are claimed for the machine, and none leads to it.
fn lacks(held: &Held, link: &Link) -> bool {
    !link.claims.is_empty() && !held.has(&link.instance)
}
