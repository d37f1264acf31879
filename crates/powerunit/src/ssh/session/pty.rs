//! Pseudo-terminals: made, owned and set as the client asks.
//!
//! Mode numbers: RFC 4254 section 8 and its IANA registry (62 and 63 have no meaning on Linux).

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{Gid, Mode, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, Winsize,
    tcgetattr, tcsetattr, tcsetwinsize,
};

use crate::ssh::protocol::wire::{Malformed, Reader};

/// The longest name of a terminal type.
const MAX_TERM: usize = 128;

/// Columns and rows, in characters and pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    columns: u32,
    rows: u32,
    width: u32,
    height: u32,
}

impl Size {
    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            columns: reader.u32()?,
            rows: reader.u32()?,
            width: reader.u32()?,
            height: reader.u32()?,
        })
    }

    /// Numbers too large for the kernel become its largest.
    fn winsize(self) -> Winsize {
        let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        Winsize {
            ws_row: short(self.rows),
            ws_col: short(self.columns),
            ws_xpixel: short(self.width),
            ws_ypixel: short(self.height),
        }
    }
}

/// The terminal that a client has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// `TERM`.
    pub name: OsString,
    pub size: Size,
    /// Modes by number.
    modes: Vec<(u8, u32)>,
}

impl Terminal {
    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let name = reader.string()?;
        let size = Size::parse(reader)?;
        let mut encoded = Reader::new(reader.string()?);
        let mut modes = Vec::new();
        // Numbers from 160 on have no known form: what follows them cannot be read.
        while let Ok(number @ 1..160) = encoded.u8() {
            modes.push((number, encoded.u32()?));
        }
        if name.len() > MAX_TERM || modes.len() > 255 {
            return Err(Malformed);
        }
        Ok(Self {
            name: OsString::from_vec(name.to_vec()),
            size,
            modes,
        })
    }
}

/// A pair of terminal ends.
#[derive(Debug)]
pub(super) struct Pty {
    pub master: OwnedFd,
    /// The end that becomes the session's controlling terminal.
    pub slave: OwnedFd,
    /// `/dev/pts/N`.
    pub path: OsString,
}

impl Pty {
    /// Makes a terminal like the client's, owned by `uid`. `tty`: the group that may write to it, for write(1) and such.
    pub(super) fn open(terminal: &Terminal, uid: u32, tty: Option<u32>) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let path = OsString::from_vec(ptsname(&master, Vec::new())?.into_bytes());
        if rustix::process::geteuid().is_root() {
            let group = tty.map(Gid::from_raw);
            rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), group)?;
            let mode = if group.is_some() {
                Mode::from_raw_mode(0o620)
            } else {
                Mode::from_raw_mode(0o600)
            };
            rustix::fs::fchmod(&slave, mode)?;
        }
        let mut settings = tcgetattr(&slave)?;
        for (number, value) in &terminal.modes {
            apply(&mut settings, *number, *value);
        }
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        resize(&master, terminal.size)?;
        Ok(Self { master, slave, path })
    }
}

/// Sets the size of a terminal; who reads from it gets SIGWINCH.
pub(super) fn resize(master: impl AsFd, size: Size) -> io::Result<()> {
    Ok(tcsetwinsize(master, size.winsize())?)
}

/// What a mode's number stands for.
enum ModeKind {
    Code(SpecialCodeIndex),
    Input(InputModes),
    Local(LocalModes),
    Output(OutputModes),
    Control(ControlModes),
    InputSpeed,
    OutputSpeed,
}

fn kind(number: u8) -> Option<ModeKind> {
    use ModeKind::{Code, Control, Input, InputSpeed, Local, Output, OutputSpeed};
    Some(match number {
        1 => Code(SpecialCodeIndex::VINTR),
        2 => Code(SpecialCodeIndex::VQUIT),
        3 => Code(SpecialCodeIndex::VERASE),
        4 => Code(SpecialCodeIndex::VKILL),
        5 => Code(SpecialCodeIndex::VEOF),
        6 => Code(SpecialCodeIndex::VEOL),
        7 => Code(SpecialCodeIndex::VEOL2),
        8 => Code(SpecialCodeIndex::VSTART),
        9 => Code(SpecialCodeIndex::VSTOP),
        10 => Code(SpecialCodeIndex::VSUSP),
        12 => Code(SpecialCodeIndex::VREPRINT),
        13 => Code(SpecialCodeIndex::VWERASE),
        14 => Code(SpecialCodeIndex::VLNEXT),
        16 => Code(SpecialCodeIndex::VSWTC),
        18 => Code(SpecialCodeIndex::VDISCARD),
        30 => Input(InputModes::IGNPAR),
        31 => Input(InputModes::PARMRK),
        32 => Input(InputModes::INPCK),
        33 => Input(InputModes::ISTRIP),
        34 => Input(InputModes::INLCR),
        35 => Input(InputModes::IGNCR),
        36 => Input(InputModes::ICRNL),
        37 => Input(InputModes::IUCLC),
        38 => Input(InputModes::IXON),
        39 => Input(InputModes::IXANY),
        40 => Input(InputModes::IXOFF),
        41 => Input(InputModes::IMAXBEL),
        42 => Input(InputModes::IUTF8),
        50 => Local(LocalModes::ISIG),
        51 => Local(LocalModes::ICANON),
        52 => Local(LocalModes::XCASE),
        53 => Local(LocalModes::ECHO),
        54 => Local(LocalModes::ECHOE),
        55 => Local(LocalModes::ECHOK),
        56 => Local(LocalModes::ECHONL),
        57 => Local(LocalModes::NOFLSH),
        58 => Local(LocalModes::TOSTOP),
        59 => Local(LocalModes::IEXTEN),
        60 => Local(LocalModes::ECHOCTL),
        61 => Local(LocalModes::ECHOKE),
        70 => Output(OutputModes::OPOST),
        71 => Output(OutputModes::OLCUC),
        72 => Output(OutputModes::ONLCR),
        73 => Output(OutputModes::OCRNL),
        74 => Output(OutputModes::ONOCR),
        75 => Output(OutputModes::ONLRET),
        90 => Control(ControlModes::CS7),
        91 => Control(ControlModes::CS8),
        92 => Control(ControlModes::PARENB),
        93 => Control(ControlModes::PARODD),
        128 => InputSpeed,
        129 => OutputSpeed,
        _ => return None,
    })
}

/// Sets one mode. A number that means nothing here is passed over.
fn apply(settings: &mut Termios, number: u8, value: u32) {
    let on = value != 0;
    match kind(number) {
        // 255 switches a character off, RFC 4254; the kernel's word for that is 0.
        Some(ModeKind::Code(index)) => {
            settings.special_codes[index] = u8::try_from(value).ok().filter(|code| *code != 255).unwrap_or(0);
        }
        Some(ModeKind::Input(flag)) => settings.input_modes.set(flag, on),
        Some(ModeKind::Local(flag)) => settings.local_modes.set(flag, on),
        Some(ModeKind::Output(flag)) => settings.output_modes.set(flag, on),
        Some(ModeKind::Control(flag)) if on && matches!(number, 90 | 91) => {
            settings.control_modes.remove(ControlModes::CSIZE);
            settings.control_modes.insert(flag);
        }
        Some(ModeKind::Control(_)) if matches!(number, 90 | 91) => {}
        Some(ModeKind::Control(flag)) => settings.control_modes.set(flag, on),
        // A speed the kernel does not take is left as it is: a pseudo-terminal has none.
        Some(ModeKind::InputSpeed) => drop(settings.set_input_speed(value)),
        Some(ModeKind::OutputSpeed) => drop(settings.set_output_speed(value)),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ssh::protocol::wire::Put as _;

    fn request(modes: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_string(b"xterm");
        for number in [100, 30, 70_000, 0] {
            bytes.put_u32(number);
        }
        bytes.put_string(modes);
        bytes
    }

    #[test]
    fn a_terminal_is_as_the_client_says() {
        let bytes = request(&[53, 0, 0, 0, 0, 1, 0, 0, 0, 7, 2, 0, 0, 0, 255, 200, 0, 0, 0, 0, 0]);
        let terminal = Terminal::parse(&mut Reader::new(&bytes)).unwrap();
        let pty = Pty::open(&terminal, rustix::process::getuid().as_raw(), None).unwrap();
        let settings = tcgetattr(&pty.slave).unwrap();
        assert!(!settings.local_modes.contains(LocalModes::ECHO));
        assert!(settings.local_modes.contains(LocalModes::ICANON));
        assert_eq!(settings.special_codes[SpecialCodeIndex::VINTR], 7);
        assert_eq!(settings.special_codes[SpecialCodeIndex::VQUIT], 0);
        let size = rustix::termios::tcgetwinsize(&pty.slave).unwrap();
        assert_eq!((size.ws_col, size.ws_row, size.ws_xpixel), (100, 30, u16::MAX));
        assert!(pty.path.to_str().unwrap().starts_with("/dev/pts/"));
    }

    proptest! {
        #[test]
        fn foreign_modes_never_panic(modes in prop::collection::vec(any::<u8>(), 0..100)) {
            let bytes = request(&modes);
            if let Ok(terminal) = Terminal::parse(&mut Reader::new(&bytes)) {
                let pty = Pty::open(&terminal, rustix::process::getuid().as_raw(), None).unwrap();
                let mut settings = tcgetattr(&pty.slave).unwrap();
                for (number, value) in terminal.modes {
                    apply(&mut settings, number, value);
                }
            }
        }
    }
}
