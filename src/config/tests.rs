//! Every key gives what it says, and everything that is wrong is told with its place and its key.

use std::time::Duration;

use toml_edit::Document;

use super::*;
use crate::base::Result as EngineResult;
use crate::ops::backup::OnFailure;
use crate::ops::check::Portion;
use crate::source::engine::{self, Databases};
use crate::storage::location::Location;
use zeroize::Zeroizing;

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/packstone"))
        .unwrap_or_else(|problems| panic!("{text}\n{}", shown(&problems)))
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn problems(text: &str) -> String {
    shown(&Config::parse(text, Path::new("/etc/packstone")).expect_err(text))
}

/// A configuration with one job of one source, of which this is said.
fn with_source(lines: &str) -> String {
    format!("[repository.main]\nurl = \"/srv/backup\"\n[job.nightly]\n[[job.nightly.source]]\n{lines}\n")
}

fn with_job(lines: &str) -> String {
    let source = "[[job.nightly.source]]\ntype = \"path\"\npaths = [\"/srv\"]\n";
    format!("[repository.main]\nurl = \"/srv/backup\"\n[job.nightly]\n{lines}\n{source}")
}

fn with_repository(lines: &str) -> String {
    format!("[repository.main]\nurl = \"s3://bucket/prefix\"\n{lines}\n")
}

/// What the only source is.
fn engine_of(lines: &str) -> EngineOptions {
    struct Words;
    impl Secrets for Words {
        fn read(&self, source: &SecretSource) -> EngineResult<Zeroizing<String>> {
            Ok(Zeroizing::new(format!("{source:?}")))
        }
    }
    let config = parse(&with_source(lines));
    let Input::Engine(engine) = &config.jobs[0].sources[0].input else { panic!("{lines} is no engine") };
    engine.engine(&Words, Some(Path::new("/scratch")), 7).expect("its secrets")
}

/// The example of the documentation, which has every table.
const EXAMPLE: &str = r#"
[repository.main]
url = "/srv/backup"
password-command = "pass show backup"

[repository.offsite]
url = "s3:https://host/bucket/prefix"
key-file = "offsite.key"

[job.nightly]
repository = "main"
schedule = "daily 03:00"
keep = { daily = 7, weekly = 4, monthly = 12, yearly = 7 }
copy = [{ repository = "offsite", keep = { monthly = 24 } }]

[[job.nightly.source]]
type = "path"
paths = ["/srv/volumes", "/etc/letsencrypt"]
exclude = ["*.tmp"]

[[job.nightly.source]]
type = "postgres"
name = "shop"
host = "/run/postgresql"
user = "postgres"
databases = ["shop"]
on-failure = "partial"
"#;

#[test]
fn the_example_of_the_design_is_read() {
    let config = parse(EXAMPLE);
    let main = config.repository("main").expect("a repository");
    assert_eq!(main.location, Location::Local("/srv/backup".into()));
    let command = SecretSource::Shell("pass show backup".into());
    assert_eq!(main.credential, Some(CredentialSource::Password(command)));
    assert_eq!(
        config.repository("offsite").expect("a repository").credential,
        Some(CredentialSource::KeyFile("/etc/packstone/offsite.key".into()))
    );
    let job = config.job("nightly").expect("a job");
    assert_eq!(job.repository, "main");
    assert_eq!(job.schedule.as_ref().map(Schedule::period_seconds), Some(86_400));
    assert_eq!(
        job.keep.as_ref().map(ToString::to_string).as_deref(),
        Some("7 daily, 4 weekly, 12 monthly, 7 yearly")
    );
    assert!(job.prune);
    assert_eq!(job.parallel, 2);
    assert_eq!(job.copies[0].repository, "offsite");
    let names: Vec<&str> = job.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["path", "shop"]);
    let Input::Paths(paths) = &job.sources[0].input else { panic!("paths") };
    assert_eq!(paths.paths, ["/srv/volumes", "/etc/letsencrypt"]);
    assert_eq!(paths.rules.exclude, ["*.tmp"]);
    assert!(config.repository("nightly").is_none() && config.job("main").is_none());
}

#[test]
fn a_text_without_anything_is_a_configuration() {
    let config = parse("# nothing yet\n");
    assert!(config.repositories.is_empty() && config.jobs.is_empty());
}

#[test]
fn every_limit_of_a_repository_is_read() {
    let lines = "limit-upload = \"2M\"\nlimit-download = 500\nconnections = 3\nretry-for = \"1h\"\n\
        storage-class = \"COLD\"\nca-file = \"ca.pem\"\ntls-client-cert = \"/c.pem\"\nmemory-limit = \"64M\"\n\
        cache-dir = \"/cache\"\ncache-size = \"2g\"\nkey-credential = \"backup-key\"";
    let config = parse(&with_repository(lines));
    let expected = Limits {
        upload_bytes_per_second: Some(2 << 20),
        download_bytes_per_second: Some(500 << 10),
        connections: Some(3),
        retry_for: Some(Duration::from_secs(3600)),
        storage_class: Some("COLD".into()),
        ca_file: Some("/etc/packstone/ca.pem".into()),
        tls_client_cert: Some("/c.pem".into()),
        memory_bytes: Some(64 << 20),
        cache_folder: Some("/cache".into()),
        cache_bytes: Some(2 << 30),
    };
    assert_eq!(config.repositories[0].limits, expected);
    let key = CredentialSource::KeyCredential("backup-key".into());
    assert_eq!(config.repositories[0].credential, Some(key));
    for (line, expected) in [
        ("password-file = \"p\"", SecretSource::File("/etc/packstone/p".into())),
        ("password-env = \"BACKUP\"", SecretSource::Variable("BACKUP".into())),
        ("password-credential = \"backup\"", SecretSource::Credential("backup".into())),
    ] {
        let found = parse(&with_repository(line)).repositories[0].credential.clone();
        assert_eq!(found, Some(CredentialSource::Password(expected)), "{line}");
    }
}

#[test]
fn every_key_of_a_job_is_read() {
    let lines = "repository = \"main\"\nhost = \"web\"\ntags = [\"a\", \"b\"]\ndescription = \"d\"\nparallel = 4\n\
        schedule = \"hourly\"\non-failure = \"fail\"\nskip-if-unchanged = true\nignore-ctime = true\nignore-inode = true\n\
        exclude = [\"*.o\"]\niexclude = [\"*.LOG\"]\nexclude-file = \"rules\"\niexclude-file = [\"/a\", \"b\"]\n\
        exclude-caches = true\nexclude-if-present = \".nobackup\"\nexclude-larger-than = \"1G\"\none-file-system = true\n\
        prune = false\ncheck = \"5%\"\n\
        keep = { last = 1, hourly = 2, daily = 3, weekly = 4, monthly = 5, quarterly = 6, yearly = \"unlimited\", \
        within = \"1h\", within-hourly = \"2h\", within-daily = \"3d\", within-weekly = \"4d\", within-monthly = \"5m\", \
        within-quarterly = \"6m\", within-yearly = \"7y\", tags = [\"x,y\", \"z\"] }";
    let config = parse(&with_job(lines));
    let job = &config.jobs[0];
    assert_eq!((job.host.as_deref(), job.description.as_deref()), (Some("web"), Some("d")));
    assert_eq!((job.tags.as_slice(), job.parallel), (["a".to_owned(), "b".to_owned()].as_slice(), 4));
    assert!(job.skip_if_unchanged && job.ignore_ctime && job.ignore_inode && !job.prune);
    assert_eq!(job.check, Some(Portion::Share(5_000_000)));
    assert_eq!(
        job.keep.as_ref().expect("a policy").to_string(),
        "1 last, 2 hourly, 3 daily, 4 weekly, 5 monthly, 6 quarterly, unlimited yearly, all within 1h, hourly within 2h, \
         daily within 3d, weekly within 4d, monthly within 5m, quarterly within 6m, yearly within 7y, tags [x, y], tags [z]"
    );
    assert_eq!(job.sources[0].on_failure, OnFailure::Fail);
    let Input::Paths(paths) = &job.sources[0].input else { panic!("paths") };
    let rules = &paths.rules;
    assert_eq!(
        (rules.exclude.as_slice(), rules.iexclude.as_slice()),
        (["*.o".into()].as_slice(), ["*.LOG".into()].as_slice())
    );
    assert_eq!(rules.exclude_file, [Path::new("/etc/packstone/rules")]);
    assert_eq!(rules.iexclude_file, [Path::new("/a"), Path::new("/etc/packstone/b")]);
    assert_eq!(rules.markers.len(), 1);
    assert!(rules.caches && rules.one_file_system && rules.larger_than_bytes == Some(1 << 30));
    for (text, expected) in [
        ("1/7", Portion::Part { number: 1, of: 7 }),
        ("2G", Portion::Bytes(2 << 30)),
        ("for 30m", Portion::Within(Duration::from_secs(1800))),
        ("all", Portion::All),
    ] {
        assert_eq!(parse(&with_job(&format!("check = \"{text}\""))).jobs[0].check, Some(expected), "{text}");
    }
}

#[test]
fn a_source_adds_to_the_rules_of_its_job() {
    let text = with_job("exclude = [\"a\"]\nexclude-larger-than = \"1G\"")
        + "exclude = [\"b\"]\nexclude-larger-than = \"2G\"\non-failure = \"keep-previous\"\n";
    let config = parse(&text);
    let Input::Paths(paths) = &config.jobs[0].sources[0].input else { panic!("paths") };
    assert_eq!(paths.rules.exclude, ["a", "b"]);
    assert_eq!(paths.rules.larger_than_bytes, Some(2 << 30));
    assert_eq!(config.jobs[0].sources[0].on_failure, OnFailure::KeepPrevious);
}

#[test]
fn what_may_take_so_long_is_said_by_a_job_or_a_source() {
    let source = "type = \"redis\"\n[[job.nightly.source]]\ntype = \"sqlite\"\npaths = [\"/a\"]\ntime-limit = \"90s\"\n";
    let sources = |line: &str| {
        let text = with_source(source).replacen("[[job", &format!("{line}\n[[job"), 1);
        parse(&text).jobs[0].sources.iter().map(|source| source.time_limit).collect::<Vec<_>>()
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(sources(""), [None, seconds(90)]);
    assert_eq!(sources("time-limit = \"2h\""), [seconds(7200), seconds(90)]);
    let told = problems(&with_source("type = \"redis\"\ntime-limit = \"0s\""));
    assert!(told.ends_with("time-limit: nothing could be done in that time"), "{told}");
}

#[test]
fn servers_of_databases_are_read() {
    let access = "host = \"db\"\nport = 5433\nuser = \"backup\"\npassword-env = \"DB\"\nrun-as = \"postgres\"\n\
        programs = \"/usr/lib/postgresql/15/bin\"\n";
    let lines = format!(
        "type = \"postgres\"\n{access}databases = [\"shop\"]\nformat = \"custom\"\noptions = [\"--no-owner\"]"
    );
    let EngineOptions::Postgres(postgres) = engine_of(&lines) else { panic!("PostgreSQL") };
    let found = &postgres.access;
    assert_eq!(
        (found.host.as_deref(), found.port, found.user.as_deref()),
        (Some("db"), Some(5433), Some("backup"))
    );
    assert_eq!(found.password.as_ref().map(engine::Password::expose), Some("Variable(\"DB\")"));
    assert_eq!(found.run_as.as_deref(), Some("postgres"));
    assert_eq!(found.programs.as_deref(), Some("/usr/lib/postgresql/15/bin"));
    assert_eq!(postgres.databases, Databases::Named(vec!["shop".into()]));
    assert_eq!((postgres.format, postgres.options.len()), (engine::postgres::Format::Custom, 1));

    let lines = "type = \"mysql\"\nsocket = \"/run/mysqld/mysqld.sock\"\ndatabases = \"all\"";
    let EngineOptions::Mariadb(mysql) = engine_of(lines) else { panic!("MySQL") };
    assert!(mysql.is_mysql && mysql.databases == Databases::All);
    assert_eq!(mysql.access.socket.as_deref(), Some("/run/mysqld/mysqld.sock"));

    let lines = "type = \"mariadb\"\ncontainer = \"db\"\ncontainer-program = \"podman\"\n\
        container-password = \"MARIADB_ROOT_PASSWORD\"";
    let EngineOptions::Mariadb(mariadb) = engine_of(lines) else { panic!("MariaDB") };
    let container = engine::Container { name: "db".into(), program: "podman".into() };
    assert_eq!((mariadb.access.container, mariadb.is_mysql), (Some(container), false));
    assert_eq!(mariadb.access.container_password.as_deref(), Some("MARIADB_ROOT_PASSWORD"));

    let lines = "type = \"valkey\"\nmethod = \"save\"\nfolder = \"/var/lib/valkey\"\nstop-command = [\"stop\"]\n\
        start-command = [\"start\"]\ntls = true\ntls-ca-cert-file = \"/ca.crt\"";
    let EngineOptions::Redis(redis) = engine_of(lines) else { panic!("Redis") };
    assert_eq!(redis.method, engine::redis::Method::Save);
    assert_eq!((redis.folder.as_deref(), redis.stop_command.len()), (Some("/var/lib/valkey"), 1));
    assert_eq!(redis.tls.and_then(|tls| tls.ca_file).as_deref(), Some("/ca.crt"));

    let lines = "type = \"mongodb\"\noplog = true\nauthentication-database = \"admin\"";
    let EngineOptions::Mongodb(mongodb) = engine_of(lines) else { panic!("MongoDB") };
    assert!(mongodb.with_oplog && mongodb.authentication_database.as_deref() == Some("admin"));
}

#[test]
fn files_of_databases_and_commands_are_read() {
    let EngineOptions::Sqlite(sqlite) = engine_of("type = \"sqlite\"\npaths = [\"/srv/*/data.db\"]") else {
        panic!("SQLite")
    };
    assert_eq!((sqlite.paths, sqlite.memory_bytes), (vec!["/srv/*/data.db".to_owned()], 7));
    assert_eq!(sqlite.scratch.as_deref(), Some(Path::new("/scratch")));

    let lines = "type = \"chromadb\"\npath = \"/srv/chroma\"\npaused-container = \"chroma\"";
    let EngineOptions::Chroma(chroma) = engine_of(lines) else { panic!("ChromaDB") };
    let container = engine::Container { name: "chroma".into(), program: "docker".into() };
    assert_eq!((chroma.path.as_str(), chroma.paused_container), ("/srv/chroma", Some(container)));

    let lines = "type = \"command\"\ncommand = [\"gitea\", \"dump\"]\nfilename = \"gitea.zip\"\nends-with = \"end\"\n\
        restore-command = [\"cat\"]\nrun-as = \"git\"\n\
        environment = { A = \"b\", C = { file = \"c\" }, D = { credential = \"d\" }, E = { env = \"E\" }, F = { command = \"f\" } }";
    let EngineOptions::AnyCommand(command) = engine_of(lines) else { panic!("a command") };
    assert_eq!((command.command.len(), command.file_name.as_str()), (2, "gitea.zip"));
    let values: Vec<String> =
        command.environment.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect();
    assert_eq!(
        values,
        ["A=b", "C=File(\"/etc/packstone/c\")", "D=Credential(\"d\")", "E=Variable(\"E\")", "F=Shell(\"f\")"]
    );
    assert_eq!((command.ends_with.as_deref(), command.run_as.as_deref()), (Some("end"), Some("git")));
}

/// Nothing is a date here, so each key that is read refuses one, and one that is not read is refused as unknown.
#[test]
fn every_key_of_the_list_is_read_and_refuses_what_it_cannot_be() {
    let mut tried = 0;
    for (title, known) in SECTIONS {
        let kind = title.split([' ', ',']).nth(1).unwrap_or_default();
        for key in known.iter().filter(|key| **key != "type") {
            let line = format!("{key} = 1979-05-27");
            let text = match *title {
                "[repository.NAME]" => format!("[repository.a]\n{line}\n"),
                "[job.NAME]" => format!("[job.a]\n{line}\n"),
                "keep" => with_job(&format!("keep.{line}")),
                "copy" => with_job(&format!("copy = [{{ {line} }}]")),
                "environment" => {
                    with_source(&format!("type = \"command\"\nenvironment = {{ A = {{ {line} }} }}"))
                }
                _ => with_source(&format!("type = \"{kind}\"\n{line}")),
            };
            let told = problems(&text);
            let is_refused = |line: &str| {
                line.contains(&format!("{key}: must be ")) && line.ends_with(", and is a date or time")
            };
            assert!(told.lines().any(is_refused), "{title} {key}:\n{told}");
            tried += 1;
        }
    }
    assert!(tried > 120, "{tried} keys");
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    assert_eq!(
        problems("a = \n"),
        "1:5: this is no TOML: string values must be quoted, expected literal string"
    );
    let told = problems("[repository.a]\nurl = \"/a\"\nurl = \"/b\"\n");
    assert_eq!(told, "3:1: this is no TOML: duplicate key");
    assert!(Document::parse("a = 1").is_ok());
}

#[test]
fn a_text_with_a_slip_is_whole_or_refused_with_a_place() {
    let (mut refused, mut read) = (0, 0);
    for position in (0..EXAMPLE.len()).filter(|position| EXAMPLE.is_char_boundary(*position)) {
        for (skipped, added) in [(1, ""), (0, "\""), (0, "x"), (1, "\n"), (1, "="), (0, "[[")] {
            let rest = EXAMPLE.get(position + skipped..).unwrap_or_default();
            let text = format!("{}{added}{rest}", &EXAMPLE[..position]);
            match Config::parse(&text, Path::new("/c")) {
                Ok(_) => read += 1,
                Err(problems) => {
                    let lines = text.lines().count();
                    let is_placed =
                        |problem: &Problem| (1..=lines + 1).contains(&problem.line) && problem.column > 0;
                    assert!(!problems.is_empty() && problems.iter().all(is_placed), "{text}\n{problems:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 1000 && read > 300, "{refused} refused, {read} read");
}

mod refused;
