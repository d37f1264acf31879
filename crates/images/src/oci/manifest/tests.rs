use proptest::prelude::*;
use serde_json::json;

use super::*;

const OCI: &str = media_type::MANIFEST;

fn descriptor(media_type: &str) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": Digest::of(b"x"), "size": 1})
}

fn image() -> serde_json::Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": descriptor(media_type::CONFIG),
        "layers": [descriptor(media_type::LAYER_GZIP)],
        "annotations": null,
        "unknown": {"nested": [1]},
    })
}

fn parse(value: &serde_json::Value) -> Result<Document, ManifestError> {
    Document::parse(value.to_string().as_bytes(), "")
}

#[test]
fn an_image_of_either_form() {
    for (manifest, config) in [
        (OCI, media_type::CONFIG),
        (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
    ] {
        let mut image = image();
        image["mediaType"] = manifest.into();
        image["config"] = descriptor(config);
        let Document::Manifest(read) = parse(&image).unwrap() else {
            panic!("no manifest")
        };
        assert_eq!((read.layers.len(), read.config.media_type.as_str()), (1, config));
        let written = serde_json::to_vec(&read).unwrap();
        assert_eq!(
            Document::parse(&written, manifest).unwrap(),
            Document::Manifest(read)
        );
    }
}

#[test]
fn an_index_without_a_type_of_its_own() {
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI, "digest": Digest::of(b"x"), "size": 1, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
    ]});
    let Document::Index(index) = parse(&index).unwrap() else {
        panic!("no index")
    };
    assert_eq!(index.manifests[0].platform, Some("arm64".parse().unwrap()));
}

#[test]
fn what_could_be_two_things_is_refused() {
    let mut both = image();
    both["manifests"] = json!([]);
    assert!(matches!(parse(&both), Err(ManifestError::Ambiguous)));
    let mut other = image();
    other["mediaType"] = media_type::INDEX.into();
    assert!(matches!(parse(&other), Err(ManifestError::Ambiguous)));
    let bytes = image().to_string();
    assert!(matches!(
        Document::parse(bytes.as_bytes(), media_type::INDEX),
        Err(ManifestError::Contradiction { .. })
    ));
    assert!(matches!(
        Document::parse(bytes.as_bytes(), media_type::DOCKER_MANIFEST),
        Ok(Document::Manifest(_))
    ));
    let twice = br#"{"schemaVersion": 2, "layers": [], "layers": []}"#;
    assert!(matches!(Document::parse(twice, ""), Err(ManifestError::Json(_))));
}

#[test]
fn what_is_no_image_is_named() {
    let mut chart = image();
    chart["config"] = descriptor("application/vnd.cncf.helm.config.v1+json");
    assert!(matches!(parse(&chart), Err(ManifestError::Artefact(name)) if name.contains("helm")));
    chart["artifactType"] = "application/x-signature".into();
    assert!(matches!(parse(&chart), Err(ManifestError::Artefact(name)) if name.contains("signature")));
    let artefact = json!({"schemaVersion": 2, "mediaType": "application/x", "artifactType": "application/y"});
    assert!(matches!(parse(&artefact), Err(ManifestError::Artefact(name)) if name.ends_with('y')));
    let old = json!({"schemaVersion": 1, "fsLayers": [], "name": "x"});
    assert!(matches!(parse(&old), Err(ManifestError::Schema1)));
    assert!(matches!(
        parse(&json!({"schemaVersion": 3})),
        Err(ManifestError::Schema(3))
    ));
    assert!(matches!(
        parse(&json!({})),
        Err(ManifestError::Lacks("schemaVersion"))
    ));
    let mut bare = image();
    bare.as_object_mut().unwrap().remove("config");
    assert!(matches!(parse(&bare), Err(ManifestError::Lacks("config"))));
    for json in [&b"[]"[..], b"{", b"null", b"", &[b'['; 100_000]] {
        assert!(matches!(Document::parse(json, ""), Err(ManifestError::Json(_))));
    }
}

#[test]
fn limits() {
    let mut large = image();
    large["layers"] = vec![descriptor(media_type::LAYER); MAX_LAYERS + 1].into();
    assert!(matches!(parse(&large), Err(ManifestError::TooManyLayers(513))));
    let index = json!({"schemaVersion": 2, "manifests": vec![descriptor(OCI); MAX_ENTRIES + 1]});
    assert!(matches!(parse(&index), Err(ManifestError::TooManyEntries(_))));
    let spaces = vec![b' '; 4 << 20 | 1];
    assert!(matches!(
        Document::parse(&spaces, ""),
        Err(ManifestError::TooLarge { .. })
    ));
    for size in [json!(-1), json!(1.5), json!("1"), json!(1e300)] {
        let mut broken = image();
        broken["layers"][0]["size"] = size;
        assert!(matches!(parse(&broken), Err(ManifestError::Json(_))));
    }
}

#[test]
fn layers_that_are_none_are_named() {
    let mut foreign = image();
    foreign["layers"] = json!([
        descriptor(media_type::LAYER),
        descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    ]);
    assert!(matches!(
        parse(&foreign),
        Err(ManifestError::Layer { number: 2, .. })
    ));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200), outside in ".{0,20}") {
        let _ = Document::parse(&bytes, &outside);
    }
}
