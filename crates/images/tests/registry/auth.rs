//! Who asks, and who hears of it.

use std::time::Duration;

use images::registry::RegistryError;
use testkit::registry::{Access, Fault, Network, PASSWORD, Registry, TokenServer, USER};

use crate::support::{Folder, Image, User, auth_json};

#[tokio::test]
async fn name_and_password() {
    let registry = Registry::plain(Access::Password);
    let (user, sink) = (User::new(), Folder::new());
    let image = Image::new(&[1000, 1000]);
    image.upload(&registry.host(), "team/app");
    let name = format!("{}/team/app", registry.host());

    let error = user.pull(&name, &sink).await.unwrap_err();
    assert!(matches!(error, RegistryError::Login { .. }), "{error}");
    let remedy = format!("knaller login {}", registry.host());
    assert!(error.to_string().contains(&remedy), "{error}");

    let file = ".docker/config.json";
    user.write(file, &auth_json(&registry.host(), USER, "wrong"));
    let error = user.pull(&name, &sink).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");

    // For a part of the registry alone, and in another file that is asked before.
    let place = format!("{}/team", registry.host());
    user.write(".config/containers/auth.json", &auth_json(&place, USER, PASSWORD));
    user.pull(&name, &sink).await.unwrap();
    sink.has(&image);
}

#[tokio::test]
async fn one_token_for_all() {
    let tokens = TokenServer::new();
    let registry = Registry::plain(Access::Token(&tokens));
    let image = Image::new(&[1000, 2000, 3000, 4000]);
    image.upload(&registry.host(), "app");
    let before = tokens.grants().len();
    let (user, sink) = (User::new(), Folder::new());
    user.pull(&format!("{}/app", registry.host()), &sink)
        .await
        .unwrap();
    sink.has(&image);
    let grants = tokens.grants().split_off(before);
    assert_eq!(grants.len(), 1, "{grants:?}");
    assert_eq!(
        (grants[0].user.as_deref(), &grants[0].scopes[..]),
        (None, &["repository:app:pull".to_owned()][..])
    );
}

#[tokio::test]
async fn an_identity_token_from_a_helper() {
    let tokens = TokenServer::new();
    let registry = Registry::plain(Access::Token(&tokens));
    let image = Image::new(&[1000]);
    image.upload(&registry.host(), "app");
    tokens.close();
    let (user, sink) = (User::new(), Folder::new());
    let name = format!("{}/app", registry.host());
    let error = user.pull(&name, &sink).await.unwrap_err();
    assert!(matches!(error, RegistryError::Login { .. }), "{error}");

    let answer = format!(
        r#"{{"ServerURL":"x","Username":"<token>","Secret":"{}"}}"#,
        tokens.identity()
    );
    helper(
        &user,
        "pits",
        &format!(
            "read -r server\ntest \"$1 $server\" = \"get {}\" && echo '{answer}'",
            registry.host()
        ),
    );
    user.write(".docker/config.json", r#"{"credsStore": "pits"}"#);
    user.pull(&name, &sink).await.unwrap();
    sink.has(&image);
    let last = tokens.grants().pop().unwrap();
    assert_eq!((last.method.as_str(), last.user.as_deref()), ("POST", Some(USER)));
}

#[tokio::test]
async fn a_token_that_runs_out_half_way() {
    let tokens = TokenServer::new();
    let registry = Registry::plain(Access::Token(&tokens));
    let network = Network::to(registry.port());
    let image = Image::new(&[2_000_000]);
    image.upload(&registry.host(), "app");
    let before = tokens.grants().len();
    // The registry takes it for eight seconds; who has it believes in five minutes.
    tokens.next_lifetime(8, 300);
    let hex = image.layer().digest.hex();
    network.fault("GET", hex, 1, Fault::Cut { after: 1_000_000 });
    network.fault("GET", hex, 1, Fault::Hold(Duration::from_secs(10)));
    let (user, sink) = (User::new(), Folder::new());
    user.pull(&format!("{}/app", network.host()), &sink)
        .await
        .unwrap();
    sink.has(&image);
    assert_eq!(tokens.grants().len() - before, 2);
    let asked = network.seen_of("GET", hex);
    let tokens: Vec<_> = asked
        .iter()
        .map(|seen| seen.header("authorization").unwrap())
        .collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(tokens[0] == tokens[1] && tokens[1] != tokens[2]);
    assert!(asked[2].header("range").is_some());
}

#[tokio::test]
async fn a_token_that_has_run_out_is_not_sent() {
    let tokens = TokenServer::new();
    let registry = Registry::plain(Access::Token(&tokens));
    let network = Network::to(registry.port());
    let image = Image::new(&[1000]);
    image.upload(&registry.host(), "app");
    let before = tokens.grants().len();
    // Told to be over in less time than it is kept aside for.
    tokens.next_lifetime(300, 1);
    let (user, sink) = (User::new(), Folder::new());
    user.pull(&format!("{}/app", network.host()), &sink)
        .await
        .unwrap();
    assert!(tokens.grants().len() - before >= 2);
    // Only the very first request is without one, and none is refused after it.
    let refused = network
        .seen()
        .iter()
        .filter(|seen| seen.header("authorization").is_none())
        .count();
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn credentials_do_not_follow_to_another_host() {
    let registry = Registry::plain(Access::Password);
    let open = Registry::plain(Access::Anyone);
    let (network, elsewhere) = (Network::to(registry.port()), Network::to(open.port()));
    let image = Image::new(&[100_000]);
    for host in [registry.host(), open.host()] {
        image.upload(&host, "app");
    }
    let (user, sink) = (User::new(), Folder::new());
    user.write(".docker/config.json", &auth_json(&network.host(), USER, PASSWORD));
    let hex = image.layer().digest.hex();
    let to = format!("http://{}", elsewhere.host());
    network.fault("GET", hex, 1, Fault::Redirect { to: to.clone() });
    let name = format!("{}/app", network.host());
    user.pull(&name, &sink).await.unwrap();
    sink.has(&image);
    assert!(network.seen_of("GET", hex)[0].header("authorization").is_some());
    let followed = elsewhere.seen_of("GET", hex);
    assert_eq!(followed.len(), 1);
    assert_eq!(followed[0].header("authorization"), None);

    // Nor does the other host get them for the asking.
    network.fault("GET", hex, 1, Fault::Redirect { to });
    let challenge = ("WWW-Authenticate", "Basic realm=\"give\"".to_owned());
    elsewhere.fault(
        "GET",
        hex,
        1,
        Fault::Answer {
            status: 401,
            headers: vec![challenge],
            body: String::new(),
        },
    );
    let error = user.pull(&name, &Folder::new()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    assert!(
        elsewhere
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

/// A credential helper: a shell script on the user's path.
pub(crate) fn helper(user: &User, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = user.write(
        &format!("bin/docker-credential-{name}"),
        &format!("#!/bin/sh\n{script}\n"),
    );
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
