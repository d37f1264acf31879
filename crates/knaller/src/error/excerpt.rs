//! The logs and consoles that errors end with: part of an error's text, and told apart from it for those who show them in
//! their own way.

use super::Error;

/// What stands between an error's headline and the log it ends with.
const TAIL: &str = "; the end of ";

impl Error {
    /// The text without the log or console at its end, for those who show [`Self::excerpt`] in their own way.
    #[must_use]
    pub fn headline(&self) -> String {
        let mut text = self.to_string();
        if let (Some(_), Some(end)) = (self.excerpt(), text.find(TAIL)) {
            text.truncate(end);
        }
        text
    }

    /// The end of the log or console that tells more, and what it is; empty if nothing was written. It is part of the
    /// error's text as well.
    #[must_use]
    pub fn excerpt(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::VmmDied { log, .. } => Some(("the VMM's log", log)),
            Self::GuestPanicked { console, .. }
            | Self::GuestFailed { console, .. }
            | Self::GuestEnded { console }
            | Self::NeverAsked { console, .. }
            | Self::SshTimeout { console, .. } => Some(("the guest's console", console)),
            _ => None,
        }
    }
}

/// `; the end of WHAT:` and the text, or nothing if there is no text.
pub(super) fn tail(what: &str, text: &str) -> String {
    match text.trim_end() {
        "" => String::new(),
        text => format!("{TAIL}{what}:\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_shown_only_if_there_is_one() {
        let died = |log: &str| Error::VmmDied {
            vmm: "sparkler",
            log: log.into(),
        };
        assert_eq!(died("\n").to_string(), "sparkler died");
        let error = died("a\nb\n");
        assert_eq!(error.to_string(), "sparkler died; the end of its log:\na\nb");
        assert_eq!(error.headline(), "sparkler died");
        assert_eq!(error.excerpt(), Some(("the VMM's log", "a\nb\n")));
    }
}
