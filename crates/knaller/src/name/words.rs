//! The two lists that generated names are drawn from: short, plain, friendly, and 96 of each.

#[rustfmt::skip]
const ADJECTIVES: [&str; 96] = [
    "able", "amber", "agile", "airy", "ample", "azure", "balmy", "bold", "brave", "breezy", "bright", "brisk",
    "calm", "candid", "cheery", "civil", "clear", "clever", "cosy", "crisp", "curious", "dapper", "daring",
    "deft", "eager", "early", "easy", "elegant", "fair", "fancy", "fast", "fine", "firm", "fleet", "fluent",
    "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "hazel", "honest",
    "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild",
    "modest", "neat", "nimble", "noble", "patient", "placid", "plain", "polite", "prime", "proud", "quick",
    "quiet", "rapid", "ready", "rosy", "round", "royal", "rustic", "sage", "serene", "sharp", "shiny",
    "silent", "silver", "simple", "sleek", "smart", "snug", "sober", "solid", "spry", "stable", "steady",
    "still", "sunny", "swift", "tidy", "warm", "wise",
];

#[rustfmt::skip]
const NOUNS: [&str; 96] = [
    "acorn", "alder", "anchor", "apple", "aspen", "badger", "basil", "beacon", "beaver", "birch", "bison",
    "breeze", "brook", "cabin", "canoe", "cedar", "cherry", "clover", "comet", "copper", "coral", "cougar",
    "crane", "cricket", "dahlia", "daisy", "dolphin", "dove", "eagle", "elm", "falcon", "fern", "finch",
    "fjord", "forest", "fox", "gecko", "ginger", "glacier", "grove", "gull", "harbor", "hare", "hazelnut",
    "heron", "hill", "holly", "ibis", "iris", "island", "ivy", "jasmine", "jay", "juniper", "kestrel", "kite",
    "lagoon", "lark", "laurel", "lemon", "lilac", "linden", "lion", "lotus", "lynx", "magpie", "maple",
    "marlin", "meadow", "mint", "moss", "newt", "oak", "olive", "orchid", "osprey", "otter", "owl", "panda",
    "peach", "pebble", "pine", "plover", "poppy", "quail", "raven", "reef", "robin", "salmon", "seal",
    "sparrow", "spruce", "swan", "thistle", "willow", "wren",
];

/// The pair that `random` picks.
pub(super) fn pair(random: u64) -> String {
    let pick = |list: &[&'static str; 96], bits: u64| {
        usize::try_from(bits % 96)
            .ok()
            .and_then(|at| list.get(at))
            .copied()
            .unwrap_or_default()
    };
    format!("{}-{}", pick(&ADJECTIVES, random), pick(&NOUNS, random >> 32))
}
