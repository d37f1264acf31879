//! Pulling, where all is well.

use images::oci::{Reference, WalkError};
use images::registry::{BlobState, Event, RegistryError};
use testkit::registry::{Access, Fault, Network, Registry};

use crate::support::{Folder, Image, Several, User};

#[tokio::test]
async fn what_skopeo_put_in_comes_out() {
    let registry = Registry::plain(Access::Anyone);
    let (user, sink) = (User::new(), Folder::new());
    let image = Image::new(&[3_000_000, 10, 700_000, 10]);
    image.upload(&registry.host(), "team/app:1");
    let name = format!("{}/team/app:1", registry.host());
    let pulled = user.pull(&name, &sink).await.unwrap();
    assert_eq!(pulled.named, image.descriptor);
    assert_eq!(pulled.descriptor, image.descriptor);
    assert_eq!(pulled.manifest, image.manifest);
    sink.has(&image);

    // Each content once: the second and the fourth layer differ by their seeds.
    let total = image.blobs().iter().map(|blob| blob.size).sum();
    assert_eq!(user.last_total(), Some((total, total)));
    for blob in image.blobs() {
        assert_eq!(user.states(&blob), [BlobState::Queued, BlobState::Done]);
    }
    assert!(matches!(&user.events.lock().unwrap()[0], Event::Planned { blobs } if *blobs == image.blobs()));

    // The second time nothing is fetched.
    let again = User::new();
    again.pull(&name, &sink).await.unwrap();
    for blob in image.blobs() {
        assert_eq!(again.states(&blob), [BlobState::Queued, BlobState::There]);
    }
    assert_eq!(again.last_total(), Some((total, total)));
}

#[tokio::test]
async fn of_several_images_the_platforms_one() {
    let registry = Registry::plain(Access::Anyone);
    let several = Several::new(&["linux/amd64", "linux/arm64"]);
    several.upload(&registry.host(), "app");
    let user = User::new();
    let reference: Reference = format!("{}/app", registry.host()).parse().unwrap();
    for (platform, image) in &several.images {
        let sink = Folder::new();
        let platform = platform.parse().unwrap();
        let pulled = user
            .registries()
            .pull(&reference, &platform, &sink, &user.watch())
            .await
            .unwrap();
        assert_eq!(pulled.named.digest, several.descriptor.digest);
        assert_eq!(pulled.descriptor.digest, image.descriptor.digest);
        sink.has(image);
    }
    let other = "linux/riscv64".parse().unwrap();
    let error = user
        .registries()
        .pull(&reference, &other, &Folder::new(), &user.watch())
        .await
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Walk(WalkError::NoPlatform(_))),
        "{error}"
    );
    assert!(error.to_string().contains("linux/arm64"), "{error}");
    let found = user.registries().resolve(&reference).await.unwrap();
    assert_eq!(found, several.descriptor.digest);
}

#[tokio::test]
async fn by_digest_and_what_is_not_there() {
    let registry = Registry::plain(Access::Anyone);
    let (user, sink) = (User::new(), Folder::new());
    let image = Image::new(&[100]);
    image.upload(&registry.host(), "app:x");
    let name = format!("{}/app@{}", registry.host(), image.descriptor.digest);
    user.pull(&name, &sink).await.unwrap();
    sink.has(&image);

    let error = user
        .pull(&format!("{}/app:y", registry.host()), &sink)
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("app:y"), "{error}");
    // Nobody listens there: said at once.
    let error = user.pull("localhost:1/app", &sink).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert_eq!(user.waits(), [""; 0]);
}

#[tokio::test]
async fn what_is_dropped_is_resumed() {
    let registry = Registry::plain(Access::Anyone);
    let network = Network::to(registry.port());
    let sink = Folder::new();
    let image = Image::new(&[2_000_000]);
    image.upload(&registry.host(), "app");
    let name = format!("{}/app", network.host());
    let half = image.layer().size / 2;
    network.fault(
        "GET",
        image.layer().digest.hex(),
        1,
        Fault::Trickle { after: half },
    );

    let user = User::new();
    let (sender, mut moved) = tokio::sync::mpsc::unbounded_channel();
    let layer = image.layer().digest.clone();
    let tell = move |event| {
        if let Event::Blob {
            digest,
            state: BlobState::Moving { done },
        } = event
            && digest == layer
        {
            let _ = sender.send(done);
        }
    };
    let registries = user.registries();
    let reference = name.parse().unwrap();
    let platform = images::oci::Platform::host();
    let pull = registries.pull(&reference, &platform, &sink, &tell);
    let dropped = async { while moved.recv().await.unwrap() < half / 2 {} };
    tokio::select! {
        done = pull => panic!("a pull that cannot end ended: {done:?}"),
        () = dropped => {}
    }
    assert!(!sink.file(image.layer()).exists() && !sink.file(&image.descriptor).exists());
    // The writing thread takes what it was given before it ends.
    assert!(sink.part(image.layer()).exists());

    user.pull(&name, &sink).await.unwrap();
    sink.has(&image);
    let asked = network.seen_of("GET", image.layer().digest.hex());
    let range = asked.last().unwrap().header("range").unwrap().to_owned();
    let from: u64 = range
        .strip_prefix("bytes=")
        .unwrap()
        .trim_end_matches('-')
        .parse()
        .unwrap();
    assert!(from > 0 && from <= image.layer().size, "{range}");
}
