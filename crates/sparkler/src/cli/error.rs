//! What is wrong with a command line, in Firecracker's words (`UtilsArgParserError`).

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Why a command line is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// Two flags that exclude each other.
    #[error("Argument '{1}' cannot be used together with argument '{0}'.")]
    ForbiddenArgument(String, String),
    /// A flag without the one it needs.
    #[error("Argument '{0}' required, but not found.")]
    MissingArgument(String),
    /// A flag without its value.
    #[error("The argument '{0}' requires a value, but none was supplied.")]
    MissingValue(String),
    /// A flag that does not exist.
    #[error("Found argument '{0}' which wasn't expected, or isn't valid in this context.")]
    UnexpectedArgument(String),
    /// A flag given twice.
    #[error("The argument '{0}' was provided more than once.")]
    DuplicateArgument(String),
    /// A value that cannot be read; Firecracker panics here.
    #[error("The argument '{argument}' has an invalid value '{value}': {reason}.")]
    InvalidValue {
        /// The flag.
        argument: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not an error: the help was asked for, and this is it.
    #[error("{0}")]
    Help(String),
    /// Anything clap may add.
    #[error("{0}")]
    Other(String),
}

impl From<clap::Error> for ArgsError {
    fn from(error: clap::Error) -> Self {
        let argument = name(&error, ContextKind::InvalidArg);
        match error.kind() {
            ErrorKind::DisplayHelp => Self::Help(error.render().to_string()),
            // clap says so as well of a flag that is given twice.
            ErrorKind::ArgumentConflict => match name(&error, ContextKind::PriorArg) {
                prior if prior == argument || prior.is_empty() => Self::DuplicateArgument(argument),
                prior => Self::ForbiddenArgument(argument, prior),
            },
            ErrorKind::MissingRequiredArgument => Self::MissingArgument(argument),
            ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => {
                let value = name(&error, ContextKind::InvalidValue);
                if value.is_empty() {
                    return Self::MissingValue(argument);
                }
                let reason = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
                Self::InvalidValue {
                    argument,
                    value,
                    reason,
                }
            }
            ErrorKind::UnknownArgument => Self::UnexpectedArgument(argument),
            _ => Self::Other(error.to_string().trim_end().to_owned()),
        }
    }
}

/// A name clap gives with an error, without dashes and without `<VALUE>`; empty if it gives none.
fn name(error: &clap::Error, kind: ContextKind) -> String {
    let text = match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        Some(ContextValue::Strings(texts)) => texts.first().map_or("", String::as_str),
        _ => "",
    };
    let text = text.strip_prefix("--").unwrap_or(text);
    text.split(" <").next().unwrap_or(text).to_owned()
}
