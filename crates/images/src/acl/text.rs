//! The text that star, GNU tar and libarchive store: acl(5), "ACL TEXT FORMS", long or short, entries parted by commas or line
//! ends, and star's fourth field with the number of the user or group that the second names.

use super::{Acl, GROUP, GROUP_OBJ, MASK, NO_ID, OTHER, Rule, USER, USER_OBJ};

/// Why a text is no list that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextError {
    /// It is no list at all, or none that Linux would take.
    Damaged,
    /// It names a user or group without a number, which only the machine that wrote it could tell.
    Named,
}

impl Acl {
    /// The list that a text says; `None` where it has no entries.
    pub(crate) fn from_text(text: &[u8]) -> Result<Option<Self>, TextError> {
        let mut rules = text
            .split(|byte| matches!(byte, b',' | b'\n'))
            .map(|line| line.split(|byte| *byte == b'#').next().unwrap_or_default())
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .map(rule)
            .collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() {
            return Ok(None);
        }
        rules.sort_unstable();
        // Linux does not ask for it, but who is named twice was meant otherwise.
        if rules
            .windows(2)
            .any(|pair| pair[0].tag == pair[1].tag && pair[0].id == pair[1].id)
        {
            return Err(TextError::Damaged);
        }
        Self::new(rules).map(Some).ok_or(TextError::Damaged)
    }
}

fn rule(line: &[u8]) -> Result<Rule, TextError> {
    let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').map(<[u8]>::trim_ascii).collect();
    if matches!(fields.first(), Some(&(b"default" | b"d"))) {
        fields.remove(0);
    }
    let (kind, name, permissions, number) = match *fields {
        [kind, permissions] => (kind, &b""[..], permissions, None),
        [kind, name, permissions] => (kind, name, permissions, None),
        [kind, name, permissions, number] => (kind, name, permissions, Some(number)),
        _ => return Err(TextError::Damaged),
    };
    let permissions = rwx(permissions).ok_or(TextError::Damaged)?;
    let rule = |tag, id| Rule { tag, id, permissions };
    let (owner, named) = match kind {
        b"user" | b"u" => (USER_OBJ, USER),
        b"group" | b"g" => (GROUP_OBJ, GROUP),
        b"mask" | b"m" if name.is_empty() => return Ok(rule(MASK, NO_ID)),
        b"other" | b"o" if name.is_empty() => return Ok(rule(OTHER, NO_ID)),
        _ => return Err(TextError::Damaged),
    };
    if name.is_empty() && number.is_none() {
        return Ok(rule(owner, NO_ID));
    }
    let id = std::str::from_utf8(number.unwrap_or(name))
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .filter(|id| *id != NO_ID);
    id.map(|id| rule(named, id)).ok_or(TextError::Named)
}

/// `rwx` in this order, each letter or `-`; trailing ones may be missing.
fn rwx(text: &[u8]) -> Option<u16> {
    if text.is_empty() || text.len() > 3 {
        return None;
    }
    text.iter().try_fold(0, |bits, letter| match letter {
        b'r' if bits & 4 == 0 => Some(bits | 4),
        b'w' if bits & 2 == 0 => Some(bits | 2),
        b'x' if bits & 1 == 0 => Some(bits | 1),
        b'-' => Some(bits),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `setfacl -m u:1000:rw,g:50:r` leaves on a file of mode 0640, as getfattr shows it.
    const BINARY: &str = "0200000001000600ffffffff02000600e803000004000400ffffffff08000400320000001000\
                          0600ffffffff20000000ffffffff";

    #[test]
    fn all_writers_texts_give_what_linux_stores() {
        let texts = [
            "user::rw-\nuser:1000:rw-\ngroup::r--\ngroup:50:r--\nmask::rw-\nother::---\n",
            "user::rw-,group::r--,user:lisa:rw-:1000,group:staff:r--:50,mask::rw-,other::---",
            "u::rw,u:1000:rw,g::r,g:50:r,m:rw,o:-",
            "default:user::rw-,d:user:1000:rwx:1000",
        ];
        for text in &texts[..3] {
            let bytes = Acl::from_text(text.as_bytes()).unwrap().unwrap().to_xattr();
            assert_eq!(hex::encode(bytes), BINARY, "{text}");
        }
        assert!(matches!(
            Acl::from_text(texts[3].as_bytes()),
            Err(TextError::Damaged)
        ));
        let commented = "user::rw-\nuser:1000:rw-\t#effective:r--\ngroup::r--\nmask::r--\nother::---\n";
        let list = Acl::from_text(commented.as_bytes()).unwrap().unwrap();
        assert_eq!(list.to_xattr().len(), 4 + 5 * 8);
    }

    #[test]
    fn what_linux_would_refuse_is_refused() {
        for text in [
            "user::rwx",
            "user::rwx,group::r-x,other::r-x,other::r-x",
            "user::rwx,group::r-x,other::r-x,user:5:r--",
            "user::rwx,group::r-x,other::r-x,mask::rwx,user:5:r--,user:5:rw-",
            "user::rwx,group::r-x,other::rrr",
            "user::rwx,group::r-x,other::",
            "world::rwx",
            "a:b:c:d:e",
        ] {
            assert!(
                matches!(Acl::from_text(text.as_bytes()), Err(TextError::Damaged)),
                "{text}"
            );
        }
        let named = "user::rwx,group::r-x,other::r-x,mask::rwx,user:lisa:r--";
        assert!(matches!(Acl::from_text(named.as_bytes()), Err(TextError::Named)));
        assert!(Acl::from_text(b"").unwrap().is_none());
    }
}
