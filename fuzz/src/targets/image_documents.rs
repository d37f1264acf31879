//! What registries, layouts and people say of images: names, digests, platforms, manifests, indexes, configurations.
//! The first byte chooses the parser, from `0` on, so that seeds are text.

use images::oci::{Descriptor, Digest, Document, ImageConfig, MAX_LAYERS, Platform, Reference, Walk, media_type};

pub(crate) fn run(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match kind.wrapping_sub(b'0') % 6 {
        0 => {
            if let Ok(reference) = text.parse::<Reference>() {
                assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
                assert_eq!(reference.familiar().parse().as_ref(), Ok(&reference));
                assert!(!reference.repository().contains("..") && !reference.registry().contains('/'));
            }
        }
        1 => {
            if let Ok(digest) = text.parse::<Digest>() {
                assert_eq!(digest.to_string(), text);
            }
        }
        2 => {
            if let Ok(platform) = text.parse::<Platform>() {
                assert_eq!(platform.serves(&platform), Some(0));
                assert_eq!(platform.to_string().parse(), Ok(platform));
            }
        }
        3 => {
            if let Ok(Document::Manifest(manifest)) = Document::parse(rest, "") {
                assert!(manifest.layers.len() <= MAX_LAYERS);
            }
        }
        4 => {
            if let Ok(config) = ImageConfig::parse(rest) {
                let _ = (config.chain_id(), config.check_platform(&Platform::host()));
            }
        }
        _ => walk(rest),
    }
}

/// Every document that is asked for is the same one.
fn walk(document: &[u8]) {
    let mut walk = Walk::new(Descriptor::of(media_type::INDEX, document), Platform::host());
    let mut documents = 0;
    while walk.wants().is_some() {
        documents += 1;
        assert!(documents <= 100, "a walk without an end");
        if !matches!(walk.take(document), Ok(None)) {
            return;
        }
    }
}
