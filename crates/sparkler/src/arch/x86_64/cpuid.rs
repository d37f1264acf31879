//! What the processor says of itself (Intel SDM, volume 2, CPUID; AMD APM, volume 3, appendix E). The invariant: two machines
//! have the same text only if a guest of one finds on the other all that it has seen; and it hangs on no file, since in a jail
//! there is no `/proc/cpuinfo`.

use std::arch::x86_64::{__cpuid_count, __get_cpuid_max, CpuidResult};
use std::fmt::Write as _;

/// Where extended leaves begin.
const EXTENDED: u32 = 0x8000_0000;

/// Which leaves tell of features, and which of their registers (EAX to EDX) are the same on every core at every moment.
const FEATURES: [(u32, u32, [bool; 4]); 8] = [
    (0x1, 0, [false, false, true, true]),
    (0x7, 0, [false, true, true, true]),
    (0x7, 1, [true, true, true, true]),
    (0xd, 1, [true, false, false, false]),
    (EXTENDED + 0x1, 0, [false, false, true, true]),
    (EXTENDED + 0x7, 0, [false, false, false, true]),
    (EXTENDED + 0x8, 0, [true, true, false, false]),
    (EXTENDED + 0xa, 0, [false, false, false, true]),
];

/// Its maker, its signature (family, model, stepping), and its features as numbers in the order of their leaves.
pub(super) fn text() -> String {
    let (highest, _) = __get_cpuid_max(0);
    let (highest_extended, _) = __get_cpuid_max(EXTENDED);
    let has = |leaf: u32| {
        leaf <= if leaf < EXTENDED {
            highest
        } else {
            highest_extended
        }
    };
    let mut text = format!("{} {:x}", maker(__cpuid_count(0, 0)), __cpuid_count(1, 0).eax);
    for (leaf, part, lasting) in FEATURES.into_iter().filter(|(leaf, ..)| has(*leaf)) {
        let found = __cpuid_count(leaf, part);
        let registers = [found.eax, found.ebx, found.ecx, found.edx];
        for (register, _) in registers.iter().zip(lasting).filter(|(_, lasting)| *lasting) {
            // Into a string: it cannot fail.
            let _ = write!(text, " {register:x}");
        }
    }
    text
}

/// `GenuineIntel`, `AuthenticAMD`, …: EBX, EDX, ECX of the first leaf.
fn maker(first: CpuidResult) -> String {
    let letters = [first.ebx, first.edx, first.ecx].map(u32::to_le_bytes).concat();
    String::from_utf8_lossy(&letters).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maker_is_the_one_that_the_kernel_sees() {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let line = cpuinfo
            .lines()
            .find(|line| line.starts_with("vendor_id"))
            .unwrap();
        let (_, seen) = line.split_once(": ").unwrap();
        assert!(
            text().starts_with(&format!("{seen} ")),
            "{} is not {seen}",
            text()
        );
    }

    #[test]
    fn every_core_says_the_same_at_every_moment() {
        let said: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..16).map(|_| scope.spawn(text)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(said.iter().all(|one| *one == said[0]), "{said:?}");
        assert!(said[0].split(' ').count() > 4, "{}", said[0]);
    }
}
