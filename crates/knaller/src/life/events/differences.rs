//! What must have happened between two looks at all machines. The invariant: of every boot that was seen the beginning is told
//! once, its end once, and in that order.

use super::look::{Look, Seen};
use super::{EventKind, Name, State};

/// An event whose details are yet to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// How is read from its console.
    Stopped,
    Other(EventKind),
}

/// In an order in which it can have happened, with the machine and its boot.
pub(super) fn between(before: &Look, now: &Look) -> Vec<(Name, String, Change)> {
    let mut all = Vec::new();
    let mut known = before.clone();
    for (name, seen) in now {
        if before.contains_key(name) {
            continue;
        }
        let same = |(old, was): &(&Name, &Seen)| {
            !now.contains_key(*old) && was.created == seen.created && was.instance == seen.instance
        };
        let renamed = before.iter().find(same);
        let Some((from, was)) = renamed.map(|(old, was)| (old.clone(), was.clone())) else {
            continue;
        };
        known.remove(&from);
        known.insert(name.clone(), was);
        let renamed = Change::Other(EventKind::Renamed { from });
        all.push((name.clone(), seen.instance.clone(), renamed));
    }
    for (name, was) in &known {
        let mut tell = |(instance, change)| all.push((name.clone(), instance, change));
        match now.get(name) {
            Some(is) if is.created == was.created => passed(was, is).into_iter().for_each(tell),
            // Another of that name is none of its business.
            _ => {
                if was.state != State::Stopped {
                    tell((was.instance.clone(), Change::Stopped));
                }
                tell((was.instance.clone(), Change::Other(EventKind::Removed)));
            }
        }
    }
    for (name, is) in now {
        if known.get(name).is_some_and(|was| was.created == is.created) {
            continue;
        }
        let fresh = Seen {
            state: State::Stopped,
            silent: false,
            ..is.clone()
        };
        let created = (is.instance.clone(), Change::Other(EventKind::Created));
        let all_of_it = std::iter::once(created).chain(passed(&fresh, is));
        all.extend(all_of_it.map(|(instance, change)| (name.clone(), instance, change)));
    }
    all
}

/// From one state of a machine to another.
fn passed(was: &Seen, is: &Seen) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    let mut from = was.clone();
    let other = |kind| (is.instance.clone(), Change::Other(kind));
    let stopped = || (is.instance.clone(), Change::Stopped);
    if was.instance != is.instance {
        if was.state != State::Stopped {
            changes.push((was.instance.clone(), Change::Stopped));
        }
        if is.state == State::Stopped {
            changes.extend([other(EventKind::Starting), stopped()]);
        }
        from = Seen {
            state: State::Stopped,
            silent: false,
            ..is.clone()
        };
    }
    if from.silent && !is.silent && is.state != State::Stopped {
        changes.push(other(EventKind::Responsive));
    }
    let way = [State::Stopped, State::Starting, State::Running, State::Paused];
    let place = |state| way.iter().position(|other| *other == state);
    match (from.state, is.state) {
        (from, to) if from == to => {}
        (_, State::Stopped) => changes.push(stopped()),
        (State::Paused, State::Running) => changes.push(other(EventKind::Resumed)),
        // Each of the states up to this one, since there is no other way there.
        (from, to) => {
            let (Some(from), Some(to)) = (place(from), place(to)) else {
                return changes;
            };
            for state in way.iter().take(to + 1).skip(from + 1) {
                changes.push(other(match state {
                    State::Starting => EventKind::Starting,
                    State::Paused => EventKind::Paused,
                    _ => EventKind::Running,
                }));
            }
        }
    }
    if is.silent && !from.silent && is.state != State::Stopped {
        changes.push(other(EventKind::Unresponsive));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(machines: &[(&str, State, &str)]) -> Look {
        let seen = |(name, state, instance): &(&str, State, &str)| {
            let seen = Seen {
                state: *state,
                silent: false,
                instance: (*instance).to_owned(),
                created: 7,
            };
            (name.parse().unwrap(), seen)
        };
        machines.iter().map(seen).collect()
    }

    fn told(before: &[(&str, State, &str)], now: &[(&str, State, &str)]) -> Vec<String> {
        let tell = |(name, instance, change): (Name, String, Change)| match change {
            Change::Stopped => format!("{name} {instance} stopped"),
            Change::Other(kind) => {
                let json = serde_json::to_value(&kind).unwrap();
                format!("{name} {instance} {}", json["event"].as_str().unwrap())
            }
        };
        between(&look(before), &look(now)).into_iter().map(tell).collect()
    }

    #[test]
    fn what_lies_between_two_looks() {
        use State::{Paused, Running, Starting, Stopped};
        let web = |state, instance| [("web", state, instance)];
        assert_eq!(
            told(&[], &web(Starting, "1")),
            ["web 1 created", "web 1 starting"]
        );
        assert_eq!(
            told(&[], &web(Running, "1")),
            ["web 1 created", "web 1 starting", "web 1 running"]
        );
        assert_eq!(told(&[], &web(Stopped, "1")), ["web 1 created"]);
        assert_eq!(told(&web(Starting, "1"), &web(Running, "1")), ["web 1 running"]);
        assert_eq!(told(&web(Running, "1"), &web(Paused, "1")), ["web 1 paused"]);
        assert_eq!(told(&web(Paused, "1"), &web(Running, "1")), ["web 1 resumed"]);
        assert_eq!(told(&web(Running, "1"), &web(Stopped, "1")), ["web 1 stopped"]);
        assert_eq!(told(&web(Running, "1"), &[]), ["web 1 stopped", "web 1 removed"]);
        assert_eq!(told(&web(Stopped, "1"), &[]), ["web 1 removed"]);
        // Restarted between two looks.
        assert_eq!(
            told(&web(Running, "1"), &web(Running, "2")),
            ["web 1 stopped", "web 2 starting", "web 2 running"]
        );
        assert_eq!(
            told(&web(Stopped, "1"), &web(Paused, "2")),
            ["web 2 starting", "web 2 running", "web 2 paused"]
        );
        // A start that failed at once.
        assert_eq!(
            told(&web(Stopped, "1"), &web(Stopped, "2")),
            ["web 2 starting", "web 2 stopped"]
        );
        assert_eq!(told(&web(Running, "1"), &web(Running, "1")), [""; 0]);
    }

    #[test]
    fn a_renamed_machine_is_neither_gone_nor_new() {
        use State::{Running, Stopped};
        let before = [("web", Running, "1"), ("db", Stopped, "2")];
        let now = [("api", Running, "1"), ("db", Stopped, "2")];
        assert_eq!(told(&before, &now), ["api 1 renamed"]);
        let now = [("api", Stopped, "1"), ("db", Stopped, "2")];
        assert_eq!(told(&before, &now), ["api 1 renamed", "api 1 stopped"]);
    }

    #[test]
    fn another_of_the_same_name_is_another() {
        let before = look(&[("web", State::Running, "1")]);
        let mut now = look(&[("web", State::Stopped, "2")]);
        now.values_mut().for_each(|seen| seen.created += 1);
        let told: Vec<_> = between(&before, &now)
            .into_iter()
            .map(|(_, instance, change)| (instance, change))
            .collect();
        let other = |instance: &str, kind| (instance.to_owned(), Change::Other(kind));
        assert_eq!(
            told,
            [
                ("1".to_owned(), Change::Stopped),
                other("1", EventKind::Removed),
                other("2", EventKind::Created),
            ]
        );
    }

    #[test]
    fn one_that_is_silent_is_what_it_was() {
        let web = |state, silent| {
            let mut look = look(&[("web", state, "1")]);
            look.values_mut().for_each(|seen| seen.silent = silent);
            look
        };
        let told = |before: &Look, now: &Look| -> Vec<EventKind> {
            let kind = |(_, _, change)| match change {
                Change::Other(kind) => kind,
                Change::Stopped => panic!("it runs"),
            };
            between(before, now).into_iter().map(kind).collect()
        };
        let (paused, silent) = (web(State::Paused, false), web(State::Paused, true));
        assert_eq!(told(&paused, &silent), [EventKind::Unresponsive]);
        assert_eq!(told(&silent, &silent), []);
        assert_eq!(told(&silent, &paused), [EventKind::Responsive]);
        let running = web(State::Running, false);
        assert_eq!(
            told(&silent, &running),
            [EventKind::Responsive, EventKind::Resumed]
        );
    }
}
