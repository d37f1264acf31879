//! The kernel command line, as Firecracker makes it.
//!
//! Invariant: what the user gave comes first and unchanged; what is added goes before ` -- `, since what follows that
//! is init's, not the kernel's.

use firecracker_api::models::Drive;

use crate::arch::MAX_BOOT_ARGS;

/// Why a command line cannot be used. The texts are linux-loader's (`cmdline::Error`), which Firecracker shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// A byte that is no printable ASCII.
    #[error("String contains a non-printable ASCII character.")]
    NotPrintable,
    /// Longer than the kernel takes.
    #[error("Command line string is too long: at most {} bytes are taken.", MAX_BOOT_ARGS - 1)]
    TooLong,
}

/// A command line being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmdline {
    kernel: String,
    init: Option<String>,
}

impl Cmdline {
    /// Takes what the user gave.
    pub fn new(text: &str) -> Result<Self, CmdlineError> {
        check(text)?;
        let (kernel, init) = match text.split_once(" -- ") {
            Some((kernel, init)) => (kernel, Some(init.trim().to_owned())),
            None => (text, None),
        };
        Ok(Self {
            kernel: kernel.trim().to_owned(),
            init,
        })
    }

    /// Adds one argument.
    pub fn push(&mut self, arg: &str) {
        if !self.kernel.is_empty() {
            self.kernel.push(' ');
        }
        self.kernel.push_str(arg);
    }

    /// Adds what makes the kernel mount a root drive.
    pub fn push_root(&mut self, root: &Drive) {
        match &root.partuuid {
            Some(uuid) => self.push(&format!("root=PARTUUID={uuid}")),
            None => self.push("root=/dev/vda"),
        }
        self.push(if root.is_read_only.unwrap_or(false) {
            "ro"
        } else {
            "rw"
        });
    }

    /// The whole line.
    pub fn finish(self) -> Result<String, CmdlineError> {
        let line = match self.init {
            Some(init) => format!("{} -- {init}", self.kernel),
            None => self.kernel,
        };
        check(&line)?;
        Ok(line)
    }
}

fn check(text: &str) -> Result<(), CmdlineError> {
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(CmdlineError::NotPrintable);
    }
    if text.len() >= MAX_BOOT_ARGS {
        return Err(CmdlineError::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str, root: Option<Drive>) -> String {
        let mut line = Cmdline::new(text).unwrap();
        line.push("pci=off");
        if let Some(root) = root {
            line.push_root(&root);
        }
        line.finish().unwrap()
    }

    #[test]
    fn what_is_added_comes_before_inits_arguments() {
        assert_eq!(
            line("console=ttyS0 -- --debug x", None),
            "console=ttyS0 pci=off -- --debug x"
        );
        assert_eq!(line("", None), "pci=off");
    }

    #[test]
    fn a_root_drive_is_named() {
        let plain = Drive {
            is_root_device: true,
            ..Drive::default()
        };
        assert_eq!(
            line("quiet", Some(plain.clone())),
            "quiet pci=off root=/dev/vda rw"
        );
        let partition = Drive {
            partuuid: Some("0eaa91a0-01".into()),
            is_read_only: Some(true),
            ..plain
        };
        assert_eq!(
            line("quiet", Some(partition)),
            "quiet pci=off root=PARTUUID=0eaa91a0-01 ro"
        );
    }

    #[test]
    fn limits_are_kept() {
        assert_eq!(Cmdline::new("a\nb"), Err(CmdlineError::NotPrintable));
        assert_eq!(Cmdline::new("caf\u{e9}"), Err(CmdlineError::NotPrintable));
        assert_eq!(
            Cmdline::new(&"x".repeat(MAX_BOOT_ARGS)),
            Err(CmdlineError::TooLong)
        );
        let mut full = Cmdline::new(&"x".repeat(MAX_BOOT_ARGS - 1)).unwrap();
        full.push("y");
        assert_eq!(full.finish(), Err(CmdlineError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in ".{0,200}") {
            if let Ok(line) = Cmdline::new(&text) {
                prop_assert!(line.finish().is_ok());
            }
        }
    }
}
