//! Databases and programs as sources: dumped while others write, put back, and never taken for whole when they are not.
//!
//! What must hold: programs that are only played are scripts, which write down with what they were called; what is
//! compared with is asked of the servers themselves.

mod chroma;
mod command;
mod kept;
mod mariadb;
mod mongodb;
mod postgres;
mod redis;
mod sqlite;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use packstone::base::{Error, Result, Wrap};
use packstone::format::node::Metadata;
use packstone::source::engine::Password;
use packstone::source::{Dumps, Engine, Listener, LoadOptions, OpenDump, StoredDump};
use zeroize::Zeroizing;

use crate::support::scratch::Scratch;

/// Waits until something holds; what never comes ends the test.
#[track_caller]
pub fn until(mut holds: impl FnMut() -> bool) {
    let since = std::time::Instant::now();
    while !holds() {
        assert!(since.elapsed() < std::time::Duration::from_secs(60), "it never came");
        std::thread::yield_now();
    }
}

/// A listener, and what it was told.
pub fn listener() -> (Listener, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    (Listener::new(move |line: &str| telling.lock().expect("a list").push(line.to_owned())), told)
}

/// A listener of which nothing is wanted.
pub fn deaf() -> Listener {
    Listener::silent()
}

pub fn password(text: &str) -> Password {
    Password::new(Zeroizing::new(text.to_owned()))
}

/// Reads a dump to its end.
pub fn read(mut open: OpenDump) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open.reader.read_to_end(&mut bytes).wrap(|| "cannot read the dump")?;
    (open.end)()?;
    Ok(bytes)
}

/// All dumps by their names, read one after the other, and whether each is whole.
pub fn read_all(dumps: Dumps) -> Vec<(String, Result<Vec<u8>>)> {
    let read = dumps.dumps.into_iter().map(|dump| (dump.name, (dump.open)().and_then(read))).collect();
    if let Some(end) = dumps.end {
        end().expect("the dumps are of one moment");
    }
    read
}

/// Dumps that are all whole.
#[track_caller]
pub fn whole(dumps: Dumps) -> Vec<(String, Vec<u8>)> {
    assert_eq!(dumps.problems, [""; 0]);
    let read = read_all(dumps).into_iter();
    read.map(|(name, bytes)| (name, bytes.unwrap_or_else(|error| panic!("{error:?}")))).collect()
}

/// What is stored of dumps.
pub fn stored(dumps: &[(String, Vec<u8>)]) -> Vec<StoredDump> {
    let stored = |(name, bytes): &(String, Vec<u8>)| StoredDump {
        name: name.clone(),
        size_bytes: bytes.len() as u64,
        metadata: Metadata::default(),
    };
    dumps.iter().map(stored).collect()
}

/// Puts dumps back; gives what the plan said of each step, and what it would replace.
pub fn load(
    engine: &dyn Engine,
    dumps: &[(String, Vec<u8>)],
    options: &LoadOptions,
    listener: &Listener,
) -> Result<(Vec<String>, Vec<String>)> {
    let plan = engine.load(&stored(dumps), options, listener)?;
    let mut done = Vec::new();
    for step in plan.steps {
        let dump = step.dump.map(|wanted| {
            let found = dumps.iter().find(|(name, _)| *name == wanted);
            found.expect("a step needs a dump that there is").1.as_slice()
        });
        let mut feed = |output: &mut dyn Write| {
            // In pieces, as chunks come.
            let mut pieces = dump.unwrap_or_default().chunks(100_000);
            pieces.try_for_each(|piece| output.write_all(piece)).wrap(|| "cannot write the dump")
        };
        (step.run)(&mut feed)?;
        done.push(step.what);
    }
    Ok((done, plan.replaced))
}

/// What an error says, one line for each cause.
pub fn said(error: &Error) -> String {
    error.chain().join("\n")
}

/// A folder of programs that are only played.
pub struct Fakes {
    scratch: Scratch,
}

impl Fakes {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        std::fs::write(scratch.join("calls"), "").expect("a file");
        Self { scratch }
    }

    /// Where they are.
    pub fn folder(&self) -> String {
        self.scratch.path().to_str().expect("text").to_owned()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A program that writes down its arguments, as the system shows them to everybody, and then does what the script
    /// says, whose `$HERE` is the folder.
    pub fn add(&self, name: &str, script: &str) -> &Self {
        let here = self.folder();
        let text = format!(
            "#!/bin/bash\nHERE='{here}'\n\
             mapfile -d '' -t parts </proc/$$/cmdline\n\
             printf -v line ' %q' \"${{parts[@]:2}}\"\n\
             echo \"{name}$line\" >>\"$HERE/calls\"\n\
             {script}\n"
        );
        // By another process: if this one had it open to write, one that is started just now would keep it open.
        let mut install = Command::new("install")
            .args(["-m", "755", "/dev/stdin"])
            .arg(self.join(name))
            .stdin(Stdio::piped())
            .spawn()
            .expect("install can be started");
        let mut input = install.stdin.take().expect("a pipe");
        input.write_all(text.as_bytes()).expect("a script");
        drop(input);
        assert!(install.wait().expect("it ends").success());
        self
    }

    /// `docker`: what is to run in the container runs here, with no other variables than it is given.
    pub fn add_docker(&self, environment: &str) -> &Self {
        let script = r#"
            [ "$1 $2" = "exec -i" ] || exit 125
            shift 2
            given=()
            while :; do
                case $1 in
                    -u) shift 2 ;;
                    --env)
                        case $2 in
                            *=*) given+=("$2") ;;
                            *) printf '%s is set\n' "$2" >>"$HERE/variables"; given+=("$2=${!2}") ;;
                        esac
                        shift 2 ;;
                    *) break ;;
                esac
            done
            shift
            exec env -i "PATH=$PATH" ENVIRONMENT "${given[@]}" "$@""#;
        self.add("docker", &script.replace("ENVIRONMENT", environment))
    }

    /// With what they were called, line by line.
    pub fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.join("calls")).expect("calls");
        calls.lines().map(str::to_owned).collect()
    }
}
