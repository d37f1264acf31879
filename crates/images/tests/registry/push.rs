//! Sending images, as skopeo finds them afterwards.

use images::oci::Reference;
use images::registry::{BlobState, Outgoing, RegistryError};
use testkit::registry::{Access, Fault, Network, PASSWORD, Registry, Seen, TokenServer, USER};

use crate::support::{Folder, Image, PIECE, Several, User, auth_json, skopeo_manifest};

async fn push(user: &User, image: &Image, outgoing: &Outgoing, name: &str) -> Result<(), RegistryError> {
    let reference: Reference = name.parse().unwrap();
    let pushed = user
        .registries()
        .push(&reference, outgoing, &image.source(), &user.watch())
        .await?;
    assert_eq!(pushed, image.descriptor.digest);
    Ok(())
}

fn states(user: &User, image: &Image) -> Vec<Option<BlobState>> {
    image.blobs().iter().map(|blob| user.states(blob).pop()).collect()
}

#[tokio::test]
async fn skopeo_finds_it_and_takes_it() {
    let registry = Registry::plain(Access::Anyone);
    let image = Image::new(&[3_000_000, 500]);
    let host = registry.host();
    let user = User::new();
    // Where there is nothing to be had, it is sent all the same.
    let mut outgoing = image.outgoing();
    outgoing.origins = vec!["nowhere".to_owned()];
    push(&user, &image, &outgoing, &format!("{host}/team/app:1"))
        .await
        .unwrap();
    let found = skopeo_manifest(&host, "team/app:1", &[]);
    assert_eq!(found.bytes, image.bytes);
    assert_eq!(states(&user, &image), vec![Some(BlobState::Done); 3]);
    let total = image.blobs().iter().map(|blob| blob.size).sum();
    assert_eq!(user.last_total(), Some((total, total)));
    // skopeo checks each digest as it copies.
    let copy = tempfile::tempdir().unwrap();
    let _ = testkit::run(
        std::process::Command::new("skopeo")
            .args(["copy", "--quiet", "--src-tls-verify=false"])
            .arg(format!("docker://{host}/team/app:1"))
            .arg(format!("oci:{}:it", copy.path().display())),
    )
    .ok();
    for blob in image.blobs() {
        assert!(copy.path().join("blobs/sha256").join(blob.digest.hex()).exists());
    }

    // Nothing is sent twice, and another repository has it from the first.
    let again = User::new();
    push(&again, &image, &image.outgoing(), &format!("{host}/team/app:2"))
        .await
        .unwrap();
    assert_eq!(states(&again, &image), vec![Some(BlobState::There); 3]);
    let other = User::new();
    let mut outgoing = image.outgoing();
    outgoing.origins = vec!["team/app".to_owned()];
    push(&other, &image, &outgoing, &format!("{host}/b/other:1"))
        .await
        .unwrap();
    assert_eq!(states(&other, &image), vec![Some(BlobState::Mounted); 3]);
    assert_eq!(skopeo_manifest(&host, "b/other:1", &[]).bytes, image.bytes);
}

#[tokio::test]
async fn an_index_comes_after_its_images() {
    let registry = Registry::plain(Access::Anyone);
    let several = Several::new(&["linux/amd64", "linux/arm64"]);
    let mut outgoing = Outgoing::default();
    for image in several.images.values() {
        outgoing.blobs.extend(image.blobs());
        outgoing
            .manifests
            .push((image.descriptor.clone(), image.bytes.clone()));
    }
    outgoing
        .manifests
        .push((several.descriptor.clone(), several.bytes.clone()));
    let user = User::new();
    let reference: Reference = format!("{}/app:1", registry.host()).parse().unwrap();
    let pushed = user
        .registries()
        .push(&reference, &outgoing, &several.source(), &user.watch())
        .await
        .unwrap();
    assert_eq!(pushed, several.descriptor.digest);
    assert_eq!(
        skopeo_manifest(&registry.host(), "app:1", &[]).bytes,
        several.bytes
    );
    user.pull(&format!("{}/app:1", registry.host()), &Folder::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn as_a_user() {
    let tokens = TokenServer::new();
    for registry in [
        Registry::plain(Access::Password),
        Registry::plain(Access::Token(&tokens)),
    ] {
        let image = Image::new(&[100_000]);
        let user = User::new();
        let name = format!("{}/app:1", registry.host());
        let error = push(&user, &image, &image.outgoing(), &name).await.unwrap_err();
        assert!(matches!(error, RegistryError::Login { .. }), "{error}");
        user.write(
            ".docker/config.json",
            &auth_json(&registry.host(), USER, PASSWORD),
        );
        push(&user, &image, &image.outgoing(), &name).await.unwrap();
        let credentials = format!("{USER}:{PASSWORD}");
        let found = skopeo_manifest(&registry.host(), "app:1", &["--creds", &credentials]);
        assert_eq!(found.bytes, image.bytes);
    }
    let last = tokens
        .grants()
        .into_iter()
        .rfind(|grant| grant.scopes == ["repository:app:pull,push"]);
    assert_eq!(last.unwrap().user.as_deref(), Some(USER));
}

#[tokio::test]
async fn what_fails_is_sent_again() {
    let registry = Registry::plain(Access::Anyone);
    let network = Network::to(registry.port());
    let image = Image::new(&[2_000_000]);
    let broken = |status| Fault::Answer {
        status,
        headers: vec![],
        body: String::new(),
    };
    network.fault("PUT", "/blobs/uploads/", 2, broken(502));
    network.fault("POST", "/blobs/uploads/", 1, broken(503));
    network.fault("PUT", "/manifests/", 1, broken(500));
    let user = User::new();
    push(
        &user,
        &image,
        &image.outgoing(),
        &format!("{}/app:1", network.host()),
    )
    .await
    .unwrap();
    assert_eq!(skopeo_manifest(&registry.host(), "app:1", &[]).bytes, image.bytes);
    assert_eq!(user.waits().len(), 4);
}

/// A registry behind a network, and an image of one layer larger than several pieces.
struct Scene {
    registry: Registry,
    network: Network,
    image: Image,
    user: User,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::plain(Access::Anyone);
        let network = Network::to(registry.port());
        let image = Image::new(&[768 * 1024]);
        let user = User::new();
        Self {
            registry,
            network,
            image,
            user,
        }
    }

    fn fault(&self, method: &'static str, times: u32, fault: Fault) {
        self.network.fault(method, "/blobs/uploads/", times, fault);
    }

    async fn push(&self) -> Result<(), RegistryError> {
        let name = format!("{}/app:1", self.network.host());
        push(&self.user, &self.image, &self.image.outgoing(), &name).await
    }

    async fn works(&self) {
        self.push().await.unwrap();
        let found = skopeo_manifest(&self.registry.host(), "app:1", &[]);
        assert_eq!(found.bytes, self.image.bytes);
        let layer = std::fs::read(self.registry.blob(self.image.layer().digest.hex())).unwrap();
        assert_eq!(layer.len() as u64, self.image.layer().size);
        let total = self.image.blobs().iter().map(|blob| blob.size).sum();
        assert_eq!(self.user.last_total(), Some((total, total)));
    }

    /// The ranges that came in pieces.
    fn pieces(&self) -> Vec<String> {
        let seen = self.network.seen_of("PATCH", "/blobs/uploads/");
        let range = |seen: &Seen| seen.header("content-range").unwrap().to_owned();
        seen.iter().map(range).collect()
    }

    fn range(&self, from: u64, to: u64) -> String {
        let end = self.image.layer().size.min(to * PIECE / 2);
        format!("{}-{}", from * PIECE / 2, end - 1)
    }
}

#[tokio::test]
async fn what_is_too_much_at_once_goes_in_pieces() {
    let scene = Scene::new();
    scene.fault("PUT", 100, Fault::TooLarge { limit: PIECE });
    scene.works().await;
    let expected = [(0, 2), (2, 4), (4, 6), (6, 8)].map(|(from, to)| scene.range(from, to));
    assert_eq!(scene.pieces(), expected);
    assert_eq!(scene.user.waits(), [""; 0]);

    // And in smaller ones, where those are too much as well.
    let scene = Scene::new();
    for method in ["PUT", "PATCH"] {
        scene.fault(method, 100, Fault::TooLarge { limit: PIECE / 2 });
    }
    scene.works().await;
    let halves = (0..7).map(|number| scene.range(number, number + 1));
    let expected: Vec<_> = std::iter::once(scene.range(0, 2)).chain(halves).collect();
    assert_eq!(scene.pieces(), expected);

    // There is an end to it.
    let scene = Scene::new();
    for method in ["PUT", "PATCH"] {
        scene.fault(method, 100, Fault::TooLarge { limit: 1000 });
    }
    let error = scene.push().await.unwrap_err();
    assert!(error.to_string().contains("answered 413"), "{error}");
}

#[tokio::test]
async fn what_the_registry_has_of_a_broken_upload_is_not_sent_again() {
    let scene = Scene::new();
    scene.fault("PUT", 1, Fault::TooLarge { limit: PIECE });
    scene.fault("PATCH", 1, Fault::Hold(std::time::Duration::ZERO));
    scene.fault("PATCH", 1, Fault::CutRequest { after: 0 });
    scene.works().await;
    let expected = [(0, 2), (2, 4), (2, 4), (4, 6), (6, 8)].map(|(from, to)| scene.range(from, to));
    assert_eq!(scene.pieces(), expected);
    assert_eq!(scene.user.waits().len(), 1);
    assert!(!scene.network.seen_of("GET", "/blobs/uploads/").is_empty());
}

#[tokio::test]
async fn an_upload_that_breaks_goes_on_in_pieces() {
    let scene = Scene::new();
    scene.fault("PUT", 1, Fault::CutRequest { after: PIECE + 1000 });
    scene.fault("PATCH", 1, Fault::CutRequest { after: 1000 });
    scene.works().await;
    // This registry gives up what broke within a piece: that begins anew.
    let expected = [(0, 2), (0, 2), (2, 4), (4, 6), (6, 8)].map(|(from, to)| scene.range(from, to));
    assert_eq!(scene.pieces(), expected);
    assert_eq!(scene.user.waits().len(), 2);
}

#[tokio::test]
async fn nothing_to_read_and_nowhere_to_go() {
    let registry = Registry::plain(Access::Anyone);
    let image = Image::new(&[100]);
    let user = User::new();
    let mut outgoing = image.outgoing();
    outgoing
        .blobs
        .push(images::oci::Descriptor::of("x", b"not there"));
    let name = format!("{}/app:1", registry.host());
    let error = push(&user, &image, &outgoing, &name).await.unwrap_err();
    assert!(matches!(error, RegistryError::Read { .. }), "{error}");
    assert_ne!(
        skopeo_manifest(&registry.host(), "app:1", &[]).code(),
        0,
        "half an image has no tag"
    );
    let name = format!("{}/app@{}", registry.host(), image.descriptor.digest);
    let error = push(&user, &image, &image.outgoing(), &name).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoTag(_)), "{error}");
}
