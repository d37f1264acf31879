//! Pulling into the store and pushing from it.

use images::Task;
use images::import::verify;
use images::layer::Limits;
use images::oci::{Platform, Reference};
use images::registry::{BlobState, Event, RegistryError, TransferError};
use images::store::{Image as Stored, Store};
use testkit::registry::{Access, Fault, Network, Registry};

use crate::support::{Image, User, skopeo_manifest};

async fn pull(user: &User, store: &Store, name: &str) -> Result<Stored, TransferError> {
    pull_told(user, store, name, &user.watch()).await
}

async fn pull_told(
    user: &User,
    store: &Store,
    name: &str,
    tell: &(dyn Fn(Event) + Send + Sync),
) -> Result<Stored, TransferError> {
    let reference: Reference = name.parse().unwrap();
    let check = |adding: &_, image: &_| verify(adding, image, &Limits::default(), &Task::new());
    let platform = Platform::host();
    user.registries()
        .pull_into(store, &reference, &platform, check, tell)
        .await
}

#[tokio::test]
async fn in_and_out_again() {
    let registry = Registry::plain(Access::Anyone);
    let image = Image::new(&[400_000, 1000]);
    image.upload(&registry.host(), "team/app:1");
    let (user, data) = (User::new(), tempfile::tempdir().unwrap());
    let store = Store::open(data.path()).unwrap();
    let name = format!("{}/team/app:1", registry.host());
    let stored = pull(&user, &store, &name).await.unwrap();
    assert_eq!(stored.digest, image.descriptor.digest);
    assert_eq!(store.get(&name.parse().unwrap()).unwrap(), Some(stored.clone()));

    // Under another name in the same registry nothing has to be sent but the manifest.
    let pusher = User::new();
    let reference: Reference = format!("{}/other:2", registry.host()).parse().unwrap();
    let pushed = pusher
        .registries()
        .push_from(&store, &stored, &reference, &pusher.watch())
        .await
        .unwrap();
    assert_eq!(pushed, image.descriptor.digest);
    assert_eq!(
        skopeo_manifest(&registry.host(), "other:2", &[]).bytes,
        image.bytes
    );
    for blob in image.blobs() {
        assert_eq!(pusher.states(&blob), [BlobState::Queued, BlobState::Mounted]);
    }
    // In another registry all of it.
    let far = Registry::plain(Access::Anyone);
    let reference: Reference = format!("{}/app", far.host()).parse().unwrap();
    pusher
        .registries()
        .push_from(&store, &stored, &reference, &pusher.watch())
        .await
        .unwrap();
    assert_eq!(skopeo_manifest(&far.host(), "app", &[]).bytes, image.bytes);
}

#[tokio::test]
async fn two_at_once_do_the_work_once() {
    let registry = Registry::plain(Access::Anyone);
    let network = Network::to(registry.port());
    let image = Image::new(&[400_000]);
    image.upload(&registry.host(), "app");
    let (users, data) = ([User::new(), User::new()], tempfile::tempdir().unwrap());
    let store = Store::open(data.path()).unwrap();
    let name = format!("{}/app", network.host());
    let (one, two) = tokio::join!(pull(&users[0], &store, &name), pull(&users[1], &store, &name));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(network.seen_of("GET", image.layer().digest.hex()).len(), 1);
}

#[tokio::test]
async fn a_broken_one_has_no_name_and_is_gone_on_with() {
    let registry = Registry::plain(Access::Anyone);
    let network = Network::to(registry.port());
    let image = Image::new(&[1_000_000]);
    image.upload(&registry.host(), "app");
    let hex = image.layer().digest.hex();
    let (user, data) = (User::new(), tempfile::tempdir().unwrap());
    let store = Store::open(data.path()).unwrap();
    let name = format!("{}/app", network.host());

    network.fault("GET", hex, 1, Fault::Trickle { after: 600_000 });
    let (sender, mut moved) = tokio::sync::mpsc::unbounded_channel();
    let tell = move |event| {
        if let Event::Blob {
            state: BlobState::Moving { done },
            ..
        } = event
        {
            let _ = sender.send(done);
        }
    };
    let moved = async { while moved.recv().await.unwrap() < 300_000 {} };
    tokio::select! {
        done = pull_told(&user, &store, &name, &tell) => panic!("a pull that cannot end ended: {done:?}"),
        () = moved => {}
    }
    assert_eq!(store.get(&name.parse().unwrap()).unwrap(), None);
    pull(&user, &store, &name).await.unwrap();
    let ranges = network.seen_of("GET", hex);
    assert!(ranges.last().unwrap().header("range").is_some(), "{ranges:?}");
}

#[tokio::test]
async fn a_wrong_one_leaves_nothing() {
    let registry = Registry::plain(Access::Anyone);
    let network = Network::to(registry.port());
    let image = Image::new(&[100_000]);
    image.upload(&registry.host(), "app");
    let (user, data) = (User::new(), tempfile::tempdir().unwrap());
    let store = Store::open(data.path()).unwrap();
    let name = format!("{}/app", network.host());
    network.fault("GET", image.layer().digest.hex(), 1, Fault::Flip { at: 10 });
    let error = pull(&user, &store, &name).await.unwrap_err();
    assert!(
        matches!(error, TransferError::Registry(RegistryError::Mismatch { .. })),
        "{error}"
    );
    assert!(!store.has(image.layer()));
    // The configuration came at the same time: of that a beginning may stay, as of whatever breaks off.
    let parts = std::fs::read_dir(store.path().join("ingest")).unwrap();
    for part in parts {
        let name = part.unwrap().file_name().into_string().unwrap();
        assert!(name.contains(image.manifest.config.digest.hex()), "{name}");
    }

    // What comes right and is refused is not entered.
    let reference: Reference = name.parse().unwrap();
    let refuse = |_: &_, _: &_| Err("not today".into());
    let platform = Platform::host();
    let refused = user
        .registries()
        .pull_into(&store, &reference, &platform, refuse, &user.watch())
        .await;
    assert!(matches!(refused, Err(TransferError::Refused(_))));
    assert_eq!(store.get(&reference).unwrap(), None);
}
