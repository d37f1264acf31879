//! What lies beside a kernel: lists of modules, modules themselves, configurations.

use images::kernel::Config;
use images::modules::{load_order, parse_builtin, parse_dep, read_info};

pub(crate) fn run(bytes: &[u8]) {
    let _ = read_info(bytes);
    let text = String::from_utf8_lossy(bytes);
    let _ = Config::parse(&text);
    let built_in = parse_builtin(&text).unwrap_or_default();
    if let Ok(modules) = parse_dep(&text) {
        let depends = |name: &str| modules.get(name).map(|(_, needs)| needs.clone());
        let _ = load_order(modules.keys().take(50).map(String::as_str), &depends, &built_in);
    }
}
