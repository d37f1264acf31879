//! Against servers that do exactly what the script says, byte by byte.

use std::time::Duration;

use hyper::{Method, Uri};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::{Client, ClientOptions, ConnectFailure, Error};
use crate::models::{ActionType, Drive, InstanceState, MachineConfiguration};

const INSTANCE: &str = r#"{"id":"vm","state":"Not started","vmm_version":"1.17.0","app_name":"Firecracker"}"#;

struct Scripted {
    _folder: TempDir,
    listener: UnixListener,
    client: Client,
}

impl Scripted {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        Self {
            _folder: folder,
            listener,
            client: Client::new(socket),
        }
    }

    async fn accept(&self) -> UnixStream {
        self.listener.accept().await.unwrap().0
    }
}

/// Reads one request: its first line and its body.
async fn request(stream: &mut UnixStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (
        head.lines().next().unwrap().to_owned(),
        String::from_utf8(body).unwrap(),
    )
}

async fn answer(stream: &mut UnixStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Scripted::new();
    let client = server.client.clone();
    let asked = tokio::spawn(async move {
        let instance = client.get_instance().await.unwrap();
        client.put_action(ActionType::InstanceStart).await.unwrap();
        instance.state
    });
    let mut stream = server.accept().await;
    assert_eq!(request(&mut stream).await.0, "GET / HTTP/1.1");
    answer(&mut stream, "200", INSTANCE).await;
    assert_eq!(
        request(&mut stream).await,
        (
            "PUT /actions HTTP/1.1".into(),
            r#"{"action_type":"InstanceStart"}"#.into()
        )
    );
    stream
        .write_all(b"HTTP/1.1 204 \r\nServer: Firecracker API\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(asked.await.unwrap(), InstanceState::NotStarted);
}

#[tokio::test]
async fn a_connection_the_server_closed_is_replaced() {
    let server = Scripted::new();
    let client = server.client.clone();
    let (closed, wait) = tokio::sync::oneshot::channel();
    let asked = tokio::spawn(async move {
        client.get_instance().await.unwrap();
        wait.await.unwrap();
        client
            .put_machine_config(&MachineConfiguration::default())
            .await
            .unwrap();
    });
    let mut first = server.accept().await;
    request(&mut first).await;
    answer(&mut first, "200", INSTANCE).await;
    drop(first);
    closed.send(()).unwrap();
    let mut second = server.accept().await;
    assert_eq!(request(&mut second).await.0, "PUT /machine-config HTTP/1.1");
    answer(&mut second, "204", "").await;
    asked.await.unwrap();
}

#[tokio::test]
async fn a_change_that_may_have_arrived_is_not_sent_twice() {
    let server = Scripted::new();
    let client = server.client.clone();
    let asked = tokio::spawn(async move {
        client.get_instance().await.unwrap();
        client.put_action(ActionType::InstanceStart).await
    });
    let mut stream = server.accept().await;
    request(&mut stream).await;
    answer(&mut stream, "200", INSTANCE).await;
    request(&mut stream).await;
    drop(stream);
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "PUT /actions: the connection ended before the answer was there"
    );
}

#[tokio::test]
async fn a_dropped_request_takes_its_connection_with_it() {
    let server = Scripted::new();
    let client = server.client.clone();
    let dropped = tokio::spawn({
        let client = client.clone();
        async move { client.get_instance().await }
    });
    let mut first = server.accept().await;
    request(&mut first).await;
    first
        .write_all(b"HTTP/1.1 200 \r\nContent-Length: 80\r\n\r\n{\"id\":")
        .await
        .unwrap();
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    // Closed at once: with bytes unread the other end sees a reset.
    match first.read(&mut [0; 1]).await {
        Ok(0) => {}
        Err(reset) if reset.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("the connection is still open: {other:?}"),
    }

    let asked = tokio::spawn(async move { client.get_instance().await });
    let mut second = server.accept().await;
    request(&mut second).await;
    answer(&mut second, "200", INSTANCE).await;
    assert_eq!(asked.await.unwrap().unwrap().id, "vm");
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let server = Scripted::new();
    let client = server.client.clone().with_timeout(Duration::from_millis(20));
    let error = client.get_version().await.unwrap_err();
    assert_eq!(error.to_string(), "GET /version: no answer within 20 ms");
    let mut stream = server.accept().await;
    let mut left = Vec::new();
    stream.read_to_end(&mut left).await.unwrap();
}

#[tokio::test]
async fn requests_at_the_same_time_have_a_connection_each() {
    let server = Scripted::new();
    let (one, two) = (server.client.clone(), server.client.clone());
    let asked = tokio::spawn(async move { tokio::join!(one.get_instance(), two.get_instance()) });
    let mut first = server.accept().await;
    let mut second = server.accept().await;
    request(&mut first).await;
    request(&mut second).await;
    answer(&mut second, "200", INSTANCE).await;
    answer(&mut first, "200", INSTANCE).await;
    let (one, two) = asked.await.unwrap();
    assert_eq!(one.unwrap(), two.unwrap());
}

async fn answered(status: &str, body: &str, options: ClientOptions) -> Error {
    let server = Scripted::new();
    let client = server.client.clone().with_options(options);
    let asked = tokio::spawn(async move { client.get_instance().await });
    let mut stream = server.accept().await;
    request(&mut stream).await;
    answer(&mut stream, status, body).await;
    asked.await.unwrap().unwrap_err()
}

#[tokio::test]
async fn faults_keep_status_and_words() {
    let error = answered(
        "400",
        r#"{"fault_message":"Not \"now\"."}"#,
        ClientOptions::default(),
    )
    .await;
    assert_eq!(error.to_string(), "GET /: Not \"now\". (status 400)");
    assert_eq!(error.fault_message(), Some("Not \"now\"."));

    // Firecracker's HTTP layer puts a line break into the JSON text.
    let error = answered(
        "400",
        "{ \"error\": \"Invalid request.\nAll\" }",
        ClientOptions::default(),
    )
    .await;
    assert_eq!(
        error.fault_message(),
        Some("{ \"error\": \"Invalid request.\nAll\" }")
    );
}

#[tokio::test]
async fn answers_are_checked() {
    let error = answered("200", "[]", ClientOptions::default()).await;
    assert!(matches!(error, Error::UnexpectedBody { .. }), "{error:?}");
    let options = ClientOptions {
        max_answer: 10,
        ..ClientOptions::default()
    };
    let error = answered("200", INSTANCE, options).await;
    assert_eq!(error.to_string(), "GET /: the answer is larger than 10 bytes");
}

#[tokio::test]
async fn an_answer_of_a_newer_server_is_understood() {
    let server = Scripted::new();
    let client = server.client.clone();
    let asked = tokio::spawn(async move { client.get_vm_config().await });
    let mut stream = server.accept().await;
    request(&mut stream).await;
    let newer = r#"{"drives":[{"drive_id":"a","is_root_device":true,"colour":"red",
        "rate_limiter":{"ops":{"size":1,"refill_time":2,"x":[{}]},"y":1}}],"boot-source":{"kernel_image_path":"k",
        "initrd_path":null},"balloon":null,"machine-config":{"vcpu_count":2,"mem_size_mib":64,"numa":{"a":1}}}"#;
    answer(&mut stream, "200", newer).await;
    let config = asked.await.unwrap().unwrap();
    assert_eq!(config.drives[0].rate_limiter.unwrap().ops.unwrap().refill_time, 2);
    assert_eq!(config.machine_config.unwrap().vcpu_count, 2);
    assert_eq!(config.boot_source.initrd_path, None);
}

#[tokio::test]
async fn sockets_nobody_serves_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let kind = async |path: std::path::PathBuf| match Client::new(path).get_instance().await {
        Err(Error::Connect { kind, .. }) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(folder.path().join("none")).await, ConnectFailure::NotThere);
    let left = folder.path().join("left");
    drop(UnixListener::bind(&left).unwrap());
    assert_eq!(kind(left.clone()).await, ConnectFailure::Refused);
    assert_eq!(
        kind(folder.path().join("x".repeat(108))).await,
        ConnectFailure::PathTooLong
    );

    let error = Client::new(&left).get_instance().await.unwrap_err();
    assert!(error.nobody_serves());
    assert_eq!(
        error.to_string(),
        format!(
            "cannot connect to the API socket {}: nobody listens on it",
            left.display()
        )
    );
}

#[tokio::test]
async fn ids_are_checked_before_they_become_paths() {
    let client = Client::new("/nowhere");
    for id in ["", "a/b", "a b", "é"] {
        let drive = Drive {
            drive_id: id.into(),
            ..Drive::default()
        };
        let error = client.put_drive(&drive).await.unwrap_err();
        assert!(matches!(error, Error::InvalidId(_)), "{error:?}");
    }
}

#[tokio::test]
async fn raw_requests_give_any_answer() {
    let server = Scripted::new();
    let client = server.client.clone();
    let asked = tokio::spawn(async move {
        client
            .send_raw(Method::POST, Uri::from_static("/x"), Some("{".into()))
            .await
    });
    let mut stream = server.accept().await;
    assert_eq!(
        request(&mut stream).await,
        ("POST /x HTTP/1.1".into(), "{".into())
    );
    answer(&mut stream, "400", "no").await;
    let raw = asked.await.unwrap().unwrap();
    assert_eq!((raw.status.as_u16(), &raw.body[..]), (400, &b"no"[..]));
}
