//! How much memory the host could give a guest now.

/// In MiB, swap included; `None` if the kernel does not say.
pub(crate) fn available_mib() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let memory = field(&meminfo, "MemAvailable")?;
    Some((memory + field(&meminfo, "SwapFree").unwrap_or(0)) / 1024)
}

/// A line of /proc/meminfo, in KiB (proc(5)).
pub(crate) fn field(meminfo: &str, name: &str) -> Option<u64> {
    let rest = meminfo
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_name_counts() {
        let text = "MemTotal:       24684084 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(field(text, "MemAvailable"), Some(1024));
        assert_eq!(field(text, "Mem"), None);
        assert_eq!(field(text, "SwapFree"), None);
        assert!(available_mib().is_some());
    }
}
