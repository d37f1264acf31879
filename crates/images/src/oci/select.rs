//! Which of an index's images is meant.

use super::descriptor::Descriptor;
use super::manifest::Index;
use super::platform::Platform;

/// There is no image for the platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no image for {wanted}{}", there_is(.available))]
pub struct NoPlatform {
    pub wanted: Platform,
    /// What there are images for.
    pub available: Vec<Platform>,
}

fn there_is(available: &[Platform]) -> String {
    if available.is_empty() {
        return ": the index has no images".to_owned();
    }
    let names: Vec<String> = available.iter().map(ToString::to_string).collect();
    format!(", only for {}", names.join(", "))
}

/// The entries of `index` that may serve `wanted`, the best first; among equals in their order, as the specification
/// asks. Of those that say a platform only the best is one. Those that say none come last: what is in them is seen when
/// they are read.
pub(super) fn candidates<'a>(index: &'a Index, wanted: &Platform) -> Vec<&'a Descriptor> {
    let images = || index.manifests.iter().filter(|entry| is_image(entry));
    let distance = |entry: &Descriptor| entry.platform.as_ref()?.serves(wanted);
    let best = images()
        .filter_map(|entry| distance(entry).map(|distance| (distance, entry)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, entry)| entry);
    let mut candidates: Vec<&Descriptor> = best.into_iter().collect();
    for entry in images().filter(|entry| entry.platform.is_none()) {
        if candidates
            .iter()
            .all(|candidate| candidate.digest != entry.digest)
        {
            candidates.push(entry);
        }
    }
    candidates
}

/// What `index` says it has images for.
pub(super) fn platforms(index: &Index) -> impl Iterator<Item = Platform> {
    let images = index.manifests.iter().filter(|entry| is_image(entry));
    images.filter_map(|entry| entry.platform.clone())
}

/// Not what BuildKit keeps beside images (its provenance, for the platform `unknown`), nor an artefact.
fn is_image(entry: &Descriptor) -> bool {
    let unknown = entry
        .platform
        .as_ref()
        .is_some_and(|platform| platform.architecture == "unknown");
    !unknown && entry.artifact_type.is_none() && !entry.annotations.contains_key("vnd.docker.reference.type")
}

#[cfg(test)]
mod tests {
    use super::super::digest::Digest;
    use super::super::media_type::MANIFEST;
    use super::*;

    fn index(platforms: &[&str]) -> Index {
        let entries = platforms.iter().enumerate().map(|(number, platform)| {
            let mut entry = Descriptor::new(MANIFEST, Digest::of(&[u8::try_from(number).unwrap()]), 1);
            entry.platform = match *platform {
                "" => None,
                "unknown" => Some(Platform::new("unknown", "unknown", "")),
                "windows" => Some(Platform::new("windows", "amd64", "")),
                other => Some(other.parse().unwrap()),
            };
            entry
        });
        Index::new(entries.collect())
    }

    fn chosen(platforms: &[&str], wanted: &str) -> Vec<usize> {
        let index = index(platforms);
        let chosen = candidates(&index, &wanted.parse().unwrap());
        let place = |chosen: &Descriptor| index.manifests.iter().position(|entry| entry == chosen);
        chosen.into_iter().filter_map(place).collect()
    }

    #[test]
    fn the_best_that_fits() {
        assert_eq!(chosen(&["arm64", "amd64", "unknown"], "amd64"), [1]);
        assert_eq!(
            chosen(&["linux/amd64/v3", "linux/amd64/v2", "amd64"], "amd64"),
            [2]
        );
        assert_eq!(chosen(&["amd64", "linux/amd64/v2"], "linux/amd64/v3"), [1]);
        assert_eq!(chosen(&["amd64", "amd64"], "amd64"), [0]);
        assert_eq!(chosen(&["windows", ""], "amd64"), [1]);
        assert_eq!(chosen(&["", "amd64"], "amd64"), [1, 0]);
        assert_eq!(chosen(&["unknown"], "amd64"), [0; 0]);
    }
}
