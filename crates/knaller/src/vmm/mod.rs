//! Which VMM runs a machine. The invariant: "auto" picks Firecracker only where it will work, so only where KVM is really
//! usable.

use std::path::PathBuf;

use crate::{Error, Options, Result, Vmm, programs};

pub(crate) mod kvm;
mod needs;

pub(crate) const FIRECRACKER: &str = "firecracker";

/// The name of our own VMM.
pub(crate) const SPARKLER: &str = "sparkler";

/// The VMM that a machine gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// `firecracker` or `sparkler`.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    /// What sparkler runs. Where links lead: QEMU looks for its firmware beside where it is called by.
    pub(crate) qemu: Option<PathBuf>,
    /// Whether guests run on the processor. sparkler is told, since it cannot see for itself in a jail.
    pub(crate) kvm: bool,
    /// Why this one, for `doctor`.
    pub(crate) reason: String,
}

impl Chosen {
    /// As the API says it too, in `vmm_version`; nothing if the program does not tell. Blocks.
    pub(crate) fn version(&self) -> Option<String> {
        // sparkler says it in the same words: it is taken for a Firecracker by those who ask.
        let line = programs::version(&self.program)?;
        line.strip_prefix("Firecracker v").map(str::to_owned)
    }
}

/// Follows the spec's wish, else the host's means.
pub(crate) fn choose(wish: Vmm, options: &Options) -> Result<Chosen> {
    match wish {
        Vmm::Firecracker => {
            let reason = "it was asked for".to_owned();
            if let Err(why) = kvm::usable() {
                return Err(Error::ProgramMissing {
                    program: "a usable KVM".to_owned(),
                    hint: format!("Firecracker needs it: {why}; use --vmm sparkler"),
                });
            }
            Ok(Chosen {
                name: FIRECRACKER,
                program: options.firecracker()?,
                qemu: None,
                kvm: true,
                reason,
            })
        }
        Vmm::Sparkler => sparkler(options, "it was asked for".to_owned()),
        Vmm::Auto => match (kvm::usable(), options.firecracker()) {
            (Ok(()), Ok(program)) => {
                let reason = "KVM is usable and firecracker was found".to_owned();
                Ok(Chosen {
                    name: FIRECRACKER,
                    program,
                    qemu: None,
                    kvm: true,
                    reason,
                })
            }
            (Ok(()), Err(_)) => sparkler(options, "firecracker was not found".to_owned()),
            (Err(why), _) => sparkler(options, why.to_string()),
        },
    }
}

fn sparkler(options: &Options, reason: String) -> Result<Chosen> {
    let qemu = options.qemu()?;
    Ok(Chosen {
        name: SPARKLER,
        program: options.sparkler()?,
        qemu: Some(qemu.canonicalize().map_err(Error::io("find", &qemu))?),
        kvm: kvm::usable().is_ok(),
        reason,
    })
}
