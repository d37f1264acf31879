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

/// The entry of `index` that serves `wanted` best; among equals the first, as the specification asks. An entry that says no
/// platform is taken where none that does fits: what is in it is checked when it is read.
///
/// # Errors
/// None fits.
pub fn select<'a>(index: &'a Index, wanted: &Platform) -> Result<&'a Descriptor, NoPlatform> {
    let images = index.manifests.iter().filter(|entry| is_image(entry));
    let fit = |entry: &&Descriptor| match &entry.platform {
        Some(platform) => platform.serves(wanted),
        None => Some(u32::MAX),
    };
    let best = images
        .clone()
        .filter_map(|entry| fit(&entry).map(|distance| (distance, entry)))
        .min_by_key(|(distance, _)| *distance);
    best.map(|(_, entry)| entry).ok_or_else(|| {
        let mut available: Vec<Platform> = Vec::new();
        for platform in images.filter_map(|entry| entry.platform.as_ref()) {
            if !available.contains(platform) {
                available.push(platform.clone());
            }
        }
        NoPlatform {
            wanted: wanted.clone(),
            available,
        }
    })
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

    fn chosen(platforms: &[&str], wanted: &str) -> Option<usize> {
        let index = index(platforms);
        let chosen = select(&index, &wanted.parse().unwrap()).ok()?;
        index.manifests.iter().position(|entry| entry == chosen)
    }

    #[test]
    fn the_best_that_fits() {
        assert_eq!(chosen(&["arm64", "amd64", "unknown"], "amd64"), Some(1));
        assert_eq!(
            chosen(&["linux/amd64/v3", "linux/amd64/v2", "amd64"], "amd64"),
            Some(2)
        );
        assert_eq!(chosen(&["amd64", "linux/amd64/v2"], "linux/amd64/v3"), Some(1));
        assert_eq!(chosen(&["amd64", "amd64"], "amd64"), Some(0));
        assert_eq!(chosen(&["windows", ""], "amd64"), Some(1));
        assert_eq!(chosen(&["", "amd64"], "amd64"), Some(1));
        assert_eq!(chosen(&["unknown"], "amd64"), None);
    }

    #[test]
    fn what_there_is_instead_is_listed() {
        let error = select(
            &index(&["arm64", "windows", "arm64", "unknown"]),
            &"amd64".parse().unwrap(),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no image for linux/amd64, only for linux/arm64, windows/amd64"
        );
    }
}
