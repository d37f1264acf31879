//! Counters of one pumped interface, named as in Firecracker's metrics (`net` section): rx is towards the guest.

use crate::counter::Counter;

/// All counters since the interface was made.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Bytes of frames from the TAP to the guest.
    pub rx_bytes_count: Counter,
    /// Frames from the TAP to the guest.
    pub rx_packets_count: Counter,
    /// How often a frame to the guest had to wait for tokens.
    pub rx_rate_limiter_throttled: Counter,
    /// Bytes of frames from the guest to the TAP.
    pub tx_bytes_count: Counter,
    /// Frames from the guest to the TAP.
    pub tx_packets_count: Counter,
    /// How often a frame of the guest had to wait for tokens.
    pub tx_rate_limiter_throttled: Counter,
    /// Frames of the guest the TAP did not take.
    pub tap_write_fails: Counter,
    /// Frames of the guest that were none.
    pub tx_malformed_frames: Counter,
    /// Frames of the guest with another address than its own.
    pub tx_spoofed_mac_count: Counter,
}
