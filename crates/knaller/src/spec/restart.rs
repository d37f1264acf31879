//! When a machine that has ended is started again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Exit;
use crate::text_form::text_form;

/// What a supervisor does when a machine has ended that nobody asked to. As text, and in JSON: `no`, `on-failure`,
/// `on-failure:5`, `always`.
///
/// ```
/// use knaller::Restart;
///
/// let restart: Restart = "on-failure:5".parse()?;
/// assert_eq!(restart, Restart::OnFailure { at_most: Some(5) });
/// assert!("sometimes".parse::<Restart>().is_err());
/// # Ok::<(), knaller::InvalidRestart>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Restart {
    /// Nothing.
    #[default]
    No,
    /// It starts the machine again if [`Exit::code`] is not 0, and so often since its user started it.
    OnFailure { at_most: Option<u32> },
    /// It starts the machine again however it ended. Docker's `unless-stopped` is read as this: what a user has stopped stays
    /// so.
    Always,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no restart policy: write no, on-failure, on-failure:COUNT or always")]
pub struct InvalidRestart(String);

impl Restart {
    /// Whether a machine that ended so, and was started again so often, is to be started once more.
    #[must_use]
    pub fn wants(self, exit: &Exit, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { at_most } => exit.code() != 0 && at_most.is_none_or(|most| restarts < most),
            Self::Always => true,
        }
    }
}

impl FromStr for Restart {
    type Err = InvalidRestart;

    fn from_str(text: &str) -> Result<Self, InvalidRestart> {
        let invalid = || InvalidRestart(text.to_owned());
        match text.split_once(':') {
            None => match text {
                "no" => Ok(Self::No),
                "on-failure" => Ok(Self::OnFailure { at_most: None }),
                "always" | "unless-stopped" => Ok(Self::Always),
                _ => Err(invalid()),
            },
            Some(("on-failure", count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => {
                let at_most = count.parse().map_err(|_| invalid())?;
                Ok(Self::OnFailure {
                    at_most: Some(at_most),
                })
            }
            Some(_) => Err(invalid()),
        }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure { at_most: None } => f.write_str("on-failure"),
            Self::OnFailure { at_most: Some(most) } => write!(f, "on-failure:{most}"),
            Self::Always => f.write_str("always"),
        }
    }
}

text_form!(Restart, InvalidRestart);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policies() -> impl Strategy<Value = Restart> {
        prop_oneof![
            Just(Restart::No),
            Just(Restart::Always),
            any::<Option<u32>>().prop_map(|at_most| Restart::OnFailure { at_most }),
        ]
    }

    proptest! {
        #[test]
        fn text_and_back(policy in policies()) {
            prop_assert_eq!(policy.to_string().parse(), Ok(policy));
            let json = serde_json::to_string(&policy).unwrap();
            prop_assert_eq!(serde_json::from_str::<Restart>(&json).unwrap(), policy);
        }

        #[test]
        fn foreign_text_never_panics(text in "(on-failure:)?.{0,30}") {
            let _ = text.parse::<Restart>();
        }
    }

    #[test]
    fn what_is_no_policy_says_what_one_is() {
        for text in [
            "",
            "on-failure:",
            "on-failure:-1",
            "on-failure:+1",
            "always:3",
            "on-failure:99999999999",
        ] {
            let error = text.parse::<Restart>().unwrap_err().to_string();
            assert!(error.contains("on-failure:COUNT"), "{error}");
        }
    }

    #[test]
    fn only_failures_count_where_failures_are_meant() {
        let code = |code| Exit::Command(guest_protocol::Exit::Code(code));
        let five = Restart::OnFailure { at_most: Some(5) };
        for good in [code(0), Exit::Off] {
            assert!(!five.wants(&good, 0) && Restart::Always.wants(&good, 1000));
        }
        for bad in [code(1), Exit::Lost, Exit::Panicked("oops".to_owned())] {
            assert!(five.wants(&bad, 4) && !five.wants(&bad, 5) && !Restart::No.wants(&bad, 0));
            assert!(Restart::OnFailure { at_most: None }.wants(&bad, u32::MAX));
        }
    }
}
