//! How a case is written down.

use hyper::Method;
use serde_json::Value;

use super::{Capability, Files};

/// Requests to a fresh server, in order, with the answers they must get.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `operation/what is tried`.
    pub name: &'static str,
    /// What the guest does while the steps are taken.
    pub phase: Phase,
    pub(super) needs: &'static [Capability],
    pub(super) lacks: Option<Capability>,
    pub(super) prepare: fn(&Files) -> Vec<Step>,
    pub(super) steps: fn(&Files) -> Vec<Step>,
    pub(super) then: fn(&Files) -> Vec<Step>,
}

/// What the guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was not started.
    NotStarted,
    /// It was started.
    Running,
    /// It was started and paused.
    Paused,
}

impl Case {
    pub(super) const fn new(name: &'static str, phase: Phase, steps: fn(&Files) -> Vec<Step>) -> Self {
        Self {
            name,
            phase,
            needs: &[],
            lacks: None,
            prepare: nothing,
            steps,
            then: nothing,
        }
    }

    /// Only for servers that offer all of this.
    pub(super) const fn needs(mut self, needs: &'static [Capability]) -> Self {
        self.needs = needs;
        self
    }

    /// Only for servers that do not offer this.
    pub(super) const fn lacks(mut self, lacks: Capability) -> Self {
        self.lacks = Some(lacks);
        self
    }

    /// What a second fresh server is asked afterwards, with the files of the first, which is still there.
    pub(super) const fn then(mut self, then: fn(&Files) -> Vec<Step>) -> Self {
        self.then = then;
        self
    }

    /// What is configured before the guest is started.
    pub(super) const fn prepared(mut self, prepare: fn(&Files) -> Vec<Step>) -> Self {
        self.prepare = prepare;
        self
    }
}

fn nothing(_: &Files) -> Vec<Step> {
    Vec::new()
}

/// One request and what must come back.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<String>,
    pub(super) status: u16,
    pub(super) expect: Expect,
    pub(super) deprecated: bool,
}

/// What the body must be.
#[derive(Clone, Debug)]
pub(super) enum Expect {
    /// Nothing.
    Nothing,
    /// This, byte by byte.
    Text(String),
    /// JSON that equals this.
    Json(Value),
    /// JSON with these values at these pointers (RFC 6901).
    Members(Vec<(&'static str, Value)>),
    /// A fault with these words.
    Fault(String),
    /// A fault whose words begin so. Empty: any fault.
    FaultBeginning(String),
}

/// A request that still wants its answer.
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    path: String,
    body: Option<String>,
}

pub(super) fn ask(method: Method, path: &str) -> Asked {
    Asked {
        method,
        path: path.to_owned(),
        body: None,
    }
}

pub(super) fn get(path: &str) -> Asked {
    ask(Method::GET, path)
}

pub(super) fn delete(path: &str) -> Asked {
    ask(Method::DELETE, path)
}

pub(super) fn put(path: &str, body: impl ToString) -> Asked {
    ask(Method::PUT, path).with(body)
}

pub(super) fn patch(path: &str, body: impl ToString) -> Asked {
    ask(Method::PATCH, path).with(body)
}

impl Asked {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "texts and JSON values are both written in place"
    )]
    pub(super) fn with(mut self, body: impl ToString) -> Self {
        self.body = Some(body.to_string());
        self
    }

    fn answered(self, status: u16, expect: Expect) -> Step {
        Step {
            method: self.method,
            path: self.path,
            body: self.body,
            status,
            expect,
            deprecated: false,
        }
    }

    /// Status 204.
    pub(super) fn done(self) -> Step {
        self.answered(204, Expect::Nothing)
    }

    /// Status 200 with exactly this.
    pub(super) fn json(self, value: Value) -> Step {
        self.answered(200, Expect::Json(value))
    }

    /// Status 200 with these values at these pointers.
    pub(super) fn members(self, members: impl Into<Vec<(&'static str, Value)>>) -> Step {
        self.answered(200, Expect::Members(members.into()))
    }

    /// Status 400 with these words.
    pub(super) fn fault(self, words: impl Into<String>) -> Step {
        self.answered(400, Expect::Fault(words.into()))
    }

    /// Status 400 with words that begin so.
    pub(super) fn fault_beginning(self, words: &str) -> Step {
        self.answered(400, Expect::FaultBeginning(words.to_owned()))
    }

    /// Status 400 with any words.
    pub(super) fn refused(self) -> Step {
        self.fault_beginning("")
    }

    /// Status 400 with serde's words on the body.
    pub(super) fn malformed(self, words: &str) -> Step {
        self.fault(format!(
            "An error occurred when deserializing the json body of a request: {words}."
        ))
    }

    /// Status 400 with serde's words on the body, which begin so; how they go on differs between its versions.
    pub(super) fn malformed_beginning(self, words: &str) -> Step {
        self.fault_beginning(&format!(
            "An error occurred when deserializing the json body of a request: {words}"
        ))
    }

    /// Status 413 with these words.
    pub(super) fn too_large(self, words: &str) -> Step {
        self.answered(413, Expect::Fault(words.to_owned()))
    }

    /// Status 400 from the HTTP layer, in its own form.
    pub(super) fn no_http(self, why: &str) -> Step {
        self.answered(
            400,
            Expect::Text(format!(
                "{{ \"error\": \"{why}\nAll previous unanswered requests will be dropped.\" }}"
            )),
        )
    }

    /// Status 400: the guest must be started first.
    pub(super) fn not_before_start(self) -> Step {
        self.fault("The requested operation is not supported before starting the microVM.")
    }

    /// Status 400: the guest must not have been started.
    pub(super) fn not_after_start(self) -> Step {
        self.fault("The requested operation is not supported after starting the microVM.")
    }
}

impl Step {
    /// And the answer says that the request is deprecated.
    pub(super) fn deprecated(mut self) -> Self {
        self.deprecated = true;
        self
    }
}
