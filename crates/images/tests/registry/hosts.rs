//! What a user says of hosts: mirrors, authorities, plain HTTP, proxies.

use images::registry::{Configuration, Event, RegistryError};
use testkit::registry::{Access, Authority, Network, Registry};

use crate::support::{Folder, Image, User, whole};

#[tokio::test]
async fn an_authority_of_its_own() {
    let authority = Authority::new();
    let registry = Registry::tls(Access::Anyone, &authority);
    let image = Image::new(&[100_000]);
    image.upload(&registry.host(), "app");
    let (host, sink) = (registry.host(), Folder::new());
    let name = format!("{host}/app");

    let user = User::new();
    user.says(&format!("registries:\n  {host}:\n    plain_http: false\n"));
    let error = user.pull(&name, &sink).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains("by ca in knaller/registries.yaml"),
        "{}",
        whole(&error)
    );

    user.says(&format!(
        "registries:\n  {host}:\n    ca: {}\n",
        authority.file().display()
    ));
    user.pull(&name, &sink).await.unwrap();
    sink.has(&image);

    // As other tools have it.
    let other = User::new();
    let certificate = std::fs::read_to_string(authority.file()).unwrap();
    other.write(&format!(".config/containers/certs.d/{host}/ca.crt"), &certificate);
    other.pull(&name, &Folder::new()).await.unwrap();

    // Another one vouches for nothing.
    let wrong = User::new();
    wrong.says(&format!(
        "registries:\n  {host}:\n    ca: {}\n",
        Authority::new().file().display()
    ));
    assert!(wrong.pull(&name, &Folder::new()).await.is_err());
    wrong.says(&format!(
        "registries:\n  {host}:\n    ca: {}\n",
        wrong.write("empty.pem", "").display()
    ));
    let error = wrong.pull(&name, &Folder::new()).await.unwrap_err();
    assert!(
        whole(&error).contains("no certificate in PEM form"),
        "{}",
        whole(&error)
    );
}

#[tokio::test]
async fn without_tls_only_where_it_is_said() {
    let registry = Registry::plain(Access::Anyone);
    let image = Image::new(&[100]);
    image.upload(&registry.host(), "app");
    let user = User::new();
    let host = registry.host();
    user.says(&format!("registries:\n  {host}:\n    plain_http: false\n"));
    let error = user
        .pull(&format!("{host}/app"), &Folder::new())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("does not speak TLS"),
        "{}",
        whole(&error)
    );
}

#[tokio::test]
async fn through_a_proxy() {
    let authority = Authority::new();
    let registry = Registry::tls(Access::Anyone, &authority);
    let plain = Registry::plain(Access::Anyone);
    let image = Image::new(&[100_000]);
    image.upload(&registry.host(), "app");
    image.upload(&plain.host(), "app");
    let (tunnel, forward) = (Network::to(registry.port()), Network::to(plain.port()));
    let mut user = User::new();
    user.set("HTTPS_PROXY", &format!("http://{}", tunnel.host()));
    user.set("http_proxy", &forward.host());
    // Names that nobody but the proxies knows.
    user.says(&format!(
        "registries:\n  secure.test:\n    ca: {}\n  plain.test:8080:\n    plain_http: true\n",
        authority.file().display()
    ));
    for name in ["secure.test/app", "plain.test:8080/app"] {
        let sink = Folder::new();
        user.pull(name, &sink)
            .await
            .unwrap_or_else(|error| panic!("{}", whole(&error)));
        sink.has(&image);
    }
    assert!(!tunnel.seen_of("CONNECT", "secure.test:443").is_empty());
    assert!(
        !forward
            .seen_of("GET", "http://plain.test:8080/v2/app/")
            .is_empty()
    );

    // What is excepted, and this machine itself, is asked directly.
    let before = forward.seen().len();
    user.pull(&format!("{}/app", plain.host()), &Folder::new())
        .await
        .unwrap();
    user.set("NO_PROXY", ".test");
    let error = user
        .pull("plain.test:8080/app", &Folder::new())
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert_eq!(forward.seen().len(), before);
}

#[tokio::test]
async fn mirrors_in_their_order() {
    let (registry, near, far) = (
        Registry::plain(Access::Anyone),
        Registry::plain(Access::Anyone),
        Registry::plain(Access::Anyone),
    );
    let networks = [&near, &far, &registry].map(|registry| Network::to(registry.port()));
    let (image, other) = (Image::new(&[1000]), Image::new(&[2000]));
    image.upload(&far.host(), "cache/team/app");
    other.upload(&registry.host(), "team/other");
    let user = User::new();
    let host = networks[2].host();
    user.says(&format!(
        "registries:\n  {host}:\n    mirrors: ['{}', '{}/cache']\n",
        networks[0].host(),
        networks[1].host()
    ));
    let sink = Folder::new();
    user.pull(&format!("{host}/team/app"), &sink).await.unwrap();
    sink.has(&image);
    let seen = |number: usize| networks[number].seen().len();
    assert_eq!((seen(0), seen(2)), (1, 0));
    let missed = user
        .events
        .lock()
        .unwrap()
        .iter()
        .any(|event| matches!(event, Event::Mirror { .. }));
    assert!(missed);
    let sink = Folder::new();
    user.pull(&format!("{host}/team/other"), &sink).await.unwrap();
    sink.has(&other);
    assert!(seen(2) > 0);
}

#[tokio::test]
async fn a_configuration_that_is_wrong() {
    let user = User::new();
    user.says("registries:\n  a.org:\n    insecure_skip_verify: true\n");
    let home = user.path("").into_os_string();
    let error = Configuration::load(|name| (name == "HOME").then(|| home.clone())).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("registries.yaml") && text.contains("line 3"),
        "{text}"
    );
}
