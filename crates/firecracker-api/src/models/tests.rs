use std::fmt::Debug;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

impl<V: Bits + Debug + Arbitrary + 'static> Arbitrary for Bitmap<V> {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        any::<(V, V)>()
            .prop_map(|(filter, bits)| Self {
                filter,
                value: filter & bits,
            })
            .boxed()
    }
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(holds_null),
        Value::Object(members) => members.values().any(holds_null),
        _ => false,
    }
}

/// What is written reads back as it was, from text and from a value, and names nothing that is absent.
fn round_trips<T: Arbitrary + Serialize + DeserializeOwned + PartialEq + Debug>() {
    proptest!(ProptestConfig::with_cases(64), |(model: T)| {
        let text = serde_json::to_string(&model).unwrap();
        prop_assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), &model, "{}", text);
        let value = serde_json::to_value(&model).unwrap();
        prop_assert!(!holds_null(&value), "an absent field is written: {}", text);
        prop_assert_eq!(&serde_json::from_value::<T>(value).unwrap(), &model, "{}", text);
    });
}

macro_rules! every_model_round_trips {
    ($($model:ident)*) => {
        $(#[test]
        #[expect(non_snake_case, reason = "named after the model")]
        fn $model() {
            round_trips::<super::$model>();
        })*
    };
}

mod round_trip {
    use super::round_trips;

    every_model_round_trips! {
        Balloon BalloonHintingStatus BalloonStartCmd BalloonStats BalloonStatsUpdate BalloonUpdate BootSource CacheType
        CpuConfig CpuConfigSource CpuTemplate Drive EntropyDevice FirecrackerVersion FullVmConfiguration HugePages
        InstanceActionInfo InstanceInfo InstanceState IoEngine KvmCapability LogLevel Logger MacAddress
        MachineConfiguration MemoryBackend MemoryHotplugConfig MemoryHotplugSizeUpdate MemoryHotplugStatus Metrics
        MmdsConfig MmdsVersion NetworkInterface NetworkOverride PartialDrive PartialMachineConfiguration
        PartialNetworkInterface PartialPmem Pmem RateLimiter SerialDevice SnapshotCreateParams SnapshotLoadParams
        TokenBucket Vm Vsock VsockOverride
    }
}

mod round_trip_bitmap {
    use super::{Bitmap, round_trips};

    #[test]
    fn of_32_64_and_128_bits() {
        round_trips::<Bitmap<u32>>();
        round_trips::<Bitmap<u64>>();
        round_trips::<Bitmap<u128>>();
    }
}

fn refusal<T: DeserializeOwned + Debug>(json: &str) -> String {
    serde_json::from_str::<T>(json).unwrap_err().to_string()
}

#[test]
fn refusals_are_worded_as_firecracker_words_them() {
    assert_eq!(
        refusal::<Drive>(r#"{"drive_id":"a","is_root_device":false,"size":1}"#),
        "unknown field `size`, expected one of `drive_id`, `partuuid`, `is_root_device`, `cache_type`, \
         `is_read_only`, `path_on_host`, `rate_limiter`, `io_engine`, `socket` at line 1 column 45"
    );
    assert_eq!(
        refusal::<Drive>("7"),
        "invalid type: integer `7`, expected struct BlockDeviceConfig at line 1 column 1"
    );
    // The one known difference: Firecracker adds "with 9 elements" to this text.
    assert_eq!(
        refusal::<Drive>("[]"),
        "invalid length 0, expected struct BlockDeviceConfig at line 1 column 2"
    );
    assert_eq!(
        refusal::<NetworkInterface>(r#"{"iface_id":"a","host_dev_name":"t","guest_mac":"12:34"}"#),
        "The provided MAC address is invalid. at line 1 column 56"
    );
    assert_eq!(
        refusal::<MachineConfiguration>(r#"{"vcpu_count":256,"mem_size_mib":1}"#),
        "invalid value: integer `256`, expected u8 at line 1 column 17"
    );
    assert_eq!(
        refusal::<MachineConfiguration>(r#"{"vcpu_count":1,"mem_size_mib":-1}"#),
        "invalid value: integer `-1`, expected usize at line 1 column 33"
    );
    assert_eq!(
        refusal::<InstanceActionInfo>(r#"{"action_type":"Stop"}"#),
        "unknown variant `Stop`, expected one of `FlushMetrics`, `InstanceStart`, `SendCtrlAltDel` at line 1 column 21"
    );
    assert_eq!(
        refusal::<Logger>(r#"{"level":"loud"}"#),
        "Invalid LevelFilter at line 1 column 16"
    );
    assert_eq!(
        refusal::<FullVmConfiguration>(
            r#"{"drives":[],"boot-source":{"kernel_image_path":""},"cpu-config":1}"#
        ),
        "data did not match any variant of untagged enum CustomCpuTemplateOrPath at line 1 column 67"
    );
    assert_eq!(
        refusal::<KvmCapability>(r#""!x""#),
        "Failed to parse string [!x] as a kvm capability - can not convert to numeric: invalid digit found in string"
    );
    assert_eq!(
        refusal::<Bitmap<u32>>(r#""0b2""#),
        "Failed to parse string [0b2] as a bitmap - unknown character: 50"
    );
    assert_eq!(
        refusal::<Bitmap<u32>>(r#""0b111111111111111111111111111111111""#),
        "Failed to parse string [0b111111111111111111111111111111111] as a bitmap - string is too long"
    );
}

#[test]
fn what_firecracker_ignores_is_ignored() {
    serde_json::from_str::<TokenBucket>(r#"{"size":1,"refill_time":1,"rate":9}"#).unwrap();
    serde_json::from_str::<Metrics>(r#"{"metrics_path":"m","rotate":true}"#).unwrap();
    serde_json::from_str::<FullVmConfiguration>(
        r#"{"drives":[],"boot-source":{"kernel_image_path":"k"},"future":{}}"#,
    )
    .unwrap();
    assert_eq!(
        serde_json::from_str::<LogLevel>(r#""wArNiNg""#).unwrap(),
        LogLevel::Warn
    );
}

#[test]
fn a_plain_request_says_nothing_an_old_server_does_not_know() {
    let drive = Drive {
        drive_id: "root".into(),
        is_root_device: true,
        ..Drive::default()
    };
    assert_eq!(
        serde_json::to_value(drive).unwrap(),
        json!({"drive_id": "root", "is_root_device": true, "cache_type": "Unsafe"})
    );
    let load = SnapshotLoadParams {
        snapshot_path: "s".into(),
        ..SnapshotLoadParams::default()
    };
    assert_eq!(
        serde_json::to_value(load).unwrap(),
        json!({"snapshot_path": "s", "resume_vm": false})
    );
}

#[test]
fn a_bitmap_keeps_the_bits_it_does_not_name() {
    let bitmap: Bitmap<u32> = serde_json::from_str(r#""0bx0_1""#).unwrap();
    assert_eq!(
        bitmap,
        Bitmap {
            filter: 0b011,
            value: 0b001
        }
    );
    assert_eq!(bitmap.to_string(), format!("0b{}01", "x".repeat(30)));
}

proptest! {
    #[test]
    fn a_bucket_limits_unless_it_cannot(bucket: TokenBucket) {
        let overflows = bucket.refill_time > u64::MAX / 1_000_000;
        prop_assert_eq!(bucket.limits(), bucket.size > 0 && bucket.refill_time > 0 && !overflows);
        prop_assert_eq!(bucket.in_force().is_some(), bucket.limits());
        prop_assert_eq!(bucket.per_second().is_some(), bucket.limits());
    }

    #[test]
    fn mac_addresses_read_as_they_are_written(text in "([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}") {
        prop_assert_eq!(text.parse::<MacAddress>().unwrap().to_string(), text.to_lowercase());
    }

    #[test]
    fn what_is_no_mac_address_is_refused(text in "([0-9a-f]{1,3}:){0,4}[0-9a-f]{2}|([0-9a-f]{2}:){6}[0-9a-f]{2}|.{0,16}") {
        prop_assert_eq!(text.parse::<MacAddress>(), Err(InvalidMac(text)));
    }
}

#[test]
fn rates_are_per_second() {
    let bucket = |size, refill_time| TokenBucket {
        size,
        one_time_burst: None,
        refill_time,
    };
    assert_eq!(bucket(1000, 1000).per_second(), Some(1000));
    assert_eq!(bucket(1000, 250).per_second(), Some(4000));
    assert_eq!(bucket(1, 3000).per_second(), Some(0));
    assert_eq!(bucket(0, 1000).per_second(), None);
    assert_eq!(bucket(u64::MAX, 1).per_second(), Some(u64::MAX));
}

#[test]
fn an_update_replaces_the_buckets_it_names() {
    let bucket = |size| {
        Some(TokenBucket {
            size,
            one_time_burst: Some(0),
            refill_time: 100,
        })
    };
    let before = RateLimiter {
        bandwidth: bucket(1),
        ops: bucket(2),
    };
    let after = before.updated(&RateLimiter {
        bandwidth: bucket(0),
        ops: None,
    });
    assert_eq!(
        after,
        RateLimiter {
            bandwidth: bucket(0),
            ops: bucket(2)
        }
    );
    let left = TokenBucket {
        size: 2,
        one_time_burst: None,
        refill_time: 100,
    };
    assert_eq!(
        after.in_force(),
        Some(RateLimiter {
            bandwidth: None,
            ops: Some(left)
        })
    );
    assert_eq!(RateLimiter::default().in_force(), None);
}
