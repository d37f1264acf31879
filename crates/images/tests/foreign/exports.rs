//! What is exported is taken by others, and comes back as it was.

use std::fs::{self, File};

use images::Task;
use images::export::export;
use images::import::{Options, Source};

use crate::sample::{Sample, copy, run};

#[test]
fn others_read_an_exported_image() {
    let sample = Sample::new();
    let layout = sample.layout();
    let options = Options {
        name: "test/app:1".parse().ok(),
        ..Options::default()
    };
    let image = sample
        .import_with(Source::Path(layout.into()), &options)
        .unwrap()
        .image;
    let hold = sample.store.adding(&Task::new()).unwrap();
    let [archive, again] = ["archive.tar", "again.tar"].map(|name| sample.text(name));
    for path in [&archive, &again] {
        export(&hold, &image, File::create(path).unwrap(), &Task::new()).unwrap();
    }
    assert!(fs::read(&archive).unwrap() == fs::read(&again).unwrap());
    drop(hold);

    let inspected = run("skopeo", ["inspect", &format!("oci-archive:{archive}")]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], image.digest.to_string());
    assert!(
        inspected["Env"]
            .as_array()
            .unwrap()
            .contains(&"GREETING=hello".into())
    );

    copy(
        &format!("oci-archive:{archive}"),
        &format!("oci:{}:out", sample.text("copied")),
    );
    let bundle = sample.text("bundle");
    run(
        "umoci",
        [
            "unpack",
            "--image",
            &format!("{}:out", sample.text("copied")),
            &bundle,
        ],
    );
    assert_eq!(
        fs::read_to_string(format!("{bundle}/rootfs/etc/two")).unwrap(),
        "hello"
    );

    // As Docker reads it.
    copy(
        &format!("docker-archive:{archive}:test/app:1"),
        &format!("dir:{}", sample.text("docker")),
    );

    let other = Sample::new();
    assert_eq!(other.import(&archive).unwrap().image, image);
}

#[test]
fn the_store_itself_is_a_layout() {
    let sample = Sample::new();
    let layout = sample.layout();
    let options = Options {
        name: "test/app:1".parse().ok(),
        ..Options::default()
    };
    sample.import_with(Source::Path(layout.into()), &options).unwrap();
    let store = sample.store.path().display();
    run(
        "skopeo",
        ["inspect", &format!("oci:{store}:docker.io/test/app:1")],
    );
}
