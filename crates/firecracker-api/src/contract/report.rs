use std::fmt;

/// What came of all cases.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for each case, in order.
    pub outcomes: Vec<Outcome>,
}

/// What came of one case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case's name.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every answer was as expected.
    Kept,
    /// The server does not offer what the case is about.
    Skipped(String),
    /// An answer differs, or none came.
    Broken(String),
}

impl Report {
    /// Whether no case was broken, and one at least was kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let broken = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Broken(_));
        !self.outcomes.iter().any(broken) && self.count(&Verdict::Kept) > 0
    }

    fn count(&self, like: &Verdict) -> usize {
        let kind = std::mem::discriminant(like);
        self.outcomes
            .iter()
            .filter(|outcome| std::mem::discriminant(&outcome.verdict) == kind)
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Outcome { name, verdict } in &self.outcomes {
            match verdict {
                Verdict::Kept => {}
                Verdict::Skipped(why) => writeln!(f, "skipped {name}: {why}")?,
                Verdict::Broken(how) => writeln!(f, "BROKEN  {name}: {how}")?,
            }
        }
        write!(
            f,
            "{} kept, {} broken, {} skipped",
            self.count(&Verdict::Kept),
            self.count(&Verdict::Broken(String::new())),
            self.count(&Verdict::Skipped(String::new()))
        )
    }
}
