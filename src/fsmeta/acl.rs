//! Access control lists of POSIX as text, which other programs than the kernel read.
//!
//! What must hold: a text says exactly what the attribute says, owners and groups by number; an attribute that is not
//! well-formed gives none.

/// The attribute that holds the list of a file or directory.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute that holds the list that new entries of a directory get.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

/// The version of the attribute's value, as in the kernel's `linux/posix_acl_xattr.h`.
const VERSION: u32 = 2;

/// The text of an attribute's value, as `setfacl` takes it, entries parted by commas: `user::rw-,user:7:r--,…`.
///
/// The value is a version of four bytes and entries of eight: tag, permissions (u16 each), number (u32), all
/// little-endian.
pub fn text(value: &[u8]) -> Option<String> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || entries.is_empty() || entries.len() % 8 != 0 {
        return None;
    }
    let texts: Option<Vec<String>> = entries.chunks_exact(8).map(entry).collect();
    Some(texts?.join(","))
}

fn entry(entry: &[u8]) -> Option<String> {
    let [tag_low, tag_high, low, high, number @ ..] = entry else { return None };
    let tag = u16::from_le_bytes([*tag_low, *tag_high]);
    let permissions = u16::from_le_bytes([*low, *high]);
    let number = u32::from_le_bytes(number.try_into().ok()?);
    let who = match tag {
        0x01 => "user:".to_owned(),
        0x02 => format!("user:{number}"),
        0x04 => "group:".to_owned(),
        0x08 => format!("group:{number}"),
        0x10 => "mask:".to_owned(),
        0x20 => "other:".to_owned(),
        _ => return None,
    };
    if permissions > 0o7 {
        return None;
    }
    let letter = |bit: u16, letter: char| if permissions & bit != 0 { letter } else { '-' };
    Some(format!("{who}:{}{}{}", letter(4, 'r'), letter(2, 'w'), letter(1, 'x')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, number) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(number.to_le_bytes());
        }
        value
    }

    #[test]
    fn a_list_is_shown_by_numbers() {
        let none = u32::MAX;
        let list = value(&[
            (1, 6, none),
            (2, 4, 1000),
            (4, 5, none),
            (8, 7, 3_000_000_000),
            (0x10, 1, none),
            (0x20, 0, none),
        ]);
        let expected = "user::rw-,user:1000:r--,group::r-x,group:3000000000:rwx,mask::--x,other::---";
        assert_eq!(text(&list).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_no_list_has_no_text() {
        let whole = value(&[(1, 6, 0)]);
        assert_eq!(text(&whole).as_deref(), Some("user::rw-"));
        assert_eq!(text(&whole[..11]), None);
        assert_eq!(text(&whole[..4]), None);
        assert_eq!(text(&[3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0]), None);
        assert_eq!(text(&value(&[(3, 6, 0)])), None);
        assert_eq!(text(&value(&[(1, 8, 0)])), None);
    }
}
