//! Kernel images of every form and compression.

use images::kernel::{Limits, extract};

const LIMITS: Limits = Limits { input: 1 << 20, output: 1 << 24, ratio: 10_000 };

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(kernel) = extract(bytes, &LIMITS) {
        assert!(kernel.bytes.len() as u64 <= LIMITS.output);
        let _ = kernel.config();
    }
}
