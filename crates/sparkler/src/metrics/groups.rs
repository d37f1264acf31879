//! The groups of Firecracker's metrics.
//!
//! Source: `src/vmm/src/logger/metrics.rs` and the `metrics.rs` of each device in Firecracker. What QEMU tells nobody
//! stays zero; the crate's README says which.

use super::count::{Count, groups};

groups! {
    /// `api_server`
    ApiServer { process_startup_time_us: u64, process_startup_time_cpu_us: u64 }

    /// `balloon`
    Balloon {
        activate_fails: Count, inflate_count: Count, stats_updates_count: Count, stats_update_fails: Count,
        deflate_count: Count, event_fails: Count, free_page_report_count: Count, free_page_report_freed: Count,
        free_page_report_fails: Count, free_page_hint_count: Count, free_page_hint_freed: Count,
        free_page_hint_fails: Count,
    }

    /// `block` and `block_ID`
    Block {
        activate_fails: Count, cfg_fails: Count, no_avail_buffer: Count, event_fails: Count, execute_fails: Count,
        invalid_reqs_count: Count, flush_count: Count, queue_event_count: Count, rate_limiter_event_count: Count,
        update_count: Count, update_fails: Count, read_bytes: Count, write_bytes: Count, read_count: Count,
        write_count: Count, read_agg: Latency, write_agg: Latency, rate_limiter_throttled_events: Count,
        io_engine_throttled_events: Count, remaining_reqs_count: Count,
    }

    /// Times of many events.
    Latency { min_us: u64, max_us: u64, sum_us: Count }

    /// `deprecated_api`
    Deprecated { deprecated_http_api_calls: Count }

    /// `get_api_requests`
    GetRequests {
        instance_info_count: Count, machine_cfg_count: Count, mmds_count: Count, vmm_version_count: Count,
        hotplug_memory_count: Count,
    }

    /// `i8042`
    I8042 {
        error_count: Count, missed_read_count: Count, missed_write_count: Count, read_count: Count,
        reset_count: Count, write_count: Count,
    }

    /// `rtc`, on aarch64
    Rtc { error_count: Count, missed_read_count: Count, missed_write_count: Count }

    /// `uart`
    Uart {
        error_count: Count, flush_count: Count, missed_read_count: Count, missed_write_count: Count,
        read_count: Count, write_count: Count, rate_limiter_dropped_bytes: Count,
    }

    /// `latencies_us`
    Latencies {
        full_create_snapshot: u64, diff_create_snapshot: u64, load_snapshot: u64, pause_vm: u64, resume_vm: u64,
        vmm_full_create_snapshot: u64, vmm_diff_create_snapshot: u64, vmm_load_snapshot: u64, vmm_pause_vm: u64,
        vmm_resume_vm: u64,
    }

    /// `logger`
    LoggerSystem {
        missed_metrics_count: Count, metrics_fails: Count, missed_log_count: Count, rate_limited_log_count: Count,
    }

    /// `mmds`
    Mmds {
        rx_accepted: Count, rx_accepted_err: Count, rx_accepted_unusual: Count, rx_bad_eth: Count,
        rx_invalid_token: Count, rx_no_token: Count, rx_count: Count, tx_bytes: Count, tx_count: Count,
        tx_errors: Count, tx_frames: Count, connections_created: Count, connections_destroyed: Count,
    }

    /// `net` and `net_ID`
    Net {
        activate_fails: Count, cfg_fails: Count, no_rx_avail_buffer: Count, no_tx_avail_buffer: Count,
        event_fails: Count, rx_queue_event_count: Count, rx_event_rate_limiter_count: Count,
        rx_rate_limiter_throttled: Count, rx_tap_event_count: Count, rx_bytes_count: Count,
        rx_packets_count: Count, rx_fails: Count, rx_count: Count, tap_read_fails: Count, tap_write_fails: Count,
        tap_write_agg: Latency, tx_bytes_count: Count, tx_malformed_frames: Count, tx_fails: Count,
        tx_count: Count, tx_packets_count: Count, tx_queue_event_count: Count, tx_rate_limiter_event_count: Count,
        tx_rate_limiter_throttled: Count, tx_spoofed_mac_count: Count, tx_remaining_reqs_count: Count,
    }

    /// `patch_api_requests`
    PatchRequests {
        drive_count: Count, drive_fails: Count, network_count: Count, network_fails: Count,
        machine_cfg_count: Count, machine_cfg_fails: Count, mmds_count: Count, mmds_fails: Count,
        hotplug_memory_count: Count, hotplug_memory_fails: Count, pmem_count: Count, pmem_fails: Count,
    }

    /// `put_api_requests`
    PutRequests {
        actions_count: Count, actions_fails: Count, boot_source_count: Count, boot_source_fails: Count,
        drive_count: Count, drive_fails: Count, logger_count: Count, logger_fails: Count, machine_cfg_count: Count,
        machine_cfg_fails: Count, cpu_cfg_count: Count, cpu_cfg_fails: Count, metrics_count: Count,
        metrics_fails: Count, network_count: Count, network_fails: Count, mmds_count: Count, mmds_fails: Count,
        vsock_count: Count, vsock_fails: Count, pmem_count: Count, pmem_fails: Count, serial_count: Count,
        serial_fails: Count, hotplug_memory_count: Count, hotplug_memory_fails: Count,
    }

    /// `seccomp`
    Seccomp { num_faults: u64 }

    /// `vcpu`
    Vcpu {
        exit_io_in: Count, exit_io_out: Count, exit_mmio_read: Count, exit_mmio_write: Count, failures: Count,
        kvmclock_ctrl_fails: Count, exit_io_in_agg: Latency, exit_io_out_agg: Latency, exit_mmio_read_agg: Latency,
        exit_mmio_write_agg: Latency,
    }

    /// `vmm`
    Vmm { panic_count: u64 }

    /// `signals`
    Signals {
        sigbus: u64, sigsegv: u64, sigxfsz: u64, sigxcpu: u64, sigpipe: Count, sighup: u64, sigill: u64,
    }

    /// `vsock`
    Vsock {
        activate_fails: Count, cfg_fails: Count, rx_queue_event_fails: Count, tx_queue_event_fails: Count,
        ev_queue_event_fails: Count, muxer_event_fails: Count, conn_event_fails: Count, rx_queue_event_count: Count,
        tx_queue_event_count: Count, rx_bytes_count: Count, tx_bytes_count: Count, rx_packets_count: Count,
        tx_packets_count: Count, conns_added: Count, conns_killed: Count, conns_removed: Count, killq_resync: Count,
        tx_flush_fails: Count, tx_write_fails: Count, rx_read_fails: Count,
    }

    /// `entropy`
    Entropy {
        activate_fails: Count, entropy_event_fails: Count, entropy_event_count: Count, entropy_bytes: Count,
        host_rng_fails: Count, entropy_rate_limiter_throttled: Count, rate_limiter_event_count: Count,
    }

    /// `pmem`
    Pmem {
        activate_fails: Count, cfg_fails: Count, event_fails: Count, queue_event_count: Count,
        rate_limiter_throttled_events: Count, rate_limiter_event_count: Count,
    }

    /// `interrupts`
    Interrupts { triggers: Count, config_updates: Count }

    /// `memory_hotplug`
    MemoryHotplug {
        activate_fails: Count, queue_event_fails: Count, queue_event_count: Count, plug_agg: Latency,
        plug_count: Count, plug_bytes: Count, plug_fails: Count, unplug_agg: Latency, unplug_count: Count,
        unplug_bytes: Count, unplug_fails: Count, unplug_discard_fails: Count, unplug_all_agg: Latency,
        unplug_all_count: Count, unplug_all_fails: Count, state_agg: Latency, state_count: Count,
        state_fails: Count,
    }
}
