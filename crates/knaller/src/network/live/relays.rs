//! The processes that carry ports into a machine. The invariant: there is one for each forward, and its command line says
//! which, behind the machine's instance id; nothing else knows of them.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{Scene, errand};
use crate::helper::{ERRAND, Errand};
use crate::network::ports::Reserved;
use crate::process::{self, Boot, Process};
use crate::relay::Port;
use crate::{Error, Forward, Result};

/// How long a killed one may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What those of a boot carry.
pub(super) fn forwards(boot: &Boot) -> Result<Vec<Forward>> {
    Ok(of(boot)?.into_iter().map(|(forward, _)| forward).collect())
}

fn of(boot: &Boot) -> Result<Vec<(Forward, Process)>> {
    let failed = |error| Error::system("look for a machine's processes")(error);
    let mut found = Vec::new();
    for process in process::of(boot).map_err(failed)? {
        let words = process.words().map_err(failed)?;
        if let Some(forward) = carried(&words, &boot.instance) {
            found.push((forward, process));
        }
    }
    Ok(found)
}

/// What the process with this command line carries, if it does.
fn carried(words: &[String], instance: &str) -> Option<Forward> {
    match words {
        [_, errand, id, forward, ..] if errand == ERRAND && id == instance => forward.parse().ok(),
        _ => None,
    }
}

/// Starts one, which takes the forward's sockets over.
pub(super) fn start(scene: &Scene<'_>, forward: Forward, reserved: &Reserved) -> Result<()> {
    let port = Port {
        forward,
        ipv6: scene.record.ipv6,
    };
    let handed: Vec<BorrowedFd<'_>> = [scene.vmm.handle()]
        .into_iter()
        .chain(reserved.sockets(forward))
        .collect();
    errand::run(scene, &Errand::Carry(port), Some(forward), &handed)
}

/// Ends those of a boot that carry one of `which`. Returns when their ports are free.
pub(super) fn end(boot: &Boot, which: impl Fn(&Forward) -> bool) -> Result<()> {
    loop {
        let mut ended = of(boot)?;
        ended.retain(|(forward, _)| which(forward));
        // Again, since one that is only just starting has a child, which was not there to be found.
        if ended.is_empty() {
            return Ok(());
        }
        for (forward, process) in ended {
            if !process.kill(PATIENCE).map_err(Error::system("end a process"))? {
                return Err(Error::Timeout {
                    what: format!("the process that carries {forward}"),
                    after: PATIENCE,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_carries() {
        let id = uuid::Uuid::new_v4().to_string();
        let words = |line: &[&str]| -> Vec<String> { line.iter().map(|word| (*word).to_owned()).collect() };
        let udp = words(&["/lib/knaller-netns", "errand", &id, "[::1]:5353:53/udp", ""]);
        assert_eq!(carried(&udp, &id), Some("[::1]:5353:53/udp".parse().unwrap()));
        for other in [
            &["/lib/knaller-netns", "errand", &id, ""][..],
            &["/lib/knaller-netns", "errand", "another", "80:80", ""],
            &["vmm", "--id", &id, "80:80"],
            &[],
        ] {
            assert_eq!(carried(&words(other), &id), None);
        }
    }
}
