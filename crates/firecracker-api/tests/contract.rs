//! The contract on a server made of this crate's own parts, with a machine that keeps its configuration and has no guest:
//! routing, rules, answers and the suite itself are tried together. And the suite must notice when an answer is wrong.

mod machine;

use std::error::Error;

use firecracker_api::contract::{self, Capability, Files, Fresh, Server, Verdict};
use firecracker_api::models::Balloon;
use firecracker_api::server::{Answer, ApiRequest, Handler, Limits, serve};
use machine::Machine;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// Starts a server around what `make` makes.
struct Served<F>(F);

/// Ends a server.
struct Guard(
    JoinHandle<()>,
    #[expect(dead_code, reason = "removed when dropped")] TempDir,
);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<H: Handler, F: Fn() -> H + Sync> Server for Served<F> {
    fn offers(&self, capability: Capability) -> bool {
        matches!(
            capability,
            Capability::Start | Capability::Tap | Capability::HugePages
        ) || (capability == Capability::Keyboard && cfg!(target_arch = "x86_64"))
    }

    async fn fresh(&self) -> Result<Fresh, Box<dyn Error + Send + Sync>> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        for name in ["kernel", "drive", "other"] {
            std::fs::write(folder.path().join(name), name)?;
        }
        let files = Files {
            folder: path(""),
            kernel: path("kernel"),
            initrd: Some(path("other")),
            boot_args: "quiet".into(),
            drive: path("drive"),
            other_drive: path("other"),
            tap: Some("tap0".into()),
        };
        let socket = folder.path().join("api.sock");
        let listener = UnixListener::bind(&socket)?;
        let serving = serve(listener, Limits::default(), (self.0)(), std::future::pending());
        let task = tokio::spawn(async {
            if let Err(panic) = serving.await {
                std::panic::resume_unwind(panic.into_panic());
            }
        });
        Ok(Fresh {
            socket,
            files,
            guard: Box::new(Guard(task, folder)),
        })
    }
}

#[tokio::test]
async fn this_crates_parts_keep_the_contract() {
    let report = contract::run(&Served(Machine::default), |_| true).await;
    println!("{report}");
    assert!(report.is_kept());
}

#[test]
fn names_tell_cases_apart() {
    let mut names: Vec<_> = contract::all().iter().map(|case| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// A machine that is wrong in one way.
struct Wrong(Machine);

impl Handler for Wrong {
    async fn handle(&mut self, request: ApiRequest) -> Answer {
        match request {
            ApiRequest::GetBalloon => Answer::Balloon(Balloon::default()),
            ApiRequest::PutEntropy(_) => Answer::Version("not this".into()),
            other => self.0.handle(other).await,
        }
    }
}

#[tokio::test]
async fn wrong_answers_are_noticed() {
    let broken = async |name: &str| {
        let report = contract::run(&Served(|| Wrong(Machine::default())), |case| case.name == name).await;
        assert!(!report.is_kept());
        match &report.outcomes[0].verdict {
            Verdict::Broken(how) => how.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert!(
        broken("balloon/set and replaced")
            .await
            .starts_with("step 1, GET /balloon: status 200 instead of 400")
    );
    assert!(
        broken("entropy/set and replaced")
            .await
            .starts_with("step 1, PUT /entropy: status 200 instead of 204")
    );
    assert!(
        broken("balloon/statistics")
            .await
            .contains("GET /balloon: body {")
    );
}

#[tokio::test]
async fn nothing_kept_is_not_kept() {
    let report = contract::run(&Served(Machine::default), |_| false).await;
    assert!(!report.is_kept());
}
