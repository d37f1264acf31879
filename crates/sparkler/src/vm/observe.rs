//! What a machine does, counted.
//!
//! Invariant: counts come from whoever sees the thing itself (QEMU for the drives, the kernel for TAPs, the back-ends
//! in this process for the rest) and are read when a line is written, never kept twice.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Vm;
use crate::console;
use crate::devices::drive::Names;
use crate::devices::tap::{self, TapCounts};
use crate::metrics::{Counters, MetricsError};
use crate::mmds;
use crate::net;
use crate::qemu::qmp::command::{BlockCounters, QueryBlockstats};
use crate::vsock;

impl Vm {
    /// Reads all counters and writes a line, if the metrics have a target.
    pub async fn flush_metrics(&mut self) -> Result<(), MetricsError> {
        if self.metrics.wanted() {
            self.read_drives().await;
            self.read_counters();
        }
        self.metrics.write()
    }

    /// The same, of a machine that runs: nothing is written before the start.
    pub async fn flush_metrics_of_running(&mut self) -> Result<(), MetricsError> {
        if self.running.is_some() {
            self.flush_metrics().await
        } else {
            Ok(())
        }
    }

    /// Counts a signal that ends the process.
    pub fn count_signal(&mut self, number: i32) {
        let signals = &mut self.metrics.counters.signals;
        match number {
            libc::SIGHUP => signals.sighup = 1,
            libc::SIGXCPU => signals.sigxcpu = 1,
            libc::SIGXFSZ => signals.sigxfsz = 1,
            _ => {}
        }
    }

    /// Takes what the TAPs have carried before as told: only what this guest sends and gets is counted.
    pub(super) fn start_counting(&mut self) {
        self.read_counters();
        self.metrics.counters.net.told();
    }

    /// Reads all counters for the last time. QEMU tells of its drives only if it is still there: after the guest's own
    /// shutdown it is.
    pub(super) async fn read_last_counts(&mut self) {
        if self.metrics.wanted()
            && self
                .running
                .as_ref()
                .is_some_and(|running| running.shutdown.is_some())
        {
            self.read_drives().await;
        }
        self.read_counters();
    }

    /// Writes the last line, of a machine that has ended.
    pub(super) fn write_last_metrics(&mut self) {
        count_console(&mut self.metrics.counters, &self.host.console);
        if let Err(error) = self.metrics.write() {
            tracing::error!("Failed to write metrics while stopping: {error}");
        }
    }

    /// Keeps how long a pause or resumption took, and logs it.
    pub(super) fn tell_latency(&mut self, pause: bool, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let latencies = &mut self.metrics.counters.latencies_us;
        let (name, api, vmm) = if pause {
            ("pause", &mut latencies.pause_vm, &mut latencies.vmm_pause_vm)
        } else {
            ("resume", &mut latencies.resume_vm, &mut latencies.vmm_resume_vm)
        };
        (*api, *vmm) = (micros, micros);
        tracing::info!("'{name} vm' VMM action took {micros} us.");
    }

    async fn read_drives(&mut self) {
        let Some(running) = &mut self.running else { return };
        let stats = match running.qmp.execute(&QueryBlockstats {}).await {
            Ok(stats) => stats,
            Err(error) => {
                tracing::warn!("No counts of the drives: {error}");
                return;
            }
        };
        for (index, drive) in self.resources.drives.iter().enumerate() {
            let device = Names { index, generation: 0 }.device();
            if let Some(found) = stats.iter().find(|stats| stats.qdev == device) {
                count_drive(&mut self.metrics.counters, &drive.drive_id, &found.stats);
            }
        }
    }

    fn read_counters(&mut self) {
        let counters = &mut self.metrics.counters;
        count_console(counters, &self.host.console);
        counters.logger.missed_log_count.set(self.logger.missed());
        let Some(running) = &self.running else { return };
        if let Some(device) = &running.vsock {
            count_vsock(counters, device.metrics());
        }
        let taps = tap::counts();
        count_mmds(counters, self.mmds.metrics());
        for net in &self.resources.nets {
            if let Some(pump) = running.pumps.get(&net.iface_id) {
                count_pump(counters, &net.iface_id, pump.metrics());
            } else if let Some(seen) = taps.get(&net.host_dev_name) {
                count_tap(counters, &net.iface_id, seen);
            }
        }
    }
}

fn count_drive(counters: &mut Counters, id: &str, seen: &BlockCounters) {
    let drive = counters.block.of(id);
    drive.read_bytes.set(seen.rd_bytes);
    drive.write_bytes.set(seen.wr_bytes);
    drive.read_count.set(seen.rd_operations);
    drive.write_count.set(seen.wr_operations);
    drive.flush_count.set(seen.flush_operations);
    drive.read_agg.sum_us.set(seen.rd_total_time_ns / 1000);
    drive.write_agg.sum_us.set(seen.wr_total_time_ns / 1000);
    drive
        .invalid_reqs_count
        .set(seen.invalid_rd_operations + seen.invalid_wr_operations);
    let failed = seen.failed_rd_operations + seen.failed_wr_operations + seen.failed_flush_operations;
    drive.execute_fails.set(failed);
}

fn count_console(counters: &mut Counters, seen: &console::Counters) {
    let uart = &mut counters.uart;
    uart.write_count.set(seen.written.load(Relaxed));
    uart.missed_write_count.set(seen.missed.load(Relaxed));
    uart.read_count.set(seen.read.load(Relaxed));
    uart.rate_limiter_dropped_bytes.set(seen.limited.load(Relaxed));
}

fn count_vsock(counters: &mut Counters, seen: &vsock::Metrics) {
    let vsock = &mut counters.vsock;
    vsock.rx_bytes_count.set(seen.rx_bytes_count.get());
    vsock.tx_bytes_count.set(seen.tx_bytes_count.get());
    vsock.rx_packets_count.set(seen.rx_packets_count.get());
    vsock.tx_packets_count.set(seen.tx_packets_count.get());
    vsock.conns_added.set(seen.conns_added.get());
    vsock.conns_killed.set(seen.conns_killed.get());
    vsock.conns_removed.set(seen.conns_removed.get());
    vsock.tx_write_fails.set(seen.tx_write_fails.get());
    vsock.rx_read_fails.set(seen.rx_read_fails.get());
}

/// The kernel's own counts of a TAP, of which what it received is what the guest sent.
fn count_tap(counters: &mut Counters, id: &str, seen: &TapCounts) {
    let net = counters.net.of(id);
    net.tx_bytes_count.set(seen.received.bytes);
    net.tx_packets_count.set(seen.received.packets);
    net.tx_count.set(seen.received.packets);
    net.tx_fails.set(seen.received.errors);
    net.rx_bytes_count.set(seen.sent.bytes);
    net.rx_packets_count.set(seen.sent.packets);
    net.rx_count.set(seen.sent.packets);
    net.rx_fails.set(seen.sent.errors);
}

fn count_pump(counters: &mut Counters, id: &str, seen: &net::Metrics) {
    let net = counters.net.of(id);
    net.rx_bytes_count.set(seen.rx_bytes_count.get());
    net.rx_packets_count.set(seen.rx_packets_count.get());
    net.rx_count.set(seen.rx_packets_count.get());
    net.rx_rate_limiter_throttled
        .set(seen.rx_rate_limiter_throttled.get());
    net.tx_bytes_count.set(seen.tx_bytes_count.get());
    net.tx_packets_count.set(seen.tx_packets_count.get());
    net.tx_count.set(seen.tx_packets_count.get());
    net.tx_rate_limiter_throttled
        .set(seen.tx_rate_limiter_throttled.get());
    net.tap_write_fails.set(seen.tap_write_fails.get());
    net.tx_malformed_frames.set(seen.tx_malformed_frames.get());
    net.tx_spoofed_mac_count.set(seen.tx_spoofed_mac_count.get());
}

fn count_mmds(counters: &mut Counters, seen: &mmds::Metrics) {
    let mmds = &mut counters.mmds;
    mmds.rx_accepted.set(seen.rx_accepted.get());
    mmds.rx_accepted_unusual.set(seen.rx_accepted_unusual.get());
    mmds.rx_count.set(seen.rx_count.get());
    mmds.rx_invalid_token.set(seen.rx_invalid_token.get());
    mmds.rx_no_token.set(seen.rx_no_token.get());
    mmds.tx_bytes.set(seen.tx_bytes.get());
    mmds.tx_frames.set(seen.tx_frames.get());
    mmds.connections_created.set(seen.connections_created.get());
    mmds.connections_destroyed.set(seen.connections_destroyed.get());
}
