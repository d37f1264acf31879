//! A machine that runs: its QEMU and what serves it.
//!
//! Invariant: exists only while there is a QEMU; taking it apart ([`Running::finish`]) leaves nothing behind.

use std::collections::HashMap;
use std::time::Duration;

use super::limits::Direction;
use crate::console::Console;
use crate::memory::Memory;
use crate::net::{Pump, Shaper};
use crate::qemu::end::End;
use crate::qemu::process::Process;
use crate::qemu::qmp::{Event, Qmp};
use crate::vsock;

/// How long a QEMU that has closed its control socket may take to end by itself, so that its own code is learnt.
const ENDING: Duration = Duration::from_secs(5);

/// A running machine.
#[derive(Debug)]
pub struct Running {
    /// QEMU's process.
    pub process: Process,
    /// Its control connection.
    pub qmp: Qmp,
    /// The serial console.
    pub console: Console,
    /// The vsock device.
    pub vsock: Option<vsock::Device>,
    /// The pumps of interfaces that have one, by interface id.
    pub pumps: HashMap<String, Pump>,
    /// Limits on interfaces without a pump, by the interface's place.
    pub shapers: HashMap<(usize, Direction), Shaper>,
    /// How often each drive's file was replaced, by place.
    pub generations: Vec<u64>,
    /// The guest's memory.
    pub memory: Memory,
    /// The guest's own shutdown, once QEMU has told it.
    pub shutdown: Option<Event>,
}

impl Running {
    /// Waits until the machine has ended. May be dropped while it waits.
    pub async fn ended(&mut self) {
        tokio::select! {
            event = self.qmp.event() => match event {
                Ok(event) => self.shutdown = Some(event),
                Err(error) => {
                    tracing::debug!("control socket: {error}");
                    let _ = tokio::time::timeout(ENDING, self.process.wait()).await;
                }
            },
            _ = self.process.wait() => {}
        }
    }

    /// Takes the machine apart and says how it ended.
    pub async fn finish(self) -> End {
        let remains = self.process.finish().await;
        let panic = self.console.drain().await;
        drop((self.vsock, self.pumps, self.shapers));
        End::judge(self.shutdown.as_ref(), &remains, panic)
    }
}
