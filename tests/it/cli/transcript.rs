//! Runs a transcript: a text file with commands, what they must print, and how they must end.
//!
//! | line | meaning |
//! |---|---|
//! | `# …` | remark |
//! | `needs unprivileged` | skipped, loudly, where no command can be run as somebody without privileges |
//! | `needs a machine id` | skipped, loudly, where `/etc/machine-id` or the namespace of process ids is not known |
//! | `needs mounts` | skipped, loudly, where `unshare -rm` gives no file systems of one's own |
//! | `% …` | a shell command that prepares something, and must succeed |
//! | `@flip FILE OFFSET` | flips the lowest bit of a byte, from the end if the offset is negative |
//! | `@increase FILE OFFSET` | adds one to a byte |
//! | `@require FEATURE CONFIG` | adds a required feature to a config |
//! | `$ …` | a shell command that is tested; `packstone` is the program |
//! | `> …` | a line of its standard output, after the `$` |
//! | `! …` | a line of its standard error |
//! | `= N` | its exit code, 0 where none stands |
//!
//! All commands run in an empty directory, `<dir>`, with `HOME=<dir>/home`, in UTC. `unprivileged COMMAND …` runs a
//! command without the powers of root. In expected lines, `<id>` is the short id of a snapshot, `<hex>` any longer
//! name, `<version>` the program's, `<time>`, `<instant>` (RFC 3339), `<number>`, `<duration>` and `<size>` what they say, `<any>` anything on the
//! line, `<...>` any number of lines.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use packstone::format::config::Config;

use crate::support::scratch::Scratch;

/// Where transcripts are.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli");
/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_packstone");

/// An empty directory with a home, and commands that run there.
pub struct Place {
    scratch: Scratch,
    /// Holds the commands of transcripts, so that they are no part of the directory.
    tools: Scratch,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { scratch: Scratch::new(), tools: Scratch::new() };
        std::os::unix::fs::symlink(PROGRAM, place.tools.join("packstone")).expect("a link to the program");
        place
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// A command with the environment of the place and nothing else.
    pub fn command(&self, program: &str) -> Command {
        let path =
            std::env::vars().find(|(name, _)| name == "PATH").map(|(_, path)| path).unwrap_or_default();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:{path}", self.tools.path().display()))
            .env("HOME", self.path().join("home"))
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    pub fn shell(&self, script: &str) -> Command {
        let mut shell = self.command("sh");
        shell.arg("-c").arg(format!("umask 022\n{script}"));
        shell
    }

    /// Whether what a transcript needs can be had here.
    fn has(&self, needed: &str) -> bool {
        match needed {
            "unprivileged" => self.allow_unprivileged(),
            "a machine id" => {
                let host = packstone::base::host::Host::current();
                host.machine_id.is_some() && host.process_namespace.is_some()
            }
            "mounts" => self.shell("unshare -rm true").status().is_ok_and(|status| status.success()),
            _ => panic!("nothing is known of {needed}"),
        }
    }

    /// Makes the command `unprivileged`; false if nothing here can run one without privileges.
    fn allow_unprivileged(&self) -> bool {
        let is_root = rustix::process::geteuid().is_root();
        let drop_powers = if is_root { "setpriv --reuid=65534 --regid=65534 --clear-groups -- " } else { "" };
        let own_copy = self.tools.join("own-packstone");
        // By another process: what this one has open for writing, a child of another thread may have open, too, for a
        // moment, and then it cannot be run.
        let copy = |from: &Path, to: &Path| {
            let status = Command::new("cp").args([from, to]).status();
            assert!(status.is_ok_and(|status| status.success()), "cannot copy {}", from.display());
        };
        copy(Path::new(PROGRAM), &own_copy);
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = packstone ] && shift && set -- {} \"$@\"\nexec {drop_powers}\"$@\"\n",
            own_copy.display()
        );
        let (draft, wrapper) = (self.tools.join("draft"), self.tools.join("unprivileged"));
        std::fs::write(&draft, script).expect("a script");
        copy(&draft, &wrapper);
        for path in [&wrapper, &own_copy, self.tools.path(), self.path()] {
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(path, permissions).expect("permissions");
        }
        let tried = self.shell("unprivileged packstone --version && unprivileged test ! -w /etc").output();
        tried.is_ok_and(|output| output.status.success())
    }
}

/// A tested command and what it must do.
#[derive(Default)]
struct Step {
    line: usize,
    script: String,
    output: String,
    errors: String,
    code: i32,
}

/// Runs `tests/cli/NAME.txt`; fails with what was printed instead, in the form of a transcript.
pub fn run(name: &str) {
    let file = format!("{FOLDER}/{}.txt", name.replace('_', "-"));
    let text = std::fs::read_to_string(&file).expect("a transcript");
    let place = Place::new();
    let dir = place.path().to_str().expect("a path in UTF-8").to_owned();
    let mut step = Step::default();
    let mut wrong = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.replace("<dir>", &dir).replace("<version>", env!("CARGO_PKG_VERSION"));
        let (mark, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match mark {
            ">" => writeln!(step.output, "{rest}").expect("text"),
            "!" => writeln!(step.errors, "{rest}").expect("text"),
            "=" => step.code = rest.parse().expect("an exit code"),
            _ => {
                wrong += &check(&place, &std::mem::take(&mut step));
                match mark {
                    "" | "#" => {}
                    "$" => step = Step { line: number, script: rest.to_owned(), ..Step::default() },
                    "%" => prepare(&place, number, rest),
                    "@flip" => change_byte(&place, rest, |byte| byte ^ 1),
                    "@increase" => change_byte(&place, rest, |byte| byte + 1),
                    "@require" => require_feature(&place, rest),
                    "needs" if place.has(rest) => {}
                    "needs" => return skip(&format!("SKIPPED, needs {rest}: {file}")),
                    _ => panic!("{file}:{number}: no line of a transcript: {line}"),
                }
            }
        }
    }
    wrong += &check(&place, &step);
    assert!(wrong.is_empty(), "{file}\n{wrong}");
}

fn skip(message: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "{message}").expect("the standard error takes a line");
}

fn prepare(place: &Place, number: usize, script: &str) {
    let output = place.shell(script).output().expect("a shell");
    assert!(output.status.success(), "line {number}: {script}: {output:?}");
}

/// Runs a command; what it did if that is not what it must do.
fn check(place: &Place, step: &Step) -> String {
    if step.script.is_empty() {
        return String::new();
    }
    let output = place.shell(&step.script).output().expect("a shell");
    let [printed, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let code = output.status.code().unwrap_or(-1);
    if code == step.code && matches(&step.output, &printed) && matches(&step.errors, &errors) {
        return String::new();
    }
    let mut shown =
        format!("line {} should print as in the transcript, but:\n$ {}\n", step.line, step.script);
    for (mark, text) in [('>', &printed), ('!', &errors)] {
        text.lines().for_each(|line| writeln!(shown, "{mark} {line}").expect("text"));
        if !text.is_empty() && !text.ends_with('\n') {
            shown += "(without an end of the last line)\n";
        }
    }
    shown + &format!("= {code}\n")
}

/// The one file that a pattern of the shell names.
fn only_file(place: &Place, pattern: &str) -> PathBuf {
    let output = place.shell(&format!("ls -d {pattern}")).output().expect("a shell");
    let names = String::from_utf8(output.stdout).expect("names in UTF-8");
    let names: Vec<&str> = names.lines().collect();
    assert_eq!(names.len(), 1, "{pattern} is {names:?}");
    place.path().join(names[0])
}

/// Changes one byte of a file, from its end if the offset is negative.
fn change_byte(place: &Place, rest: &str, change: fn(u8) -> u8) {
    let (pattern, offset) = rest.rsplit_once(' ').expect("two words");
    let path = only_file(place, pattern);
    let mut bytes = std::fs::read(&path).expect("a file");
    let offset: isize = offset.parse().expect("a number");
    let position = if offset < 0 { bytes.len() - offset.unsigned_abs() } else { offset.unsigned_abs() };
    bytes[position] = change(bytes[position]);
    std::fs::write(path, bytes).expect("a file");
}

fn require_feature(place: &Place, rest: &str) {
    let (feature, pattern) = rest.split_once(' ').expect("two words");
    let path = only_file(place, pattern);
    let bytes = std::fs::read(&path).expect("a config");
    let (covered, code) = Config::split(&bytes).expect("a config");
    let mut config = Config::decode(covered).expect("a config");
    config.features.required.push(feature.to_owned());
    std::fs::write(path, [config.encode().as_slice(), code].concat()).expect("a file");
}

/// Whether a text is one of those that a pattern with placeholders stands for.
fn matches(pattern: &str, text: &str) -> bool {
    type Class = fn(&str) -> bool;
    let classes: [(&str, Class); 9] = [
        ("<id>", |text| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
        ("<hex>", |text| text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
        ("<time>", |text| {
            let digits = text.replace(|character: char| character.is_ascii_digit(), "0");
            digits == "0000-00-00 00:00:00"
        }),
        ("<instant>", |text| {
            let digits = text.replace(|character: char| character.is_ascii_digit(), "0");
            digits == "0000-00-00T00:00:00.000000000Z"
        }),
        ("<number>", |text| {
            text.starts_with(|first: char| first.is_ascii_digit()) && text.parse::<f64>().is_ok()
        }),
        ("<duration>", |text| text.contains(':') && text.bytes().all(|byte| b"0123456789:".contains(&byte))),
        ("<size>", |text| {
            let (number, unit) = text.split_once(' ').unwrap_or_default();
            number.parse::<f64>().is_ok() && ["B", "KiB", "MiB"].contains(&unit)
        }),
        ("<any>", |text| !text.contains('\n')),
        ("<...>", |_| true),
    ];
    let first = classes
        .iter()
        .filter_map(|(name, class)| pattern.find(name).map(|position| (position, *name, *class)))
        .min_by_key(|(position, ..)| *position);
    let Some((position, name, class)) = first else { return pattern == text };
    let (literal, rest) = (&pattern[..position], &pattern[position + name.len()..]);
    let Some(text) = text.strip_prefix(literal) else { return false };
    let mut ends = (0..=text.len()).filter(|end| text.is_char_boundary(*end));
    ends.any(|end| class(&text[..end]) && matches(rest, &text[end..]))
}

#[test]
fn placeholders_stand_for_what_they_say() {
    assert!(matches("a <id> b", "a 0123abcd b"));
    assert!(!matches("a <id> b", "a 0123abcg b"));
    assert!(!matches("a <id> b", "a 0123abcd c"));
    assert!(matches("<size> (<size> stored)\n", "1.5 KiB (0 B stored)\n"));
    assert!(!matches("<size>", "KiB"));
    assert!(matches("<time>", "2026-01-31 23:59:59"));
    assert!(matches("at <instant>", "at 2026-01-31T23:59:59.000000001Z"));
    assert!(!matches("<instant>", "2026-01-31T23:59:59Z"));
    assert!(matches("[<number>,<number>]", "[12,0.5]"));
    assert!(!matches("<number>", "inf"));
    assert!(matches("in <duration>\n", "in 1:02:03\n"));
    assert!(matches("x <any>\ny\n", "x whatever it is\ny\n"));
    assert!(!matches("x <any>\n", "x one\ntwo\n"));
    assert!(matches("x <...>\n", "x one\ntwo\n"));
    assert!(matches("<hex>", "0123456789abcdef0"));
}
