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
const OWN: [&str; 5] = ["mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema", EVERYBODY];
/// Everybody, to whom rights can be given as to a user.
const EVERYBODY: &str = "PUBLIC";
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
    let given = of_everybody(server)?;
    if !given.is_empty() {
        grants.push(format!("{SECTION}{EVERYBODY}"));
        grants.extend(given.into_iter().map(|statement| format!("{statement};")));
    }
    lines.append(&mut grants);
    lines.push(MARKER.to_owned());
    Ok((lines.join("\n") + "\n").into_bytes())
}

/// What everybody may do.
fn of_everybody(server: &Server) -> Result<Vec<String>> {
    match server.is_mariadb_since(10, 11) {
        true => server.column(&format!("SHOW GRANTS FOR {EVERYBODY}")),
        false => Ok(Vec::new()),
    }
}

/// What MySQL says of the roles that a user has at once, apart from how the user is made: then they need not be there.
fn without_default_roles(created: &str) -> (String, Option<&str>) {
    let parts = created.split_once(" DEFAULT ROLE ").and_then(|(first, rest)| {
        let (roles, rest) = rest.split_once(" REQUIRE ")?;
        Some((format!("{first} REQUIRE {rest}"), roles))
    });
    parts.map_or_else(|| (created.to_owned(), None), |(rest, roles)| (rest, Some(roles)))
}

/// A line of a script, and whose it is.
pub(super) struct Statement {
    pub account: String,
    pub text: Zeroizing<String>,
}

/// What of a script is run on a server that has these users: what makes the others, and what gives them their rights.
pub(super) fn without(script: &str, there: &BTreeSet<String>) -> (Vec<Statement>, Vec<Statement>) {
    let mut account = "";
    let (mut created, mut granted) = (Vec::new(), Vec::new());
    for line in script.lines() {
        account = line.strip_prefix(SECTION).unwrap_or(account);
        if !there.contains(account) && !line.starts_with("--") {
            let is_creation = line.starts_with("CREATE USER ") || line.starts_with("CREATE ROLE ");
            let kept = if is_creation { &mut created } else { &mut granted };
            kept.push(Statement { account: account.to_owned(), text: Zeroizing::new(line.to_owned()) });
        }
    }
    (created, granted)
}

/// Statements as a script.
pub(super) fn joined(statements: &[Statement]) -> Zeroizing<String> {
    // So long that no part is left behind where it grows.
    let length = statements.iter().map(|statement| statement.text.len() + 1).sum();
    let mut script = Zeroizing::new(String::with_capacity(length));
    for statement in statements {
        script.push_str(&statement.text);
        script.push('\n');
    }
    script
}

/// A statement for people: what follows is the hash of a password.
pub(super) fn without_password(statement: &str) -> &str {
    let end = statement.find(" IDENTIFIED ").unwrap_or(statement.len());
    statement.get(..end).unwrap_or_default().trim_end_matches(';')
}

/// The users and roles that a server has, as scripts name them. Everybody is among them who may do something.
pub(super) fn names(server: &Server) -> Result<BTreeSet<String>> {
    let mut names: BTreeSet<_> = accounts(server)?.into_iter().map(|account| account.shown).collect();
    names.extend((!of_everybody(server)?.is_empty()).then(|| EVERYBODY.to_owned()));
    Ok(names)
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
    let account = |[user, host, is_role]: [String; 3]| {
        let is_role = is_role == "Y";
        let shown =
            if is_role { identifier(&user) } else { format!("{}@{}", identifier(&user), identifier(&host)) };
        (!OWN.contains(&user.as_str())).then_some(Account { shown, is_role })
    };
    Ok(server.rows_of(statement)?.into_iter().filter_map(account).collect())
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
        assert_eq!(joined(&created).as_str(), "CREATE ROLE `r`;\nCREATE USER 2;\n");
        assert_eq!(joined(&granted).as_str(), "GRANT 2;\n");
        assert_eq!(created.iter().map(|one| one.account.as_str()).collect::<Vec<_>>(), ["`r`", "`b`@`%`"]);
        assert_eq!(without_password("GRANT 1 TO `a`@`%` IDENTIFIED BY PASSWORD '*1';"), "GRANT 1 TO `a`@`%`");
        assert_eq!(without_password("GRANT 1;"), "GRANT 1");
    }
}
