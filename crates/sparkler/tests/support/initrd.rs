//! The initrd of the test guests: the agent as init, busybox, and the modules of the devices under test.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const WANTED: [&str; 4] = [
    "virtio_mmio",
    "vmw_vsock_virtio_transport",
    "virtio_net",
    "af_packet",
];

/// Debian's kernel as `dev/setup` downloaded it: the file and the folder of its modules.
pub(super) fn kernel() -> &'static (PathBuf, PathBuf) {
    static KERNEL: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let root = testkit::kernel_root();
        let version = fs::read_dir(root.join("lib/modules"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .file_name();
        let mut image = OsString::from("vmlinuz-");
        image.push(&version);
        (
            root.join("boot").join(image),
            root.join("lib/modules").join(version),
        )
    })
}

/// The initrd, made once per test run.
pub(super) fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("initrd-{}.cpio", std::process::id()));
        fs::write(&path, build()).unwrap();
        path
    })
}

fn build() -> Vec<u8> {
    let mut archive = Vec::new();
    for folder in ["bin", "dev", "modules", "proc", "tmp"] {
        entry(&mut archive, folder, 0o040_755, &[]);
    }
    entry(&mut archive, "init", 0o100_755, &agent());
    entry(
        &mut archive,
        "bin/busybox",
        0o100_755,
        &fs::read("/bin/busybox").unwrap(),
    );
    let modules = &kernel().1;
    let mut order = String::new();
    for module in in_load_order(&fs::read_to_string(modules.join("modules.dep")).unwrap()) {
        let name = Path::new(&module).file_name().unwrap().to_str().unwrap();
        entry(
            &mut archive,
            &format!("modules/{name}"),
            0o100_644,
            &fs::read(modules.join(&module)).unwrap(),
        );
        order += name;
        order += "\n";
    }
    entry(&mut archive, "modules/order", 0o100_644, order.as_bytes());
    entry(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

/// Each line of modules.dep names a module and what it needs, nearest first.
fn in_load_order(dependencies: &str) -> Vec<String> {
    let needs: BTreeMap<&str, (&str, Vec<&str>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(path, needs)| {
            let name = path.rsplit('/').next()?.split('.').next()?;
            Some((name, (path, needs.split_whitespace().collect())))
        })
        .collect();
    let mut order: Vec<String> = Vec::new();
    for wanted in WANTED {
        // What is not a module is in the kernel.
        let Some((path, needs)) = needs.get(wanted) else {
            continue;
        };
        for module in needs.iter().rev().chain([path]) {
            if !order.iter().any(|known| known == module) {
                order.push((*module).to_owned());
            }
        }
    }
    order
}

fn agent() -> Vec<u8> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest/agent.rs");
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("agent-{}", std::process::id()));
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args([
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
            "--edition",
            "2024",
            source,
            "-o",
        ])
        .arg(&binary)
        .status()
        .unwrap();
    assert!(status.success(), "the guest's agent did not compile");
    let bytes = fs::read(&binary).unwrap();
    fs::remove_file(binary).unwrap();
    bytes
}

/// One entry of a "newc" cpio archive (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
fn entry(archive: &mut Vec<u8>, name: &str, mode: usize, content: &[u8]) {
    let numbers = [0, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    archive.extend(b"070701");
    for number in numbers {
        archive.extend(format!("{number:08x}").bytes());
    }
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
