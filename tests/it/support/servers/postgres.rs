//! A PostgreSQL server of one test, which may change roles, be killed, be dropped whole.
//!
//! What must hold: it is reached by a socket in its folder alone; it runs as the user `postgres` if the test is root.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::super::scratch::Scratch;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub struct Cluster {
    scratch: Scratch,
    server: Option<Child>,
}

impl Cluster {
    /// Makes and starts one. `rules` are the lines of its `pg_hba.conf`; none: everybody may come in.
    pub fn new(rules: &[&str]) -> Self {
        let scratch = Scratch::new();
        own(scratch.path());
        let data = scratch.join("data");
        let made = as_server("initdb", scratch.path())
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb can be started").success());
        if !rules.is_empty() {
            std::fs::write(data.join("pg_hba.conf"), rules.join("\n") + "\n").expect("rules");
        }
        let mut cluster = Self { scratch, server: None };
        cluster.start();
        cluster
    }

    /// Starts one on files that are there.
    pub fn of_files(data: &Path) -> Self {
        let scratch = Scratch::new();
        own(scratch.path());
        std::fs::rename(data, scratch.join("data")).expect("files");
        let mut cluster = Self { scratch, server: None };
        cluster.start();
        cluster
    }

    fn start(&mut self) {
        let folder = self.scratch.path();
        let log = std::fs::File::create(self.scratch.join("log")).expect("a log");
        let server = as_server("postgres", folder)
            .arg("-D")
            .arg(self.scratch.join("data"))
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "autovacuum=off", "-c"])
            .arg(format!("unix_socket_directories={}", folder.display()))
            .stderr(log)
            .spawn();
        self.server = Some(server.expect("the server can be started"));
        let since = Instant::now();
        let is_ready = || Command::new("pg_isready").args(["-q", "-h"]).arg(folder).status();
        while !is_ready().expect("pg_isready can be started").success() {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().expect("a process"));
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(ended.is_none() && since.elapsed() < PATIENCE, "it does not start: {}", log());
            std::thread::yield_now();
        }
    }

    /// The folder with its socket.
    pub fn host(&self) -> String {
        self.scratch.path().to_str().expect("text").to_owned()
    }

    /// A path below its folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Kills it at once: it cannot say good-bye to anybody.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("it runs");
            server.wait().expect("it ends");
        }
    }

    /// `psql` on one of its databases, as the user `postgres`.
    pub fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]).arg(self.host());
        psql.arg("-d").arg(format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'")));
        psql.stdin(Stdio::null()).env_remove("PGPASSWORD");
        psql
    }

    /// Runs statements and gives what they print.
    #[track_caller]
    pub fn run(&self, database: &str, statements: &str) -> String {
        let output = self.psql(database).arg("-c").arg(statements).output().expect("psql can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // At once, but with time to give back what it has of the system.
            let asked = rustix::process::kill_process(Pid::from_child(&server), Signal::QUIT);
            if asked.is_err() || server.wait().is_err() {
                drop(server.kill());
            }
        }
    }
}

/// A program as the user whom the server runs as.
fn as_server(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Gives a folder to the user whom the server runs as.
fn own(folder: &Path) {
    if let Some((user, group)) = server_user() {
        chown(folder, Some(user), Some(group)).expect("root gives folders away");
    }
}

/// The user whom the server runs as, if that is another: it refuses to be root.
fn server_user() -> Option<(u32, u32)> {
    let user = uzers::get_user_by_name("postgres").filter(|_| uzers::get_effective_uid() == 0)?;
    Some((user.uid(), user.primary_group_id()))
}
