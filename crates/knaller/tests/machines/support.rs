//! A knaller of its own for each test, with a kernel in it, that leaves nothing behind.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use images::Task;
use images::bundle::{KernelStore, Source};
use knaller::{
    ExecRequest, Knaller, Machine, MachineSpec, Options, Output, Paths, Result, Root, StartEvent,
    StartOptions, Vmm,
};
use testkit::Sandbox;

/// Time for anything that a busy machine may take long for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// A knaller in a sandbox; its drop proves that nothing was left.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) knaller: Knaller,
    pub(crate) sandbox: Sandbox,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other options.
    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let sandbox = Sandbox::new();
        let mut options = options(&sandbox);
        give_kernels(&options.paths.data);
        change(&mut options);
        Self {
            knaller: Knaller::open(options).unwrap(),
            sandbox,
        }
    }

    pub(crate) async fn try_start(&self, spec: MachineSpec) -> Result<Machine> {
        let started = self
            .knaller
            .start(spec, StartOptions::default(), &mut |_| {})
            .await;
        started.map(|(machine, _)| machine)
    }

    pub(crate) async fn start(&self, spec: MachineSpec) -> Machine {
        self.try_start(spec)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts, and shows each event to `observer`.
    pub(crate) async fn watch(
        &self,
        spec: MachineSpec,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<Machine> {
        self.knaller
            .start(spec, StartOptions::default(), observer)
            .await
            .map(|(machine, _)| machine)
    }
}

fn options(sandbox: &Sandbox) -> Options {
    let paths = Paths {
        data: sandbox.data().join("knaller"),
        runtime: sandbox.runtime().join("knaller"),
    };
    let mut options = Options::new(paths);
    options.programs.firecracker = std::env::var_os("FIRECRACKER").map(PathBuf::from);
    options.programs.sparkler = Some(testkit::sparkler());
    options.programs.powerunit = Some(testkit::powerunit());
    options.programs.netns = Some(env!("CARGO_BIN_EXE_knaller-netns").into());
    options
        .environment
        .push(("PITWALL_SANDBOX".to_owned(), sandbox.path().into()));
    options
}

/// Puts the tests' kernel into a fresh data folder, by hard links where that is possible: it is imported once.
pub(crate) fn give_kernels(data: &Path) {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        let folder = testkit::target().join("knaller-tests");
        let store = KernelStore::open(&folder).unwrap();
        let source = Source::Installed {
            version: None,
            root: testkit::kernel_root(),
        };
        let imported = store.import(&source, &Task::new()).unwrap();
        imported.bundle.initrd(&testkit::powerunit()).unwrap();
        folder.join("kernels")
    });
    std::fs::create_dir_all(data).unwrap();
    std::os::unix::fs::chown(data, None, None).unwrap();
    std::fs::set_permissions(data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let is_near = shared.metadata().unwrap().dev() == data.metadata().unwrap().dev();
    let copied = Command::new("cp")
        .arg(if is_near { "-al" } else { "-a" })
        .arg(shared)
        .arg(data)
        .status()
        .unwrap();
    assert!(copied.success());
}

/// The VMM that runs the tests' machines: sparkler, unless `$PITWALL_VMM` is `firecracker`.
pub(crate) fn vmm() -> Vmm {
    match std::env::var("PITWALL_VMM").as_deref() {
        Ok("firecracker") => Vmm::Firecracker,
        _ => Vmm::Sparkler,
    }
}

/// A machine with nothing but the init: quick to start.
pub(crate) fn bare(name: &str) -> MachineSpec {
    MachineSpec::new()
        .vmm(vmm())
        .name(name.parse().unwrap())
        .root(Root::Initramfs)
        .memory_mib(128)
        .boot_timeout(PATIENCE)
}

/// A machine with the built-in image.
pub(crate) fn small(name: &str) -> MachineSpec {
    bare(name).root(Root::Builtin)
}

/// Runs a line in it and gives what it said.
pub(crate) async fn run(machine: &Machine, line: &str) -> Output {
    machine
        .output(ExecRequest::line(line))
        .await
        .unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// As [`run`], for what must go well; the output without its last line feed.
pub(crate) async fn said(machine: &Machine, line: &str) -> String {
    let output = run(machine, line).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    assert_eq!(
        output.exit.code(),
        0,
        "{line}: {} {}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Ends a machine of which all is known.
pub(crate) async fn end(machine: &Machine) {
    machine.kill().await.unwrap();
    machine.remove().await.unwrap();
}
