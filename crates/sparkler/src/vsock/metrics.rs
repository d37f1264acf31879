//! Counters of one vsock device, named as in Firecracker's metrics (`vsock` section): rx is towards the guest.

use crate::counter::Counter;

/// All counters since the device was made.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Bytes sent to the guest.
    pub rx_bytes_count: Counter,
    /// Bytes of the guest taken by the host's streams.
    pub tx_bytes_count: Counter,
    /// Packets sent to the guest.
    pub rx_packets_count: Counter,
    /// Packets received from the guest.
    pub tx_packets_count: Counter,
    /// Connections begun.
    pub conns_added: Counter,
    /// Connections ended because the guest did not answer in time.
    pub conns_killed: Counter,
    /// Connections ended, for any reason.
    pub conns_removed: Counter,
    /// Streams of the host that failed on a write.
    pub tx_write_fails: Counter,
    /// Streams of the host that failed on a read.
    pub rx_read_fails: Counter,
}
