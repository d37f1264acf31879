use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::oci::{Descriptor, Digest, ImageConfig, Manifest, Reference, media_type};
use crate::task::Task;

mod model;

/// A store in a folder of its own.
pub(crate) struct Sample {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Sample {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("data")).unwrap();
        Self { folder, store }
    }

    fn reopen(&self) -> Result<Store, StoreError> {
        Store::open(&self.folder.path().join("data"))
    }

    fn adding(&self) -> Adding {
        self.store.adding(&Task::new()).unwrap()
    }

    /// Enters an image of these layers.
    fn image(&self, name: &str, layers: &[&[u8]]) -> Image {
        let adding = self.adding();
        let (manifest, _) = blobs(&adding, layers);
        let names: Vec<Reference> = name.parse().into_iter().collect();
        adding
            .enter(&manifest, &names, |_| Ok::<_, StoreError>(()))
            .unwrap()
    }

    fn remove(&self, what: &str) -> Result<Removed, StoreError> {
        self.store.remove(what, |_| Vec::new())
    }

    /// How many files lie in a folder of the store.
    fn files(&self, folder: &str) -> usize {
        self.store.names(folder).unwrap().len()
    }

    fn rootfs(&self, image: &Image, text: &[u8]) -> Rootfs {
        let make = |file: &fs::File| file.write_all_at(text, 0).map_err(|_| StoreError::TooManyNames);
        self.adding().rootfs(image, &Task::new(), make).unwrap()
    }
}

fn blobs(adding: &Adding, layers: &[&[u8]]) -> (Descriptor, Vec<Descriptor>) {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string().into_bytes();
    let layers: Vec<Descriptor> = layers
        .iter()
        .map(|layer| put(adding, media_type::LAYER, layer))
        .collect();
    let manifest = Manifest::new(put(adding, media_type::CONFIG, &config), layers.clone());
    let manifest = serde_json::to_vec(&manifest).unwrap();
    (put(adding, media_type::MANIFEST, &manifest), layers)
}

fn put(adding: &Adding, media_type: &str, bytes: &[u8]) -> Descriptor {
    let digest = adding.put(bytes).unwrap();
    assert_eq!(digest, Digest::of(bytes));
    Descriptor::of(media_type, bytes)
}

fn writer(adding: &Adding, bytes: &[u8]) -> Option<BlobWriter> {
    let size = Some(bytes.len() as u64);
    adding.blob(&Digest::of(bytes), size, &Task::new()).unwrap()
}

#[test]
fn an_image_is_found_by_all_that_it_is_called() {
    let sample = Sample::new();
    let image = sample.image("debian:12", &[b"one", b"two"]);
    sample
        .store
        .tag("debian:12", &"localhost:5000/mine".parse().unwrap())
        .unwrap();
    let image = Image {
        names: ["docker.io/library/debian:12", "localhost:5000/mine:latest"]
            .map(|name| name.parse().unwrap())
            .to_vec(),
        ..image
    };
    let digest = image.digest.to_string();
    for what in [
        "debian:12",
        "docker.io/library/debian:12",
        "localhost:5000/mine",
        &digest,
        image.digest.hex(),
        &image.digest.hex()[..4],
        &image.manifest.config.digest.hex()[..12],
        &format!("debian:13@{digest}"),
    ] {
        assert_eq!(sample.store.resolve(what).unwrap(), image, "{what}");
    }
    for what in ["debian", "debian:13", "ffff0000ffff", &image.digest.hex()[..3]] {
        assert!(
            matches!(sample.store.resolve(what), Err(StoreError::Unknown(_))),
            "{what}"
        );
    }
    assert!(matches!(
        sample.store.resolve("Debian"),
        Err(StoreError::Reference(_))
    ));
    assert_eq!(sample.store.get(&"debian".parse().unwrap()).unwrap(), None);
    assert_eq!(sample.reopen().unwrap().list().unwrap()[0].image, image);
}

#[test]
fn it_is_a_layout_and_private() {
    let sample = Sample::new();
    let image = sample.image("x", &[b"layer"]);
    let root = sample.store.path();
    let index: serde_json::Value = serde_json::from_slice(&fs::read(root.join(INDEX)).unwrap()).unwrap();
    assert_eq!(
        index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"],
        "docker.io/library/x:latest"
    );
    let blob = root.join("blobs/sha256").join(image.digest.hex());
    assert_eq!(Digest::of(&fs::read(&blob).unwrap()), image.digest);
    for (path, mode) in [(root, 0o700), (&blob, 0o600), (&root.join(INDEX), 0o600)] {
        assert_eq!(path.metadata().unwrap().mode() & 0o777, mode, "{path:?}");
    }
}

#[test]
fn a_store_of_others_or_of_another_kind_is_refused() {
    let sample = Sample::new();
    let root = sample.store.path();
    fs::set_permissions(root.join(BLOBS), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(sample.reopen(), Err(StoreError::Trust(_))));
    fs::set_permissions(root.join(BLOBS), fs::Permissions::from_mode(0o700)).unwrap();
    sample.reopen().unwrap();
    fs::write(root.join(LAYOUT), "{\"imageLayoutVersion\":\"9\"}").unwrap();
    assert!(matches!(sample.reopen(), Err(StoreError::Layout { .. })));
    fs::remove_file(root.join(LAYOUT)).unwrap();
    fs::write(root.join(INDEX), "{").unwrap();
    assert!(matches!(
        sample.reopen().unwrap().list(),
        Err(StoreError::Layout { .. })
    ));
}

#[test]
fn a_broken_download_is_gone_on_with() {
    let sample = Sample::new();
    let adding = sample.adding();
    let mut first = writer(&adding, b"0123456789").unwrap();
    first.add(b"0123").unwrap();
    first.keep();
    drop(first);
    drop(adding);
    let adding = sample.adding();
    let mut second = writer(&adding, b"0123456789").unwrap();
    assert_eq!(second.offset(), 4);
    second.add(b"456789").unwrap();
    second.commit().unwrap();
    assert!(writer(&adding, b"0123456789").is_none());
    assert_eq!(sample.files(INGEST), 0);
}

#[test]
fn a_part_that_is_not_kept_or_is_wrong_is_gone() {
    let sample = Sample::new();
    let adding = sample.adding();
    let mut dropped = writer(&adding, b"0123").unwrap();
    dropped.add(b"01").unwrap();
    drop(dropped);
    assert_eq!(writer(&adding, b"0123").unwrap().offset(), 0);

    let mut wrong = writer(&adding, b"0123").unwrap();
    wrong.keep();
    wrong.add(b"0124").unwrap();
    assert!(matches!(wrong.commit(), Err(StoreError::Mismatch { .. })));
    let mut long = writer(&adding, b"0123").unwrap();
    long.keep();
    assert!(matches!(long.add(b"01234"), Err(StoreError::Size { .. })));
    drop(long);
    let mut short = writer(&adding, b"0123").unwrap();
    short.add(b"012").unwrap();
    assert!(matches!(
        short.commit(),
        Err(StoreError::Size {
            expected: 4,
            found: 3,
            ..
        })
    ));
    let mut again = writer(&adding, b"0123").unwrap();
    again.add(b"9").unwrap();
    again.restart().unwrap();
    again.add(b"0123").unwrap();
    assert_eq!(again.commit().unwrap(), (Digest::of(b"0123"), 4));
    assert_eq!((sample.files(INGEST), sample.files("blobs/sha256")), (0, 1));
}

#[test]
fn a_blob_that_was_cut_off_is_fetched_again() {
    let sample = Sample::new();
    let image = sample.image("x", &[b"layer"]);
    let layer = &image.manifest.layers[0];
    fs::write(sample.store.blob_path(&layer.digest), "lay").unwrap();
    assert!(!sample.store.has(layer));
    assert!(matches!(
        sample.store.open_blob(layer),
        Err(StoreError::Damaged { .. })
    ));
    let mut writer = writer(&sample.adding(), b"layer").unwrap();
    writer.add(b"layer").unwrap();
    writer.commit().unwrap();
    assert!(sample.store.has(layer));
    fs::write(
        sample.store.blob_path(&image.digest),
        vec![b' '; usize::try_from(image.descriptor.size).unwrap()],
    )
    .unwrap();
    assert!(matches!(
        sample.store.resolve("x"),
        Err(StoreError::Damaged { .. })
    ));
    assert!(sample.store.list().unwrap().is_empty());
    sample.image("x", &[b"layer"]);
    sample.store.resolve("x").unwrap();
}

#[test]
fn two_who_want_one_blob_write_it_once() {
    let sample = Sample::new();
    let (adding, other) = (sample.adding(), sample.adding());
    let mut first = writer(&adding, b"blob").unwrap();
    let (waits, waiting) = std::sync::mpsc::channel();
    let task = Task::watched(move |_| waits.send(()).unwrap_or_default());
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            other
                .blob(&Digest::of(b"blob"), Some(4), &task)
                .unwrap()
                .is_none()
        });
        waiting.recv().unwrap();
        // Another blob waits for nobody.
        drop(writer(&adding, b"other").unwrap());
        first.add(b"blob").unwrap();
        first.commit().unwrap();
        assert!(second.join().unwrap());
    });
    assert_eq!(sample.files(INGEST), 0);
}

#[test]
fn what_a_check_refuses_is_not_entered_and_not_kept() {
    let sample = Sample::new();
    let adding = sample.adding();
    let (manifest, layers) = blobs(&adding, &[b"layer"]);
    let refused = adding.enter(&manifest, &[], |_| Err(StoreError::TooManyNames));
    assert!(matches!(refused, Err(StoreError::TooManyNames)));
    assert_eq!(
        sample.store.collect_if_idle().unwrap(),
        None,
        "somebody is adding"
    );
    drop(adding);
    assert_eq!(sample.store.collect_if_idle().unwrap().unwrap().blobs, 3);
    let adding = sample.adding();
    let (manifest, _) = blobs(&adding, &[b"layer"]);
    fs::remove_file(sample.store.blob_path(&layers[0].digest)).unwrap();
    let missing = adding.enter(&manifest, &[], |_| Ok::<_, StoreError>(()));
    assert!(matches!(missing, Err(StoreError::Missing { .. })));
}

#[test]
fn an_image_goes_with_its_last_name_and_what_only_it_had() {
    let sample = Sample::new();
    let one = sample.image("one", &[b"shared", b"own"]);
    let two = sample.image("two", &[b"shared"]);
    sample.rootfs(&one, b"root");
    sample.store.tag("one", &"uno".parse().unwrap()).unwrap();
    let digest = one.digest.to_string();
    assert!(
        matches!(sample.remove(&digest), Err(StoreError::SeveralNames { names, .. }) if names == ["one:latest", "uno:latest"])
    );
    let removed = sample.remove("one").unwrap();
    assert_eq!((removed.image, removed.collected), (None, None));
    let users = sample.store.remove("uno", |image| {
        assert_eq!(*image, one.digest);
        vec!["vm web".to_owned()]
    });
    assert!(matches!(users, Err(StoreError::InUse { users, .. }) if users == ["vm web"]));
    let removed = sample.remove("uno").unwrap();
    assert_eq!(removed.image, Some(one.digest));
    let collected = removed.collected.unwrap();
    assert_eq!((collected.blobs, collected.rootfs), (3, 1));
    assert_eq!(sample.store.list().unwrap().len(), 1);
    assert!(sample.store.has(&two.manifest.layers[0]));
    assert_eq!(sample.files(ROOTFS), 0);
    assert!(sample.remove("uno").unwrap_err().is_absence());
}

#[test]
fn while_somebody_adds_removing_waits_for_nobody() {
    let sample = Sample::new();
    let image = sample.image("x", &[b"layer"]);
    let adding = sample.adding();
    let removed = sample.remove("x").unwrap();
    assert_eq!((removed.image, removed.collected), (Some(image.digest), None));
    assert!(sample.store.list().unwrap().is_empty() && sample.store.resolve("x").is_err());
    assert!(sample.store.has(&image.manifest.layers[0]));
    assert_eq!(
        sample.store.prune(Prune::default(), |_| Vec::new()).unwrap(),
        None
    );
    drop(adding);
    // Who began to use it meanwhile keeps it.
    let kept = sample
        .store
        .prune(Prune::default(), |_| vec!["vm".into()])
        .unwrap()
        .unwrap();
    assert_eq!(kept.blobs, 0);
    let collected = sample
        .store
        .prune(Prune::default(), |_| Vec::new())
        .unwrap()
        .unwrap();
    assert_eq!((collected.blobs, collected.images.len()), (3, 1));
}

#[test]
fn one_that_was_removed_comes_back() {
    let sample = Sample::new();
    sample.image("x", &[b"layer"]);
    let adding = sample.adding();
    sample.remove("x").unwrap();
    drop(adding);
    sample.image("x", &[b"layer"]);
    sample
        .store
        .prune(Prune::default(), |_| Vec::new())
        .unwrap()
        .unwrap();
    sample.store.resolve("x").unwrap();
}

#[test]
fn a_name_moves_and_pruning_takes_what_has_none() {
    let sample = Sample::new();
    let old = sample.image("x", &[b"old"]);
    let new = sample.image("x", &[b"new"]);
    let other = sample.image("other", &[b"other"]);
    assert_eq!(sample.store.resolve("x").unwrap().digest, new.digest);
    assert!(sample.store.resolve(old.digest.hex()).unwrap().names.is_empty());
    let used = |image: &Digest| {
        if *image == old.digest {
            vec!["vm".to_owned()]
        } else {
            vec![]
        }
    };
    assert_eq!(
        sample.store.prune(Prune::default(), used).unwrap().unwrap(),
        Collected::default()
    );
    let dry = Prune {
        dry_run: true,
        ..Prune::default()
    };
    let would = sample.store.prune(dry, |_| vec![]).unwrap().unwrap();
    assert_eq!(
        (would.images.as_slice(), would.blobs),
        (std::slice::from_ref(&old.digest), 3)
    );
    assert_eq!(sample.store.list().unwrap().len(), 3);
    assert_eq!(
        sample.store.prune(Prune::default(), |_| vec![]).unwrap().unwrap(),
        would
    );
    let all = Prune {
        all: true,
        ..Prune::default()
    };
    let used = |image: &Digest| {
        if *image == other.digest {
            vec!["vm".to_owned()]
        } else {
            vec![]
        }
    };
    assert_eq!(
        sample.store.prune(all, used).unwrap().unwrap().images,
        [new.digest]
    );
    assert_eq!(sample.store.list().unwrap().len(), 1);
}

#[test]
fn sizes_are_those_of_the_disk() {
    let sample = Sample::new();
    let (shared, own) = (vec![1; 100_000], vec![2; 300_000]);
    let one = sample.image("one", &[&shared, &own, &own]);
    sample.image("two", &[&shared]);
    let rootfs = sample.rootfs(&one, &vec![3; 50_000]);
    let taken = |path: &Path| path.metadata().unwrap().blocks() * 512;
    let blob = |number: usize| taken(&sample.store.blob_path(&one.manifest.layers[number].digest));
    let small = taken(&sample.store.blob_path(&one.digest))
        + taken(&sample.store.blob_path(&one.manifest.config.digest));
    let listed = sample.store.list().unwrap();
    assert_eq!(
        listed[0].sizes,
        Sizes {
            blobs_unique: blob(1) + small,
            blobs_shared: blob(0),
            rootfs_unique: taken(&rootfs.path),
            rootfs_shared: 0,
        }
    );
    let before = listed[0].sizes;
    let freed = sample.remove("one").unwrap().collected.unwrap().bytes;
    assert_eq!(freed, before.unique());
    let left = sample.store.list().unwrap()[0].sizes;
    assert_eq!((left.blobs_shared, left.total()), (0, left.unique()));
}

#[test]
fn a_root_file_system_is_made_once_for_all_with_the_same_layers() {
    let sample = Sample::new();
    let image = sample.image("x", &[b"layer"]);
    let adding = sample.adding();
    let failed = adding.rootfs(&image, &Task::new(), |_| Err(StoreError::TooManyNames));
    assert!(matches!(failed, Err(StoreError::TooManyNames)));
    assert_eq!((sample.files(ROOTFS), sample.store.rootfs(&image)), (0, None));
    let made = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let rootfs = sample.adding().rootfs(&image, &Task::new(), |file| {
                    made.fetch_add(1, Ordering::Relaxed);
                    file.set_len(1 << 20).map_err(|_| StoreError::TooManyNames)
                });
                assert_eq!(rootfs.unwrap().size, 1 << 20);
            });
        }
    });
    assert_eq!((made.into_inner(), sample.files(ROOTFS)), (1, 1));
    assert!(!sample.store.rootfs(&image).unwrap().new);
}

#[test]
fn a_layer_that_the_disk_changed_comes_anew() {
    let sample = Sample::new();
    let image = sample.image("x", &[b"one", b"two"]);
    let [one, two] = [0, 1].map(|number| &image.manifest.layers[number]);
    fs::write(sample.store.blob_path(&two.digest), "twO").unwrap();
    let failed = sample
        .adding()
        .rootfs(&image, &Task::new(), |_| Err(StoreError::TooManyNames));
    assert!(matches!(failed, Err(StoreError::TooManyNames)));
    assert!(sample.store.has(one) && !sample.store.has(two));
    assert_eq!(sample.image("x", &[b"one", b"two"]), image);
    assert!(sample.store.has(two));
}

#[test]
fn a_layer_on_an_image_makes_another() {
    let sample = Sample::new();
    let adding = sample.adding();
    // What no other test's images have: fields of which nothing is known here, and an uncompressed layer.
    let diff_id = Digest::of(b"layer");
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "x-own": {"a": 1}, "history": null,
        "config": {"Env": ["A=b"], "OnBuild": ["x"]}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
    let config = put(&adding, media_type::DOCKER_CONFIG, config.to_string().as_bytes());
    let layer = put(
        &adding,
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        b"layer",
    );
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap();
    let manifest = put(&adding, media_type::DOCKER_MANIFEST, &manifest);
    let enter = |manifest: &Descriptor| adding.enter(manifest, &[], |_| Ok::<_, StoreError>(()));
    let base = enter(&manifest).unwrap();
    let mut writer = adding.layer().unwrap();
    std::io::Write::write_all(&mut writer, b"more").unwrap();
    let layer = writer.finish().unwrap();
    assert_eq!(layer.diff_id, Digest::of(b"more"));
    let origin = Origin {
        created_by: "commit".to_owned(),
        created: Some("2024-01-02T03:04:05Z".parse().unwrap()),
    };
    let image = enter(&adding.image_on(&base, layer, &origin).unwrap()).unwrap();
    assert_eq!(image.config.diff_ids, [diff_id, Digest::of(b"more")]);
    assert_eq!(
        (image.config.run.clone(), image.config.created),
        (base.config.run, origin.created)
    );
    assert_eq!(image.config.history.len(), 1);
    let types: Vec<&str> = image
        .manifest
        .layers
        .iter()
        .map(|layer| layer.media_type.as_str())
        .collect();
    assert_eq!(types, [media_type::LAYER, media_type::LAYER_ZSTD]);
    let config = sample.store.read_blob(&image.manifest.config, 10_000).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(
        (&config["x-own"]["a"], &config["config"]["OnBuild"][0]),
        (&1.into(), &"x".into())
    );
}

#[test]
fn what_crashed_programs_left_is_removed() {
    let sample = Sample::new();
    let ingest = sample.store.path().join(INGEST);
    let digest = Digest::of(b"blob").hex().to_owned();
    for name in ["new-0123.part".to_owned(), format!("sha256-{digest}.part")] {
        fs::write(ingest.join(name), "bl").unwrap();
    }
    fs::create_dir(sample.store.path().join("rootfs/.new-abc")).unwrap();
    drop(sample.adding());
    // The part of a download is young.
    assert_eq!((sample.files(INGEST), sample.files(ROOTFS)), (1, 0));
    assert_eq!(writer(&sample.adding(), b"blob").unwrap().offset(), 2);
    let old = ingest.join(format!("sha256-{digest}.part"));
    fs::write(&old, "bl").unwrap();
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 60 * 60);
    fs::File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(time)
        .unwrap();
    drop(sample.adding());
    assert_eq!(sample.files(INGEST), 0);
    // A prune says what it removes, of these too.
    fs::write(&old, "bl").unwrap();
    fs::write(ingest.join("new-4567.part"), "bl").unwrap();
    fs::create_dir(sample.store.path().join("rootfs/.new-def")).unwrap();
    fs::write(sample.store.path().join("rootfs/.new-def/x.ext4"), [1; 9000]).unwrap();
    let prune = |dry_run| {
        let what = Prune {
            dry_run,
            ..Prune::default()
        };
        sample.store.prune(what, |_| Vec::new()).unwrap().unwrap()
    };
    let would = prune(true);
    assert!(would.leftovers == 3 && would.bytes >= 9000, "{would:?}");
    assert_eq!(prune(false), would);
    assert_eq!((sample.files(INGEST), sample.files(ROOTFS)), (0, 0));
    assert_eq!(prune(false), Collected::default());
}

#[test]
fn all_layers_are_in_the_history() {
    let sample = Sample::new();
    let mut image = sample.image("x", &[b"one", b"two"]);
    image.config = ImageConfig::parse(
        br#"{"rootfs": {}, "history": [{"created_by": "ENV", "empty_layer": true}, {"created_by": "ADD"}]}"#,
    )
    .unwrap();
    let steps: Vec<(String, bool)> = image
        .history()
        .into_iter()
        .map(|step| (step.history.created_by, step.layer.is_some()))
        .collect();
    assert_eq!(
        steps,
        [("ENV".into(), false), ("ADD".into(), true), (String::new(), true)]
    );
}
