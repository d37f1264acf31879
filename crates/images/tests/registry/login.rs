//! Logging in and out.

use std::os::unix::fs::PermissionsExt;

use images::registry::{RegistryError, Secret};
use serde_json::{Value, json};
use testkit::registry::{Access, Authority, Registry, TokenServer, USER};

use crate::auth::helper;
use crate::support::{Folder, Image, User, password, skopeo_manifest, whole};

const FILE: &str = ".config/containers/auth.json";

#[tokio::test]
async fn into_a_file_that_others_read_too() {
    let registry = Registry::plain(Access::Password);
    let host = registry.host();
    Image::new(&[100]).upload(&host, "app");
    let user = User::new();
    let registries = user.registries();
    let error = registries
        .login(&host, USER, &Secret::new("wrong"))
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Refused { .. }), "{error}");
    assert!(!whole(&error).contains("wrong"));
    assert!(!user.path(FILE).exists());

    let old = json!({ "auths": { "other.org": { "auth": "eDp5" } }, "credHelpers": { "a.org": "b" } });
    user.write(FILE, &old.to_string());
    let stored = registries.login(&host, USER, &password()).await.unwrap();
    assert_eq!(stored.file.as_deref(), Some(user.path(FILE).as_path()));
    let mode = user.path(FILE).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let new: Value = serde_json::from_slice(&std::fs::read(user.path(FILE)).unwrap()).unwrap();
    assert_eq!(new["credHelpers"], old["credHelpers"]);
    assert_eq!(new["auths"]["other.org"], old["auths"]["other.org"]);

    let file = user.path(FILE).display().to_string();
    let _ = skopeo_manifest(&host, "app", &["--authfile", &file]).ok();
    user.pull(&format!("{host}/app"), &Folder::new()).await.unwrap();

    assert!(registries.logout(&host).await.unwrap());
    assert!(!registries.logout(&host).await.unwrap());
    assert_ne!(skopeo_manifest(&host, "app", &["--authfile", &file]).code(), 0);
    let error = user
        .pull(&format!("{host}/app"), &Folder::new())
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Login { .. }), "{error}");
    let left: Value = serde_json::from_slice(&std::fs::read(user.path(FILE)).unwrap()).unwrap();
    assert_eq!(left, old);
}

#[tokio::test]
async fn with_a_token_server_and_an_authority() {
    let (tokens, authority) = (TokenServer::new(), Authority::new());
    let registry = Registry::plain(Access::Token(&tokens));
    let user = User::new();
    user.registries()
        .login(&registry.host(), USER, &password())
        .await
        .unwrap();
    let error = user
        .registries()
        .login(&registry.host(), "nobody", &password())
        .await
        .unwrap_err();
    assert!(whole(&error).contains("no such driver"), "{}", whole(&error));

    // From TLS no password goes to a token server without it.
    let secure = Registry::tls(Access::Token(&tokens), &authority);
    user.says(&format!(
        "registries:\n  {}:\n    ca: {}\n",
        secure.host(),
        authority.file().display()
    ));
    let before = tokens.grants().len();
    let error = user
        .registries()
        .login(&secure.host(), USER, &password())
        .await
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Downgrade { .. }),
        "{}",
        whole(&error)
    );
    assert_eq!(tokens.grants().len(), before);
}

#[tokio::test]
async fn into_a_helper() {
    let registry = Registry::plain(Access::Password);
    let host = registry.host();
    let user = User::new();
    user.write(FILE, &json!({ "credHelpers": { &host: "box" } }).to_string());
    let kept = user.path("kept").display().to_string();
    // The arguments are what everybody on the machine can read.
    helper(
        &user,
        "box",
        &format!(
            "echo \"$@\" >> {kept}.arguments\ncase $1 in\n\
             store) /bin/cat > {kept} ;;\n\
             get) /bin/cat > /dev/null; test -e {kept} && /bin/cat {kept} || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\n\
             erase) /bin/cat > /dev/null; /bin/rm {kept} ;;\nesac"
        ),
    );
    let registries = user.registries();
    let stored = registries.login(&host, USER, &password()).await.unwrap();
    assert_eq!(stored.file, None);
    Image::new(&[100]).upload(&host, "app");
    user.pull(&format!("{host}/app"), &Folder::new()).await.unwrap();
    assert!(registries.logout(&host).await.unwrap());
    assert!(!registries.logout(&host).await.unwrap());
    assert!(matches!(
        user.pull(&format!("{host}/app"), &Folder::new()).await,
        Err(RegistryError::Login { .. })
    ));
    let arguments = std::fs::read_to_string(format!("{kept}.arguments")).unwrap();
    assert!(
        arguments
            .lines()
            .all(|line| ["store", "get", "erase"].contains(&line)),
        "{arguments}"
    );
    let file = std::fs::read_to_string(user.path(FILE)).unwrap();
    assert!(!file.contains("auths"), "{file}");
}

#[tokio::test]
async fn helpers_that_fail() {
    let user = User::new();
    let host = "localhost:1";
    user.write(FILE, &json!({ "credHelpers": { host: "box" } }).to_string());
    let name = format!("{host}/app");
    let fails = async |text: &str| {
        let error = user.pull(&name, &Folder::new()).await.unwrap_err();
        let all = whole(&error);
        assert!(
            all.contains("docker-credential-box") && all.contains(text),
            "{all}"
        );
    };
    fails("not on PATH").await;
    helper(&user, "box", "echo the drawer is locked; exit 1");
    fails("the drawer is locked").await;
    helper(&user, "box", "echo '{}'");
    fails("no answer").await;
    helper(&user, "box", "exec /usr/bin/yes");
    fails("says more than").await;
    user.write(FILE, &json!({ "credHelpers": { host: "../box" } }).to_string());
    let error = user.pull(&name, &Folder::new()).await.unwrap_err();
    assert!(whole(&error).contains("no program has"), "{}", whole(&error));
}

// Its minute passes as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_helper_that_does_not_answer() {
    let user = User::new();
    let host = "localhost:1";
    user.write(FILE, &json!({ "credHelpers": { host: "box" } }).to_string());
    helper(&user, "box", "exec /bin/sleep 600");
    let error = user.pull("localhost:1/app", &Folder::new()).await.unwrap_err();
    let all = whole(&error);
    assert!(all.contains("has not answered within 60 s"), "{all}");
}

#[tokio::test]
async fn names_that_are_no_registry() {
    let registries = User::new().registries();
    for name in ["", "https://a.org", "a.org/team", "a b"] {
        let error = registries.login(name, "me", &password()).await.unwrap_err();
        assert!(matches!(error, RegistryError::Name { .. }), "{name}: {error}");
    }
}
