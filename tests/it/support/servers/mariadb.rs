//! A MariaDB server of one test.
//!
//! What must hold: it is reached by a socket in its folder alone; `root` has no password at first.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::super::need::has_program;
use super::super::scratch::Scratch;

/// As often a server is asked whether it answers: about a minute.
const QUESTIONS_MAX: u32 = 3000;

/// A server with its folder.
#[derive(Debug)]
pub struct Mariadb {
    scratch: Scratch,
    server: Option<Child>,
}

impl Mariadb {
    /// Makes and starts one. Without the programs, says that `skipped` is not tested here.
    pub fn start(skipped: &str) -> Option<Self> {
        if !has_program("mariadbd", skipped) || !has_program("mariadb-dump", skipped) {
            return None;
        }
        let mut server = Self { scratch: Scratch::new(), server: None };
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.arg(format!("--datadir={}", server.data().display())).args(as_root());
        install.arg(server.temporary());
        let made = install.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(made.expect("mariadb-install-db runs").success());
        server.run();
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.scratch.join("data")
    }

    /// A folder for its temporary files alone: a server that starts removes all that it takes for its own.
    fn temporary(&self) -> String {
        let folder = self.scratch.join("temporary");
        std::fs::create_dir_all(&folder).expect("a folder");
        format!("--tmpdir={}", folder.display())
    }

    /// Starts it on the files that are there.
    pub fn run(&mut self) {
        let log = std::fs::File::create(self.scratch.join("log")).expect("a log");
        let mut command = Command::new("mariadbd");
        command.args(["--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"]);
        command.args(["--innodb-buffer-pool-size=32M", "--performance-schema=off", "--event-scheduler=off"]);
        command.arg(format!("--datadir={}", self.data().display())).arg(self.temporary());
        command.arg(format!("--socket={}", self.socket())).args(as_root());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.server = Some(child.expect("mariadbd runs"));
        for _ in 0..QUESTIONS_MAX {
            // Whoever is asked for a password is answered, too.
            let output = self.client().args(["-e", "SELECT 1"]).output().expect("mariadb runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() || said.contains("Access denied") {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
        panic!("the server does not start: {log}");
    }

    /// The path of its socket.
    pub fn socket(&self) -> String {
        self.scratch.join("s").display().to_string()
    }

    /// A client as `root` without password.
    pub fn client(&self) -> Command {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--batch", "--skip-column-names", "--user=root"]);
        command.arg(format!("--socket={}", self.socket())).arg("--default-character-set=utf8mb4");
        command
    }

    /// Asks it.
    pub fn ask(&self, statement: &str) -> String {
        let output = self.client().args(["--execute", statement]).output().expect("mariadb runs");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("it runs");
            server.wait().expect("it ends");
        }
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        self.kill();
    }
}

/// It refuses to run as root unless it is told to.
fn as_root() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}
