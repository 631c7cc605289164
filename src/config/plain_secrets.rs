//! Tells secrets that stand in a configuration from names of places where they are.
//!
//! What must hold: a name that says it is a secret, an address with a password and the options by which known programs
//! take one are found wherever they stand; what only names a place, as a file or a variable, is none; what is found is
//! named, and never shown.

/// What the words of a name end with that is a secret's.
const SECRET_ENDS: [&str; 5] = ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN"];
/// Pairs of words at the end of a name that is a secret's.
const SECRET_PAIRS: [[&str; 2]; 7] = [
    ["API", "KEY"],
    ["ACCESS", "KEY"],
    ["PRIVATE", "KEY"],
    ["APPLICATION", "KEY"],
    ["ACCOUNT", "KEY"],
    ["ENCRYPTION", "KEY"],
    ["REDISCLI", "AUTH"],
];
/// The end of the only name of an id that is one itself.
const SECRET_ID: [&str; 3] = ["VAULT", "SECRET", "ID"];
/// Last words of names that say something about a secret, or where it is.
const HARMLESS_ENDS: [&str; 31] = [
    "FILE",
    "FILES",
    "PATH",
    "DIR",
    "DIRECTORY",
    "FOLDER",
    "STORE",
    "FD",
    "STDIN",
    "COMMAND",
    "CMD",
    "ENV",
    "ID",
    "NAME",
    "URL",
    "LENGTH",
    "SIZE",
    "LIMIT",
    "COUNT",
    "EXPIRY",
    "TTL",
    "TIMEOUT",
    "LIFETIME",
    "TYPE",
    "METHOD",
    "POLICY",
    "USER",
    "HOST",
    "PORT",
    "REQUIRED",
    "ENABLED",
];
/// Values that switch something on or off.
const SWITCHES: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "0", "1", "none", "null"];
/// Options that take a secret as the next word, of programs about which nothing else is known.
const SECRET_OPTIONS: [&str; 6] = ["--password", "--passwd", "--pass", "--passphrase", "--secret", "--token"];

/// How a program takes a secret by its arguments.
struct Client {
    is_it: fn(&str) -> bool,
    /// Options whose next word is one.
    next: &'static [&'static str],
    /// What stands directly before one.
    attached: Option<&'static str>,
    /// The word is a user, a colon and the secret.
    after_colon: bool,
}

const CLIENTS: [Client; 6] = [
    // Without a value, these ask on the terminal.
    Client { is_it: is_of_mariadb, next: &[], attached: Some("-p"), after_colon: false },
    Client { is_it: is_of_postgres, next: &[], attached: None, after_colon: false },
    Client {
        is_it: |name| is_one_of(name, "mongo", &MONGO),
        next: &["-p", "--password"],
        attached: Some("-p"),
        after_colon: false,
    },
    Client {
        is_it: |name| ["redis-cli", "valkey-cli"].contains(&name),
        next: &["-a", "--pass"],
        attached: None,
        after_colon: false,
    },
    Client { is_it: |name| name == "sshpass", next: &["-p"], attached: Some("-p"), after_colon: false },
    Client { is_it: |name| name == "curl", next: &["-u", "--user"], attached: None, after_colon: true },
];

/// How the names of clients end. Any other name that begins so is that of a container or a machine.
const MYSQL: [&str; 11] =
    ["", "dump", "pump", "admin", "check", "import", "show", "binlog", "slap", "sh", "_upgrade"];
const MARIADB: [&str; 10] =
    ["", "-dump", "-backup", "-admin", "-check", "-import", "-show", "-binlog", "-slap", "-upgrade"];
const MONGO: [&str; 9] = ["", "sh", "dump", "restore", "export", "import", "files", "stat", "top"];
/// Options before the name of a container whose next word is their value.
const CONTAINER_OPTIONS: [&str; 12] = [
    "-e",
    "--env",
    "--env-file",
    "-u",
    "--user",
    "-w",
    "--workdir",
    "--index",
    "--detach-keys",
    "-n",
    "--namespace",
    "-c",
];

fn is_one_of(name: &str, begin: &str, ends: &[&str]) -> bool {
    name.strip_prefix(begin).is_some_and(|end| ends.contains(&end))
}

fn is_of_mariadb(name: &str) -> bool {
    is_one_of(name, "mysql", &MYSQL)
        || is_one_of(name, "mariadb", &MARIADB)
        || ["mariabackup", "xtrabackup"].contains(&name)
}

fn is_of_postgres(name: &str) -> bool {
    name.starts_with("pg_") || ["psql", "createdb", "dropdb", "vacuumdb", "reindexdb"].contains(&name)
}

/// Whether a name of a variable, an option or a setting is that of a secret: `PGPASSWORD`, `api-key`, not
/// `PASSWORD_FILE`.
pub(super) fn is_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> = upper
        .split(['_', '-', '.'])
        .map(|word| word.trim_end_matches(|letter: char| letter.is_ascii_digit()))
        .filter(|word| !word.is_empty())
        .collect();
    let last = words.last().copied().unwrap_or_default();
    if HARMLESS_ENDS.contains(&last) {
        return words.ends_with(&SECRET_ID);
    }
    words.iter().any(|word| SECRET_ENDS.iter().any(|end| word.ends_with(end)))
        || ["PASS", "PW", "APIKEY"].contains(&last)
        // Alone, it is the folder in which a program runs.
        || (last == "PWD" && words.len() > 1)
        || SECRET_PAIRS.iter().any(|pair| words.ends_with(pair))
}

/// Whether a value of such a name is a secret, and not a switch, the name of a variable or a place.
pub(super) fn is_value(value: &str) -> bool {
    let value = bare(value);
    let is_place = value.starts_with('/');
    !value.is_empty()
        && !is_place
        && !is_reference(value)
        && !SWITCHES.contains(&value.to_ascii_lowercase().as_str())
}

/// What something else puts in the place of this text: a shell, or a template.
fn is_reference(value: &str) -> bool {
    ["$", "`", "{{", "<"].iter().any(|begin| value.starts_with(begin))
}

fn bare(word: &str) -> &str {
    word.trim_matches(['"', '\'', '\\', ','])
}

/// Whether a text has an address with a password: `postgres://user:password@host`, `https://host?token=…`.
pub(super) fn is_in_address(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("://") {
        let is_over = |letter: char| letter.is_whitespace() || "\"'<>`".contains(letter);
        let address = after.split(is_over).next().unwrap_or_default();
        let authority = address.split(['/', '?', '#']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        let settings = address.split_once('?').map(|(_, settings)| settings).unwrap_or_default();
        let mut settings = settings.split(['&', ';']).filter_map(|setting| setting.split_once('='));
        if user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| is_value(password))
            || settings.any(|(name, value)| is_name(name) && is_value(value))
        {
            return true;
        }
        rest = after;
    }
    false
}

/// What ends a command in the text of a shell.
const ENDS: [char; 6] = [';', '|', '&', '(', ')', '\n'];

/// What holds a secret among the words of a command, if one does: the name of an option or a variable.
pub(super) fn in_words<'t>(texts: impl IntoIterator<Item = &'t str>) -> Option<String> {
    let mut client: Option<&Client> = None;
    let mut is_before_container = false;
    let mut before = ";";
    for word in texts.into_iter().flat_map(words_of) {
        let word = bare(word);
        if word == ";" {
            (client, is_before_container) = (None, false);
        } else if let Some(name) = of_word(word, before, client) {
            return Some(name);
        } else if is_before_container {
            // Its options, the values of some, and then its name, whatever that is.
            is_before_container = word.starts_with('-') || CONTAINER_OPTIONS.contains(&before);
        } else if word == "exec" {
            // A shell's own begins a command.
            let is_option_of_shell = is_short(before) && before.ends_with('c');
            is_before_container = before != ";" && !is_option_of_shell;
        } else {
            client = client_of(word, before).or(client);
        }
        before = word;
    }
    None
}

/// The words of a text, and a `;` after each command.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(ENDS).flat_map(|part| {
        let command = part.trim_end_matches(ENDS);
        // A line that goes on ends with this.
        let ends = command.len() < part.len() && !command.ends_with('\\');
        // What stands before a parenthesis is a function, as in `password=md5(…)`.
        let is_call = part.ends_with('(');
        let (earlier, last) = command.rsplit_once(char::is_whitespace).unwrap_or(("", command));
        let shown = if is_call && last.contains('=') { earlier } else { command };
        shown.split_whitespace().chain(ends.then_some(";"))
    })
}

fn is_short(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--")
}

/// What holds a secret in a word, or which option the word is the value of.
fn of_word(word: &str, before: &str, client: Option<&Client>) -> Option<String> {
    // The last of several, as in `-o=user=a,password=b`; the value of the first may end with one.
    let pairs = [word.split_once('='), word.rsplit_once('=')];
    if let Some((name, _)) =
        pairs.into_iter().flatten().find(|(name, value)| is_name(name) && is_value(value))
    {
        let last = name.rsplit(['=', ',']).next().unwrap_or_default();
        return Some(last.trim_start_matches('-').to_owned());
    }
    if word.contains('=') {
        return None;
    }
    let next = client.map_or(SECRET_OPTIONS.as_slice(), |client| client.next);
    let is_bearer = before.eq_ignore_ascii_case("bearer");
    if (is_bearer || next.contains(&before)) && !word.starts_with('-') {
        let after_colon = !is_bearer && client.is_some_and(|client| client.after_colon);
        let value = if after_colon { word.split_once(':').map_or("", |(_, value)| value) } else { word };
        if is_value(value) {
            return Some(before.to_owned());
        }
    }
    let attached = client?.attached?;
    let value = word.strip_prefix(attached).filter(|_| !word.starts_with("--"))?;
    is_value(value).then(|| attached.to_owned())
}

/// The program that begins with this word, if it is known how that takes secrets.
fn client_of(word: &str, before: &str) -> Option<&'static Client> {
    let name = match word.rsplit_once('/') {
        Some((folder, name)) if folder.ends_with("bin") => name,
        Some(_) => return None,
        None => word,
    };
    // A container, or a machine, may be called as the server in it.
    let is_container = before == "ssh" || before.starts_with('-');
    let is_server = ["mysql", "mariadb", "mongo"].contains(&name);
    CLIENTS.iter().find(|client| (client.is_it)(name) && !(is_container && is_server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whether_they_are_of_secrets() {
        for name in [
            "MYSQL_PWD",
            "REDISCLI_AUTH",
            "PGPASSWORD",
            "DB_PASSWORD",
            "password",
            "SECRET_KEY_BASE",
            "GITEA_TOKEN",
            "OPENAI_API_KEY",
            "api-key",
            "AWS_SECRET_ACCESS_KEY",
            "sslPEMKeyPassword",
            "PASSWORD2",
            "smtp.pass",
            "DB_PW",
            "PW",
            "B2_APPLICATION_KEY",
            "AZURE_STORAGE_ACCOUNT_KEY",
            "VAULT_SECRET_ID",
        ] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "PASSWORD_FILE",
            "POSTGRES_PASSWORD_FILE",
            "PGPASSFILE",
            "BORG_PASSCOMMAND",
            "PWD",
            "OLDPWD",
            "PATH",
            "TOKENIZERS_PARALLELISM",
            "SSH_AUTH_SOCK",
            "AWS_ACCESS_KEY_ID",
            "POSTGRES_HOST_AUTH_METHOD",
            "BYPASS",
            "RESTIC_PASSWORD_COMMAND",
            "password-env",
            "TOKEN_TTL",
            "KEY",
            "COMPASS",
            "PASSWORD_STORE",
            "passphrase-fd",
            "password-stdin",
            "B2_APPLICATION_KEY_ID",
            "secret-id",
        ] {
            assert!(!is_name(name), "{name}");
        }
        for value in
            ["", "$DB", "${DB}", "\"$DB\"", "`cat f`", "yes", "True", "{{ pass }}", "/run/secrets/db", "null"]
        {
            assert!(!is_value(value), "{value}");
        }
    }

    #[test]
    fn addresses_with_passwords_are_found() {
        for text in [
            "postgres://user:pw@host/db",
            "--uri=mongodb://a:b@c",
            "two http://x/ and https://me:word@host?x=1",
            "amqp://:pw@host",
            "postgres://host/db?user=a&password=b",
        ] {
            assert!(is_in_address(text), "{text}");
        }
        for text in [
            "postgres://user@host:5432/db",
            "http://host:80/a@b",
            "postgres://user:$PW@host",
            "s3://bucket/x",
            "redis://:${REDIS}@cache",
            "sftp://me@host/a:b@c",
            "https://host/?password=$1",
            "a:b@c",
            "://",
            "x://@",
        ] {
            assert!(!is_in_address(text), "{text}");
        }
    }

    #[test]
    fn arguments_with_secrets_are_found() {
        for (text, wanted) in [
            ("mysqldump -psecret shop", "-p"),
            ("docker exec db mysql -psecret -e x", "-p"),
            ("/usr/bin/mariadb-dump --password=secret", "password"),
            ("sh -c \"mysqldump -u a -p'secret' shop | gzip\"", "-p"),
            ("redis-cli -a secret --rdb -", "-a"),
            ("mongodump -u a -p secret", "-p"),
            ("sh -c \"PGPASSWORD=secret pg_dump shop\"", "PGPASSWORD"),
            ("docker exec -e MYSQL_PWD=secret db mysqldump shop", "MYSQL_PWD"),
            ("pg_dump -d \"host=db password=secret\"", "password"),
            ("sshpass -p secret ssh host", "-p"),
            ("curl -u me:secret https://x", "-u"),
            ("curl -H \"Authorization: Bearer secret\" https://x", "Bearer"),
            ("tool --token secret", "--token"),
            ("tool --password=c2VjcmV0Cg==", "password"),
            ("mount -o user=a,password=b //host/share /mnt", "password"),
            ("docker exec -u root mysql mysqldump -psecret shop", "-p"),
            ("docker compose exec -T mysql8 mysqldump -psecret shop", "-p"),
            ("sh -c \"exec mysqldump -psecret shop\"", "-p"),
            ("sh -c \"cd /x\n mysqldump -psecret shop\"", "-p"),
            ("mysqldump \\\n -psecret shop", "-p"),
            ("ssh mysql mysqldump -psecret shop", "-p"),
        ] {
            assert_eq!(in_words([text]).as_deref(), Some(wanted), "{text}");
            assert_eq!(in_words(text.split(' ')).as_deref(), Some(wanted), "{text}");
        }
        for text in [
            "mysqldump -p shop",
            "mysqldump --password shop",
            "mysqldump -p\"$PW\" -P3306 --protocol=tcp shop",
            "sh -c \"mysqldump -p$(cat /run/pw) shop\"",
            "pg_dump -p5432 --password shop",
            "pg_dump --no-password -d host=db",
            "redis-cli -a $REDIS --rdb -",
            "tar -C /var/lib/mysql -pcf - .",
            "docker exec mysql tar -pcf - /data",
            "mysqldump shop | cpio -pdm",
            "tool --field=password=",
            "tool --password-file /run/pw --token $TOKEN --secret-id=7",
            "curl -u me https://x",
            "vault kv get -field=password secret/db",
            "gitea dump --file - --type zip",
            "mkdir -p /a && mysql < x",
            "sh -c \"mysqldump shop > a\ntar -pcf - a\"",
            "docker exec mysql-db tar -pcf - /data",
            "docker exec -e A=b -u root mysql tar -pcf - /data",
            "docker compose -f a.yml exec -T mysql8 tar -pc /data",
            "docker exec mysqldump tar -pcf - /data",
            "docker run --rm mysql:8 tar -pcf - /data",
            "kubectl -n shop exec mariadb-0 -c mariadb -- tar -pcf - /data",
            "ssh mysql tar -pcf - /data",
            "gpg --batch --passphrase-fd=3 -c",
            "psql -c \"select 1 from users where password=md5(1)\"",
            "tool --password=/run/secrets/db",
        ] {
            assert_eq!(in_words([text]), None, "{text}");
            assert_eq!(in_words(text.split(' ')), None, "{text}");
        }
    }
}
