//! POSIX.1e ACLs: from the text that star, GNU tar and libarchive store to the bytes that Linux stores.
//!
//! Text: acl(5), "ACL TEXT FORMS", long or short, entries parted by commas or line ends, and star's fourth field with the
//! number of the user or group that the second names. Bytes: `include/uapi/linux/posix_acl_xattr.h`, version 2.

use super::error::{Name, Problem};

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The value of the extended attribute; `None` for an ACL without entries.
pub(super) fn from_text(text: &[u8]) -> Result<Option<Vec<u8>>, Problem> {
    let mut entries = text
        .split(|byte| matches!(byte, b',' | b'\n'))
        .map(|line| line.split(|byte| *byte == b'#').next().unwrap_or_default())
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(entry)
        .collect::<Result<Vec<_>, _>>()?;
    if entries.is_empty() {
        return Ok(None);
    }
    entries.sort_unstable_by_key(|(tag, id, _)| (*tag, *id));
    if !is_valid(&entries) {
        return Err(Problem::Acl);
    }
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    Ok(Some(bytes))
}

/// What the kernel asks for (`posix_acl_valid`): each of the three owners once, nobody twice, and a mask where anybody is
/// named.
fn is_valid(entries: &[(u16, u32, u16)]) -> bool {
    let count = |tag| entries.iter().filter(|entry| entry.0 == tag).count();
    let named = count(USER) + count(GROUP) > 0;
    [USER_OBJ, GROUP_OBJ, OTHER]
        .into_iter()
        .all(|tag| count(tag) == 1)
        && (count(MASK) == 1 || !named)
        && entries
            .windows(2)
            .all(|pair| pair[0].0 != pair[1].0 || pair[0].1 != pair[1].1)
}

/// One entry: tag, id, permissions.
fn entry(line: &[u8]) -> Result<(u16, u32, u16), Problem> {
    let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').map(<[u8]>::trim_ascii).collect();
    if matches!(fields.first(), Some(&(b"default" | b"d"))) {
        fields.remove(0);
    }
    let (kind, name, permissions, number) = match *fields {
        [kind, permissions] => (kind, &b""[..], permissions, None),
        [kind, name, permissions] => (kind, name, permissions, None),
        [kind, name, permissions, number] => (kind, name, permissions, Some(number)),
        _ => return Err(Problem::Acl),
    };
    let permissions = rwx(permissions).ok_or(Problem::Acl)?;
    let (owner, named) = match kind {
        b"user" | b"u" => (USER_OBJ, USER),
        b"group" | b"g" => (GROUP_OBJ, GROUP),
        b"mask" | b"m" if name.is_empty() => return Ok((MASK, NO_ID, permissions)),
        b"other" | b"o" if name.is_empty() => return Ok((OTHER, NO_ID, permissions)),
        _ => return Err(Problem::Acl),
    };
    if name.is_empty() && number.is_none() {
        return Ok((owner, NO_ID, permissions));
    }
    let id = super::number::natural(number.unwrap_or(name))
        .and_then(|id| u32::try_from(id).ok())
        .filter(|id| *id != NO_ID)
        .ok_or_else(|| Problem::AclName(Name(name.to_vec())))?;
    Ok((named, id, permissions))
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
            let bytes = from_text(text.as_bytes()).unwrap().unwrap();
            assert_eq!(hex::encode(bytes), BINARY, "{text}");
        }
        assert!(matches!(from_text(texts[3].as_bytes()), Err(Problem::Acl)));
        let commented = "user::rw-\nuser:1000:rw-\t#effective:r--\ngroup::r--\nmask::r--\nother::---\n";
        assert_eq!(from_text(commented.as_bytes()).unwrap().unwrap().len(), 4 + 5 * 8);
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
            assert!(matches!(from_text(text.as_bytes()), Err(Problem::Acl)), "{text}");
        }
        let named = "user::rwx,group::r-x,other::r-x,mask::rwx,user:lisa:r--";
        assert!(matches!(from_text(named.as_bytes()), Err(Problem::AclName(who)) if who.0 == b"lisa"));
        assert!(from_text(b"").unwrap().is_none());
    }
}
