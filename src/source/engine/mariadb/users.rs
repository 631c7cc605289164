//! The users of a server and what they may do, as statements; and which of these are run on a server that has some.
//!
//! What must hold: a user who is there keeps password and rights; everybody is made before anybody gets rights, for roles
//! are given to users and to one another.
//!
//! The statements are asked of the server, not of `mariadb-dump --system=users`: what that writes sets the passwords of
//! users who are there, and runs only as the user who dumped it.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::MARKER;
use super::server::{Server, identifier};
use crate::base::Result;

/// Users that a server makes by itself.
const OWN: [&str; 5] = ["mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema", "PUBLIC"];
/// Begins the lines after which all statements belong to one user.
const SECTION: &str = "-- of ";

/// Makes all users, then gives them their rights.
pub(super) fn script(server: &Server) -> Result<Vec<u8>> {
    let mut lines = vec!["-- users and grants".to_owned()];
    let mut grants = Vec::new();
    // MySQL's hashes have any bytes in them.
    let hexadecimal =
        if server.is_mariadb() { "" } else { "/*!80017 SET SESSION print_identified_with_as_hex = ON */; " };
    for account in accounts(server)? {
        let mut defaults = None;
        lines.push(format!("{SECTION}{}", account.shown));
        if account.is_role {
            lines.push(format!("CREATE ROLE IF NOT EXISTS {};", account.shown));
        } else {
            let created = server.column(&format!("{hexadecimal}SHOW CREATE USER {}", account.shown))?;
            for rest in created.iter().filter_map(|line| line.strip_prefix("CREATE USER ")) {
                let (rest, roles) = without_default_roles(rest);
                lines.push(format!("CREATE USER IF NOT EXISTS {rest};"));
                defaults = roles.map(|roles| format!("SET DEFAULT ROLE {roles} TO {};", account.shown));
            }
        }
        grants.push(format!("{SECTION}{}", account.shown));
        let given = server.column(&format!("SHOW GRANTS FOR {}", account.shown))?;
        grants.extend(given.into_iter().map(|statement| format!("{statement};")).chain(defaults));
    }
    lines.append(&mut grants);
    lines.push(MARKER.to_owned());
    Ok((lines.join("\n") + "\n").into_bytes())
}

/// What MySQL says of the roles that a user has at once, apart from how the user is made: then they need not be there.
fn without_default_roles(created: &str) -> (String, Option<&str>) {
    let parts = created.split_once(" DEFAULT ROLE ").and_then(|(first, rest)| {
        let (roles, rest) = rest.split_once(" REQUIRE ")?;
        Some((format!("{first} REQUIRE {rest}"), roles))
    });
    parts.map_or_else(|| (created.to_owned(), None), |(rest, roles)| (rest, Some(roles)))
}

/// What of a script is run on a server that has these users: what makes the others, and what gives them their rights.
pub(super) fn without(script: &str, there: &BTreeSet<String>) -> (Zeroizing<String>, Zeroizing<String>) {
    let mut is_kept = true;
    // So long that no part is left behind where it grows.
    let room = || Zeroizing::new(String::with_capacity(script.len() + 1));
    let (mut created, mut granted) = (room(), room());
    for line in script.lines() {
        if let Some(account) = line.strip_prefix(SECTION) {
            is_kept = !there.contains(account);
        }
        if is_kept && !line.starts_with("--") {
            let is_creation = line.starts_with("CREATE USER ") || line.starts_with("CREATE ROLE ");
            let kept = if is_creation { &mut created } else { &mut granted };
            kept.push_str(line);
            kept.push('\n');
        }
    }
    (created, granted)
}

/// A statement for people: what follows is the hash of a password.
pub(super) fn without_password(statement: &str) -> &str {
    let end = statement.find(" IDENTIFIED ").unwrap_or(statement.len());
    statement.get(..end).unwrap_or_default().trim_end_matches(';')
}

/// The users and roles that a server has, as scripts name them.
pub(super) fn names(server: &Server) -> Result<BTreeSet<String>> {
    Ok(accounts(server)?.into_iter().map(|account| account.shown).collect())
}

struct Account {
    shown: String,
    is_role: bool,
}

fn accounts(server: &Server) -> Result<Vec<Account>> {
    let statement = if server.is_mariadb() {
        "SELECT user, host, is_role FROM mysql.user ORDER BY is_role DESC, user, host"
    } else {
        "SELECT user, host, 'N' FROM mysql.user ORDER BY user, host"
    };
    let account = |row: Vec<String>| {
        let [user, host, is_role] = <[String; 3]>::try_from(row).ok()?;
        let is_role = is_role == "Y";
        let shown =
            if is_role { identifier(&user) } else { format!("{}@{}", identifier(&user), identifier(&host)) };
        (!OWN.contains(&user.as_str())).then_some(Account { shown, is_role })
    };
    Ok(server.rows(statement)?.into_iter().filter_map(account).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_who_are_there_are_left_alone() {
        let script = "-- users and grants\n-- of `r`\nCREATE ROLE `r`;\n-- of `a`@`%`\nCREATE USER 1;\n-- of `b`@`%`\n\
                      CREATE USER 2;\n-- of `a`@`%`\nGRANT 1;\n-- of `b`@`%`\nGRANT 2;\n-- Dump completed\n";
        let there = BTreeSet::from(["`a`@`%`".to_owned()]);
        let (created, granted) = without(script, &there);
        assert_eq!(created.as_str(), "CREATE ROLE `r`;\nCREATE USER 2;\n");
        assert_eq!(granted.as_str(), "GRANT 2;\n");
        assert_eq!(without_password("GRANT 1 TO `a`@`%` IDENTIFIED BY PASSWORD '*1';"), "GRANT 1 TO `a`@`%`");
        assert_eq!(without_password("GRANT 1;"), "GRANT 1");
    }
}
