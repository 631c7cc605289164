//! Names as types, so that a chunk's id can never be passed where a pack's name is meant.
//!
//! All of them are fixed-width bytes, ordered bytewise, and shown in lower-case hexadecimal.

use std::fmt;

/// Writes bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads exactly `N` bytes from `2 N` lower-case hexadecimal digits; anything else is `None`.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        if let [high, low] = *pair {
            *byte = nibble(high)? << 4 | nibble(low)?;
        }
    }
    Some(bytes)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $width:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $width]);

        impl $name {
            /// Width in bytes.
            pub const WIDTH: usize = $width;

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $width] {
                &self.0
            }

            /// All digits.
            pub fn hex(&self) -> String {
                to_hex(&self.0)
            }

            /// Reads exactly as many digits as the type is wide.
            pub fn from_hex(text: &str) -> Option<Self> {
                from_hex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.hex())
            }
        }
    };
}

id_type!(
    /// Keyed hash of a chunk's plaintext.
    ChunkId, 32
);
id_type!(
    /// BLAKE3 of the stored bytes of a pack or an index run, which is also the last part of its object name.
    ContentName, 32
);
id_type!(
    /// Random name of a repository, fixed when it is made.
    RepositoryId, 16
);
id_type!(
    /// Random name of one writer's run; the snapshot that it commits has the same name.
    SessionId, 16
);
id_type!(
    /// First eight bytes of BLAKE3 of a key slot's stored bytes.
    SlotName, 8
);

impl SessionId {
    /// The first eight digits, as people see a snapshot named.
    pub fn short(&self) -> String {
        self.hex().chars().take(8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_back_and_nothing_else_is_read() {
        let id = SlotName([0, 1, 0x7f, 0x80, 0xab, 0xcd, 0xef, 0xff]);
        assert_eq!(id.hex(), "00017f80abcdefff");
        assert_eq!(SlotName::from_hex("00017f80abcdefff"), Some(id));
        for bad in ["", "00017f80abcdeff", "00017f80abcdefff0", "00017F80abcdefff", "00017f80abcdefg0"] {
            assert_eq!(SlotName::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_session_is_shown_by_eight_digits() {
        assert_eq!(SessionId([0xab; 16]).short(), "abababab");
    }
}
