//! What the test guests boot: Debian's cloud kernel, and an initrd with busybox, the virtio modules and an init that runs
//! the commands typed into its console.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use images::Task;
use images::bundle::{KernelStore, Source};
use images::cpio::Writer;
use images::modules::{ModuleFolder, load_order};

/// Modules of the devices under test.
const WANTED: [&str; 6] = [
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_balloon",
    "virtio_rng",
    "vmw_vsock_virtio_transport",
];

/// Runs each line of the console as a command and says what came of it between two marks, so that a test can tell its
/// output from everything else on the console.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
stty -echo -onlcr < /dev/console
# What the kernel does not know of its command line it hands to init: a test may say there what is done first.
[ -z "$first" ] || eval "$first"
echo guest: ready
number=0
while read -r line; do
  number=$((number + 1))
  eval "$line" > /out 2>&1
  code=$?
  echo "guest: begin $number"
  cat /out
  echo
  echo "guest: end $number $code"
done
"#;

/// Files a guest boots from.
#[derive(Debug)]
pub(crate) struct Boot {
    /// The kernel as an ELF.
    pub(crate) vmlinux: PathBuf,
    /// The kernel as a bzImage.
    pub(crate) bzimage: PathBuf,
    /// The initial RAM disk.
    pub(crate) initrd: PathBuf,
}

/// The files, made once per test run.
pub(crate) fn boot() -> &'static Boot {
    static BOOT: OnceLock<Boot> = OnceLock::new();
    BOOT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sparkler");
        let root = testkit::kernel_root();
        let store = KernelStore::open(&folder).unwrap();
        let source = Source::Installed {
            version: None,
            root: root.clone(),
        };
        let bundle = store.import(&source, &Task::default()).unwrap().bundle;
        let initrd = folder.join(format!("initrd-{}.cpio", std::process::id()));
        let modules = root.join("lib/modules").join(&bundle.manifest().version);
        fs::write(&initrd, archive(&modules)).unwrap();
        let bzimage = root
            .join("boot")
            .join(format!("vmlinuz-{}", bundle.manifest().version));
        Boot {
            vmlinux: bundle.vmlinux(),
            bzimage,
            initrd,
        }
    })
}

fn archive(modules: &Path) -> Vec<u8> {
    let mut archive = Writer::new(Vec::new());
    for folder in ["bin", "dev", "proc", "sys", "modules", "mnt"] {
        archive.directory(folder, 0o755).unwrap();
    }
    archive.character_device("dev/console", 0o600, 5, 1).unwrap();
    archive.file("init", 0o755, INIT.as_bytes()).unwrap();
    archive
        .file("bin/busybox", 0o755, &fs::read("/bin/busybox").unwrap())
        .unwrap();
    let folder = ModuleFolder::open(modules).unwrap();
    let depends = |name: &str| folder.depends(name).map(<[String]>::to_vec);
    let order = load_order(WANTED, &depends, folder.built_in()).unwrap();
    for name in &order {
        archive
            .file(&format!("modules/{name}.ko"), 0o644, &folder.read(name).unwrap())
            .unwrap();
    }
    archive
        .file("modules/order", 0o644, order.join("\n").as_bytes())
        .unwrap();
    archive.finish().unwrap()
}
