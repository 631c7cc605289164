//! Holds `docs/json.md` against what the program prints: every key is documented and of the documented type, every key
//! that is not optional is there, and every documented line is met.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::transcript::Place;
use crate::support::code::read;
use crate::support::need::can_mount;
use crate::support::skip::skip;

/// Keys and types of one table.
type Table = Vec<(String, String)>;

/// The tables by command and name.
struct Documented(BTreeMap<(String, String), Table>);

impl Documented {
    fn parse(text: &str) -> Self {
        let mut tables: BTreeMap<(String, String), Table> = BTreeMap::new();
        let (mut command, mut name) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                title.clone_into(&mut command);
                name.clear();
            } else if let Some(title) = line.strip_prefix("### ") {
                title.clone_into(&mut name);
                tables.insert((command.clone(), name.clone()), Table::new());
            } else if let Some(row) = line.strip_prefix("| `").filter(|_| !name.is_empty()) {
                let mut cells = row.split(" | ");
                let key = cells.next().and_then(|cell| cell.strip_suffix('`')).expect("a key");
                let kind = cells.next().expect("a type").trim();
                let table = tables.get_mut(&(command.clone(), name.clone())).expect("a table");
                table.push((key.to_owned(), kind.to_owned()));
            }
        }
        // As the document says in words.
        let of_snapshots = tables[&("snapshots".to_owned(), "snapshot".to_owned())].clone();
        tables.get_mut(&("ls".to_owned(), "snapshot".to_owned())).expect("a table").extend(of_snapshots);
        Self(tables)
    }

    fn table(&self, command: &str, name: &str) -> Option<(String, &Table)> {
        // A type of one command may stand in the table of another.
        let places = [command, "repo key", "snapshots", "ls", "run"]
            .map(|command| (command.to_owned(), name.to_owned()));
        places.into_iter().find_map(|place| Some((format!("{}/{name}", place.0), self.0.get(&place)?)))
    }
}

/// What was met, and what does not fit.
struct Check<'d> {
    documented: &'d Documented,
    command: &'d str,
    met: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Check<'_> {
    fn object(&mut self, name: &str, object: &Map<String, Value>) {
        let Some((place, table)) = self.documented.table(self.command, name) else {
            return self.wrong.push(format!("{}: no table {name} for {object:?}", self.command));
        };
        for (key, value) in object {
            match table.iter().find(|(documented, _)| documented == key) {
                Some((_, kind)) => self.value(&format!("{place}.{key}"), kind, value),
                None => self.wrong.push(format!("{place}: {key} is not documented")),
            }
        }
        for (key, kind) in table {
            if !kind.ends_with('?') && !object.contains_key(key) {
                self.wrong.push(format!("{place}: no {key} in {object:?}"));
            }
        }
        self.met.insert(place);
    }

    fn value(&mut self, place: &str, kind: &str, value: &Value) {
        let kind = kind.strip_suffix('?').unwrap_or(kind);
        let text = value.as_str();
        let fits = match kind {
            "string" | "path" => text.is_some() || (place.ends_with("group_key.job") && value.is_null()),
            "id" => text.is_some_and(|text| {
                !text.is_empty()
                    && text.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
            }),
            "time" => text.is_some_and(|text| text.len() == 30 && text.ends_with('Z')),
            "uint" => value.is_u64(),
            "float" => value.is_f64(),
            "bool" => value.is_boolean(),
            _ => match (kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')), value) {
                (Some(kind), Value::Array(values)) => {
                    values.iter().for_each(|value| self.value(place, kind, value));
                    true
                }
                (None, Value::Object(object)) => {
                    self.object(kind, object);
                    true
                }
                _ => false,
            },
        };
        if !fits {
            self.wrong.push(format!("{place}: {value} is no {kind}"));
        }
    }

    /// A line of the standard output.
    fn line(&mut self, line: &str) {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(object)) => {
                let name = object.get("message_type").and_then(Value::as_str);
                let name =
                    name.or_else(|| self.command.split(' ').next_back()).unwrap_or_default().to_owned();
                self.object(&name, &object);
            }
            Ok(Value::Array(values)) => {
                for value in values {
                    let name = match self.command {
                        "repo key list" => "key",
                        "repo sessions" => "session",
                        "repo probe" => "kind",
                        "forget" => "forgotten",
                        "restore-database" => "source",
                        _ if value.get("group_key").is_some() => "group",
                        _ => "snapshot",
                    };
                    self.value(self.command, name, &value);
                }
            }
            other => self.wrong.push(format!("{}: {line:?} is no line of JSON: {other:?}", self.command)),
        }
    }
}

const PREPARE: &str = "
    mkdir -p source/sub && printf 'hello\\n' > source/one && ln source/one source/sub/two && ln -s x source/link
    printf 'a password\\n' > password && printf x > \"$(printf 'source/odd\\377')\" && mkfifo source/pipe && head -c 50000000 /dev/zero > source/zeros
    mkdir mnt && touch empty && ( umask 077; head -c 32 /dev/urandom > key )
    cat > jobs.toml <<END
[repository.main]
url = \"$PWD/repository\"
key-file = \"$PWD/key\"
[repository.offsite]
url = \"$PWD/offsite\"
key-file = \"$PWD/key\"
[job.simple]
repository = \"main\"
schedule = \"daily 03:00\"
skip-if-unchanged = true
source = [{ type = \"path\", paths = [\"$PWD/empty\", \"$PWD/source/zeros\"] }]
[job.held]
repository = \"main\"
keep = { last = 1 }
check = \"1/1\"
copy = [{ repository = \"offsite\", keep = { last = 1 } }]
[[job.held.source]]
type = \"path\"
name = \"odd\"
paths = [\"$PWD/source/odd*\"]
[[job.held.source]]
type = \"command\"
command = [\"sh\", \"-c\", \"test -e $PWD/once && exit 1; touch $PWD/once; echo done\"]
filename = \"out\"
on-failure = \"partial\"
END
    printf '[repository.main]\nurl = \"%s/repository\"\nkey-file = \"key\"\n[job.nightly]\n' \"$PWD\" > config
    printf '[[job.nightly.source]]\ntype = \"command\"\nname = \"notes\"\nfilename = \"a\"\ncommand = [\"echo\", \"a\"]\n' >> config";

/// What is run, by the section that describes it, in this order.
const RUNS: [(&str, &str); 99] = [
    ("repo init", "repo init"),
    ("repo init", "--config jobs.toml -r offsite repo init"),
    ("plan", "--config jobs.toml plan"),
    ("run", "--config jobs.toml --progress-interval 1ms run"),
    ("run", "--config jobs.toml run simple"),
    ("run", "--config jobs.toml run held"),
    ("run", "--config jobs.toml run held"),
    ("plan", "--config jobs.toml plan held"),
    ("run", "--config jobs.toml run held --only-source missing"),
    ("log", "--config jobs.toml log held"),
    ("repo init", "-r \"sftp:here:$PWD/distant\" repo init"),
    ("snapshots", "snapshots"),
    ("stats", "stats"),
    ("backup", "backup source missing --tag a,b --description text --progress-interval 1ms"),
    ("backup", "backup source missing -v --exclude one"),
    ("backup", "backup source --dry-run -v --exclude one"),
    ("backup", "backup source --skip-if-unchanged --force"),
    ("backup", "backup empty"),
    ("backup", "backup empty --skip-if-unchanged"),
    ("backup", "backup --stdin-from-command -- sh -c 'echo out; echo err >&2'"),
    ("backup", "backup --stdin-from-command -- false"),
    ("backup", "backup source --cache-dir empty"),
    ("snapshots", "snapshots"),
    ("snapshots", "snapshots --group-by host,job,paths,tags"),
    ("snapshots", "snapshots --host nobody"),
    ("ls", "ls latest --path source"),
    ("ls", "ls latest:/no/such"),
    ("ls", "ls latest --path source --sort size --reverse --depth 9"),
    ("cat", "cat latest:/no/such"),
    ("dump", "dump latest --path source -t dumped.tar"),
    ("dump", "dump latest --path source -t dumped.tar"),
    ("dump", "dump latest --path source -t dumped.zip"),
    ("mount", "mount mnt & until umount mnt 2> err || ! kill -0 $!; do :; done; wait; rm err"),
    ("restore", "restore latest --path source -t out --progress-interval 1ms"),
    ("restore", "restore latest --path source -t out"),
    ("restore", "restore latest --path source -t out -v --overwrite if-changed --verify"),
    ("restore", "restore latest --path source -t out2 --dry-run -v"),
    ("restore", "restore latest --path source -t out3 --thaw"),
    ("find", "find one 'odd*' -l"),
    ("find", "find nothing"),
    ("find", "find --content missing"),
    ("history", "history source/one"),
    ("history", "history \"$(printf 'source/odd\\377')\""),
    ("history", "history stdin -s latest"),
    ("history", "history /stdin"),
    ("diff", "diff latest latest --path source"),
    ("diff", "diff latest --path source --live repository"),
    ("diff", "diff latest --path source --live repository --stat"),
    ("diff", "diff latest nothing"),
    ("stats", "stats"),
    ("stats", "stats --mode restore-size"),
    ("stats", "stats --mode raw-data"),
    ("stats", "stats --mode files-by-contents"),
    ("stats", "stats --mode blobs-per-file"),
    ("stats", "stats --growth=3 --path source"),
    ("repo info", "repo info"),
    ("repo probe", "-r \"sftp:here:$PWD/probed\" repo probe"),
    ("repo probe", "repo probe --table"),
    ("repo check", "repo check --read-data --progress-interval 1ms"),
    (
        "repo check",
        "-r \"$(cp -r repository cut; for pack in cut/packs/*/*; do truncate -s 300 $pack; done; echo cut)\" repo check",
    ),
    ("repo check", "repo check --storage-only"),
    ("tag", "tag --add x latest --path source"),
    ("snapshots", "snapshots"),
    ("forget", "forget --keep-last 1 --dry-run"),
    ("forget", "forget --keep-last 1 --group-by host,job,tags --keep-tag a"),
    ("forget", "forget --host nobody --keep-last 1"),
    ("forget", "forget latest --path empty"),
    ("forget", "forget"),
    ("repo init", "-r copies repo init --from repository --from-key-file key"),
    ("repo copy", "-r copies repo copy --from repository --from-key-file key --dry-run"),
    ("repo copy", "-r copies repo copy --from repository --from-key-file key latest"),
    ("repo copy", "-r copies repo copy --from repository --from-key-file key"),
    (
        "repo copy",
        "-r copies repo copy --from repository --from-key-file key --to \"sftp:here:$PWD/distant\" --to missing",
    ),
    ("repo prune", "repo prune --dry-run"),
    ("repo prune", "repo prune"),
    ("backup", "backup --stdin-from-command -- sh -c 'head -c 1000000 /dev/zero; kill -KILL $PPID'"),
    ("repo sessions", "repo sessions"),
    (
        "repo sessions",
        "repo sessions end \"$(ls repository/sessions | grep -v -F \"$(ls repository/snapshots)\")\"",
    ),
    ("repo sessions", "repo sessions end 0123"),
    ("restore-database", "restore-database \"$(packstone -q --config config run >ran 2>&1; echo latest)\""),
    ("restore-database", "restore-database latest notes --to restore-command='[\"true\"]' --dry-run"),
    (
        "restore-database",
        "restore-database latest notes --to restore-command='[\"sh\", \"-c\", \"cat >given\"]' --yes",
    ),
    ("restore-database", "restore-database latest notes --to restore-command='[\"true\"]'"),
    ("repo key list", "repo key list"),
    ("repo key", "repo key add --new-key-file second --label x"),
    ("repo key", "repo key add --new-password-file password --label y"),
    ("repo key list", "--key-file second repo key list"),
    ("repo key", "repo key export --current --output sheet"),
    ("repo key", "repo key export --output sheet2"),
    ("repo key", "repo key remove nothing"),
    ("repo key", "repo key passwd --new-key-file third"),
    ("repo key", "--key-file second repo key remove \"$third\""),
    ("config init", "config init begun.toml --root source"),
    ("config check", "config check begun.toml"),
    ("config check", "config check \"$(echo '[repositry.a]' > bad.toml; echo bad.toml)\""),
    ("man", "man pages"),
    ("snapshots", "--key-file missing snapshots"),
    ("snapshots", "--frobnicate"),
    ("snapshots", "-r missing snapshots"),
];

/// What answers behind SSH, without SSH.
const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

#[test]
fn the_table_of_storages_is_the_program_s() {
    let place = Place::new();
    let output = place.shell("packstone repo probe --table").output().expect("a shell");
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(table.lines().count() > 5 && read("docs/storages.md").text.contains(&table), "{table}");
}

#[test]
fn what_is_printed_is_what_is_documented() {
    if !std::path::Path::new(SFTP_SERVER).exists() {
        return skip("sftp-server", "docs/json.md against what is printed");
    }
    let documented = Documented::parse(&read("docs/json.md").text);
    let place = Place::new();
    let prepared = place.shell(PREPARE).output().expect("a shell");
    assert!(prepared.status.success(), "{prepared:?}");
    let mut met = BTreeSet::new();
    let mut wrong = Vec::new();
    let can_mount = can_mount("the line of mount in docs/json.md");
    if !can_mount {
        met.insert("mount/mounted".to_owned());
    }
    for (command, arguments) in RUNS.into_iter().filter(|(command, _)| can_mount || *command != "mount") {
        let script = format!(
            "export PACKSTONE_REPOSITORY=repository PACKSTONE_KEY_FILE=key
            export PACKSTONE_SSH_COMMAND=\"sh -c 'exec {SFTP_SERVER}'\"
            third=$(packstone --json --key-file third repo key list | sed 's/.*true,\"id\":\"\\([0-9a-f]*\\).*/\\1/')
            exec packstone --json {arguments}"
        );
        let output = place.shell(&script).output().expect("a shell");
        let [printed, errors] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
        let errors: Vec<&str> = errors.lines().collect();
        for (command, lines) in [(command, printed.lines().collect()), ("Messages", errors)] {
            let mut check =
                Check { documented: &documented, command, met: BTreeSet::new(), wrong: Vec::new() };
            lines.into_iter().for_each(|line| check.line(line));
            met.append(&mut check.met);
            wrong.extend(check.wrong.into_iter().map(|wrong| format!("packstone {arguments}: {wrong}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all: BTreeSet<String> =
        documented.0.keys().map(|(command, name)| format!("{command}/{name}")).collect();
    let unmet: Vec<&String> = all.difference(&met).collect();
    assert_eq!(unmet, [""; 0], "documented, and never printed");
}

#[test]
fn a_line_that_is_not_as_documented_is_found() {
    let text =
        "## c\n### t\n| `a` | uint | |\n| `b` | [id]? | |\n## snapshots\n### snapshot\n## ls\n### snapshot\n";
    let documented = Documented::parse(text);
    let wrong = |line: &str| {
        let mut check =
            Check { documented: &documented, command: "c t", met: BTreeSet::new(), wrong: Vec::new() };
        check.command = "c";
        let object: Map<String, Value> = serde_json::from_str(line).expect("an object");
        check.object("t", &object);
        check.wrong.len()
    };
    assert_eq!(wrong("{\"a\":1}"), 0);
    assert_eq!(wrong("{\"a\":1,\"b\":[\"0f\"]}"), 0);
    for bad in [
        "{}",
        "{\"a\":-1}",
        "{\"a\":\"1\"}",
        "{\"a\":1,\"b\":\"0f\"}",
        "{\"a\":1,\"b\":[\"x\"]}",
        "{\"a\":1,\"c\":1}",
    ] {
        assert_eq!(wrong(bad), 1, "{bad}");
    }
}
