//! What a registry answers to who does not say who he is: `WWW-Authenticate` (RFC 7235; distribution's `spec/auth/token.md`).

use http_auth::ChallengeRef;

/// The longest header that is read.
const LIMIT: usize = 8 * 1024;

/// How a registry wants to know its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// With a token from the server `realm`.
    Bearer { realm: String, service: Option<String> },
    /// With name and password.
    Basic,
}

/// Understands the values of `WWW-Authenticate`. A token is preferred to sending the password each time. `None`: there is no
/// challenge that we can meet.
#[must_use]
pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut found = None;
    for value in values {
        if value.len() > LIMIT {
            continue;
        }
        // What follows the first mistake is not read; what stands before it counts.
        for challenge in http_auth::parser::ChallengeParser::new(value).map_while(Result::ok) {
            match known(&challenge) {
                bearer @ Some(Challenge::Bearer { .. }) => return bearer,
                Some(Challenge::Basic) => found = Some(Challenge::Basic),
                None => {}
            }
        }
    }
    found
}

fn known(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    let parameter = |name: &str| {
        let mut parameters = challenge.params.iter();
        let found = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped())
    };
    if challenge.scheme.eq_ignore_ascii_case("bearer") {
        return Some(Challenge::Bearer {
            realm: parameter("realm")?,
            service: parameter("service"),
        });
    }
    challenge
        .scheme
        .eq_ignore_ascii_case("basic")
        .then_some(Challenge::Basic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        })
    }

    #[test]
    fn what_registries_say() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#;
        assert_eq!(
            parse([hub]),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(
            parse(["Basic realm=\"x\", bearer REALM=\"http://a/\\\"b\""]),
            bearer("http://a/\"b", None)
        );
        assert_eq!(parse(["basic realm=x"]), Some(Challenge::Basic));
        assert_eq!(parse(["Negotiate", "Basic realm=x"]), Some(Challenge::Basic));
        for nothing in [
            "",
            "Bearer",
            "Bearer service=\"x\"",
            "Digest realm=\"x\"",
            "\"",
            "Bearer realm=\"un",
        ] {
            assert_eq!(parse([nothing]), None, "{nothing}");
        }
    }
}
