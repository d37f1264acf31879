use std::io::Cursor;

use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::oci::{Digest, MAX_MANIFEST};
use crate::store::tests::Sample;

/// An archive in memory.
struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
        self
    }

    fn link(mut self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_size(0);
        header.set_cksum();
        self.0.append(&header, &[][..]).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

impl Sample {
    fn import(&self, archive: Archive) -> Result<Image, ImportError> {
        let source = Source::Stream(Box::new(Cursor::new(archive.bytes())));
        let options = Options::default();
        let check = |adding: &Adding, image: &Image| verify(adding, image, &options.layer, &Task::new());
        import(&self.store, source, &options, &Task::new(), check).map(|imported| imported.image)
    }

    /// The import fails and leaves nothing.
    fn refuses(&self, archive: Archive) -> ImportError {
        let error = self.import(archive).unwrap_err();
        for folder in ["blobs/sha256", "ingest", "rootfs"] {
            assert_eq!(
                std::fs::read_dir(self.store.path().join(folder)).unwrap().count(),
                0,
                "{folder}: {error}"
            );
        }
        // Nor beside the store.
        assert_eq!(std::fs::read_dir(self.folder.path()).unwrap().count(), 1);
        error
    }
}

fn layer() -> Vec<u8> {
    Archive::new().file("etc/motd", b"hello").bytes()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}})
        .to_string()
        .into_bytes()
}

fn manifest(config: &str, layers: &[&str]) -> Vec<u8> {
    json!([{"Config": config, "RepoTags": ["app:1"], "Layers": layers}])
        .to_string()
        .into_bytes()
}

fn id(bytes: &[u8], end: &str) -> String {
    format!("{}{end}", Digest::of(bytes).hex())
}

/// Lets no layer unpack to more than twice its size.
fn strict() -> layer::Limits {
    layer::Limits {
        ratio: 2,
        ratio_from: 4096,
        ..layer::Limits::default()
    }
}

#[test]
fn what_was_packed_here_is_no_bomb_and_what_comes_packed_may_be_one() {
    let (sample, elsewhere) = (Sample::new(), Sample::new());
    let import = |sample: &Sample, bytes: &[u8], limits: layer::Limits| {
        let source = Source::Stream(Box::new(Cursor::new(bytes.to_vec())));
        let check = |adding: &Adding, image: &Image| verify(adding, image, &limits, &Task::new());
        let options = Options::default();
        super::import(&sample.store, source, &options, &Task::new(), check)
    };
    // Plain, so it is as large as it is; what it is packed to here is the store's own affair.
    let zeros = Archive::new().file("zeros", &[0; 1 << 20]).bytes();
    let imported = import(&sample, &zeros, strict()).unwrap().image;
    let hold = sample.store.adding(&Task::new()).unwrap();
    // Nor is a layer on top of it one, as `commit` makes it.
    let mut layer = hold.layer().unwrap();
    std::io::Write::write_all(&mut layer, &Archive::new().file("more", &[0; 1 << 20]).bytes()).unwrap();
    let committed = hold
        .image_on(
            &imported,
            layer.finish().unwrap(),
            &crate::store::Origin::default(),
        )
        .unwrap();
    let check = |image: &Image| -> Result<(), ImportError> {
        verify(&hold, image, &strict(), &Task::new()).map_err(ImportError::Refused)
    };
    let committed = hold.enter(&committed, &[], check).unwrap();
    assert_eq!(committed.manifest.layers.len(), 2);
    // Nor later, when the root file system is to be made again.
    let later = sample.store.adding(&Task::new()).unwrap();
    verify(&later, &committed, &strict(), &Task::new()).unwrap();

    // To another store it comes from outside.
    let mut archive = Vec::new();
    crate::export::export(&hold, &committed, &mut archive, &Task::new()).unwrap();
    let error = import(&elsewhere, &archive, strict()).unwrap_err();
    assert!(matches!(error, ImportError::Refused(_)), "{error:?}");
    import(&elsewhere, &archive, layer::Limits::default()).unwrap();
    // Taken once, it stays.
    import(&elsewhere, &archive, strict()).unwrap();
}

#[test]
fn a_file_s_whole_size_counts() {
    let sample = Sample::new();
    let mut noise = vec![0; 600 << 10];
    rustix::rand::getrandom(&mut noise, rustix::rand::GetRandomFlags::empty()).unwrap();
    let archive = Archive::new()
        .file("lastlog", &[0; 1 << 20])
        .file("noise", &noise);
    let packed = zstd::encode_all(&archive.bytes()[..], 1).unwrap();
    let path = sample.folder.path().join("root.tar.zst");
    std::fs::write(&path, &packed).unwrap();
    let options = Options {
        layer: layer::Limits { ratio: 3, ..strict() },
        ..Options::default()
    };
    let import = |source| super::import(&sample.store, source, &options, &Task::new(), |_, _| Ok(()));
    import(Source::Path(path)).unwrap();
    // Of a stream nobody knows what is still to come.
    let error = import(Source::Stream(Box::new(Cursor::new(packed)))).unwrap_err();
    assert!(matches!(error, ImportError::Packed(_)), "{error:?}");
    assert_eq!(error.limit(), Some("ratio"));
}

#[test]
fn nothing_is_no_image() {
    let sample = Sample::new();
    // `false | knaller image import -`, and what tar writes without a name.
    for bytes in [Vec::new(), Archive::new().bytes(), vec![0; 10240]] {
        let source = Source::Stream(Box::new(Cursor::new(bytes)));
        let imported = super::import(
            &sample.store,
            source,
            &Options::default(),
            &Task::new(),
            |_, _| Ok(()),
        );
        assert!(matches!(imported, Err(ImportError::Nothing)), "{imported:?}");
        assert!(sample.store.list().unwrap().is_empty());
    }
}

#[test]
fn an_import_keeps_the_limits_of_its_user() {
    let sample = Sample::new();
    let path = vec!["n".repeat(99); 700].join("/");
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(0);
    builder.append_data(&mut header, &path, &[][..]).unwrap();
    let archive = builder.into_inner().unwrap();
    let import = |limits: &str| {
        let options = Options::default().within(&limits.parse().unwrap());
        let source = Source::Stream(Box::new(Cursor::new(archive.clone())));
        super::import(&sample.store, source, &options, &Task::new(), |_, _| Ok(()))
    };
    assert_eq!(import("").unwrap_err().limit(), Some("path"));
    import("path=128K").unwrap();
    let error = import("path=128K,total=70000").unwrap_err();
    assert_eq!(error.limit(), Some("total"), "{error:?}");
}

#[test]
fn layers_that_stand_twice_are_links() {
    let sample = Sample::new();
    let config = config(&[&layer(), &layer(), &layer()]);
    let name = id(&config, ".json");
    let archive = Archive::new()
        .file("repositories", b"{}")
        .link(EntryType::Symlink, "b/layer.tar", "../a/layer.tar")
        .link(EntryType::Link, "c/layer.tar", "a/layer.tar")
        .file("a/layer.tar", &layer())
        .file(&name, &config)
        .file(
            "manifest.json",
            &manifest(&name, &["a/layer.tar", "b/layer.tar", "c/layer.tar"]),
        );
    let image = sample.import(archive).unwrap();
    assert_eq!((image.manifest.layers.len(), image.blobs().len()), (3, 3));
    assert_eq!(image.names, ["app:1".parse().unwrap()]);
}

#[test]
fn plain_layers_without_a_digest_are_packed_as_they_come() {
    let sample = Sample::new();
    let layer = Archive::new().file("zeros", &[0; 3 << 20]).bytes();
    let packed = zstd::encode_all(&layer[..], 9).unwrap();
    let config = config(&[&layer, &layer]);
    let name = id(&config, ".json");
    let archive = Archive::new()
        .file("repositories", b"{}")
        .file("a/layer.tar", &layer)
        .file("b.tar", &packed)
        .file(&name, &config)
        .file("manifest.json", &manifest(&name, &["a/layer.tar", "b.tar"]));
    let source = Source::Stream(Box::new(Cursor::new(archive.bytes())));
    let options = Options::default();
    // What is packed here is no bomb.
    let check = |adding: &Adding, image: &Image| {
        let second = adding
            .limits_on(image, &image.manifest.layers[1], &strict())
            .unwrap();
        assert_eq!(second, strict());
        verify(adding, image, &options.layer, &Task::new())
    };
    let image = super::import(&sample.store, source, &options, &Task::new(), check)
        .unwrap()
        .image;
    let [first, second] = &image.manifest.layers[..] else {
        panic!("{:?}", image.manifest.layers)
    };
    assert!(
        first.size < 100_000 && first.media_type.ends_with("+zstd"),
        "{first:?}"
    );
    // What came packed stays so, byte for byte.
    assert_eq!(second.digest, Digest::of(&packed));
}

#[test]
fn docker_s_newer_archives_keep_the_manifest_and_give_the_names() {
    let sample = Sample::new();
    let config = config(&[&layer()]);
    let oci = Manifest::new(
        Descriptor::of("application/vnd.oci.image.config.v1+json", &config),
        vec![Descriptor::of("application/vnd.oci.image.layer.v1.tar", &layer())],
    );
    let oci = serde_json::to_vec(&oci).unwrap();
    let mut entry = Descriptor::of("application/vnd.oci.image.manifest.v1+json", &oci);
    entry
        .annotations
        .insert("org.opencontainers.image.ref.name".into(), "1".into());
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let (config_name, layer_name) = (
        format!("blobs/sha256/{}", id(&config, "")),
        format!("blobs/sha256/{}", id(&layer(), "")),
    );
    let archive = Archive::new()
        .file(&config_name, &config)
        .file(&layer_name, &layer())
        .file(&format!("blobs/sha256/{}", id(&oci, "")), &oci)
        .file("index.json", index.as_bytes())
        .file("manifest.json", &manifest(&config_name, &[&layer_name]))
        .file("oci-layout", b"{}");
    let image = sample.import(archive).unwrap();
    assert_eq!(
        (image.digest, image.names),
        (Digest::of(&oci), vec!["app:1".parse().unwrap()])
    );
}

#[test]
fn hostile_archives_change_nothing() {
    let sample = Sample::new();
    let config = config(&[&layer()]);
    let name = id(&config, ".json");
    let good = || Archive::new().file(&name, &config);
    let missing = |error: ImportError| assert!(matches!(error, ImportError::Missing { .. }), "{error}");
    // Files of the machine, by whatever way.
    for layer in [
        "../../etc/passwd",
        "/etc/passwd",
        "x/../../../etc/passwd",
        "a",
        "",
    ] {
        let archive = good()
            .link(EntryType::Symlink, "a", "../../../../etc/passwd")
            .file("manifest.json", &manifest(&name, &[layer]));
        missing(sample.refuses(archive));
    }
    let circle = good()
        .link(EntryType::Symlink, "a", "b")
        .link(EntryType::Symlink, "b", "a")
        .file("manifest.json", &manifest(&name, &["a"]));
    missing(sample.refuses(circle));
    // A file that is not what its name says.
    let exchanged = Archive::new()
        .file(&name, b"{\"rootfs\": {}}")
        .file("manifest.json", &manifest(&name, &[]));
    assert!(matches!(sample.refuses(exchanged), ImportError::Mismatch { .. }));
    let blob = format!("blobs/sha256/{}", id(&config, ""));
    let exchanged = Archive::new()
        .file(&blob, b"{}")
        .file("manifest.json", &manifest(&blob, &[]));
    assert!(matches!(
        sample.refuses(exchanged),
        ImportError::Store(crate::store::StoreError::Mismatch { .. })
    ));
    // Another number of layers than the configuration names, and other layers.
    let more = good()
        .file("l.tar", &layer())
        .file("manifest.json", &manifest(&name, &["l.tar", "l.tar"]));
    assert!(matches!(
        sample.refuses(more),
        ImportError::Store(crate::store::StoreError::Layers { .. })
    ));
    let other = good()
        .file("l.tar", b"other")
        .file("manifest.json", &manifest(&name, &["l.tar"]));
    assert!(matches!(sample.refuses(other), ImportError::Refused(_)));
}

#[test]
fn documents_have_limits() {
    let sample = Sample::new();
    let large = vec![b' '; usize::try_from(MAX_MANIFEST).unwrap() + 1];
    for name in ["index.json", "manifest.json"] {
        let error = sample.refuses(Archive::new().file(name, &large));
        assert!(matches!(error, ImportError::TooLarge { .. }), "{error}");
    }
    let deep = vec![b'['; 100_000];
    assert!(matches!(
        sample.refuses(Archive::new().file("manifest.json", &deep)),
        ImportError::DockerManifest(_)
    ));
    assert!(matches!(
        sample.refuses(Archive::new().file("index.json", &deep)),
        ImportError::Index(_)
    ));
    assert!(matches!(
        sample.refuses(Archive::new().file("oci-layout", b"{}")),
        ImportError::NoIndex
    ));
    let mut many = Archive::new().file("oci-layout", b"{}");
    for number in 0..65_600 {
        many = many.link(EntryType::Symlink, &number.to_string(), "x");
    }
    assert!(matches!(sample.refuses(many), ImportError::TooManyFiles(_)));
}

/// An image of nothing but its configuration, and its manifest's entry in an index.
fn image_for(archive: Archive, platform: &str) -> (Archive, Descriptor) {
    let platform: Platform = platform.parse().unwrap();
    let config = json!({"os": platform.os, "architecture": platform.architecture, "rootfs": {}}).to_string();
    let manifest = Manifest::new(
        Descriptor::of("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        vec![],
    );
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut entry = Descriptor::of("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry.platform = Some(platform);
    let archive = archive
        .file(
            &format!("blobs/sha256/{}", id(config.as_bytes(), "")),
            config.as_bytes(),
        )
        .file(&format!("blobs/sha256/{}", id(&manifest, "")), &manifest);
    (archive, entry)
}

#[test]
fn of_an_index_the_machine_s_image_is_taken() {
    let sample = Sample::new();
    let archive = |platforms: &[&str]| {
        let mut archive = Archive::new();
        let mut entries = Vec::new();
        for platform in platforms {
            let (more, entry) = image_for(archive, platform);
            archive = more;
            entries.push(entry);
        }
        // As `buildx` and containerd write it: the layout's index holds the image's.
        let index = serde_json::to_vec(&crate::oci::Index::new(entries)).unwrap();
        let outer = crate::oci::Index::new(vec![Descriptor::of(
            "application/vnd.oci.image.index.v1+json",
            &index,
        )]);
        archive
            .file(&format!("blobs/sha256/{}", id(&index, "")), &index)
            .file("index.json", &serde_json::to_vec(&outer).unwrap())
    };
    let error = sample.refuses(archive(&["linux/s390x", "linux/ppc64le"]));
    assert!(
        error.to_string().ends_with("only for linux/s390x, linux/ppc64le"),
        "{error}"
    );
    let image = sample
        .import(archive(&["linux/s390x", &Platform::host().to_string()]))
        .unwrap();
    assert_eq!(image.config.platform, Platform::host());
    // What came for the other machine is gone again.
    assert_eq!(
        std::fs::read_dir(sample.store.path().join("blobs/sha256"))
            .unwrap()
            .count(),
        2
    );
}

#[test]
fn digests_of_either_kind() {
    use crate::oci::{Algorithm, Hasher};
    let sample = Sample::new();
    let (config, layer) = (config(&[&layer()]), layer());
    let long = |bytes: &[u8]| {
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(bytes);
        hasher.finish()
    };
    let manifest = Manifest::new(
        Descriptor::new(
            "application/vnd.oci.image.config.v1+json",
            long(&config),
            config.len() as u64,
        ),
        vec![Descriptor::new(
            "application/vnd.oci.image.layer.v1.tar",
            long(&layer),
            layer.len() as u64,
        )],
    );
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let index = crate::oci::Index::new(vec![Descriptor::new("", long(&manifest), manifest.len() as u64)]);
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha512");
    std::fs::create_dir_all(&blobs).unwrap();
    for bytes in [&config, &layer, &manifest] {
        std::fs::write(blobs.join(long(bytes).hex()), bytes).unwrap();
    }
    std::fs::write(folder.path().join("oci-layout"), "{}").unwrap();
    std::fs::write(
        folder.path().join("index.json"),
        serde_json::to_vec(&index).unwrap(),
    )
    .unwrap();
    let path = |path: &std::path::Path| Source::Path(path.to_owned());
    let task = Task::new();
    let options = Options::default();
    let check = |adding: &Adding, image: &Image| verify(adding, image, &options.layer, &task);
    let image = import(&sample.store, path(folder.path()), &options, &task, check)
        .unwrap()
        .image;
    assert_eq!(image.digest, long(&manifest));
    assert_eq!(sample.store.resolve(&image.digest.to_string()).unwrap(), image);
    // Out and in again, with names that fill no header.
    let archive = folder.path().join("archive");
    let hold = sample.store.adding(&task).unwrap();
    crate::export::export(&hold, &image, std::fs::File::create(&archive).unwrap(), &task).unwrap();
    let other = Sample::new();
    assert_eq!(
        import(&other.store, path(&archive), &options, &task, check)
            .unwrap()
            .image,
        image
    );
}

#[test]
fn artefacts_are_refused_by_name() {
    let sample = Sample::new();
    let chart = Manifest::new(
        Descriptor::of("application/vnd.cncf.helm.config.v1+json", b"{}"),
        Vec::new(),
    );
    let chart = serde_json::to_vec(&chart).unwrap();
    let index = crate::oci::Index::new(vec![Descriptor::of(
        "application/vnd.oci.image.manifest.v1+json",
        &chart,
    )]);
    let archive = Archive::new()
        .file(&format!("blobs/sha256/{}", id(&chart, "")), &chart)
        .file("index.json", &serde_json::to_vec(&index).unwrap());
    let error = sample.refuses(archive);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("helm"), "{error}: {source}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_archive_is_too_strange(
        files in proptest::collection::vec(("(index.json|manifest.json|blobs/sha256/[0-9a-f]{1,3}|a)", "[\\[\\]{}a-z\":,0-9]{0,40}"), 0..6),
    ) {
        let archive = files.iter().fold(Archive::new(), |archive, (name, text)| archive.file(name, text.as_bytes()));
        let _ = Sample::new().import(archive);
    }
}

#[test]
fn progress_is_told_of_all_bytes() {
    use std::sync::{Arc, Mutex};

    use crate::convert::{Limits, root_file_system};

    let sample = Sample::new();
    let told: Arc<Mutex<Vec<crate::Progress>>> = Arc::default();
    let task = Task::watched({
        let told = Arc::clone(&told);
        move |progress| told.lock().unwrap().push(progress)
    });
    let archive = Archive::new().file("etc", &[7; 3_000_000]).bytes();
    let size = archive.len() as u64;
    let source = Source::Stream(Box::new(Cursor::new(archive)));
    let check = |adding: &Adding, image: &Image| {
        verify(adding, image, &layer::Limits::default(), &task)?;
        root_file_system(adding, image, &Limits::default(), &task)?;
        Ok(())
    };
    let image = import(&sample.store, source, &Options::default(), &task, check)
        .unwrap()
        .image;
    let packed = image.manifest.packed_size();
    for (step, done, total) in [
        ("reading the image", size, None),
        ("checking the layers", packed, Some(packed)),
        ("unpacking the layers", packed, Some(packed)),
    ] {
        let told = told.lock().unwrap();
        let steps: Vec<_> = told.iter().filter(|progress| progress.step == step).collect();
        assert!(steps.is_sorted_by_key(|progress| progress.done), "{step}");
        assert!(steps.iter().all(|progress| progress.total == total), "{step}");
        assert_eq!(steps.last().unwrap().done, done, "{step}");
    }
}
