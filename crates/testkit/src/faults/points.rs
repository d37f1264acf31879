//! Steps that can be found again in another run.

use std::collections::HashMap;
use std::fmt;

/// A step of a command: one call of those of its kind about the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// The call, and what it is about without what is random in it.
    pub what: String,
    /// How many like it came before.
    pub earlier: u32,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.what, self.earlier)
    }
}

/// Counts the steps of one run.
#[derive(Debug, Default)]
pub struct Points(HashMap<String, u32>);

impl Points {
    /// The point of the next step of this kind.
    pub fn next(&mut self, call: &str, about: &str) -> Point {
        let what = format!("{call} {}", settled(about)).trim_end().to_owned();
        let count = self.0.entry(what.clone()).or_default();
        let earlier = *count;
        *count += 1;
        Point { what, earlier }
    }
}

/// `text` with a star for every run of hexadecimal digits that is as long as those of an id are.
fn settled(text: &str) -> String {
    const SHORTEST: usize = 8;
    let mut settled = String::new();
    let mut run = String::new();
    for character in text.chars().map(Some).chain([None]) {
        if let Some(digit) = character.filter(|c| c.is_ascii_hexdigit() || *c == '-') {
            run.push(digit);
            continue;
        }
        let random = run.chars().filter(char::is_ascii_hexdigit).count() >= SHORTEST;
        settled.push_str(if random { "*" } else { &run });
        run.clear();
        settled.extend(character);
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_random_does_not_count() {
        let one = settled("vms/.new-6fa459ea-ee8a-3ca4-894e-db77e160355e/vm.json");
        let other = settled("vms/.new-7d444840-9dc0-11d1-b245-5ffdce74fad2/vm.json");
        assert_eq!(one, other);
        assert_eq!(settled("data/vms/face/vm.json"), "data/vms/face/vm.json");
        let mut points = Points::default();
        let [one, other] = [points.next("mkdir", "a"), points.next("mkdir", "a")];
        assert_eq!((one.earlier, other.earlier), (0, 1));
    }
}
