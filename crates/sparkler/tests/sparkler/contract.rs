//! The contract of the API: the same requests and answers as a real Firecracker.

use std::error::Error;

use firecracker_api::contract::{Capability, Files, Fresh, Server, run};

use super::guest;
use super::machine::{BOOT_ARGS, Machine};

/// A sparkler in a network namespace of its own, with a TAP.
struct Sparkler;

impl Server for Sparkler {
    fn offers(&self, capability: Capability) -> bool {
        matches!(
            capability,
            Capability::Start | Capability::Tap | Capability::Keyboard | Capability::Snapshots
        )
    }

    async fn fresh(&self) -> Result<Fresh, Box<dyn Error + Send + Sync>> {
        let machine = Machine::in_namespace(&[]);
        let boot = guest::boot();
        let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        // Short, since a socket is asked for in its place.
        let kernel = machine.path("kernel");
        std::os::unix::fs::symlink(&boot.vmlinux, &kernel)?;
        let files = Files {
            folder: text(machine.sandbox.path()),
            kernel: text(&kernel),
            initrd: Some(text(&boot.initrd)),
            boot_args: BOOT_ARGS.to_owned(),
            drive: machine.file("drive", &vec![0; 4 << 20]),
            other_drive: machine.file("other", &vec![0; 6 << 20]),
            tap: Some("tap0".to_owned()),
        };
        Ok(Fresh {
            socket: machine.socket(),
            files,
            guard: Box::new(machine),
        })
    }
}

#[test]
fn the_contract_is_kept() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(run(&Sparkler, |_| true));
    println!("{report}");
    assert!(report.is_kept(), "{report}");
}
