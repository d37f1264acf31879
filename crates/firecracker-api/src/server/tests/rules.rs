use proptest::prelude::*;
use serde_json::{Value, json};

use crate::models::{
    Balloon, CpuTemplate, Drive, HugePages, MachineConfiguration, MemoryHotplugConfig, MmdsConfig,
    NetworkInterface, PartialMachineConfiguration, Pmem, Vsock,
};
use crate::server::{Fault, rules};

fn refused<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
    let fault = result.unwrap_err();
    assert_eq!(fault.status, 400);
    fault.message
}

fn changed(change: PartialMachineConfiguration) -> Result<MachineConfiguration, Fault> {
    rules::machine_config(&MachineConfiguration::default(), &change, None)
}

#[test]
fn a_machine_has_1_to_32_vcpus_even_with_smt() {
    let vcpus = |count, smt| {
        changed(PartialMachineConfiguration {
            vcpu_count: Some(count),
            smt: Some(smt),
            ..Default::default()
        })
    };
    for count in 1..=32 {
        assert!(vcpus(count, false).is_ok(), "{count}");
        let even = count == 1 || count % 2 == 0;
        assert_eq!(
            vcpus(count, true).is_ok(),
            even && cfg!(target_arch = "x86_64"),
            "{count}"
        );
    }
    for count in [0, 33, 255] {
        assert_eq!(
            refused(vcpus(count, false)),
            "Machine config error: The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even \
             number if SMT is enabled."
        );
    }
}

#[test]
fn a_machine_has_memory_in_whole_pages() {
    let memory = |mib, pages| {
        changed(PartialMachineConfiguration {
            mem_size_mib: Some(mib),
            huge_pages: Some(pages),
            ..Default::default()
        })
    };
    assert!(memory(1, HugePages::None).is_ok());
    assert!(memory(2, HugePages::Hugetlbfs2M).is_ok());
    for (mib, pages) in [
        (0, HugePages::None),
        (3, HugePages::Transparent),
        (3, HugePages::Hugetlbfs2M),
    ] {
        assert_eq!(
            refused(memory(mib, pages)),
            "Machine config error: The memory size (MiB) is either 0, or not a multiple of the configured page size."
        );
    }
    let small = PartialMachineConfiguration {
        mem_size_mib: Some(64),
        ..Default::default()
    };
    assert!(rules::machine_config(&MachineConfiguration::default(), &small, Some(64)).is_ok());
    assert_eq!(
        refused(rules::machine_config(
            &MachineConfiguration::default(),
            &small,
            Some(65)
        )),
        "Machine config error: The memory size (MiB) is smaller than the previously set balloon device target size."
    );
}

#[test]
fn a_cpu_template_stays_until_none_is_asked_for() {
    #[cfg(target_arch = "x86_64")]
    let template = CpuTemplate::T2;
    #[cfg(target_arch = "aarch64")]
    let template = CpuTemplate::V1N1;
    let before = MachineConfiguration {
        cpu_template: Some(template),
        ..Default::default()
    };
    let after = |cpu_template| {
        let change = PartialMachineConfiguration {
            cpu_template,
            ..Default::default()
        };
        rules::machine_config(&before, &change, None)
            .unwrap()
            .cpu_template
    };
    assert_eq!(after(None), Some(template));
    assert_eq!(after(Some(CpuTemplate::None)), None);
}

#[test]
fn a_balloon_fits_the_memory() {
    let balloon = |amount_mib| Balloon {
        amount_mib,
        ..Default::default()
    };
    assert!(rules::balloon(&balloon(128), 128).is_ok());
    assert_eq!(
        refused(rules::balloon(&balloon(129), 128)),
        "Balloon config error: Amount of pages requested is too large."
    );
    assert_eq!(
        refused(rules::balloon(&balloon(16_777_216), usize::MAX)),
        "Balloon config error: Error creating the balloon device: Requested memory should be less than 16777215MiB"
    );
    assert!(rules::balloon_size(128, 128).is_ok());
    assert_eq!(
        refused(rules::balloon_size(300, 256)),
        "Balloon update error: Balloon: Requested memory should be less than 300MiB"
    );
    assert!(rules::balloon_interval(0, 0).is_ok());
    assert!(rules::balloon_interval(1, 9).is_ok());
    for (from, to) in [(0, 1), (1, 0)] {
        assert_eq!(
            refused(rules::balloon_interval(from, to)),
            "Balloon update error: Balloon: Statistics cannot be enabled/disabled after activation."
        );
    }
}

fn drive(id: &str, is_root_device: bool) -> Drive {
    Drive {
        drive_id: id.into(),
        is_root_device,
        path_on_host: Some("f".into()),
        ..Default::default()
    }
}

#[test]
fn a_drive_is_a_file_or_a_process() {
    assert!(rules::drive(&drive("a", false), &[], &[]).is_ok());
    let process = Drive {
        path_on_host: None,
        socket: Some("s".into()),
        ..drive("a", false)
    };
    assert!(rules::drive(&process, &[], &[]).is_ok());
    let neither = Drive {
        path_on_host: None,
        ..drive("a", false)
    };
    let both = Drive {
        socket: Some("s".into()),
        ..drive("a", false)
    };
    let writable_process = Drive {
        is_read_only: Some(false),
        ..process
    };
    for wrong in [neither, both, writable_process] {
        assert_eq!(
            refused(rules::drive(&wrong, &[], &[])),
            "Drive config error: Unable to create the virtio block device: Invalid block config."
        );
    }
}

#[test]
fn there_is_one_root() {
    let drives = [drive("root", true), drive("data", false)];
    assert!(rules::drive(&drive("root", true), &drives, &[]).is_ok());
    assert_eq!(
        refused(rules::drive(&drive("data", true), &drives, &[])),
        "Drive config error: A root block device already exists!"
    );
    let pmem = |id: &str| Pmem {
        id: id.into(),
        root_device: true,
        ..Default::default()
    };
    assert_eq!(
        refused(rules::drive(&drive("root", true), &[], &[pmem("p")])),
        "Drive config error: Attempt to add block as a root device while the root device defined as a pmem device"
    );
    assert_eq!(
        refused(rules::pmem(&pmem("p"), &[], &drives)),
        "Pmem config error: Attempt to add pmem as a root device while the root device defined as a block device"
    );
    assert_eq!(
        refused(rules::pmem(&pmem("p"), &[pmem("q")], &[])),
        "Pmem config error: A root pmem device already exist"
    );
    assert!(rules::pmem(&pmem("p"), &[pmem("p")], &[]).is_ok());
}

proptest! {
    #[test]
    fn drives_keep_their_order_and_the_root_is_first(
        requests in prop::collection::vec(("[a-d]", any::<bool>()), 0..12)
    ) {
        let mut drives = Vec::new();
        for (id, is_root) in &requests {
            let new = drive(id, *is_root);
            if rules::drive(&new, &drives, &[]).is_ok() {
                rules::place_drive(&mut drives, new);
            }
            let root = drives.iter().position(|drive| drive.is_root_device);
            prop_assert!(root.is_none_or(|index| index == 0), "{drives:?}");
            let mut ids: Vec<_> = drives.iter().map(|drive| &drive.drive_id).collect();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), drives.len());
        }
    }

    #[test]
    fn patching_twice_is_patching_once(contents: u8, patch in "[a-c]") {
        let contents = json!({"a": {"b": contents}, "c": 1});
        let patch = json!({patch: {"b": null, "n": contents}});
        let once = rules::patch_mmds(Some(&contents), &patch, 10_000).unwrap();
        prop_assert_eq!(rules::patch_mmds(Some(&once), &patch, 10_000).unwrap(), once);
    }
}

#[test]
fn interfaces_have_an_address_each_and_a_short_name() {
    let net = |id: &str, mac: &str, tap: &str| NetworkInterface {
        iface_id: id.into(),
        host_dev_name: tap.into(),
        guest_mac: Some(mac.parse().unwrap()),
        ..Default::default()
    };
    let known = [net("1", "06:00:00:00:00:0A", "tap1")];
    assert!(rules::network_interface(&net("1", "06:00:00:00:00:0a", "tap2"), &known).is_ok());
    assert_eq!(
        refused(rules::network_interface(
            &net("2", "06:00:00:00:00:0a", "tap2"),
            &known
        )),
        "Network config error: The MAC address is already in use: 06:00:00:00:00:0a"
    );
    assert_eq!(
        refused(rules::network_interface(
            &net("2", "06:00:00:00:00:0b", "a-tap-of-16-char"),
            &known
        )),
        "Network config error: Could not create the network device: Open tap device failed: Invalid interface name"
    );
    assert!(rules::mtu(None).is_ok() && rules::mtu(Some(68)).is_ok() && rules::mtu(Some(u16::MAX)).is_ok());
    assert_eq!(
        refused(rules::mtu(Some(67))),
        "Network config error: Could not create the network device: MTU 67 is out of range [68, 65535]"
    );
}

#[test]
fn context_ids_below_3_are_reserved() {
    let vsock = |guest_cid| Vsock {
        guest_cid,
        ..Default::default()
    };
    assert!(rules::vsock(&vsock(3)).is_ok());
    assert_eq!(
        refused(rules::vsock(&vsock(2))),
        "Vsock config error: The guest's context id must be 3 or more."
    );
}

#[test]
fn metadata_are_served_on_known_interfaces_at_a_link_local_address() {
    let config = |address: Option<&str>, interfaces: &[&str]| MmdsConfig {
        ipv4_address: address.map(|a| a.parse().unwrap()),
        network_interfaces: interfaces.iter().map(|&id| id.to_owned()).collect(),
        ..Default::default()
    };
    let judge = |config: MmdsConfig| rules::mmds_config(&config, &["1"]);
    assert_eq!(
        judge(config(None, &["1"])).unwrap().to_string(),
        "169.254.169.254"
    );
    assert_eq!(
        judge(config(Some("169.254.1.0"), &["1"])).unwrap().to_string(),
        "169.254.1.0"
    );
    for address in ["1.1.1.1", "169.254.0.9", "169.254.255.9"] {
        assert_eq!(
            refused(judge(config(Some(address), &[]))),
            "MMMDS config error: The MMDS IPv4 address is not link local."
        );
    }
    assert_eq!(
        refused(judge(config(None, &[]))),
        "MMMDS config error: The list of network interface IDs that allow forwarding MMDS requests is empty."
    );
    assert_eq!(
        refused(judge(config(None, &["1", "foo"]))),
        "MMMDS config error: The list of network interface IDs provided contains at least one ID that does not \
         correspond to any existing network interface."
    );
}

/// The examples of RFC 7396, appendix A, that differ in kind.
#[test]
fn metadata_merge_as_rfc_7396_says() {
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
    ];
    for (contents, patch, merged) in cases {
        assert_eq!(rules::patch_mmds(Some(&contents), &patch, 100).unwrap(), merged);
    }
    assert_eq!(
        refused(rules::patch_mmds(None, &json!({}), 100)),
        "MMDS error: The MMDS data store is not initialized."
    );
}

#[test]
fn metadata_have_a_limit() {
    let contents = json!({"a": "0123456789"});
    assert_eq!(rules::put_mmds(contents.clone(), 18).unwrap(), contents);
    assert_eq!(
        rules::put_mmds(contents.clone(), 17),
        Err(Fault::mmds_too_large())
    );
    let patched = rules::patch_mmds(Some(&contents), &json!({"b": Value::from(1)}), 18);
    assert_eq!(patched, Err(Fault::mmds_too_large()));
}

#[test]
fn hotplug_sizes_divide_each_other() {
    let judge = |total_size_mib, block_size_mib, slot_size_mib| {
        rules::memory_hotplug(&MemoryHotplugConfig {
            total_size_mib,
            block_size_mib,
            slot_size_mib,
        })
    };
    assert!(judge(1024, 2, 128).is_ok());
    assert!(judge(1024, 128, 1024).is_ok());
    let refusals = [
        ((1024, 1, 128), "Block size must not be lower than 2 MiB"),
        ((1024, 3, 128), "Block size must be a power of 2"),
        ((1024, 2, 64), "Slot size must not be lower than 128 MiB"),
        (
            (1024, 256, 384),
            "Slot size must be a multiple of block size (256 MiB)",
        ),
        (
            (64, 2, 128),
            "Total size must not be lower than slot size (128 MiB)",
        ),
        (
            (200, 2, 128),
            "Total size must be a multiple of slot size (128 MiB)",
        ),
    ];
    for ((total, block, slot), why) in refusals {
        assert_eq!(
            refused(judge(total, block, slot)),
            format!("Memory hotplug config error: {why}")
        );
    }
}
