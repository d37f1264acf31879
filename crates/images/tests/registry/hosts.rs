//! What a user says of hosts: mirrors, authorities, plain HTTP, proxies.

use images::registry::{Configuration, Event, RegistryError};
use testkit::registry::{Access, Authority, Fault, Network, Registry};

use crate::support::{Folder, Image, User, said, whole};

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
    assert_eq!(
        said(&error),
        format!(
            "{host} cannot be reached: nobody known to this machine vouches for its certificate; \
             if it has an authority of its own, name that by ca in knaller/registries.yaml"
        )
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
async fn a_certificate_of_this_machine() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let registry = Registry::mutual(Access::Anyone, &authority, &clients);
    let host = registry.host();
    let (image, name) = (Image::new(&[100_000]), format!("{host}/app:1"));
    let reference = name.parse().unwrap();
    let user = User::new();
    let certificate = std::fs::read_to_string(authority.file()).unwrap();
    let folder = format!(".config/containers/certs.d/{host}");
    user.write(&format!("{folder}/ca.crt"), &certificate);

    let error = user.pull(&name, &Folder::new()).await.unwrap_err();
    let text = said(&error);
    assert!(
        text.contains("wants a certificate of this machine") && text.contains("by cert and key"),
        "{text}"
    );
    // As other tools have it.
    let (cert, key) = clients.certify(&["driver"]);
    user.write(&format!("{folder}/client.cert"), &cert);
    let error = user.pull(&name, &Folder::new()).await.unwrap_err();
    assert!(whole(&error).contains("client.key"), "{}", whole(&error));
    user.write(&format!("{folder}/client.key"), &key);
    user.registries()
        .push(&reference, &image.outgoing(), &image.source(), &user.watch())
        .await
        .unwrap();

    // As the configuration has it, which comes first: another authority's is not taken.
    let (strange, strange_key) = Authority::new().certify(&["driver"]);
    let says = |cert: &str, key: &str| {
        let (cert, key) = (user.write("me.pem", cert), user.write("me.key", key));
        let (cert, key) = (cert.display(), key.display());
        user.says(&format!(
            "registries:\n  {host}:\n    cert: {cert}\n    key: {key}\n"
        ));
    };
    says(&strange, &strange_key);
    let error = user.pull(&name, &Folder::new()).await.unwrap_err();
    assert!(
        said(&error).contains("wants a certificate of this machine"),
        "{}",
        said(&error)
    );
    says(&cert, &strange_key);
    let error = user.pull(&name, &Folder::new()).await.unwrap_err();
    assert!(whole(&error).contains("it does not go with"), "{}", whole(&error));
    says(&cert, &key);
    let sink = Folder::new();
    user.pull(&name, &sink).await.unwrap();
    sink.has(&image);
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
    assert_eq!(
        said(&error),
        format!(
            "{host} cannot be reached: it does not speak TLS; \
             if it is meant to be without TLS, say plain_http: true of it in knaller/registries.yaml"
        )
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
async fn through_a_socks_proxy() {
    let authority = Authority::new();
    let registry = Registry::tls(Access::Anyone, &authority);
    let image = Image::new(&[100_000]);
    image.upload(&registry.host(), "app");
    let proxy = Network::to(registry.port());
    let mut user = User::new();
    user.says(&format!(
        "registries:\n  secure.test:\n    ca: {}\n",
        authority.file().display()
    ));
    // The proxy looks the name up, which nobody else knows.
    user.set("ALL_PROXY", &format!("socks5h://{}", proxy.host()));
    let sink = Folder::new();
    user.pull("secure.test/app", &sink).await.unwrap();
    sink.has(&image);
    assert!(!proxy.seen_of("SOCKS", "secure.test:443").is_empty());
    // Here it has to be known before.
    user.set("ALL_PROXY", &format!("socks5://{}", proxy.host()));
    let error = user.pull("secure.test/app", &Folder::new()).await.unwrap_err();
    assert!(
        error.to_string().contains("no address is known for secure.test"),
        "{}",
        whole(&error)
    );
}

#[tokio::test]
async fn a_way_that_leads_nowhere_is_told_in_one_sentence() {
    let mut user = User::new();
    let fails = async |user: &User, name: &str| {
        let error = user.pull(name, &Folder::new()).await.unwrap_err();
        assert!(std::error::Error::source(&error).is_none(), "{}", whole(&error));
        said(&error)
    };
    // No such name is ever given away (RFC 6761); why it has no address is the system's word.
    let text = fails(&user, "pits.invalid/app").await;
    assert!(
        text.starts_with("pits.invalid cannot be reached: no address is known for pits.invalid (")
            && text.ends_with(
                "); check the name, and this machine's network with `getent hosts pits.invalid`. No proxy is set: where nothing gets \
                 out without one, set HTTPS_PROXY, or name a mirror in knaller/registries.yaml"
            ),
        "{text}"
    );
    assert_eq!(
        fails(&user, "localhost:1/app").await,
        "localhost:1 cannot be reached: the connection is refused, nothing listens there; \
         check that the registry runs, and its port"
    );

    user.set("HTTPS_PROXY", "http://me:hunter2@localhost:1");
    assert_eq!(
        fails(&user, "pits.invalid/app").await,
        "pits.invalid cannot be reached through the proxy http://localhost:1: the connection is refused, nothing listens there; \
         HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names that proxy; NO_PROXY=pits.invalid goes past it"
    );
    let registry = Registry::plain(Access::Anyone);
    let proxy = Network::to(registry.port());
    let refusal = Fault::Answer {
        status: 407,
        headers: vec![],
        body: String::new(),
    };
    proxy.fault("CONNECT", "", 1, refusal);
    user.set("HTTPS_PROXY", &format!("http://{}", proxy.host()));
    assert_eq!(
        fails(&user, "pits.invalid/app").await,
        format!(
            "pits.invalid cannot be reached through the proxy http://{0}, which wants a user's name and password; \
             give the proxy's address with a user: HTTPS_PROXY=http://USER:PASSWORD@{0}",
            proxy.host()
        )
    );
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
