//! A Redis server of one test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::need::has_program;
use crate::support::scratch::Scratch;

/// As often a server is asked whether it answers: about half a minute.
const QUESTIONS_MAX: u32 = 1500;

/// A server with its folder.
#[derive(Debug)]
pub struct Redis {
    scratch: Scratch,
    /// The password of its only user.
    pub password: Option<String>,
}

impl Redis {
    /// Starts one with further lines of configuration. Without the program, says that `skipped` is not tested here.
    pub fn start(lines: &str, skipped: &str) -> Option<Self> {
        Self::start_limited(lines, None, skipped)
    }

    /// As `start`; no file of it may be longer than so many blocks of 512 bytes.
    pub fn start_limited(lines: &str, blocks: Option<u32>, skipped: &str) -> Option<Self> {
        if !has_program("redis-server", skipped) {
            return None;
        }
        let scratch = Scratch::new();
        let password = lines.lines().find_map(|line| line.strip_prefix("requirepass ")).map(str::to_owned);
        let redis = Self { scratch, password };
        std::fs::create_dir(redis.data()).expect("a folder");
        let text = format!(
            "port 0\nunixsocket {}\ndir {}\npidfile {}\ndaemonize yes\nlogfile \"\"\nsave \"\"\n\
             repl-diskless-sync-delay 0\n{lines}\n",
            redis.socket(),
            redis.data().display(),
            redis.scratch.join("pid").display()
        );
        std::fs::write(redis.configuration(), text).expect("written");
        let limit = blocks.map_or(String::new(), |blocks| format!("ulimit -f {blocks};"));
        let script = format!("{limit} exec redis-server \"$0\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(redis.configuration()).stdout(Stdio::null());
        assert!(command.status().expect("sh runs").success());
        redis.wait(true);
        Some(redis)
    }

    /// The folder with its data.
    pub fn data(&self) -> PathBuf {
        self.scratch.join("data")
    }

    /// A place for the test's own files.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The path of its socket.
    pub fn socket(&self) -> String {
        self.scratch.join("s").display().to_string()
    }

    fn configuration(&self) -> PathBuf {
        self.scratch.join("redis.conf")
    }

    /// What starts it again.
    pub fn start_command(&self) -> Vec<String> {
        vec!["redis-server".into(), self.configuration().display().to_string()]
    }

    /// A client.
    pub fn client(&self) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-s", &self.socket()]);
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        command
    }

    /// Asks it.
    pub fn ask(&self, words: &[&str]) -> String {
        let output = self.client().args(words).output().expect("redis-cli runs");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// Whether it answers.
    pub fn answers(&self) -> bool {
        self.ask(&["PING"]) == "PONG"
    }

    /// Waits until it answers, or does not.
    pub fn wait(&self, answers: bool) {
        for _ in 0..QUESTIONS_MAX {
            if self.answers() == answers {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not {}", if answers { "start" } else { "stop" });
    }

    /// Ends it at once.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.scratch.join("pid")).unwrap_or_default();
        if let Some(pid) = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
            // It may be gone already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            self.wait(false);
            drop(std::fs::remove_file(self.scratch.join("pid")));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
