//! Counters of the metadata service, named as in Firecracker's metrics (`mmds` section): rx is what the guest sends.

use crate::counter::Counter;

/// All counters since the service was made.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Frames for the service.
    pub rx_accepted: Counter,
    /// IPv4 packets for the service that were not TCP.
    pub rx_accepted_unusual: Counter,
    /// TCP packets for the service.
    pub rx_count: Counter,
    /// GET requests with a token that is not valid.
    pub rx_invalid_token: Counter,
    /// GET requests without a token.
    pub rx_no_token: Counter,
    /// Bytes of frames to the guest.
    pub tx_bytes: Counter,
    /// Frames to the guest.
    pub tx_frames: Counter,
    /// Connections accepted.
    pub connections_created: Counter,
    /// Connections ended.
    pub connections_destroyed: Counter,
}
