//! Which families of addresses the host can reach the world by: pasta serves those, and refuses a host that has none.

/// A default route, by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
}

/// RTF_UP and RTF_REJECT of linux/route.h.
const UP: u32 = 0x0001;
const REJECT: u32 = 0x0200;

pub(crate) fn of_host() -> Routes {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    Routes {
        ipv4: has_default_v4(&read("/proc/thread-self/net/route")),
        ipv6: has_default_v6(&read("/proc/thread-self/net/ipv6_route")),
    }
}

/// proc(5): interface, destination, gateway, flags, …, mask (the eighth), all but the first hexadecimal.
pub(crate) fn has_default_v4(table: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|text| u32::from_str_radix(text, 16).ok());
        number(1) == Some(0) && number(7) == Some(0) && number(3).is_some_and(usable)
    })
}

/// Linux, net/ipv6/route.c (rt6_info_route): destination, prefix length, source, its length, next hop, metric, references,
/// uses, flags, interface.
pub(crate) fn has_default_v6(table: &str) -> bool {
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is = |at: usize, text: &str| fields.get(at) == Some(&text);
        let flags = fields.get(8).and_then(|text| u32::from_str_radix(text, 16).ok());
        is(0, "00000000000000000000000000000000") && is(1, "00") && !is(9, "lo") && flags.is_some_and(usable)
    })
}

fn usable(flags: u32) -> bool {
    flags & UP != 0 && flags & REJECT == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn ipv4() {
        let default = format!("{HEAD}eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        assert!(has_default_v4(&default));
        let narrow = format!("{HEAD}eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
        assert!(!has_default_v4(&narrow));
        let rejected = format!("{HEAD}*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n");
        assert!(!has_default_v4(&rejected));
        assert!(!has_default_v4(""));
    }

    #[test]
    fn ipv6() {
        let zero = "00000000000000000000000000000000";
        let hop = "fd000000000000000000000000000001";
        let line = |flags: &str, device: &str| {
            format!("{zero} 00 {zero} 00 {hop} 00000400 00000001 00000000 {flags}     {device}\n")
        };
        assert!(has_default_v6(&line("00000003", "eth0")));
        assert!(!has_default_v6(&line("00200200", "lo")));
        assert!(!has_default_v6(&line("00000000", "eth0")));
        assert!(!has_default_v6("garbage\n"));
    }
}
