//! The same kernel from every source is the same bundle; what makes no usable one is said.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use images::Task;
use images::bundle::{Bundle, ImportError, KernelStore, Source, StoreError};
use images::modules::{ModuleFolder, NEEDS, module_name};

/// Debian's cloud kernel, as if it were installed, as a bundle of a store of its own.
struct Installed {
    root: PathBuf,
    folder: tempfile::TempDir,
    store: KernelStore,
    bundle: Bundle,
    version: String,
}

impl Installed {
    fn new() -> Self {
        let root = testkit::kernel_root();
        let folder = tempfile::tempdir().unwrap();
        let store = KernelStore::open(&folder.path().join("data")).unwrap();
        let bundle = store
            .import(
                &Source::Installed {
                    version: None,
                    root: root.clone(),
                },
                &Task::new(),
            )
            .unwrap()
            .bundle;
        let version = bundle.manifest().version.clone();
        Self {
            root,
            folder,
            store,
            bundle,
            version,
        }
    }

    fn kernel(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.version))
    }

    fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.version)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the modules of the bundle lie below the folder of modules.
    fn module_paths(&self) -> Vec<String> {
        let list = fs::read_to_string(self.modules().join("modules.order")).unwrap();
        let modules = &self.bundle.manifest().modules;
        let needed = |path: &&str| modules.contains(&module_name(path).unwrap());
        list.lines().filter(needed).map(ToOwned::to_owned).collect()
    }

    fn import(&self, source: &Source) -> Result<Bundle, ImportError> {
        match self.store.import(source, &Task::new()) {
            Ok(imported) => Ok(imported.bundle),
            Err(StoreError::Import(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }
}

/// A package as Debian makes it: no `modules.dep`, paths with `./`, files packed with zstd.
fn package(path: &Path, files: &[(String, Vec<u8>)]) {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("./{name}"), bytes.as_slice())
            .unwrap();
    }
    let data = tar.into_inner().unwrap().finish().unwrap();
    let mut file = fs::File::create(path).unwrap();
    file.write_all(b"!<arch>\n").unwrap();
    for (name, bytes) in [("debian-binary", b"2.0\n".as_slice()), ("data.tar.zst", &data)] {
        writeln!(
            file,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`",
            0,
            0,
            0,
            100_644,
            bytes.len()
        )
        .unwrap();
        file.write_all(bytes).unwrap();
        file.write_all(&b"\n"[..bytes.len() % 2]).unwrap();
    }
}

#[test]
fn every_source_of_a_kernel_makes_the_same_bundle() {
    let installed = Installed::new();
    let id = installed.bundle.id();

    assert_eq!(
        installed
            .import(&Source::Package(testkit::kernel_package()))
            .unwrap()
            .id(),
        id
    );

    // A package as later versions of Debian make it.
    let modules = format!("lib/modules/{}", installed.version);
    let mut files = vec![
        (
            format!("boot/vmlinuz-{}", installed.version),
            fs::read(installed.kernel()).unwrap(),
        ),
        (
            format!("{modules}/modules.builtin"),
            fs::read(installed.modules().join("modules.builtin")).unwrap(),
        ),
    ];
    for path in installed.module_paths() {
        files.push((
            format!("usr/{modules}/{path}"),
            fs::read(installed.modules().join(&path)).unwrap(),
        ));
    }
    let deb = installed.path("kernel.deb");
    package(&deb, &files);
    assert_eq!(installed.import(&Source::Package(deb)).unwrap().id(), id);

    // The unpacked kernel and packed modules, and nothing that says what depends on what.
    let folder = installed.path("modules");
    for (number, path) in installed.module_paths().iter().enumerate() {
        let bytes = fs::read(installed.modules().join(path)).unwrap();
        let (end, packed) = match number % 3 {
            0 => ("", bytes),
            1 => (".zst", zstd::encode_all(bytes.as_slice(), 1).unwrap()),
            _ => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(&bytes).unwrap();
                (".gz", gzip.finish().unwrap())
            }
        };
        let target = folder.join(format!("{path}{end}"));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, packed).unwrap();
    }
    let config = Some(installed.root.join(format!("boot/config-{}", installed.version)));
    let source = Source::Image {
        kernel: installed.bundle.vmlinux(),
        modules: Some(folder),
        config,
    };
    assert_eq!(installed.import(&source).unwrap().id(), id);
}

/// All that `name` depends on, the nearest first: as depmod writes it.
fn chain(folder: &ModuleFolder, name: &str) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for need in folder.depends(name).unwrap() {
        let nearer = chain.clone();
        chain.push(need.clone());
        chain.extend(
            self::chain(folder, need)
                .into_iter()
                .filter(|name| !nearer.contains(name)),
        );
    }
    chain
}

#[test]
fn a_list_of_dependencies_makes_the_same_bundle() {
    let installed = Installed::new();
    let folder = installed.path("modules");
    fs::create_dir(&folder).unwrap();
    let known = ModuleFolder::open(&installed.modules()).unwrap();
    let paths = installed.module_paths();
    let path_of = |name: &String| {
        paths
            .iter()
            .find(|path| module_name(path).as_ref() == Some(name))
            .unwrap()
    };
    let mut list = String::new();
    for path in &paths {
        let needs = chain(&known, &module_name(path).unwrap());
        let needs: Vec<_> = needs.iter().map(|name| path_of(name).as_str()).collect();
        list.push_str(&format!("{path}: {}\n", needs.join(" ")));
        let target = folder.join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(installed.modules().join(path), target).unwrap();
    }
    fs::write(folder.join("modules.dep"), list).unwrap();
    let source = Source::Image {
        kernel: installed.kernel(),
        modules: Some(folder),
        config: None,
    };
    assert_eq!(installed.import(&source).unwrap().id(), installed.bundle.id());
}

#[test]
fn a_kernel_without_its_modules_is_refused_with_the_remedy() {
    let installed = Installed::new();
    for kernel in [installed.kernel(), installed.bundle.vmlinux()] {
        let source = Source::Image {
            kernel,
            modules: None,
            config: None,
        };
        let error = installed.import(&source).unwrap_err();
        assert!(matches!(error, ImportError::NoVirtio { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("kernel without virtio") && text.contains("linux-image-cloud-amd64"),
            "{text}"
        );
    }
}

#[test]
fn a_kernel_with_all_built_in_needs_no_modules() {
    let installed = Installed::new();
    let options: String = NEEDS.iter().map(|need| format!("{}=y\n", need.option)).collect();
    let config = installed.path("config");
    fs::write(&config, options).unwrap();
    let source = Source::Image {
        kernel: installed.kernel(),
        modules: None,
        config: Some(config),
    };
    let configured = installed.import(&source).unwrap();
    assert!(configured.manifest().modules.is_empty());
    assert!(configured.manifest().modules_cpio.size < 4096);

    // Where nothing is said, the names of drivers in the kernel say it; here they stand behind its end.
    let mut bytes = fs::read(installed.bundle.vmlinux()).unwrap();
    for need in NEEDS {
        bytes.extend([b"\0", need.driver.as_bytes(), b"\0"].concat());
    }
    let kernel = installed.path("vmlinux");
    fs::write(&kernel, bytes).unwrap();
    let bundle = installed
        .import(&Source::Image {
            kernel,
            modules: None,
            config: None,
        })
        .unwrap();
    let manifest = bundle.manifest();
    assert!(manifest.modules.is_empty());
    assert_eq!(
        manifest.features.filesystems,
        ["ext4", "overlay", "squashfs", "erofs"]
    );
    assert_eq!((manifest.features.ip_pnp, manifest.features.acpi), (None, None));
}

#[test]
fn a_kernel_without_vsock_is_refused_with_the_remedy() {
    let installed = Installed::new();
    let folder = installed.path("modules");
    for path in installed
        .module_paths()
        .iter()
        .filter(|path| !path.contains("vsock"))
    {
        let target = folder.join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(installed.modules().join(path), target).unwrap();
    }
    let source = Source::Image {
        kernel: installed.kernel(),
        modules: Some(folder),
        config: None,
    };
    let error = installed.import(&source).unwrap_err();
    assert!(matches!(error, ImportError::NoVsock { .. }), "{error}");
    assert!(error.to_string().contains("CONFIG_VIRTIO_VSOCKETS"), "{error}");
}

#[test]
fn modules_of_another_kernel_are_refused() {
    let installed = Installed::new();
    let folder = installed.path("modules");
    for path in installed.module_paths() {
        let mut bytes = fs::read(installed.modules().join(&path)).unwrap();
        let magic = format!("vermagic={}", installed.version);
        let at = bytes
            .windows(magic.len())
            .position(|window| window == magic.as_bytes())
            .unwrap();
        bytes[at + "vermagic=".len()] = b'9';
        let target = folder.join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
    let source = Source::Image {
        kernel: installed.kernel(),
        modules: Some(folder),
        config: None,
    };
    let error = installed.import(&source).unwrap_err();
    assert!(
        matches!(&error, ImportError::Release { release, .. } if release.starts_with("9.")),
        "{error}"
    );
}

#[test]
fn what_is_no_kernel_is_refused() {
    let installed = Installed::new();
    let text = installed.path("text");
    fs::write(&text, "#!/bin/sh\n").unwrap();
    let image = |kernel: &Path| Source::Image {
        kernel: kernel.to_owned(),
        modules: None,
        config: None,
    };
    assert!(matches!(
        installed.import(&image(&text)),
        Err(ImportError::Kernel { .. })
    ));
    assert!(matches!(
        installed.import(&Source::Package(text)),
        Err(ImportError::Package { .. })
    ));
    assert!(
        matches!(installed.import(&image(Path::new("/nowhere"))), Err(ImportError::Read(error)) if error.is_absence())
    );
    let deb = installed.path("empty.deb");
    package(&deb, &[("usr/share/doc/x".to_owned(), b"text".to_vec())]);
    let error = installed.import(&Source::Package(deb)).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("holds no kernel"), "{cause}");
}

/// The second import of a source reads nothing of it, which shows where it could not be read as a kernel any more.
#[test]
fn a_source_that_is_as_it_was_is_not_read_again() {
    let installed = Installed::new();
    let folder = tempfile::tempdir().unwrap();
    let kernel = folder.path().join("vmlinuz-x");
    fs::copy(installed.kernel(), &kernel).unwrap();
    let modules = folder.path().join("modules");
    let copied = Command::new("cp")
        .args(["-a", "--"])
        .args([&installed.modules(), &modules])
        .status();
    assert!(copied.unwrap().success());
    let source = Source::Image {
        kernel: kernel.clone(),
        modules: Some(modules.clone()),
        config: None,
    };
    let data = tempfile::tempdir().unwrap();
    let store = KernelStore::open(data.path()).unwrap();
    let first = store.import(&source, &Task::new()).unwrap();
    assert!(first.new);

    // What only a real import needs is gone, what is looked at is as it was.
    fs::remove_dir_all(modules.join("kernel")).unwrap();
    let again = store.import(&source, &Task::new()).unwrap();
    assert_eq!((again.bundle.id(), again.new), (first.bundle.id(), false));

    // A bundle that was removed, and a kernel that was changed, are imported anew.
    store.remove(&again.bundle).unwrap();
    store.import(&source, &Task::new()).unwrap_err();
    fs::write(&kernel, "no kernel").unwrap();
    store.import(&source, &Task::new()).unwrap_err();
}
