//! A client that is not ours drives sparkler: fctools, written against Firecracker alone.
//!
//! It starts the process, waits for the API, sends every request of its own making, reads the answers into its own types
//! and goes by the exit status; nothing here speaks HTTP.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fctools::process_spawner::DirectProcessSpawner;
use fctools::runtime::tokio::TokioRuntime;
use fctools::vm::api::{VmApi, VmApiError};
use fctools::vm::configuration::{InitMethod, VmConfiguration, VmConfigurationData};
use fctools::vm::models::{
    BalloonDevice, BootSource, CreateSnapshot, Drive, DriveCacheType, DriveIoEngine, EntropyDevice,
    LoadSnapshot, MachineConfiguration, MemoryBackend, MemoryBackendType, MetricsSystem, RateLimiter,
    SnapshotType, TokenBucket, UpdateBalloonDevice, UpdateBalloonStatistics, UpdateDrive, VsockDevice,
};
use fctools::vm::shutdown::{VmShutdownAction, VmShutdownMethod};
use fctools::vm::{Vm, VmState};
use fctools::vmm::arguments::command_modifier::CommandModifier;
use fctools::vmm::arguments::{VmmApiSocket, VmmArguments};
use fctools::vmm::executor::unrestricted::UnrestrictedVmmExecutor;
use fctools::vmm::id::VmmId;
use fctools::vmm::installation::VmmInstallation;
use fctools::vmm::ownership::VmmOwnershipModel;
use fctools::vmm::resource::system::ResourceSystem;
use fctools::vmm::resource::{CreatedResourceType, MovedResourceType, Resource, ResourceType};
use futures_util::AsyncWriteExt as _;
use serde_json::Value;
use testkit::Sandbox;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio_util::compat::Compat;

use super::guest;
use super::machine::{BOOT_ARGS, PATIENCE};

type Machine = Vm<UnrestrictedVmmExecutor, DirectProcessSpawner, TokioRuntime>;

const MOVED: ResourceType = ResourceType::Moved(MovedResourceType::Copied);

/// Marks the process for the sandbox.
#[derive(Debug)]
struct Mark(PathBuf);

impl CommandModifier for Mark {
    fn apply(&self, program: &mut PathBuf, arguments: &mut Vec<OsString>) {
        let mut mark = OsString::from("PITWALL_SANDBOX=");
        mark.push(&self.0);
        let program = std::mem::replace(program, "/usr/bin/env".into());
        arguments.splice(0..0, [mark, program.into()]);
    }
}

/// What the guest says and is told.
struct Console {
    lines: Lines<BufReader<ChildStdout>>,
    stdin: Compat<ChildStdin>,
    commands: u32,
}

impl Console {
    fn of(machine: &mut Machine, commands: u32) -> Self {
        let pipes = machine.take_pipes().unwrap();
        Self {
            lines: BufReader::new(pipes.stdout.into_inner()).lines(),
            stdin: pipes.stdin,
            commands,
        }
    }

    async fn wait_for(&mut self, text: &str) -> Vec<String> {
        let mut before = Vec::new();
        let wait = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let line = line.trim_end().to_owned();
                if line.contains(text) {
                    return true;
                }
                before.push(line);
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        assert_eq!(found, Ok(true), "no {text:?} after {before:?}");
        before
    }

    /// Runs a command in the guest and gives what it said.
    async fn sh(&mut self, command: &str) -> String {
        self.commands += 1;
        self.stdin
            .write_all(format!("{command}\n").as_bytes())
            .await
            .unwrap();
        self.stdin.flush().await.unwrap();
        self.wait_for(&format!("guest: begin {}", self.commands)).await;
        let said = self.wait_for(&format!("guest: end {} 0", self.commands)).await;
        said.join("\n").trim().to_owned()
    }
}

fn executor(sandbox: &Sandbox, socket: &str) -> UnrestrictedVmmExecutor {
    let socket = VmmApiSocket::Enabled(sandbox.path().join(socket));
    UnrestrictedVmmExecutor::new(VmmArguments::new(socket))
        .command_modifier(Mark(sandbox.path().to_owned()))
        .id(VmmId::new("foreign-1").unwrap())
}

fn installation() -> VmmInstallation {
    let sparkler = env!("CARGO_BIN_EXE_sparkler");
    VmmInstallation::new(sparkler, sparkler, sparkler)
}

fn resources() -> ResourceSystem<DirectProcessSpawner, TokioRuntime> {
    ResourceSystem::new(DirectProcessSpawner, TokioRuntime, VmmOwnershipModel::Shared)
}

fn disk(sandbox: &Sandbox, name: &str, words: &str) -> PathBuf {
    let path = sandbox.path().join(name);
    let mut bytes = vec![0; 2 << 20];
    bytes[..words.len()].copy_from_slice(words.as_bytes());
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A machine with one of everything that needs no network interface.
async fn machine(sandbox: &Sandbox) -> Machine {
    let mut resources = resources();
    let boot = guest::boot();
    let mut make = |path: &Path, kind| resources.create_resource(path, kind).unwrap();
    let made = |kind| ResourceType::Created(kind);
    let bucket = TokenBucket {
        size: 1 << 30,
        one_time_burst: Some(1 << 20),
        refill_time: 100,
    };
    let data = VmConfigurationData {
        boot_source: BootSource {
            kernel_image: make(&boot.vmlinux, MOVED),
            boot_args: Some(BOOT_ARGS.to_owned()),
            initrd: Some(make(&boot.initrd, MOVED)),
        },
        drives: vec![Drive {
            drive_id: "data".to_owned(),
            is_root_device: false,
            cache_type: Some(DriveCacheType::Writeback),
            partuuid: None,
            is_read_only: Some(false),
            block: Some(make(&disk(sandbox, "one", "the first"), MOVED)),
            rate_limiter: Some(RateLimiter {
                bandwidth: bucket.clone(),
                ops: bucket,
            }),
            io_engine: Some(DriveIoEngine::Sync),
            socket: None,
        }],
        pmem_devices: Vec::new(),
        machine_configuration: MachineConfiguration {
            vcpu_count: 1,
            mem_size_mib: 128,
            smt: Some(false),
            track_dirty_pages: Some(true),
            huge_pages: None,
        },
        cpu_template: None,
        network_interfaces: Vec::new(),
        balloon_device: Some(BalloonDevice {
            amount_mib: 0,
            deflate_on_oom: true,
            stats_polling_interval_s: Some(1),
            free_page_reporting: None,
        }),
        vsock_device: Some(VsockDevice {
            guest_cid: 3,
            uds: make(&sandbox.path().join("vsock.sock"), ResourceType::Produced),
        }),
        logger_system: None,
        metrics_system: Some(MetricsSystem {
            metrics: make(&sandbox.path().join("metrics"), made(CreatedResourceType::File)),
        }),
        memory_hotplug_configuration: None,
        mmds_configuration: None,
        entropy_device: Some(EntropyDevice { rate_limiter: None }),
    };
    let configuration = VmConfiguration::New {
        init_method: InitMethod::ViaApiCalls,
        data,
    };
    let executor = executor(sandbox, "one.sock");
    Vm::prepare(executor, resources, installation(), configuration)
        .await
        .unwrap()
}

fn resource(machine: &mut Machine, path: &Path, kind: ResourceType) -> Resource {
    let resources = machine.get_resource_system_mut();
    resources.create_resource(path, kind).unwrap()
}

/// Asks for the guest's orderly end, and sees that it was one.
async fn end(mut machine: Machine) {
    let ask = VmShutdownAction {
        method: VmShutdownMethod::CtrlAltDel,
        timeout: Some(PATIENCE),
        graceful: true,
    };
    let outcome = machine.shutdown([ask]).await.unwrap();
    assert!(outcome.is_fully_graceful(), "{outcome:?}");
    assert_eq!(machine.get_state(), VmState::Exited);
}

#[tokio::test]
async fn a_foreign_client_boots_changes_keeps_and_restores_a_guest() {
    let sandbox = Sandbox::new();
    let mut machine = machine(&sandbox).await;
    machine.start(PATIENCE).await.unwrap();
    let mut console = Console::of(&mut machine, 0);
    console.wait_for("guest: ready").await;

    let info = machine.get_info().await.unwrap();
    assert_eq!((info.id.as_str(), info.is_paused), ("foreign-1", false));
    assert_eq!(info.app_name, "Firecracker");
    assert_eq!(machine.get_firecracker_version().await.unwrap(), info.vmm_version);
    let shape = machine.get_machine_configuration().await.unwrap();
    assert_eq!((shape.vcpu_count, shape.mem_size_mib), (1, 128));
    assert_eq!(console.sh("head -c 9 /dev/vda").await, "the first");

    let other = disk(&sandbox, "two", "the other");
    let other = resource(&mut machine, &other, MOVED);
    other.start_initialization_with_same_path().unwrap();
    machine.get_resource_system_mut().synchronize().await.unwrap();
    let change = UpdateDrive {
        drive_id: "data".to_owned(),
        block: Some(other),
        rate_limiter: None,
    };
    machine.update_drive(change).await.unwrap();
    console.sh("echo 3 > /proc/sys/vm/drop_caches").await;
    assert_eq!(console.sh("head -c 9 /dev/vda").await, "the other");

    machine
        .update_balloon_device(UpdateBalloonDevice { amount_mib: 8 })
        .await
        .unwrap();
    assert_eq!(machine.get_balloon_device().await.unwrap().amount_mib, 8);
    machine
        .update_balloon_statistics(UpdateBalloonStatistics {
            stats_polling_interval_s: 2,
        })
        .await
        .unwrap();
    assert_eq!(machine.get_balloon_statistics().await.unwrap().target_mib, 8);
    machine.flush_metrics().await.unwrap();
    let lines = std::fs::read_to_string(sandbox.path().join("metrics")).unwrap();
    let metrics: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(metrics["block"]["update_count"].as_u64() > Some(0), "{lines}");

    // A refusal reaches it in the words of the API.
    let refused = machine
        .update_balloon_device(UpdateBalloonDevice { amount_mib: 60_000 })
        .await;
    let Err(VmApiError::ReceivedErrorResponse { status_code, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(status_code.as_u16(), 400);

    console.sh("kept=41").await;
    machine.pause().await.unwrap();
    assert!(machine.get_info().await.unwrap().is_paused);
    let produced = |machine: &mut Machine, name: &str| {
        resource(machine, &sandbox.path().join(name), ResourceType::Produced)
    };
    let create = CreateSnapshot {
        snapshot_type: Some(SnapshotType::Full),
        snapshot: produced(&mut machine, "state"),
        mem_file: produced(&mut machine, "memory"),
    };
    let kept = machine.create_snapshot(create).await.unwrap();
    machine.resume().await.unwrap();
    assert_eq!(console.sh("kept=$((kept + 1)); echo $kept").await, "42");
    let commands = console.commands - 1;
    end(machine).await;

    // The vsock device of the new machine has the old one's path.
    std::fs::remove_file(sandbox.path().join("vsock.sock")).unwrap();
    let mut resources = resources();
    let mut make = |path: PathBuf| resources.create_resource(path, MOVED).unwrap();
    let load_snapshot = LoadSnapshot {
        track_dirty_pages: None,
        mem_backend: MemoryBackend {
            backend_type: MemoryBackendType::File,
            backend: make(kept.mem_file_path),
        },
        snapshot: make(kept.snapshot_path),
        resume_vm: Some(true),
        network_overrides: Vec::new(),
    };
    let mut data = kept.configuration_data;
    data.metrics_system = None;
    let configuration = VmConfiguration::RestoredFromSnapshot { load_snapshot, data };
    let executor = executor(&sandbox, "two.sock");
    let mut restored = Vm::prepare(executor, resources, installation(), configuration)
        .await
        .unwrap();
    restored.start(PATIENCE).await.unwrap();
    let mut console = Console::of(&mut restored, commands);
    assert_eq!(console.sh("echo $kept").await, "41");
    assert_eq!(restored.get_balloon_device().await.unwrap().amount_mib, 8);
    end(restored).await;
}
