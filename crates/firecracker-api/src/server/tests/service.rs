//! A server and real clients on a real socket.

use std::sync::Arc;

use hyper::{Method, Uri};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};

use crate::models::{ActionType, InstanceInfo, VmState};
use crate::server::{Answer, ApiRequest, Fault, Handler, Limits, serve};
use crate::{Client, Error};

struct Served {
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), JoinError>>,
}

impl Served {
    fn new(limits: Limits, handler: impl Handler) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("api.sock")).unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, limits, handler, async {
            let _ = stopped.await;
        }));
        Self {
            folder,
            stop: Some(stop),
            server,
        }
    }

    fn client(&self) -> Client {
        Client::new(self.folder.path().join("api.sock"))
    }

    async fn stream(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join("api.sock"))
            .await
            .unwrap()
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

fn instance() -> Answer {
    Answer::Instance(InstanceInfo {
        id: "vm".into(),
        ..Default::default()
    })
}

async fn yes(_request: ApiRequest) -> Answer {
    Answer::Done
}

/// Carries requests out when told to, and tells when it has begun.
struct Gate {
    begun: mpsc::UnboundedSender<ApiRequest>,
    go: Arc<Semaphore>,
}

impl Handler for Gate {
    async fn handle(&mut self, request: ApiRequest) -> Answer {
        self.begun.send(request).unwrap();
        self.go.acquire().await.unwrap().forget();
        Answer::Done
    }
}

fn gate() -> (Gate, mpsc::UnboundedReceiver<ApiRequest>, Arc<Semaphore>) {
    let (begun, has_begun) = mpsc::unbounded_channel();
    let go = Arc::new(Semaphore::new(0));
    (
        Gate {
            begun,
            go: Arc::clone(&go),
        },
        has_begun,
        go,
    )
}

#[tokio::test]
async fn answers_look_like_firecrackers_on_the_wire() {
    let served = Served::new(Limits::default(), async |request| match request {
        ApiRequest::GetInstance => instance(),
        ApiRequest::UpdateMachineConfig(_) => Answer::Done,
        _ => Answer::Fault(Fault::bad_request("No.")),
    });
    let mut stream = served.stream().await;
    let body = r#"{"cpu_template":"None"}"#;
    let requests = format!(
        "GET / HTTP/1.1\r\n\r\nPATCH /machine-config HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}\
         GET /mmds HTTP/1.1\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let server = "Server: Firecracker API\r\n";
    let json_type = "Content-Type: application/json\r\n";
    assert_eq!(
        answers,
        format!(
            "HTTP/1.1 200 OK\r\n{server}{json_type}Connection: keep-alive\r\nContent-Length: 64\r\n\r\n\
             {{\"app_name\":\"\",\"id\":\"vm\",\"state\":\"Not started\",\"vmm_version\":\"\"}}\
             HTTP/1.1 204 No Content\r\n{server}Deprecation: true\r\nConnection: keep-alive\r\n\r\n\
             HTTP/1.1 400 Bad Request\r\n{server}{json_type}Connection: close\r\nContent-Length: 23\r\n\r\n\
             {{\"fault_message\":\"No.\"}}"
        )
    );
}

#[tokio::test]
async fn an_old_client_sends_all_its_requests_over_one_connection() {
    let served = Served::new(Limits::default(), yes);
    let mut stream = served.stream().await;
    let body = r#"{"state":"Paused"}"#;
    for _ in 0..3 {
        let request = format!(
            "PATCH /vm HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(" 204 "), "{answer}");
        assert!(answer.contains("\r\nConnection: keep-alive\r\n"), "{answer}");
    }
    stream
        .write_all(b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains(" 204 "), "{rest}");
}

#[tokio::test]
async fn requests_are_carried_out_one_at_a_time() {
    let (gate, mut begun, go) = gate();
    let served = Served::new(Limits::default(), gate);
    let (one, two) = (served.client(), served.client());
    let first = tokio::spawn(async move { one.patch_vm(VmState::Paused).await });
    assert_eq!(begun.recv().await.unwrap(), ApiRequest::PatchVm(VmState::Paused));
    let second = tokio::spawn(async move { two.patch_vm(VmState::Resumed).await });
    assert!(begun.try_recv().is_err());
    go.add_permits(1);
    first.await.unwrap().unwrap();
    assert_eq!(begun.recv().await.unwrap(), ApiRequest::PatchVm(VmState::Resumed));
    go.add_permits(1);
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_begun_is_done_though_the_client_has_gone() {
    let (gate, mut begun, go) = gate();
    let served = Served::new(Limits::default(), gate);
    let client = served.client();
    let asked = tokio::spawn(async move { client.put_action(ActionType::InstanceStart).await });
    assert_eq!(begun.recv().await.unwrap(), ApiRequest::InstanceStart);
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    go.add_permits(2);
    served.client().patch_vm(VmState::Paused).await.unwrap();
    assert_eq!(go.available_permits(), 0, "both were carried out to the end");
}

#[tokio::test]
async fn a_stop_lets_the_answer_out() {
    let (gate, mut begun, go) = gate();
    let mut served = Served::new(Limits::default(), gate);
    let client = served.client();
    let asked = tokio::spawn(async move { client.put_action(ActionType::SendCtrlAltDel).await });
    begun.recv().await.unwrap();
    let idle = served.stream().await;
    served.stop();
    go.add_permits(1);
    asked.await.unwrap().unwrap();
    (&mut served.server).await.unwrap().unwrap();
    drop(idle);
    assert!(served.client().get_instance().await.unwrap_err().nobody_serves());
}

#[tokio::test]
async fn large_bodies_are_refused_before_they_come() {
    let served = Served::new(
        Limits {
            max_payload: 100,
            ..Limits::default()
        },
        yes,
    );
    let words = |limit: &str| {
        format!(
            "{{ \"error\": \"Request payload with size {limit} is larger than the limit of 100 allowed by server.\n\
             All previous unanswered requests will be dropped.\" }}"
        )
    };
    let mut stream = served.stream().await;
    stream
        .write_all(b"PUT /mmds HTTP/1.1\r\nContent-Length: 101\r\n\r\n")
        .await
        .unwrap();
    let mut head = vec![0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 400");

    let put = async |body: String| {
        let path = Uri::from_static("/mmds");
        served
            .client()
            .send_raw(Method::PUT, path, Some(body.into()))
            .await
            .unwrap()
    };
    let exact = put(format!("\"{}\"", "x".repeat(98))).await;
    assert_eq!(exact.status, 204);
    let larger = put(format!("\"{}\"", "x".repeat(99))).await;
    assert_eq!(
        (larger.status.as_u16(), &larger.body[..]),
        (400, words("101").as_bytes())
    );
}

#[tokio::test]
async fn other_methods_are_refused() {
    let served = Served::new(Limits::default(), yes);
    for method in [Method::POST, Method::OPTIONS] {
        let answer = served
            .client()
            .send_raw(method, Uri::from_static("/"), None)
            .await
            .unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(
            &answer.body[..],
            b"{ \"error\": \"Invalid HTTP Method: Unsupported HTTP method.\nAll previous unanswered requests will be dropped.\" }"
        );
    }
}

#[tokio::test]
async fn one_connection_too_many_is_turned_away() {
    let served = Served::new(
        Limits {
            max_connections: 2,
            ..Limits::default()
        },
        async |_| instance(),
    );
    let held = served.client();
    held.get_instance().await.unwrap();
    let also_held = served.stream().await;
    let mut third = served.stream().await;
    let mut words = String::new();
    third.read_to_string(&mut words).await.unwrap();
    assert!(words.starts_with("HTTP/1.1 503\r\n"), "{words}");
    assert!(
        words.ends_with("\r\n\r\n{ \"error\": \"Too many open connections\" }"),
        "{words}"
    );
    drop(also_held);
    // The place is free again once the server has seen the end of the connection.
    loop {
        match served.client().get_instance().await {
            Ok(_) => break,
            Err(Error::Fault { status: 503, .. } | Error::Interrupted { .. }) => {
                tokio::task::yield_now().await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_handler_that_panics_ends_the_server() {
    let served = Served::new(Limits::default(), async |request| match request {
        ApiRequest::GetVersion => panic!("a bug"),
        _ => instance(),
    });
    let error = served.client().get_version().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "GET /version: The VMM has stopped. (status 500)"
    );
    assert!(served.server.await.unwrap().unwrap_err().is_panic());
}

#[tokio::test]
async fn bytes_that_are_no_http_do_not_stop_the_server() {
    let served = Served::new(Limits::default(), async |_| instance());
    for junk in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT /mmds HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ] {
        let mut stream = served.stream().await;
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // The server may close before it has read everything.
        let _ = stream.read_to_end(&mut answer).await;
    }
    assert_eq!(served.client().get_instance().await.unwrap().id, "vm");
}
