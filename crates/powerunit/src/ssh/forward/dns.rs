//! Questions to a name server and its answers, RFC 1035 section 4.

use std::net::IpAddr;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    A = 1,
    Aaaa = 28,
}

const INTERNET: u16 = 1;

/// What a datagram is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Addresses(Vec<IpAddr>),
    /// The server could not find out.
    Failed,
    /// Not an answer to the question.
    NotForUs,
}

/// A recursive question. `None`: `name` cannot be asked for.
pub(super) fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    const RECURSE: u16 = 0x0100;
    let mut bytes: Vec<u8> = [id, RECURSE, 1, 0, 0, 0]
        .iter()
        .flat_map(|field| field.to_be_bytes())
        .collect();
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..64).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(
        [kind as u16, INTERNET]
            .iter()
            .flat_map(|field| field.to_be_bytes()),
    );
    (name.len() < 254).then_some(bytes)
}

/// The addresses of that kind in an answer. Names are not compared: an answer to the question holds its aliases' addresses.
pub(super) fn addresses(answer: &[u8], id: u16, kind: Kind) -> Answer {
    match parse(answer, id, kind) {
        Some(parsed) => parsed,
        // Cut off, or damaged: what the header says it answers is not there.
        None if answer.get(..2) == Some(&id.to_be_bytes()) => Answer::Failed,
        None => Answer::NotForUs,
    }
}

fn parse(answer: &[u8], id: u16, kind: Kind) -> Option<Answer> {
    let mut at = 0;
    let flags = {
        if u16_at(answer, &mut at)? != id {
            return Some(Answer::NotForUs);
        }
        u16_at(answer, &mut at)?
    };
    if flags & 0x8000 == 0 {
        return Some(Answer::NotForUs);
    }
    // Code 3 says that there is no such name.
    if !matches!(flags & 0x000f, 0 | 3) {
        return Some(Answer::Failed);
    }
    let (questions, answers) = (u16_at(answer, &mut at)?, u16_at(answer, &mut at)?);
    at += 4;
    for _ in 0..questions {
        skip_name(answer, &mut at)?;
        at += 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        let Some(record) = record(answer, &mut at) else {
            // A truncated answer: what it holds is true all the same.
            break;
        };
        match (record.kind, record.class, kind) {
            (1, INTERNET, Kind::A) => {
                found.extend(<[u8; 4]>::try_from(record.data).ok().map(IpAddr::from));
            }
            (28, INTERNET, Kind::Aaaa) => {
                found.extend(<[u8; 16]>::try_from(record.data).ok().map(IpAddr::from));
            }
            _ => {}
        }
    }
    Some(Answer::Addresses(found))
}

struct Record<'a> {
    kind: u16,
    class: u16,
    data: &'a [u8],
}

fn record<'a>(answer: &'a [u8], at: &mut usize) -> Option<Record<'a>> {
    skip_name(answer, at)?;
    let (kind, class) = (u16_at(answer, at)?, u16_at(answer, at)?);
    *at += 4;
    let length = usize::from(u16_at(answer, at)?);
    let data = answer.get(*at..*at + length)?;
    *at += length;
    Some(Record { kind, class, data })
}

fn u16_at(bytes: &[u8], at: &mut usize) -> Option<u16> {
    let field = bytes.get(*at..)?.first_chunk()?;
    *at += 2;
    Some(u16::from_be_bytes(*field))
}

/// A name ends with an empty label or a pointer to an earlier one; pointers are not followed.
fn skip_name(bytes: &[u8], at: &mut usize) -> Option<()> {
    loop {
        let length = *bytes.get(*at)?;
        *at += 1;
        match length {
            0 => return Some(()),
            1..64 => *at += usize::from(length),
            0xc0.. => {
                *at += 1;
                return Some(());
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answer of a server to `query(7, "a.b", A)`: an alias and its address.
    fn answer() -> Vec<u8> {
        let mut bytes = query(7, "a.b", Kind::A).unwrap();
        bytes[2] = 0x81;
        bytes[3] = 0x80;
        bytes[7] = 2;
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, b'c', 0xc0, 14]);
        bytes.extend([0xc0, 33, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        bytes
    }

    #[test]
    fn the_addresses_behind_aliases_are_found() {
        let found = vec!["192.0.2.1".parse().unwrap()];
        assert_eq!(addresses(&answer(), 7, Kind::A), Answer::Addresses(found));
        assert_eq!(addresses(&answer(), 7, Kind::Aaaa), Answer::Addresses(Vec::new()));
        assert_eq!(addresses(&answer(), 8, Kind::A), Answer::NotForUs);
        let mut failed = answer();
        failed[3] = 0x82;
        assert_eq!(addresses(&failed, 7, Kind::A), Answer::Failed);
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        assert!(query(1, "a..b", Kind::A).is_none());
        assert!(query(1, &"x".repeat(64), Kind::A).is_none());
        assert!(query(1, &"x.".repeat(130), Kind::A).is_none());
    }

    proptest! {
        #[test]
        fn foreign_answers_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100), cut in 0usize..60, flip: prop::sample::Index) {
            addresses(&bytes, 7, Kind::A);
            bytes.truncate(0);
            let mut damaged = answer();
            let at = flip.index(damaged.len());
            damaged[at] ^= 0xff;
            damaged.truncate(damaged.len().saturating_sub(cut));
            addresses(&damaged, 7, Kind::A);
        }
    }
}
