//! What knaller reads that others wrote: a person's words, its own files after anybody's hand, the host's, the guest's.
//! The first byte chooses the parser, from `0` on, so that seeds are text.

use guest_protocol::console;
use knaller::{Forward, MachineSpec, Name, fuzzing};

pub(crate) fn run(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match kind.wrapping_sub(b'0') % 10 {
        0 => {
            if let Ok(forward) = text.parse::<Forward>() {
                assert_eq!(forward.to_string().parse(), Ok(forward));
            }
        }
        1 => {
            if let Ok(name) = text.parse::<Name>() {
                assert!(!name.as_str().contains(['/', '.', '\0']));
            }
        }
        2 => {
            if let Ok(spec) = serde_json::from_slice::<MachineSpec>(rest) {
                let _ = spec.validate();
            }
        }
        3 => fuzzing::record(rest),
        4 => fuzzing::control_answer(&text),
        5 => fuzzing::resolver(&text),
        6 => fuzzing::proc_files(rest),
        8 => fuzzing::pages(rest),
        9 => fuzzing::foreign_description(rest),
        _ => {
            fuzzing::console_tail(&text);
            let _ = console::last_exit(&text);
            let _ = console::kernel_panic(&text);
        }
    }
}
