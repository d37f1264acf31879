//! A network and registries that fail.

use std::time::Duration;

use images::registry::config::Patience;
use images::registry::{BlobState, Registries, RegistryError};
use testkit::registry::{Access, Fault, Network, Registry};

use crate::support::{Folder, Image, User, whole};

/// An image in a registry behind a network.
struct Scene {
    registry: Registry,
    network: Network,
    image: Image,
    user: User,
    name: String,
}

impl Scene {
    fn new(size: usize) -> Self {
        let registry = Registry::plain(Access::Anyone);
        let network = Network::to(registry.port());
        let image = Image::new(&[size]);
        image.upload(&registry.host(), "app");
        let name = format!("{}/app", network.host());
        Self {
            registry,
            network,
            image,
            user: User::new(),
            name,
        }
    }

    fn hex(&self) -> &str {
        self.image.layer().digest.hex()
    }

    /// On the way of the layer.
    fn fault(&self, times: u32, fault: Fault) {
        self.network.fault("GET", self.hex(), times, fault);
    }

    fn ranges(&self) -> Vec<Option<String>> {
        let seen = self.network.seen_of("GET", self.hex());
        seen.iter()
            .map(|seen| seen.header("range").map(str::to_owned))
            .collect()
    }

    async fn works(&self) {
        let sink = Folder::new();
        self.user.pull(&self.name, &sink).await.unwrap();
        sink.has(&self.image);
    }

    /// It works with another patience. The answer: why it had to wait.
    async fn waits_with(&self, change: impl FnOnce(&mut Patience)) -> Vec<String> {
        let mut configuration = self.user.configuration();
        change(&mut configuration.patience);
        let (registries, sink) = (Registries::new(configuration), Folder::new());
        self.user.pull_with(&registries, &self.name, &sink).await.unwrap();
        sink.has(&self.image);
        self.user.waits()
    }

    /// The error; of the layer nothing is kept unless it may be.
    async fn fails(&self, keeps_part: bool) -> RegistryError {
        let sink = Folder::new();
        let error = self.user.pull(&self.name, &sink).await.unwrap_err();
        assert!(!sink.file(self.image.layer()).exists());
        assert!(!sink.file(&self.image.descriptor).exists());
        let part = std::fs::metadata(sink.part(self.image.layer())).map_or(0, |part| part.len());
        assert_eq!(part > 0, keeps_part, "{error}");
        error
    }
}

#[tokio::test]
async fn cut_in_the_middle() {
    let scene = Scene::new(3_000_000);
    scene.fault(1, Fault::Cut { after: 1_000_000 });
    scene.fault(1, Fault::Cut { after: 500_000 });
    scene.works().await;
    assert_eq!(
        scene.ranges(),
        [
            None,
            Some("bytes=1000000-".to_owned()),
            Some("bytes=1500000-".to_owned())
        ]
    );
    assert_eq!(scene.user.waits().len(), 2);
}

#[tokio::test]
async fn cut_every_time() {
    let scene = Scene::new(3_000_000);
    scene.fault(100, Fault::Cut { after: 1000 });
    let error = scene.fails(true).await;
    assert!(matches!(error, RegistryError::Broken { .. }), "{error}");
    assert_eq!(scene.user.waits().len(), 5);
}

#[tokio::test]
async fn cut_by_a_registry_without_ranges() {
    let scene = Scene::new(1_000_000);
    scene.fault(1, Fault::Cut { after: 500_000 });
    scene.fault(1, Fault::NoRanges);
    scene.works().await;
    assert_eq!(scene.ranges(), [None, Some("bytes=500000-".to_owned())]);
}

#[tokio::test]
async fn a_wrong_byte_is_final() {
    let scene = Scene::new(300_000);
    scene.fault(1, Fault::Flip { at: 200_000 });
    let error = scene.fails(false).await;
    assert!(matches!(error, RegistryError::Mismatch { .. }), "{error}");
    assert_eq!(scene.ranges().len(), 1, "the same place is not asked again");
}

#[tokio::test]
async fn a_wrong_byte_of_a_mirror_is_made_good() {
    let scene = Scene::new(300_000);
    scene.fault(1, Fault::Flip { at: 200_000 });
    let host = scene.registry.host();
    scene.user.says(&format!(
        "registries:\n  {host}:\n    mirrors: ['{}']\n",
        scene.network.host()
    ));
    let sink = Folder::new();
    scene.user.pull(&format!("{host}/app"), &sink).await.unwrap();
    sink.has(&scene.image);
    assert_eq!(scene.ranges(), [None]);
}

#[tokio::test]
async fn a_wrong_part_from_before_is_fetched_anew() {
    let scene = Scene::new(300_000);
    let sink = Folder::new();
    std::fs::write(sink.part(scene.image.layer()), vec![7; 1000]).unwrap();
    scene.user.pull(&scene.name, &sink).await.unwrap();
    sink.has(&scene.image);
    assert_eq!(scene.ranges(), [Some("bytes=1000-".to_owned()), None]);
    // More than there is of it.
    let sink = Folder::new();
    std::fs::write(sink.part(scene.image.layer()), vec![7; 400_000]).unwrap();
    scene.user.pull(&scene.name, &sink).await.unwrap();
    sink.has(&scene.image);
}

#[tokio::test]
async fn a_manifest_that_is_another_one() {
    let scene = Scene::new(100);
    scene.network.fault("GET", "manifests", 1, Fault::Flip { at: 20 });
    let error = scene.fails(false).await;
    assert!(matches!(error, RegistryError::Mismatch { .. }), "{error}");
}

fn too_many(wait: &str) -> Fault {
    Fault::Answer {
        status: 429,
        headers: vec![("Retry-After", wait.to_owned())],
        body: r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"box, box"}]}"#.to_owned(),
    }
}

#[tokio::test]
async fn asked_to_wait() {
    let scene = Scene::new(1000);
    scene.fault(1, too_many("1"));
    scene
        .network
        .fault("GET", "manifests", 1, too_many("Sun, 06 Nov 1994 08:49:37 GMT"));
    scene.works().await;
    let pauses: Vec<Duration> = scene
        .user
        .states(scene.image.layer())
        .into_iter()
        .filter_map(|state| match state {
            BlobState::Waiting { pause, .. } => Some(pause),
            _ => None,
        })
        .collect();
    assert_eq!(pauses, [Duration::from_secs(1)]);
    assert_eq!(scene.user.waits().len(), 2);
}

#[tokio::test]
async fn asked_to_wait_too_long() {
    let scene = Scene::new(1000);
    scene.fault(1, too_many("21600"));
    let error = scene.fails(false).await;
    assert!(
        matches!(error, RegistryError::AnonymousRateLimited { .. }),
        "{error}"
    );
    let text = error.to_string();
    for part in ["21600 s", "box, box", "knaller login"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[tokio::test]
async fn a_byte_now_and_then() {
    let scene = Scene::new(500_000);
    scene.fault(1, Fault::Trickle { after: 100_000 });
    let waits = scene
        .waits_with(|patience| patience.stall = Duration::from_secs(3))
        .await;
    assert!(waits.iter().any(|why| why.contains("too slow")), "{waits:?}");
    let resumed = scene.ranges()[1].clone().unwrap();
    let from = resumed.strip_prefix("bytes=").unwrap().trim_end_matches('-');
    assert!(from.parse::<u64>().unwrap() >= 100_000, "{resumed}");
}

#[tokio::test]
async fn a_head_that_does_not_come() {
    let scene = Scene::new(1000);
    scene.fault(1, Fault::Hold(Duration::from_secs(12)));
    let waits = scene
        .waits_with(|patience| patience.answer = Duration::from_secs(4))
        .await;
    let silent = "not answered within 4 s";
    assert!(waits.iter().any(|why| why.contains(silent)), "{waits:?}");
}

#[tokio::test]
async fn without_end() {
    let scene = Scene::new(1000);
    scene.fault(1, Fault::Endless);
    let error = scene.fails(false).await;
    assert!(matches!(error, RegistryError::Size { .. }), "{error}");
    scene.network.fault("GET", "manifests", 1, Fault::Endless);
    let error = scene.fails(false).await;
    assert!(whole(&error).contains("more than"), "{error}");
}

#[tokio::test]
async fn of_another_length() {
    let scene = Scene::new(1000);
    let body = "short".to_owned();
    scene.fault(
        1,
        Fault::Answer {
            status: 200,
            headers: vec![],
            body,
        },
    );
    let error = scene.fails(false).await;
    assert!(matches!(error, RegistryError::Size { .. }), "{error}");
}

fn broken(status: u16) -> Fault {
    let page = "<html>\u{1b}[31mBad gateway</html>".to_owned();
    Fault::Answer {
        status,
        headers: vec![],
        body: page,
    }
}

#[tokio::test]
async fn bursts_of_server_errors() {
    let scene = Scene::new(1000);
    scene.network.fault("GET", "/v2/", 3, broken(502));
    scene.fault(2, broken(503));
    scene.works().await;
    assert_eq!(scene.user.waits().len(), 5);
}

#[tokio::test]
async fn server_errors_without_end() {
    let scene = Scene::new(1000);
    scene.fault(100, broken(500));
    let error = scene.fails(false).await;
    assert!(
        matches!(error, RegistryError::Status { status: 500, .. }),
        "{error}"
    );
    assert!(!error.to_string().contains("html"), "{error}");
    assert_eq!(scene.ranges().len(), 6);
}

#[tokio::test]
async fn refusals_are_not_repeated() {
    let scene = Scene::new(1000);
    scene.fault(100, broken(403));
    let error = scene.fails(false).await;
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    assert_eq!(scene.ranges().len(), 1);
}

#[tokio::test]
async fn redirects_in_a_circle() {
    let scene = Scene::new(1000);
    let to = format!("http://{}", scene.network.host());
    scene.fault(100, Fault::Redirect { to });
    let error = scene.fails(false).await;
    assert!(whole(&error).contains("leads on more than"), "{error}");
    assert_eq!(scene.ranges().len(), 6);
}
