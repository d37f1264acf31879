//! The judge is umoci: what `umoci unpack` makes of an image as root, file by file with every attribute.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use images::Task;
use images::convert::{Limits, convert};
use images::layer::{self, Expected, Layer};
use serde_json::Value;
use tempfile::TempDir;
use testkit::run;

use crate::done;
use crate::listing::{Item, Listing, What, check};

/// What umoci 0.4.7 is known to do otherwise: the reason, and what makes its item equal to ours where that is all.
type Known = (&'static str, fn(ours: &Item, theirs: &mut Item, started: i64));

const KNOWN: [Known; 5] = [
    (
        "it reads all files when it has unpacked them, and so their times of access are new",
        |ours, theirs, _| {
            theirs.atime = ours.atime;
        },
    ),
    (
        "folders that no entry describes, and those that they are made in, get the time of the unpacking",
        |ours, theirs, started| {
            let is_new = theirs.what == What::Directory && theirs.mtime.0 >= started;
            // They inherit from a folder with the set-group-id bit, as the host's kernel has it.
            if is_new && (ours.mode, theirs.mode) == (0o755, 0o2755) {
                (theirs.mode, theirs.gid) = (ours.mode, ours.gid);
            }
            if is_new {
                theirs.mtime = ours.mtime;
            }
        },
    ),
    (
        "it knows ACLs as extended attributes only, and not the records of GNU tar",
        |ours, theirs, _| {
            let lists = ours
                .xattrs
                .iter()
                .filter(|(name, _)| name.starts_with(b"system.posix_acl_"));
            for (name, value) in lists {
                theirs.xattrs.entry(name.clone()).or_insert_with(|| value.clone());
            }
        },
    ),
    (
        "Go's reader of archives passes over attributes without a value",
        |ours, theirs, _| {
            for (name, _) in ours.xattrs.iter().filter(|(_, value)| value.is_empty()) {
                theirs.xattrs.entry(name.clone()).or_default();
            }
        },
    ),
    (
        "it lets images steer the overlay that they are in (trusted.overlay.*)",
        |_, theirs, _| {
            theirs
                .xattrs
                .retain(|name, _| !name.starts_with(b"trusted.overlay."));
        },
    ),
];

/// What is missing for this judge, if anything is.
pub(crate) fn missing() -> Option<&'static str> {
    if !testkit::is_root() {
        Some("root, whom umoci needs for owners and devices")
    } else if !testkit::have("umoci") {
        Some("umoci")
    } else {
        None
    }
}

fn umoci(arguments: &[&str]) -> Command {
    let mut command = Command::new("umoci");
    command.args(arguments);
    command
}

/// An OCI layout with an image of the tag `test`, layers by `umoci raw add-layer`.
pub(crate) fn layout(layers: &[Vec<u8>]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    let path = path.to_str().unwrap();
    let image = format!("{path}:test");
    done(&mut umoci(&["init", "--layout", path]));
    done(&mut umoci(&["new", "--image", &image]));
    for layer in layers {
        let archive = folder.path().join("layer.tar");
        fs::write(&archive, layer).unwrap();
        done(&mut umoci(&[
            "raw",
            "add-layer",
            "--image",
            &image,
            archive.to_str().unwrap(),
        ]));
    }
    folder
}

/// The image of a layout that is this machine's, packed with gzip: umoci 0.4.7 knows no zstd, and of an index it takes
/// no image.
pub(crate) fn told_anew(layout: &Path, tag: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut skopeo = Command::new("skopeo");
    skopeo.args([
        "copy",
        "--quiet",
        "--dest-compress",
        "--dest-compress-format",
        "gzip",
    ]);
    skopeo.arg(format!("oci:{}:{tag}", layout.display()));
    done(skopeo.arg(format!("oci:{}:{tag}", folder.path().display())));
    folder
}

/// The paths of the layers of this machine's image, the lowest first.
fn blobs(layout: &Path, tag: &str) -> Vec<PathBuf> {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        layout.join("blobs").join(digest.replace(':', "/"))
    };
    let index = read(&layout.join("index.json"));
    let named = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    let manifest = index["manifests"].as_array().unwrap().iter().find(named).unwrap();
    let mut manifest = read(&blob(manifest));
    if let Some(images) = manifest["manifests"].as_array() {
        let architecture = images::oci::Platform::host().architecture;
        let ours = |entry: &&Value| entry["platform"]["architecture"] == *architecture;
        manifest = read(&blob(images.iter().find(ours).unwrap()));
    }
    manifest["layers"].as_array().unwrap().iter().map(blob).collect()
}

/// What the converter makes of an image in a layout.
fn ours(layout: &Path, tag: &str) -> Listing {
    let file = tempfile::tempfile().unwrap();
    let layers = blobs(layout, tag).into_iter().map(|path| {
        let blob = File::open(path).unwrap();
        Layer::open(blob, Expected::default(), &layer::Limits::default())
    });
    convert(layers, [1; 16], &Limits::default(), &file, &Task::new()).unwrap();
    check(&file);
    Listing::of_image(&file)
}

/// What differs between the converter's and umoci's result beyond what is known; `None` where umoci cannot unpack the image.
pub(crate) fn differences(layout: &Path, tag: &str) -> Option<Vec<String>> {
    differences_with(layout, layout, tag)
}

/// [`differences`] of what the converter makes of an image in `layout`, and umoci of the same in `told`.
fn differences_with(layout: &Path, told: &Path, tag: &str) -> Option<Vec<String>> {
    let bundle = tempfile::tempdir().unwrap();
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let started = i64::try_from(started.as_secs()).unwrap();
    let image = format!("{}:{tag}", told.display());
    let ran = run(&mut umoci(&[
        "unpack",
        "--image",
        &image,
        bundle.path().to_str().unwrap(),
    ]));
    if ran.code() != 0 {
        return None;
    }
    let mut theirs = Listing::of_folder(&bundle.path().join("rootfs"));
    let ours = ours(layout, tag);
    for (path, theirs) in &mut theirs.0 {
        if let Some(ours) = ours.0.get(path) {
            for (_reason, adjust) in KNOWN {
                adjust(ours, theirs, started);
            }
        }
    }
    Some(ours.differences(&theirs))
}

/// Fails where an image in a layout becomes anything but what umoci makes of it.
pub(crate) fn compare(layout: &Path, tag: &str) {
    compare_with(layout, layout, tag);
}

/// [`compare`] where umoci is given the image in another form.
pub(crate) fn compare_with(layout: &Path, told: &Path, tag: &str) {
    let differences = differences_with(layout, told, tag)
        .unwrap_or_else(|| panic!("umoci cannot unpack {}", told.display()));
    assert!(differences.is_empty(), "{differences:#?}");
}
