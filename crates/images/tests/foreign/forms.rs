//! Every form in which images lie on disks.

use std::fs::{self, File};
use std::io::{Read, Write};

use images::import::{ImportError, Options, Source};
use images::oci::Digest;

use crate::sample::{Sample, copy, run};

#[test]
fn one_image_in_every_form() {
    let sample = Sample::new();
    let layout = sample.layout();
    let forms = [
        ("docker-archive", ":test/app:1", &["docker.io/test/app:1"][..]),
        ("oci-archive", ":test/app:1", &["docker.io/test/app:1"]),
        ("oci", ":test/app:1", &["docker.io/test/app:1"]),
        ("dir", "", &[]),
    ];
    let expected = sample.import(&layout).unwrap().image;
    assert_eq!(expected.names, []);
    assert_eq!(expected.config.run.env.last().unwrap(), "GREETING=hello");
    assert_eq!(expected.config.run.entrypoint, ["/bin/app"]);
    assert_eq!(expected.config.run.exposed_ports[0].to_string(), "80/tcp");
    assert_eq!(
        (expected.config.run.user.as_str(), expected.config.diff_ids.len()),
        ("1000:50", 2)
    );
    for (transport, suffix, names) in forms {
        let path = sample.text(transport);
        copy(
            &format!("oci:{layout}:v1"),
            &format!("{transport}:{path}{suffix}"),
        );
        let other = Sample::new();
        let image = other.import(&path).unwrap().image;
        assert_eq!(image.config.run, expected.config.run, "{transport}");
        assert_eq!(image.config.diff_ids, expected.config.diff_ids);
        assert_eq!(
            image.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            names
        );
        // Manifest, configuration, two layers; nothing beside.
        assert_eq!(other.files("blobs/sha256").len(), 4, "{transport}");
        assert!(other.files("ingest").is_empty());
    }
}

#[test]
fn an_archive_packed_by_any_of_the_four_and_from_a_stream() {
    let sample = Sample::new();
    let layout = sample.layout();
    let archive = sample.text("archive");
    copy(&format!("oci:{layout}:v1"), &format!("oci-archive:{archive}:x:1"));
    let expected = sample.import(&archive).unwrap().image.digest;
    for tool in ["gzip", "bzip2", "xz", "zstd"] {
        let packed = sample.path(&format!("packed-by-{tool}"));
        let output = std::process::Command::new(tool)
            .args(["-c", &archive])
            .output()
            .unwrap();
        fs::write(&packed, output.stdout).unwrap();
        let other = Sample::new();
        assert_eq!(other.import(&packed).unwrap().image.digest, expected, "{tool}");
        let stream = Source::Stream(Box::new(File::open(&packed).unwrap()));
        assert_eq!(
            other
                .import_with(stream, &Options::default())
                .unwrap()
                .image
                .digest,
            expected
        );
    }
}

#[test]
fn layers_packed_with_zstd_or_not_at_all() {
    let sample = Sample::new();
    let layout = sample.layout();
    let expected = sample.import(&layout).unwrap().image.config.diff_ids;
    let plain = format!("docker-archive:{}:a/b:1", sample.text("plain"));
    copy(&format!("oci:{layout}:v1"), &plain);
    // Of the second, skopeo says that it is packed with gzip.
    for (option, start) in [
        ("--dest-compress-format=zstd", &b"\x28\xb5\x2f\xfd"[..]),
        ("--dest-oci-accept-uncompressed-layers", b"./\0\0"),
    ] {
        let packed = sample.text(option);
        run(
            "skopeo",
            [
                "--insecure-policy",
                "copy",
                "-q",
                option,
                &plain,
                &format!("oci:{packed}:a/b:1"),
            ],
        );
        let image = sample.import(&packed).unwrap().image;
        for layer in &image.manifest.layers {
            let mut bytes = Vec::new();
            sample
                .store
                .open_blob(layer)
                .unwrap()
                .read_to_end(&mut bytes)
                .unwrap();
            assert!(bytes.starts_with(start), "{option}");
        }
        assert_eq!(image.config.diff_ids, expected);
    }
}

#[test]
fn the_order_of_an_archives_files_does_not_matter() {
    let sample = Sample::new();
    let layout = sample.layout();
    let expected = sample.import(&layout).unwrap().image.digest;
    for order in [
        ["index.json", "oci-layout", "blobs"],
        ["blobs", "oci-layout", "index.json"],
    ] {
        for start in ["", "./"] {
            let archive = sample.text("ordered.tar");
            let names = order.map(|name| format!("{start}{name}"));
            let args = ["-C", &layout, "-cf", &archive]
                .into_iter()
                .chain(names.iter().map(String::as_str));
            run("tar", args);
            assert_eq!(Sample::new().import(&archive).unwrap().image.digest, expected);
        }
    }
}

#[test]
fn of_several_images_one_is_named() {
    let sample = Sample::new();
    let layout = sample.layout();
    sample.image(&layout, "v2", "other");
    match sample.import(&layout) {
        Err(ImportError::Several(names)) => assert_eq!(names, ["v1", "v2"]),
        other => panic!("{other:?}"),
    }
    sample.assert_empty();
    let named = |image: &str, name: &str| {
        let options = Options {
            image: Some(image.to_owned()),
            name: name.parse().ok(),
            ..Options::default()
        };
        sample.import_with(Source::Path(layout.clone().into()), &options)
    };
    assert!(matches!(named("v3", "x"), Err(ImportError::NoSuchImage { there, .. }) if there == ["v1", "v2"]));
    let (one, two) = (
        named("v1", "one:1").unwrap().image,
        named("v2", "two:2").unwrap().image,
    );
    assert_eq!(sample.store.resolve("one:1").unwrap(), one);
    assert_eq!(sample.store.resolve("two:2").unwrap(), two);
    assert_ne!(one.digest, two.digest);
}

#[test]
fn what_is_damaged_is_refused_and_leaves_nothing() {
    let sample = Sample::new();
    let layout = sample.layout();
    for (transport, suffix) in [
        ("docker-archive", ":a/b:1"),
        ("oci-archive", ":a/b:1"),
        ("oci", ":v1"),
        ("dir", ""),
    ] {
        let path = sample.text(&format!("damaged-{transport}"));
        copy(
            &format!("oci:{layout}:v1"),
            &format!("{transport}:{path}{suffix}"),
        );
        damage(&path);
        let error = sample.import(&path).unwrap_err();
        assert!(!error.is_absence() && !error.is_cancelled(), "{error}");
        sample.assert_empty();
    }
    // Cut off.
    let archive = sample.text("archive");
    copy(
        &format!("oci:{layout}:v1"),
        &format!("oci-archive:{archive}:a/b:1"),
    );
    let bytes = fs::read(&archive).unwrap();
    for size in [700, 2000, bytes.len() / 2] {
        fs::write(&archive, &bytes[..size]).unwrap();
        assert!(sample.import(&archive).is_err(), "{size}");
        sample.assert_empty();
    }
    fs::write(&archive, vec![7; 5000]).unwrap();
    assert!(matches!(sample.import(&archive), Err(ImportError::NoTar(_))));
    fs::write(&archive, []).unwrap();
    assert!(sample.import(sample.path("nowhere")).unwrap_err().is_absence());
}

/// Changes a layer: the words in it, or where it is packed a byte of it.
fn damage(path: &str) {
    let path = std::path::Path::new(path);
    if path.is_dir() {
        let mut files = Vec::new();
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        let is_packed = |path: &&std::path::PathBuf| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]);
        let layer = files.iter().find(is_packed).unwrap();
        let mut bytes = fs::read(layer).unwrap();
        bytes[20] ^= 1;
        fs::write(layer, bytes).unwrap();
        return;
    }
    let mut bytes = fs::read(path).unwrap();
    let packed = bytes.windows(3).position(|window| window == [0x1f, 0x8b, 8]);
    let at = packed
        .map(|at| at + 20)
        .or(bytes.windows(5).position(|window| window == b"hello"));
    bytes[at.unwrap()] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_layer_that_is_not_the_configurations_is_refused() {
    let sample = Sample::new();
    let layout = sample.layout();
    // As an attacker would: all digests right, but for the diff_id.
    let index_path = format!("{layout}/index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&index_path).unwrap()).unwrap();
    let blob =
        |digest: &serde_json::Value| format!("{layout}/blobs/sha256/{}", &digest.as_str().unwrap()[7..]);
    let manifest_path = blob(&index["manifests"][0]["digest"]);
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&manifest_path).unwrap()).unwrap();
    let config_path = blob(&manifest["config"]["digest"]);
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&config_path).unwrap()).unwrap();
    config["rootfs"]["diff_ids"][1] = Digest::of(b"other").to_string().into();
    let write = |value: &serde_json::Value, descriptor: &mut serde_json::Value| {
        let bytes = value.to_string().into_bytes();
        descriptor["digest"] = Digest::of(&bytes).to_string().into();
        descriptor["size"] = bytes.len().into();
        fs::write(blob(&descriptor["digest"]), bytes).unwrap();
    };
    write(&config, &mut manifest["config"]);
    write(&manifest, &mut index["manifests"][0]);
    fs::write(&index_path, index.to_string()).unwrap();
    assert!(matches!(sample.import(&layout), Err(ImportError::Refused(_))));
    sample.assert_empty();
}

#[test]
fn an_image_for_another_machine_is_refused_unless_asked_for() {
    let sample = Sample::new();
    let layout = sample.layout();
    run(
        "umoci",
        [
            "config",
            "--image",
            &format!("{layout}:v1"),
            "--architecture",
            "s390x",
        ],
    );
    let error = sample.import(&layout).unwrap_err();
    assert!(error.to_string().contains("only for linux/s390x"), "{error}");
    sample.assert_empty();
    let options = Options {
        platform: "s390x".parse().unwrap(),
        ..Options::default()
    };
    let image = sample
        .import_with(Source::Path(layout.into()), &options)
        .unwrap()
        .image;
    assert_eq!(image.config.platform.to_string(), "linux/s390x");
}

/// A stream whose end never comes until it is told.
struct Pipe(std::os::unix::net::UnixStream);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

#[test]
fn an_import_that_is_called_off_leaves_nothing() {
    let sample = Sample::new();
    let layout = sample.layout();
    let archive = sample.text("archive");
    copy(&format!("oci:{layout}:v1"), &format!("oci-archive:{archive}:x:1"));
    let bytes = fs::read(&archive).unwrap();
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let task = images::Task::new();
    std::thread::scope(|scope| {
        let importing = scope.spawn(|| {
            let source = Source::Stream(Box::new(Pipe(theirs)));
            images::import::import(&sample.store, source, &Options::default(), &task, |_, _| Ok(()))
        });
        ours.write_all(&bytes[..bytes.len() / 2]).unwrap();
        task.cancel();
        ours.write_all(&bytes[bytes.len() / 2..]).unwrap_or_default();
        drop(ours);
        assert!(importing.join().unwrap().unwrap_err().is_cancelled());
    });
    sample.assert_empty();
}
