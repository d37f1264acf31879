//! An image made by umoci, and a store to bring it to.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use images::Task;
use images::import::{ImportError, Imported, Options, Source, import, verify};
use images::store::Store;

/// Runs a tool to its end; gives what it printed.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// `skopeo copy` between two places.
pub(crate) fn copy(from: &str, to: &str) {
    run("skopeo", ["--insecure-policy", "copy", "-q", "--all", from, to]);
}

pub(crate) struct Sample {
    folder: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Sample {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("data")).unwrap();
        Self { folder, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A layout with one image of two layers and a configuration, under the tag `v1`.
    pub(crate) fn layout(&self) -> String {
        let layout = self.text("layout");
        run("umoci", ["init", "--layout", &layout]);
        self.image(&layout, "v1", "hello");
        layout
    }

    /// A further image of a layout.
    pub(crate) fn image(&self, layout: &str, tag: &str, text: &str) {
        let image = format!("{layout}:{tag}");
        run("umoci", ["new", "--image", &image]);
        for number in ["one", "two"] {
            let tree = self.path(&format!("tree-{tag}-{number}"));
            fs::create_dir_all(tree.join("etc")).unwrap();
            fs::write(tree.join("etc").join(number), text).unwrap();
            let layer = self.text(&format!("layer-{tag}-{number}.tar"));
            run("tar", ["-C", tree.to_str().unwrap(), "-cf", &layer, "."]);
            run("umoci", ["raw", "add-layer", "--image", &image, &layer]);
        }
        let config = [
            "config",
            "--image",
            &image,
            "--config.env",
            "GREETING=hello",
            "--config.entrypoint",
            "/bin/app",
        ];
        run(
            "umoci",
            config
                .into_iter()
                .chain(["--config.exposedports", "80/tcp", "--config.user", "1000:50"]),
        );
    }

    pub(crate) fn import(&self, path: impl AsRef<Path>) -> Result<Imported, ImportError> {
        self.import_with(Source::Path(path.as_ref().to_owned()), &Options::default())
    }

    pub(crate) fn import_with(&self, source: Source, options: &Options) -> Result<Imported, ImportError> {
        import(&self.store, source, options, &Task::new(), |adding, image| {
            verify(adding, image, &options.layer, &Task::new())
        })
    }

    /// Names of what lies in a folder of the store.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.store.path().join(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The store is as if nothing had been done.
    pub(crate) fn assert_empty(&self) {
        assert!(self.store.list().unwrap().is_empty());
        for folder in ["blobs/sha256", "ingest", "rootfs"] {
            assert_eq!(self.files(folder), [""; 0], "{folder}");
        }
    }
}
