use serde_json::json;

/// A refusal: the status and the words the client gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The HTTP status: 400, or 413 where the metadata would outgrow their limit.
    pub status: u16,
    /// The `fault_message`.
    pub message: String,
}

impl Fault {
    /// A refusal with status 400, as all but one of Firecracker's are.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            message: message.into(),
        }
    }

    /// The refusal with status 413: these metadata are too large.
    #[must_use]
    pub fn mmds_too_large() -> Self {
        Self {
            status: 413,
            message: "MMDS limit exceeded error: The MMDS patch request doesn't fit.".to_owned(),
        }
    }

    /// The refusal of what needs a started guest.
    #[must_use]
    pub fn not_before_start() -> Self {
        Self::bad_request("The requested operation is not supported before starting the microVM.")
    }

    /// The refusal of what needs a guest that was not started.
    #[must_use]
    pub fn not_after_start() -> Self {
        Self::bad_request("The requested operation is not supported after starting the microVM.")
    }

    /// This refusal with Firecracker's word for the part it comes from in front, such as `Drive config error`.
    #[must_use]
    pub fn within(self, part: &str) -> Self {
        Self {
            message: format!("{part}: {}", self.message),
            ..self
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        json!({ "fault_message": self.message }).to_string().into_bytes()
    }
}
