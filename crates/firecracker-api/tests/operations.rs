//! Every operation: what the client is asked to say arrives at the server as what it is, and the answer comes back.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use firecracker_api::models::*;
use firecracker_api::server::{Answer, ApiRequest, DeviceKind, Limits, SnapshotLoad, serve};
use firecracker_api::{Client, Error};
use serde_json::{Value, json};
use tokio::net::UnixListener;

type Asked<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// Answers of the right kind, for requests that want one.
fn answer_to(request: &ApiRequest) -> Answer {
    match request {
        ApiRequest::GetInstance => Answer::Instance(InstanceInfo::default()),
        ApiRequest::GetVersion => Answer::Version("1.17.0".into()),
        ApiRequest::GetVmConfig => Answer::VmConfig(Box::default()),
        ApiRequest::GetMachineConfig => Answer::MachineConfig(MachineConfiguration::default()),
        ApiRequest::GetBalloon => Answer::Balloon(Balloon::default()),
        ApiRequest::GetBalloonStatistics => Answer::BalloonStatistics(Box::default()),
        ApiRequest::GetBalloonHintingStatus => Answer::BalloonHinting(BalloonHintingStatus::default()),
        ApiRequest::GetMemoryHotplug => Answer::MemoryHotplug(MemoryHotplugStatus::default()),
        ApiRequest::GetMmds => Answer::Mmds(json!({"a": 1})),
        _ => Answer::Done,
    }
}

/// Asks and compares the answer.
async fn get<T: PartialEq + std::fmt::Debug>(
    asked: impl Future<Output = Result<T, Error>>,
    wanted: T,
) -> Result<(), Error> {
    assert_eq!(asked.await?, wanted);
    Ok(())
}

fn limiter() -> Option<RateLimiter> {
    let ops = Some(TokenBucket {
        size: 9,
        one_time_burst: Some(1),
        refill_time: 100,
    });
    Some(RateLimiter { bandwidth: None, ops })
}

#[tokio::test]
async fn every_operation_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("api.sock")).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let handler = move |request: ApiRequest| {
        let answer = answer_to(&request);
        log.lock().unwrap().push(request);
        std::future::ready(answer)
    };
    let server = tokio::spawn(serve(
        listener,
        Limits::default(),
        handler,
        std::future::pending(),
    ));
    let vm = Client::new(folder.path().join("api.sock"));

    let drive = Drive {
        drive_id: "a".into(),
        partuuid: Some("u".into()),
        is_root_device: true,
        cache_type: CacheType::Writeback,
        is_read_only: Some(true),
        path_on_host: Some("f".into()),
        rate_limiter: limiter(),
        io_engine: Some(IoEngine::Async),
        socket: None,
    };
    let drive_change = PartialDrive {
        drive_id: "a".into(),
        path_on_host: Some("g".into()),
        rate_limiter: limiter(),
    };
    let pmem = Pmem {
        id: "p".into(),
        path_on_host: "f".into(),
        root_device: true,
        read_only: true,
        rate_limiter: limiter(),
    };
    let pmem_change = PartialPmem {
        id: "p".into(),
        rate_limiter: limiter(),
    };
    let interface = NetworkInterface {
        iface_id: "eth0".into(),
        host_dev_name: "tap0".into(),
        guest_mac: Some("06:00:00:00:00:01".parse().unwrap()),
        mtu: Some(1400),
        rx_rate_limiter: limiter(),
        tx_rate_limiter: None,
    };
    let interface_change = PartialNetworkInterface {
        iface_id: "eth0".into(),
        rx_rate_limiter: None,
        tx_rate_limiter: limiter(),
    };
    let boot = BootSource {
        kernel_image_path: "k".into(),
        initrd_path: Some("i".into()),
        boot_args: Some("a".into()),
    };
    let machine = MachineConfiguration {
        vcpu_count: 3,
        smt: true,
        huge_pages: HugePages::Transparent,
        ..Default::default()
    };
    let machine_change = PartialMachineConfiguration {
        mem_size_mib: Some(7),
        ..Default::default()
    };
    let template = CpuConfig {
        kvm_capabilities: vec![KvmCapability::Remove(5)],
        ..Default::default()
    };
    let vsock = Vsock {
        vsock_id: None,
        guest_cid: 3,
        uds_path: "v".into(),
    };
    let entropy = EntropyDevice {
        rate_limiter: limiter(),
    };
    let serial = SerialDevice {
        serial_out_path: Some("s".into()),
        rate_limiter: None,
    };
    let balloon = Balloon {
        amount_mib: 1,
        free_page_hinting: true,
        ..Default::default()
    };
    let (size, interval) = (
        BalloonUpdate { amount_mib: 2 },
        BalloonStatsUpdate {
            stats_polling_interval_s: 3,
        },
    );
    let hint = BalloonStartCmd {
        acknowledge_on_stop: false,
    };
    let hotplug = MemoryHotplugConfig::new(1024);
    let hotplug_change = MemoryHotplugSizeUpdate {
        requested_size_mib: 128,
    };
    let metadata = json!({"a": {"b": null}});
    let mmds = MmdsConfig {
        version: MmdsVersion::V2,
        network_interfaces: vec!["eth0".into()],
        ..Default::default()
    };
    let logger = Logger {
        level: Some(LogLevel::Warn),
        ..Default::default()
    };
    let metrics = Metrics {
        metrics_path: "m".into(),
        emit_id: true,
        ..Default::default()
    };
    let create = SnapshotCreateParams {
        snapshot_type: SnapshotType::Diff,
        ..Default::default()
    };
    let backend = MemoryBackend {
        backend_path: "m".into(),
        backend_type: MemoryBackendType::Uffd,
    };
    let overrides = vec![NetworkOverride {
        iface_id: "eth0".into(),
        host_dev_name: "tap1".into(),
    }];
    let load = SnapshotLoadParams {
        snapshot_path: "s".into(),
        mem_backend: Some(backend.clone()),
        track_dirty_pages: true,
        network_overrides: overrides.clone(),
        vsock_override: Some(VsockOverride { uds_path: "w".into() }),
        clock_realtime: true,
        huge_pages: SnapshotHugePages::Hugetlbfs2M,
        ..Default::default()
    };
    let loaded = SnapshotLoad {
        snapshot_path: "s".into(),
        mem_backend: backend,
        track_dirty_pages: true,
        resume_vm: false,
        network_overrides: overrides,
        vsock_override: Some(VsockOverride { uds_path: "w".into() }),
        clock_realtime: true,
        huge_pages: SnapshotHugePages::Hugetlbfs2M,
    };
    let unplug = |kind, id: &str| ApiRequest::UnplugDevice {
        kind,
        id: id.to_owned(),
    };

    use ApiRequest as R;
    let version = FirecrackerVersion {
        firecracker_version: "1.17.0".into(),
    };
    let config = FullVmConfiguration::default();
    let operations: Vec<(&str, Asked<'_>, ApiRequest)> = vec![
        (
            "GET /",
            Box::pin(get(vm.get_instance(), InstanceInfo::default())),
            R::GetInstance,
        ),
        (
            "GET /version",
            Box::pin(get(vm.get_version(), version)),
            R::GetVersion,
        ),
        (
            "GET /vm/config",
            Box::pin(get(vm.get_vm_config(), config)),
            R::GetVmConfig,
        ),
        (
            "PUT /actions",
            Box::pin(vm.put_action(ActionType::InstanceStart)),
            R::InstanceStart,
        ),
        (
            "PATCH /vm",
            Box::pin(vm.patch_vm(VmState::Paused)),
            R::PatchVm(VmState::Paused),
        ),
        (
            "PUT /boot-source",
            Box::pin(vm.put_boot_source(&boot)),
            R::PutBootSource(boot.clone()),
        ),
        (
            "GET /machine-config",
            Box::pin(get(vm.get_machine_config(), MachineConfiguration::default())),
            R::GetMachineConfig,
        ),
        (
            "PUT /machine-config",
            Box::pin(vm.put_machine_config(&machine)),
            R::UpdateMachineConfig(machine.into()),
        ),
        (
            "PATCH /machine-config",
            Box::pin(vm.patch_machine_config(&machine_change)),
            R::UpdateMachineConfig(machine_change),
        ),
        (
            "PUT /cpu-config",
            Box::pin(vm.put_cpu_config(&template)),
            R::PutCpuConfig(template.clone()),
        ),
        (
            "PUT /drives/{drive_id}",
            Box::pin(vm.put_drive(&drive)),
            R::PutDrive(drive.clone()),
        ),
        (
            "PATCH /drives/{drive_id}",
            Box::pin(vm.patch_drive(&drive_change)),
            R::PatchDrive(drive_change.clone()),
        ),
        (
            "DELETE /drives/{drive_id}",
            Box::pin(vm.delete_drive("a")),
            unplug(DeviceKind::Drive, "a"),
        ),
        (
            "PUT /pmem/{id}",
            Box::pin(vm.put_pmem(&pmem)),
            R::PutPmem(pmem.clone()),
        ),
        (
            "PATCH /pmem/{id}",
            Box::pin(vm.patch_pmem(&pmem_change)),
            R::PatchPmem(pmem_change.clone()),
        ),
        (
            "DELETE /pmem/{id}",
            Box::pin(vm.delete_pmem("p")),
            unplug(DeviceKind::Pmem, "p"),
        ),
        (
            "PUT /network-interfaces/{iface_id}",
            Box::pin(vm.put_network_interface(&interface)),
            R::PutNetworkInterface(interface.clone()),
        ),
        (
            "PATCH /network-interfaces/{iface_id}",
            Box::pin(vm.patch_network_interface(&interface_change)),
            R::PatchNetworkInterface(interface_change.clone()),
        ),
        (
            "DELETE /network-interfaces/{iface_id}",
            Box::pin(vm.delete_network_interface("eth0")),
            unplug(DeviceKind::NetworkInterface, "eth0"),
        ),
        (
            "PUT /vsock",
            Box::pin(vm.put_vsock(&vsock)),
            R::PutVsock(vsock.clone()),
        ),
        (
            "PUT /entropy",
            Box::pin(vm.put_entropy(&entropy)),
            R::PutEntropy(entropy),
        ),
        (
            "PUT /serial",
            Box::pin(vm.put_serial(&serial)),
            R::PutSerial(serial.clone()),
        ),
        (
            "GET /balloon",
            Box::pin(get(vm.get_balloon(), Balloon::default())),
            R::GetBalloon,
        ),
        (
            "PUT /balloon",
            Box::pin(vm.put_balloon(&balloon)),
            R::PutBalloon(balloon),
        ),
        (
            "PATCH /balloon",
            Box::pin(vm.patch_balloon(&size)),
            R::PatchBalloon(size),
        ),
        (
            "GET /balloon/statistics",
            Box::pin(get(vm.get_balloon_statistics(), BalloonStats::default())),
            R::GetBalloonStatistics,
        ),
        (
            "PATCH /balloon/statistics",
            Box::pin(vm.patch_balloon_statistics(&interval)),
            R::PatchBalloonStatistics(interval),
        ),
        (
            "PATCH /balloon/hinting/start",
            Box::pin(vm.patch_balloon_hinting_start(&hint)),
            R::StartBalloonHinting(hint),
        ),
        (
            "PATCH /balloon/hinting/stop",
            Box::pin(vm.patch_balloon_hinting_stop()),
            R::StopBalloonHinting,
        ),
        (
            "GET /balloon/hinting/status",
            Box::pin(get(
                vm.get_balloon_hinting_status(),
                BalloonHintingStatus::default(),
            )),
            R::GetBalloonHintingStatus,
        ),
        (
            "GET /hotplug/memory",
            Box::pin(get(vm.get_memory_hotplug(), MemoryHotplugStatus::default())),
            R::GetMemoryHotplug,
        ),
        (
            "PUT /hotplug/memory",
            Box::pin(vm.put_memory_hotplug(&hotplug)),
            R::PutMemoryHotplug(hotplug),
        ),
        (
            "PATCH /hotplug/memory",
            Box::pin(vm.patch_memory_hotplug(&hotplug_change)),
            R::PatchMemoryHotplug(hotplug_change),
        ),
        (
            "GET /mmds",
            Box::pin(get(vm.get_mmds(), json!({"a": 1}))),
            R::GetMmds,
        ),
        (
            "PUT /mmds",
            Box::pin(vm.put_mmds(&metadata)),
            R::PutMmds(metadata.clone()),
        ),
        (
            "PATCH /mmds",
            Box::pin(vm.patch_mmds(&Value::Null)),
            R::PatchMmds(Value::Null),
        ),
        (
            "PUT /mmds/config",
            Box::pin(vm.put_mmds_config(&mmds)),
            R::PutMmdsConfig(mmds.clone()),
        ),
        (
            "PUT /logger",
            Box::pin(vm.put_logger(&logger)),
            R::PutLogger(logger.clone()),
        ),
        (
            "PUT /metrics",
            Box::pin(vm.put_metrics(&metrics)),
            R::PutMetrics(metrics.clone()),
        ),
        (
            "PUT /snapshot/create",
            Box::pin(vm.put_snapshot_create(&create)),
            R::CreateSnapshot(create.clone()),
        ),
        (
            "PUT /snapshot/load",
            Box::pin(vm.put_snapshot_load(&load)),
            R::LoadSnapshot(loaded),
        ),
    ];

    let mut names = Vec::new();
    for (name, asked, wanted) in operations {
        asked.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), [wanted], "{name}");
        names.push(name.to_owned());
    }
    assert_eq!(names, operations_of_the_readme());
    server.abort();
}

/// The first column of the README's table.
fn operations_of_the_readme() -> Vec<String> {
    let rows = include_str!("../README.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`'))
        .map(|(operation, _)| operation.to_owned())
        .collect()
}
