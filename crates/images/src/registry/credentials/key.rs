//! How entries are called: by registry, or by registry and the beginning of a repository's name.

/// Docker's own registry under the names that tools have given it.
const DOCKER: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// What Docker calls it, also when it asks a helper.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// An entry's key as we compare it: no scheme, no version at its end, one name for Docker's registry.
pub(super) fn normal(key: &str) -> String {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key
        .strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key);
    let (host, rest) = key.split_at(key.find('/').unwrap_or(key.len()));
    let host = if DOCKER.contains(&host) { DOCKER[0] } else { host };
    format!("{host}{rest}")
}

/// The keys that fit a repository, the longest first.
pub(super) fn candidates(registry: &str, repository: &str) -> Vec<String> {
    let mut key = format!("{}/{repository}", normal(registry));
    let mut keys = vec![key.clone()];
    while let Some(slash) = key.rfind('/') {
        key.truncate(slash);
        keys.push(key.clone());
    }
    keys
}

/// What to ask a helper for.
pub(super) fn server(registry: &str) -> &str {
    if DOCKER.contains(&registry) {
        DOCKER_KEY
    } else {
        registry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for key in [
            DOCKER_KEY,
            "index.docker.io",
            "docker.io",
            "https://registry-1.docker.io/v2/",
        ] {
            assert_eq!(normal(key), "docker.io", "{key}");
        }
        assert_eq!(normal("https://a.org:5000/v1/"), "a.org:5000");
        assert_eq!(normal("a.org/b/c"), "a.org/b/c");
        assert_eq!(candidates("a.org", "b/c"), ["a.org/b/c", "a.org/b", "a.org"]);
        assert_eq!(server("docker.io"), DOCKER_KEY);
    }
}
