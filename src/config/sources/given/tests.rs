//! Keys that are given mean what they mean in a configuration, and go before it.

use std::collections::BTreeSet;

use super::*;
use crate::config::{Config, EngineOptions, Input, SecretSource};
use crate::source::engine::Access;

fn configured(lines: &str) -> EngineConfig {
    let text = format!(
        "[repository.main]\nurl = \"/srv/backup\"\n[job.nightly]\n[[job.nightly.source]]\nname = \"x\"\n{lines}\n"
    );
    let config = Config::parse(&text, Path::new("/etc/packstone")).expect(lines);
    match config
        .jobs
        .into_iter()
        .next()
        .and_then(|job| job.sources.into_iter().next())
        .map(|source| source.input)
    {
        Some(Input::Engine(engine)) => *engine,
        other => panic!("{other:?}"),
    }
}

fn read(kind: &str, pairs: &[&str], configured: Option<&EngineConfig>) -> Result<EngineConfig, String> {
    let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
    let pairs: Vec<_> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let folder = Path::new("/home/user");
    let given = Given { kind, pairs: &pairs, folder, configured, file_name: Some("image.tar") };
    let shown = |problem: &Problem| {
        let nearest = problem.nearest.as_ref().map(|nearest| format!(" ({nearest})"));
        format!("{}: {}{}", problem.key, problem.message, nearest.unwrap_or_default())
    };
    given
        .read()
        .expect("a kind")
        .map_err(|problems| problems.iter().map(shown).collect::<Vec<_>>().join("\n"))
}

fn access(engine: &EngineConfig) -> &Access {
    match engine.without_secrets() {
        EngineOptions::Postgres(postgres) => &postgres.access,
        EngineOptions::Mariadb(mariadb) => &mariadb.access,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_that_are_given_are_all_that_is_known_of_a_server() {
    let engine = read("postgres", &[], None).expect("the client's own ways");
    assert_eq!(*access(&engine), Access::default());
    let engine =
        read("mysql", &["host=db", "port=3307", "user=[x", "password-file=secret"], None).expect("all fit");
    let Access { host, port, user, .. } = access(&engine);
    assert_eq!((host.as_deref(), *port, user.as_deref()), (Some("db"), Some(3307), Some("[x")));
    assert_eq!(engine.password, Some(SecretSource::File("/home/user/secret".into())));
    let EngineOptions::Mariadb(mariadb) = engine.without_secrets() else { panic!("{engine:?}") };
    assert!(mariadb.is_mysql);

    let redis = read("redis", &["stop-command=[\"a\", \"b c\"]", "start-command=['d']", "folder=/d"], None);
    let redis = redis.expect("all fit");
    let EngineOptions::Redis(redis) = redis.without_secrets() else { panic!("{redis:?}") };
    assert_eq!(
        (redis.stop_command.as_slice(), redis.start_command.as_slice()),
        (&["a".into(), "b c".into()][..], &["d".into()][..])
    );

    // What only a dump needs may be missing.
    read("sqlite", &[], None).expect("no paths");
    let command = read("command", &["restore-command=[\"docker\", \"load\"]"], None).expect("no command");
    let EngineOptions::AnyCommand(command) = command.without_secrets() else { panic!("{command:?}") };
    assert_eq!((command.file_name.as_str(), command.restore_command.len()), ("image.tar", 2));
    assert_eq!(read("chroma", &[], None).expect_err("no path"), "path: is needed and missing");
    read("chromadb", &["path=/srv/chroma"], None).expect("a path");
    let given =
        Given { kind: "oracle", pairs: &[], folder: Path::new("/"), configured: None, file_name: None };
    assert!(given.read().is_none());
    assert!(Given { kind: "path", ..given }.read().is_none());
}

#[test]
fn keys_that_are_given_go_before_the_configuration() {
    let base = configured(
        "type = \"postgres\"\nhost = \"one\"\nport = 5433 # here\nuser = \"u\"\npassword-file = \"pw\"\nrun-as = \"postgres\"",
    );
    let same = read("postgres", &[], Some(&base)).expect("as it was");
    assert_eq!((access(&same), &same.password), (access(&base), &base.password));
    assert_eq!(same.password, Some(SecretSource::File("/etc/packstone/pw".into())));
    let other = read("postgres", &["host=two", "password-env=PW"], Some(&base)).expect("one instead");
    assert_eq!((access(&other).host.as_deref(), access(&other).port), (Some("two"), Some(5433)));
    assert_eq!(other.password, Some(SecretSource::Variable("PW".into())));
    let inside = read("postgres", &["container=db", "container-password=PW", "host=", "port="], Some(&base));
    let inside = inside.expect("the rest does not contradict it");
    assert_eq!((&access(&inside).run_as, &access(&inside).host, &inside.password), (&None, &None, &None));
    // And out of it again.
    let base = configured(
        "type = \"mariadb\"\ncontainer = \"db\"\ncontainer-program = \"podman\"\ncontainer-password = \"PW\"",
    );
    assert_eq!(access(&read("mariadb", &["container="], Some(&base)).expect("none")).container, None);
    let base = configured("type = \"mariadb\"\nsocket = \"/run/s\"");
    assert_eq!(access(&read("mariadb", &["host=h"], Some(&base)).expect("a host")).socket, None);

    let base = configured(
        "type = \"command\"\ncommand = [\"a\", \"b\"]\nfilename = \"f/g\"\n[job.nightly.source.environment]\nA = \"x\"\nB = { file = \"s\" }",
    );
    let same = read("command", &["restore-command=[\"c\"]"], Some(&base)).expect("a command");
    let (EngineOptions::AnyCommand(old), EngineOptions::AnyCommand(new)) = (&base.options, &same.options)
    else {
        panic!("{same:?}")
    };
    assert_eq!(
        (&old.command, &old.file_name, &old.environment),
        (&new.command, &new.file_name, &new.environment)
    );
    assert_eq!(base.environment, same.environment);
}

#[test]
fn what_is_wrong_is_told_with_its_key() {
    for (kind, pairs, expected) in [
        ("postgres", &["hots=x"][..], "hots: is no key that is known here (host)"),
        ("postgres", &["socket=/run/x"], "socket: is no key that is known here"),
        ("postgres", &["name=x"], "name: is no key that is known here"),
        ("postgres", &["host=x", "host=y"], "host: is given twice"),
        ("postgres", &["port=x"], "port: \"x\" is no port: 1 to 65535"),
        ("mariadb", &["socket=/x", "host=y"], "host: contradicts socket: a server is reached by one of them"),
        (
            "postgres",
            &["container-password=X"],
            "container-password: names a variable of a container: it needs container",
        ),
        ("sqlite", &["host=x"], "host: is no key that is known here"),
    ] {
        assert_eq!(read(kind, pairs, None).expect_err(expected), expected);
    }
    for pair in [
        "password=hunter2",
        "token=hunter2",
        "host=postgres://u:hunter2@h",
        "options=[\"--password=hunter2\"]",
    ] {
        let said = read("postgres", &[pair], None).expect_err(pair);
        assert!(!said.contains("hunter2") && said.contains(pair.split('=').next().expect("a key")), "{said}");
    }
}

#[test]
fn whatever_a_source_says_its_database_can_be_put_back_by() {
    const ALL: &str = "on-failure = \"partial\"\ntime-limit = \"1h\"\n";
    const SERVER: &str = "user = \"u\"\ncontainer = \"c\"\ncontainer-program = \"podman\"\n";
    const HERE: &str = "run-as = \"root\"\nprograms = \"/opt/bin\"\nhost = \"db\"\nport = 1\n";
    let mut tried = BTreeSet::new();
    for (kind, lines) in [
        ("postgres", format!("{SERVER}container-password = \"P\"\ndatabases = [\"a\"]\nformat = \"plain\"\n")),
        ("postgres", format!("{HERE}password-env = \"P\"\noptions = [\"--verbose\"]\n")),
        ("mariadb", format!("{SERVER}socket = \"/s\"\ndatabases = [\"a\"]\noptions = [\"--verbose\"]\n")),
        ("mysql", HERE.to_owned()),
        ("redis", format!("{SERVER}method = \"save\"\nfolder = \"/d\"\nsocket = \"/s\"\n")),
        (
            "valkey",
            format!("{HERE}stop-command = [\"a\"]\nstart-command = [\"b\"]\ntls = true\ntls-ca-cert-file = \"/c\"\n"),
        ),
        ("mongodb", format!("{HERE}oplog = true\nauthentication-database = \"admin\"\n")),
        ("mongodb", format!("{SERVER}databases = [\"a\"]\noptions = [\"--verbose\"]\n")),
        ("sqlite", "paths = [\"/a.db\"]\n".to_owned()),
        ("chromadb", "path = \"/c\"\npaused-container = \"c\"\ncontainer-program = \"podman\"\n".to_owned()),
        (
            "command",
            "command = [\"a\"]\nfilename = \"f\"\nends-with = \"e\"\nenvironment = { A = \"b\" }\nrestore-command = [\"r\"]\n"
                .to_owned(),
        ),
    ] {
        let lines = format!("type = \"{kind}\"\n{ALL}{lines}");
        let configured = configured(&lines);
        read(kind, &[], Some(&configured)).expect(&lines);
        tried.extend(lines.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.to_owned()));
    }
    let known = TYPES.iter().filter(|(_, kind)| kind.word != "path").flat_map(|(_, kind)| kind.keys);
    let of_secrets =
        ["password-file", "password-command", "password-credential", "tls-cert-file", "tls-key-file"];
    let missed: Vec<_> =
        known.filter(|key| !tried.contains(**key) && !of_secrets.contains(key) && **key != "name").collect();
    assert_eq!(missed, [&""; 0]);
}
