//! A kernel's build configuration.

use std::collections::BTreeMap;

use super::{Compression, Limits, unpack};

/// Encloses the packed configuration in a kernel built with `CONFIG_IKCONFIG` (`kernel/configs.c`).
const START: &[u8] = b"IKCFG_ST";

/// Larger than any configuration: Debian's have 0.3 MiB.
const LIMITS: Limits = Limits {
    input: 4 << 20,
    output: 8 << 20,
    ratio: 200,
};

/// How an option is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `=y`
    BuiltIn,
    /// `=m`
    Module,
    /// A number or a string, as written.
    Value(String),
}

/// All options that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    options: BTreeMap<String, Setting>,
}

impl Config {
    /// Reads the form of `.config` and `/boot/config-VERSION`; lines of any other form are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let options = text.lines().filter_map(|line| {
            let (name, value) = line.trim_end().split_once('=')?;
            let setting = match value {
                "y" => Setting::BuiltIn,
                "m" => Setting::Module,
                other => Setting::Value(other.to_owned()),
            };
            name.starts_with("CONFIG_").then(|| (name.to_owned(), setting))
        });
        Self {
            options: options.collect(),
        }
    }

    /// The configuration that an unpacked kernel carries in itself, if it does.
    #[must_use]
    pub fn find(image: &[u8]) -> Option<Self> {
        memchr::memmem::find_iter(image, START).find_map(|at| {
            let rest = image.get(at + START.len()..)?;
            let packed = rest.get(
                ..rest
                    .len()
                    .min(usize::try_from(LIMITS.input).unwrap_or(usize::MAX)),
            )?;
            if Compression::detect(packed) != Some(Compression::Gzip) {
                return None;
            }
            let text = unpack(Compression::Gzip, packed, &LIMITS).ok()?;
            Some(Self::parse(&String::from_utf8_lossy(&text)))
        })
    }

    /// How `name` (`CONFIG_…`) is set, if it is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.options.get(name)
    }

    /// Whether `name` is `=y`.
    #[must_use]
    pub fn is_built_in(&self, name: &str) -> bool {
        self.get(name) == Some(&Setting::BuiltIn)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.options.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &str =
        "# CONFIG_IP_PNP is not set\nCONFIG_PVH=y\nCONFIG_VSOCKETS=m\nCONFIG_HZ=250\nbroken\n=\n";

    #[test]
    fn options_are_read() {
        let config = Config::parse(TEXT);
        assert!(config.is_built_in("CONFIG_PVH"));
        assert_eq!(config.get("CONFIG_VSOCKETS"), Some(&Setting::Module));
        assert_eq!(config.get("CONFIG_HZ"), Some(&Setting::Value("250".into())));
        assert_eq!(config.get("CONFIG_IP_PNP"), None);
    }

    #[test]
    fn a_configuration_within_the_kernel_is_found() {
        let mut image = b"....IKCFG_ST not this one....IKCFG_ST".to_vec();
        let mut gzip = flate2::write::GzEncoder::new(&mut image, flate2::Compression::fast());
        gzip.write_all(TEXT.as_bytes()).unwrap();
        gzip.finish().unwrap();
        image.extend_from_slice(b"IKCFG_ED....");
        assert_eq!(Config::find(&image), Some(Config::parse(TEXT)));
        assert_eq!(Config::find(b"IKCFG_ST"), None);
    }
}
