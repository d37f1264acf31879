//! The kinds of content, as registries and layouts name them, and which of them are refused.
//!
//! Names: OCI image specification, `media-types.md`; Docker's `image/spec/v1.2` and distribution's `manifest-v2-2.md`. How a
//! layer is compressed is not taken from here: programs get it wrong, and its first bytes say it.

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// All that a registry may be asked for where an image is wanted.
pub const ACCEPTED: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

/// What a manifest's media type stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Manifest,
    Index,
    /// Docker's of before 2016.
    Schema1,
    Other,
}

pub(super) fn kind(media_type: &str) -> Kind {
    match essence(media_type) {
        MANIFEST | DOCKER_MANIFEST => Kind::Manifest,
        INDEX | DOCKER_INDEX => Kind::Index,
        "application/vnd.docker.distribution.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Kind::Schema1,
        _ => Kind::Other,
    }
}

/// Whether this is the configuration of an image and not of an artefact. An empty one is of an image: some archives have none.
pub(super) fn is_image_config(media_type: &str) -> bool {
    matches!(
        essence(media_type),
        CONFIG | DOCKER_CONFIG | "" | "application/octet-stream"
    )
}

/// Without parameters: `type/subtype; charset=utf-8`.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Why a layer is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayerTypeError {
    #[error(
        "the layer is a foreign one ({0}): its maker does not let it be passed on with the image. Use an image without such layers"
    )]
    Foreign(String),
    #[error(
        "the layer is encrypted ({0}): decrypt the image first, with skopeo copy --decryption-key, and import the result"
    )]
    Encrypted(String),
    #[error("the content is no layer of a file system ({0})")]
    NoLayer(String),
}

/// Refuses what is no plain layer.
pub(super) fn check_layer(media_type: &str) -> Result<(), LayerTypeError> {
    let shown = || media_type.chars().take(200).collect();
    let name = essence(media_type);
    if name.ends_with("+encrypted") {
        return Err(LayerTypeError::Encrypted(shown()));
    }
    if name.contains(".foreign.") || name.contains(".nondistributable.") {
        return Err(LayerTypeError::Foreign(shown()));
    }
    // "diff.tar", "layer.v1.tar", whatever compression follows.
    let is_layer = [LAYER, "application/vnd.docker.image.rootfs.diff.tar"]
        .into_iter()
        .any(|layer| {
            name.strip_prefix(layer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+']))
        });
    // Without a type in old archives; "application/x-tar" and the like by buildah and kaniko's caches.
    if is_layer
        || matches!(
            name,
            "" | "application/x-tar" | "application/tar" | "application/tar+gzip"
        )
    {
        Ok(())
    } else {
        Err(LayerTypeError::NoLayer(shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers() {
        for taken in [
            LAYER,
            LAYER_GZIP,
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.oci.image.layer.v1.tar; charset=x",
        ] {
            assert_eq!(check_layer(taken), Ok(()), "{taken}");
        }
        use LayerTypeError as E;
        for foreign in [
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ] {
            assert!(matches!(check_layer(foreign), Err(E::Foreign(_))), "{foreign}");
        }
        let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        assert!(matches!(check_layer(encrypted), Err(E::Encrypted(_))));
        for other in [
            "application/vnd.oci.image.layer.v1.tarx",
            "application/wasm",
            "application/vnd.oci.empty.v1+json",
        ] {
            assert!(matches!(check_layer(other), Err(E::NoLayer(_))), "{other}");
        }
    }

    #[test]
    fn kinds() {
        assert_eq!(
            kind("application/vnd.oci.image.index.v1+json; charset=utf-8"),
            Kind::Index
        );
        assert_eq!(
            kind("application/vnd.docker.distribution.manifest.v1+prettyjws"),
            Kind::Schema1
        );
        assert_eq!(kind("text/html"), Kind::Other);
        assert!(
            is_image_config(DOCKER_CONFIG) && !is_image_config("application/vnd.cncf.helm.config.v1+json")
        );
    }
}
