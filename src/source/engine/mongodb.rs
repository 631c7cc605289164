//! MongoDB: all databases, or some, by `mongodump` into one stream.
//!
//! What must hold: the password is in no argument: these tools read none from the environment, so they get a file of
//! configuration, which is in memory on this machine, and in a container a pipe of the shell that starts them.

mod stream;

use zeroize::Zeroizing;

use super::options::Client;
use super::{Access, Databases, Password};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::{Program, SecretFile, reads_secret_files, with_variable};
use crate::source::{Dump, Dumps, Engine, Listener, LoadOptions, LoadPlan, LoadStep, StoredDump};

use stream::MongoWalk;

/// A MongoDB server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mongodb {
    /// How it is reached.
    pub access: Access,
    /// What of it.
    pub databases: Databases,
    /// Whether the log of changes makes it one moment (`--oplog`); only for all databases of a replica set.
    pub with_oplog: bool,
    /// The database that knows the user.
    pub authentication_database: Option<String>,
    /// Further arguments of mongodump.
    pub options: Vec<String>,
}

/// The one dump: of all databases, or of one that is named.
const ALL: &str = "all";
/// What stands behind the name.
const SUFFIX: &str = ".mongodump";
/// The variable by which the shell of a container gets the line with the password.
const VARIABLE: &str = "PACKSTONE_MONGODB_CONFIG";
/// In a container: makes a pipe with the line, forgets it, becomes the program.
const WITH_LINE: &str =
    "exec 3<<END\n$PACKSTONE_MONGODB_CONFIG\nEND\nunset PACKSTONE_MONGODB_CONFIG; exec \"$@\"";
/// The same, with the password of the container's own variable.
const WITH_CONTAINER_PASSWORD: &str = "LINE=$(printf %s \"${VARIABLE?}\" | sed \"s/'/''/g\")\n\
    exec 3<<END\npassword: '$LINE'\nEND\nunset LINE; exec \"$@\"";

impl Mongodb {
    /// A tool that is told how to reach the server.
    fn tool(&self, name: &str, listener: &Listener) -> Result<Program> {
        let access = &self.access;
        let mut program = Program::client(name, access, listener);
        for (option, value) in [
            ("--host", access.host.clone().or_else(|| access.socket.clone())),
            ("--port", access.port.map(|port| port.to_string())),
            ("--username", access.user.clone()),
            ("--authenticationDatabase", self.authentication_database.clone()),
        ] {
            if let Some(value) = value {
                program = program.argument(format!("{option}={value}"));
            }
        }
        match (&access.password, &access.container_password) {
            (Some(password), _) if access.container.is_some() => {
                let line = Password::new(configuration(password));
                Ok(program.argument("--config=/dev/fd/3").secret(VARIABLE, &line).in_shell(WITH_LINE))
            }
            (Some(password), _) if reads_secret_files(access) => {
                let file = SecretFile::new(configuration(password).as_bytes())?;
                Ok(program.argument(format!("--config={}", file.path())).holding(&file))
            }
            (Some(_), _) => {
                let message = "a password cannot be given to MongoDB's tools when they run as another user";
                Err(Error::new(ErrorKind::Usage, message))
            }
            (None, Some(_)) if access.container.is_none() => {
                let message = "a variable of a container is named, but no container";
                Err(Error::new(ErrorKind::Usage, message))
            }
            (None, Some(variable)) => {
                let script = with_variable(WITH_CONTAINER_PASSWORD, variable)?;
                Ok(program.argument("--config=/dev/fd/3").in_shell(&script))
            }
            (None, None) => Ok(program),
        }
    }

    /// What is dumped: everything at once, or each named database.
    fn parts(&self) -> Result<Vec<(String, Option<String>)>> {
        match &self.databases {
            Databases::All => Ok(vec![(format!("{ALL}{SUFFIX}"), None)]),
            Databases::Named(_) if self.with_oplog => {
                let message = "the log of changes (oplog) concerns all databases, not single ones";
                Err(Error::new(ErrorKind::Usage, message))
            }
            Databases::Named(names) => Ok(names
                .iter()
                .map(|name| {
                    let file = super::file_name::encode(name, &[ALL]) + SUFFIX;
                    (file, Some(name.clone()))
                })
                .collect()),
        }
    }

    /// The version of a tool, as `100.9.4`.
    fn version(&self, name: &str, listener: &Listener) -> Result<String> {
        let program = Program::client(name, &self.access, listener).argument("--version");
        let answer = program.capture_text()?;
        // `mongodump version: 100.9.4`
        let words = answer.lines().next().unwrap_or_default().rsplit(' ').next().unwrap_or_default();
        Ok(show_path(words.as_bytes()))
    }
}

/// The line of a file of configuration that gives the password, as YAML has it.
fn configuration(password: &Password) -> Zeroizing<String> {
    // So large that it is not moved while it grows.
    let mut line = Zeroizing::new(String::with_capacity(6 * password.expose().len() + 16));
    line.push_str("password: \"");
    for character in password.expose().chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            _ if character.is_control() => {
                let escaped = format!("\\u{:04x}", u32::from(character));
                line.push_str(&escaped);
            }
            _ => line.push(character),
        }
    }
    line.push('"');
    line
}

impl Engine for Mongodb {
    fn kind(&self) -> &'static str {
        "mongodb"
    }

    fn dump(&self, listener: &Listener) -> Result<Dumps> {
        let parts = self.parts()?;
        let version = self.version("mongodump", listener).wrap(|| "cannot ask mongodump for its version")?;
        let mut dumps = Vec::new();
        for (file, database) in parts {
            let mut program = self.tool("mongodump", listener)?.argument("--archive");
            let failed = match &database {
                Some(name) => {
                    program = program.argument(format!("--db={name}"));
                    format!("cannot dump the database {}", show_path(name.as_bytes()))
                }
                None => "cannot dump the databases".to_owned(),
            };
            if self.with_oplog {
                program = program.argument("--oplog");
            }
            let program = program.arguments(&self.options);
            let walk = MongoWalk::new("mongodump");
            let open = Box::new(move || program.open(&failed, walk));
            dumps.push(Dump { name: file, metadata: None, open });
        }
        let moment = if self.with_oplog {
            "one moment of all databases, by the log of changes"
        } else {
            "each document of one moment, not the whole"
        };
        let left_out = Client::Mongodump.left_out(&self.options);
        let consistency = format!("{moment} (mongodump {version}){left_out}");
        Ok(Dumps { consistency, dumps, problems: Vec::new(), end: None })
    }

    fn load(&self, stored: &[StoredDump], options: &LoadOptions, listener: &Listener) -> Result<LoadPlan> {
        options.new_name.as_deref().map_or(Ok(()), check_name)?;
        let mut plan = LoadPlan::default();
        let mut found: Vec<String> = Vec::new();
        for dump in stored {
            let Some(name) = dump.name.strip_suffix(SUFFIX) else {
                let message = format!("{} is no dump of mongodump", show_path(dump.name.as_bytes()));
                return Err(Error::new(ErrorKind::Failed, message));
            };
            if name == ALL {
                let wanted: Vec<Option<&String>> = match options.databases.as_slice() {
                    [] => vec![None],
                    names => names.iter().map(Some).collect(),
                };
                for name in wanted {
                    found.extend(name.cloned());
                    self.add_step(&mut plan, dump, name.map(String::as_str), options, listener)?;
                }
            } else {
                let name = super::file_name::decode(name)?;
                if options.databases.is_empty() || options.databases.contains(&name) {
                    self.add_step(&mut plan, dump, Some(&name), options, listener)?;
                    found.push(name);
                }
            }
        }
        if let Some(absent) = options.databases.iter().find(|name| !found.contains(name)) {
            let there: Vec<String> = stored
                .iter()
                .filter_map(|dump| super::file_name::decode(dump.name.strip_suffix(SUFFIX)?).ok())
                .map(|name| show_path(name.as_bytes()))
                .collect();
            let message = format!(
                "there is no dump of the database {}; there are: {}",
                show_path(absent.as_bytes()),
                there.join(", ")
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        if options.new_name.is_some() && (plan.steps.len() != 1 || found.len() != 1) {
            let message = match found.as_slice() {
                [] => {
                    "the dump is of all databases: one that is to have another name must be named".to_owned()
                }
                names => format!("one database can have another name, not {}", names.len()),
            };
            return Err(Error::new(ErrorKind::Usage, message));
        }
        Ok(plan)
    }
}

impl Mongodb {
    fn add_step(
        &self,
        plan: &mut LoadPlan,
        dump: &StoredDump,
        database: Option<&str>,
        options: &LoadOptions,
        listener: &Listener,
    ) -> Result<()> {
        let mut program = self.tool("mongorestore", listener)?.arguments(["--archive", "--stopOnError"]);
        let has_oplog = self.with_oplog && database.is_none();
        if options.may_replace {
            program = program.argument("--drop");
        }
        if has_oplog {
            program = program.argument("--oplogReplay");
        }
        let mut what = match database {
            Some(name) => {
                program = program.argument(format!("--nsInclude={}.*", escape(name)));
                format!("the database {}", show_path(name.as_bytes()))
            }
            None => "all databases".to_owned(),
        };
        let mut shown = database.map(|name| show_path(name.as_bytes()));
        if let (Some(old), Some(new)) = (database, &options.new_name) {
            let renamed = [format!("--nsFrom={}.*", escape(old)), format!("--nsTo={}.*", escape(new))];
            program = program.arguments(renamed);
            shown = Some(show_path(new.as_bytes()));
            what = format!("{what} as {}", show_path(new.as_bytes()));
        }
        plan.replaced.push(match shown {
            Some(name) => format!("the collections of the database {name} that the dump has"),
            None => "the collections that the dump has".to_owned(),
        });
        // mongorestore puts users back with the database that holds them all.
        if options.new_name.is_none() && database.is_none_or(|name| name == "admin") {
            plan.replaced.push(
                "all users and roles, if the dump has some: those that it lacks are removed".to_owned(),
            );
        }
        let (failed, may_replace) = (format!("cannot restore {what}"), options.may_replace);
        plan.steps.push(LoadStep {
            what: format!("restore {what} from {}", show_path(dump.name.as_bytes())),
            dump: Some(dump.name.clone()),
            run: Box::new(move |feed| {
                if !may_replace {
                    let message = "what is there is not to be replaced";
                    return Err(Error::new(ErrorKind::Exists, message)).wrap(|| failed);
                }
                program.feed(feed).wrap(|| failed)
            }),
        });
        Ok(())
    }
}

/// Refuses what is no name of a database. A dot would make the rest the name of a collection.
fn check_name(name: &str) -> Result<()> {
    const NAME_BYTES_MAX: usize = 63;
    let odd = ['/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?', '\0'];
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(odd) {
        return Ok(());
    }
    let shown = show_path(name.as_bytes());
    let message = format!(
        "{shown:?} is no name of a MongoDB database: it has no dot, space, slash or sign of a pattern, and 1 to \
         {NAME_BYTES_MAX} bytes"
    );
    Err(Error::new(ErrorKind::Usage, message))
}

/// A name in a pattern of mongorestore's, to which `*` means something.
fn escape(name: &str) -> String {
    name.replace('\\', "\\\\").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn a_password_is_a_line_of_yaml() {
        for (text, wanted) in [
            ("a b", r#"password: "a b""#),
            (r#"a"b\c: #d"#, r#"password: "a\"b\\c: #d""#),
            ("a\nb", r#"password: "a\u000ab""#),
        ] {
            assert_eq!(*configuration(&password(text)), wanted);
        }
    }

    #[test]
    fn a_shell_hands_the_line_to_the_program_alone() {
        let shown = r#"cat /dev/fd/3; env | grep -c -e ^PACKSTONE_MONGODB -e ^LINE=; cat"#;
        for (script, variable, value, wanted) in [
            (WITH_LINE.to_owned(), VARIABLE, r#"password: "a'$b\\""#, r#"password: "a'$b\\""#),
            (
                with_variable(WITH_CONTAINER_PASSWORD, "OWN").expect("a name"),
                "OWN",
                r#"a'$b\ "c"#,
                r#"password: 'a''$b\ "c'"#,
            ),
        ] {
            let program = Program::of_command("sh", None, None, &Listener::silent())
                .arguments(["-c", &script, "sh", "sh", "-c", shown]);
            let answer = program.secret(variable, &password(value)).capture_text().expect("an answer");
            assert_eq!(answer, format!("{wanted}\n0\n"));
        }
    }

    #[test]
    fn names_are_those_of_databases() {
        check_name("shop_yesterday-漢").expect("a name");
        for name in ["", "a.b", "a b", "a/b", "a*b", &"x".repeat(64)] {
            assert_eq!(check_name(name).expect_err(name).kind(), ErrorKind::Usage);
        }
    }

    #[test]
    fn stars_in_names_are_only_stars() {
        assert_eq!(escape(r"a*b\c"), r"a\*b\\c");
    }
}
