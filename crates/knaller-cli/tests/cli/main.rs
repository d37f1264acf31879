//! The command as a user meets it: real processes, no machine needed.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod completion;
mod damage;
mod errors;
mod help;
mod manual;
mod output;
mod support;
