//! Who is a member of which role, as servers before version 16 can be told it.
//!
//! What must hold: nobody is given more or less than before without a word.

use std::ops::Range;

use super::super::script::Token;
use crate::base::monitor::show_path;

/// `GRANT a TO b WITH ADMIN OPTION, INHERIT FALSE, SET TRUE GRANTED BY c;`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Membership<'s> {
    pub group: &'s str,
    pub member: &'s str,
    /// Where the options stand, with the word before them.
    options: Option<Range<usize>>,
    is_admin: bool,
    /// Whether the member has what the group is allowed without asking for it, if that is said.
    inherits: Option<bool>,
    /// Whether the member may become the group, if that is said.
    may_become: Option<bool>,
}

impl<'s> Membership<'s> {
    /// Reads a statement, if it is one of that kind.
    pub fn of(parts: &'s [(Token, Range<usize>)]) -> Option<Self> {
        let is = |position: usize, word: &str| parts.get(position).is_some_and(|(token, _)| token.is(word));
        let name = |position: usize| parts.get(position).and_then(|(token, _)| token.name());
        if !is(0, "grant") || !is(2, "to") {
            return None;
        }
        let mut membership = Self {
            group: name(1)?,
            member: name(3)?,
            options: None,
            is_admin: false,
            inherits: None,
            may_become: None,
        };
        if !is(4, "with") {
            return Some(membership);
        }
        let mut position = 5;
        while position < parts.len() && !is(position, "granted") {
            let is_so = !is(position + 1, "false");
            if is(position, "admin") {
                membership.is_admin = is_so;
            } else if is(position, "inherit") {
                membership.inherits = Some(is_so);
            } else if is(position, "set") {
                membership.may_become = Some(is_so);
            } else {
                break;
            }
            // The word, its value, and a comma if more follows.
            position += 2;
            let is_comma = parts.get(position).is_some_and(|(token, _)| *token == Token::Other);
            if is_comma && parts.get(position + 1).is_some() {
                position += 1;
            }
        }
        let (start, end) = (parts.get(4)?.1.start, parts.get(position)?.1.start);
        membership.options = Some(start..end);
        Some(membership)
    }

    /// The statement for a server that knows only one of the options.
    pub fn without_options(&self, statement: &[u8]) -> Vec<u8> {
        let mut fitted = statement.to_vec();
        if let Some(options) = self.options.clone() {
            let admin = if self.is_admin { &b"WITH ADMIN OPTION "[..] } else { b"" };
            fitted.splice(options, admin.iter().copied());
        }
        fitted
    }

    /// What is otherwise than it was, on a server where the member as a whole inherits or does not.
    pub fn differences(&self, member_inherits: bool) -> Vec<String> {
        let [group, member] = [self.group, self.member].map(|name| show_path(name.as_bytes()));
        let end = "servers before version 16 cannot say otherwise";
        let inherits = match (self.inherits, member_inherits) {
            (Some(false), true) => Some(format!(
                "{member} has what is allowed to {group} without asking for it (INHERIT TRUE, but it was FALSE): {end}"
            )),
            (Some(true), false) => Some(format!(
                "{member} must ask for what is allowed to {group} (INHERIT FALSE, but it was TRUE): {end}"
            )),
            _ => None,
        };
        let becomes = (self.may_become == Some(false))
            .then(|| format!("{member} may become {group} (SET TRUE, but it was FALSE): {end}"));
        inherits.into_iter().chain(becomes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::script::tokens;
    use super::*;

    #[test]
    fn options_of_later_servers_are_left_out_and_told() {
        for (options, fitted, inherits, told) in [
            ("", "", true, 0),
            ("WITH ADMIN OPTION ", "WITH ADMIN OPTION ", true, 0),
            ("WITH INHERIT TRUE ", "", true, 0),
            ("WITH INHERIT TRUE ", "", false, 1),
            ("WITH INHERIT FALSE ", "", false, 0),
            ("WITH INHERIT FALSE, SET FALSE ", "", true, 2),
            ("WITH ADMIN OPTION, INHERIT FALSE, SET TRUE ", "WITH ADMIN OPTION ", true, 1),
            ("WITH ADMIN TRUE, SET FALSE ", "WITH ADMIN OPTION ", true, 1),
            ("WITH ADMIN FALSE ", "", true, 0),
        ] {
            for grantor in ["GRANTED BY \"with\";", ";"] {
                let statement = format!("GRANT \"to\" TO \"My role\" {options}{grantor}");
                let parts = tokens(statement.as_bytes());
                let membership = Membership::of(&parts).expect("a membership");
                assert_eq!((membership.group, membership.member), ("to", "My role"));
                let without = membership.without_options(statement.as_bytes());
                let wanted = format!("GRANT \"to\" TO \"My role\" {fitted}{grantor}");
                assert_eq!(String::from_utf8(without).expect("text"), wanted);
                let differences = membership.differences(inherits);
                assert_eq!(differences.len(), told, "{differences:?}");
            }
        }
        for other in ["GRANT ALL ON TABLESPACE fast TO a WITH GRANT OPTION;", "REVOKE a FROM b;"] {
            assert_eq!(Membership::of(&tokens(other.as_bytes())), None);
        }
    }
}
