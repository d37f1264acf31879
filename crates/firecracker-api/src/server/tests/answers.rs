use hyper::StatusCode;
use serde_json::{Value, json};

use crate::models::{
    Balloon, BalloonHintingStatus, BalloonStats, BootSource, Drive, EntropyDevice, FullVmConfiguration,
    InstanceInfo, MachineConfiguration, MmdsConfig, NetworkInterface, Pmem, RateLimiter, TokenBucket, Vsock,
};
use crate::server::{Answer, Fault};

fn json_of(answer: &Answer) -> Value {
    let (status, body) = answer.render();
    assert_eq!(status, StatusCode::OK);
    serde_json::from_slice(&body.unwrap()).unwrap()
}

/// As Firecracker's own test expects it (`test_get_full_config` in `tests/integration_tests/functional/test_api.py`).
#[test]
fn a_configuration_names_what_is_absent() {
    let limiter = RateLimiter {
        bandwidth: Some(TokenBucket {
            size: 1_000_000,
            one_time_burst: None,
            refill_time: 100,
        }),
        ops: None,
    };
    let config = FullVmConfiguration {
        drives: vec![Drive {
            drive_id: "rootfs".into(),
            is_root_device: true,
            path_on_host: Some("/rootfs".into()),
            ..Drive::default()
        }],
        boot_source: BootSource {
            kernel_image_path: "/vmlinux".into(),
            ..BootSource::default()
        },
        machine_config: Some(MachineConfiguration::default()),
        balloon: Some(Balloon {
            amount_mib: 1,
            deflate_on_oom: true,
            ..Balloon::default()
        }),
        mmds_config: Some(MmdsConfig {
            network_interfaces: vec!["eth0".into()],
            ..MmdsConfig::default()
        }),
        network_interfaces: vec![NetworkInterface {
            iface_id: "eth0".into(),
            host_dev_name: "tap0".into(),
            tx_rate_limiter: Some(limiter),
            ..NetworkInterface::default()
        }],
        vsock: Some(Vsock {
            guest_cid: 15,
            uds_path: "v.sock".into(),
            vsock_id: None,
        }),
        entropy: Some(EntropyDevice::default()),
        pmem: vec![Pmem {
            id: "pmem".into(),
            path_on_host: "/p".into(),
            ..Pmem::default()
        }],
        ..FullVmConfiguration::default()
    };
    let expected = json!({
        "balloon": {
            "amount_mib": 1, "deflate_on_oom": true, "stats_polling_interval_s": 0,
            "free_page_hinting": false, "free_page_reporting": false,
        },
        "drives": [{
            "drive_id": "rootfs", "partuuid": null, "is_root_device": true, "cache_type": "Unsafe",
            "is_read_only": null, "path_on_host": "/rootfs", "rate_limiter": null, "io_engine": null, "socket": null,
        }],
        "boot-source": {"kernel_image_path": "/vmlinux", "initrd_path": null, "boot_args": null},
        "cpu-config": null,
        "logger": null,
        "machine-config": {
            "vcpu_count": 1, "mem_size_mib": 128, "smt": false, "track_dirty_pages": false, "huge_pages": "None",
        },
        "metrics": null,
        "mmds-config": {
            "version": "V1", "network_interfaces": ["eth0"], "ipv4_address": null, "imds_compat": false,
        },
        "network-interfaces": [{
            "iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": null, "mtu": null, "rx_rate_limiter": null,
            "tx_rate_limiter": {
                "bandwidth": {"size": 1_000_000, "one_time_burst": null, "refill_time": 100}, "ops": null,
            },
        }],
        "vsock": {"guest_cid": 15, "uds_path": "v.sock"},
        "entropy": {"rate_limiter": null},
        "pmem": [{
            "id": "pmem", "path_on_host": "/p", "root_device": false, "read_only": false, "rate_limiter": null,
        }],
        "memory-hotplug": null,
    });
    assert_eq!(json_of(&Answer::VmConfig(Box::new(config.clone()))), expected);
    // And a client reads it back as it was.
    assert_eq!(
        serde_json::from_value::<FullVmConfiguration>(expected).unwrap(),
        config
    );
}

#[test]
fn other_answers_look_like_firecrackers() {
    let info = InstanceInfo {
        id: "a".into(),
        vmm_version: "1.17.0".into(),
        app_name: "F".into(),
        ..Default::default()
    };
    assert_eq!(
        json_of(&Answer::Instance(info)),
        json!({"id": "a", "state": "Not started", "vmm_version": "1.17.0", "app_name": "F"})
    );
    assert_eq!(
        json_of(&Answer::Version("1.17.0".into())),
        json!({"firecracker_version": "1.17.0"})
    );
    assert_eq!(
        json_of(&Answer::Balloon(Balloon::default())),
        json!({
            "amount_mib": 0, "deflate_on_oom": false, "stats_polling_interval_s": 0,
            "free_page_hinting": false, "free_page_reporting": false,
        })
    );
    assert_eq!(
        json_of(&Answer::BalloonHinting(BalloonHintingStatus::default())),
        json!({"host_cmd": 0, "guest_cmd": null})
    );
    assert_eq!(
        json_of(&Answer::BalloonStatistics(Box::new(BalloonStats {
            swap_in: Some(3),
            ..Default::default()
        }))),
        json!({"target_pages": 0, "actual_pages": 0, "target_mib": 0, "actual_mib": 0, "swap_in": 3})
    );
    assert_eq!(json_of(&Answer::Mmds(Value::Null)), json!({}));
    assert_eq!(json_of(&Answer::Mmds(json!({"a": null}))), json!({"a": null}));
}

#[test]
fn done_is_silent_and_faults_speak() {
    assert_eq!(Answer::Done.render(), (StatusCode::NO_CONTENT, None));
    let (status, body) = Answer::from(Err(Fault::mmds_too_large())).render();
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        body.unwrap(),
        br#"{"fault_message":"MMDS limit exceeded error: The MMDS patch request doesn't fit."}"#
    );
}
