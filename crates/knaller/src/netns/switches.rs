//! The kernel's switches, by writing /proc/sys (Linux: Documentation/networking/ip-sysctl.rst).

use std::io;
use std::path::Path;

use crate::network::addresses::TAP;

/// Lets packets pass between pasta's interface and the TAP.
pub(super) fn turn(ipv6: bool) -> io::Result<()> {
    turn_on("ipv4/ip_forward")?;
    // Connections that pasta makes to 127.0.0.1 in here are sent to the guest by DNAT, and its answers come back from
    // there.
    turn_on(&format!("ipv4/conf/{TAP}/route_localnet"))?;
    if ipv6 {
        turn_on("ipv6/conf/all/forwarding")?;
    }
    Ok(())
}

fn turn_on(name: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    std::fs::write(&path, "1").map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}
