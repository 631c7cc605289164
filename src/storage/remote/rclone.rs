//! Whatever rclone reaches: a process of rclone that serves WebDAV to this one alone.
//!
//! What must hold: only who may enter our private folder, and knows a random password, can reach the socket; the
//! password stands in no argument. The process ends with us, however we end: a shell between us and rclone reads a pipe
//! of which we hold the other end, and kills rclone when it closes. What rclone says of itself is told when it refuses
//! or ends. It is started when it is first needed, and again if it ended after it had served something; nobody of the
//! run before, who would remove what the next one made, outlives the shell by then.
//!
//! What is said to it, and why: nothing is cached on the disk, so that a file that was sent is at the remote
//! (`--vfs-cache-mode`); no folder is remembered, so that what other processes put is seen by the next listing
//! (`--dir-cache-time`, `--poll-interval`); nothing is read ahead (`--buffer-size`); times of objects, which cost a request
//! each on some services, are not asked for (`--no-modtime`); it asks nobody for a password (`--ask-password`).

use std::collections::VecDeque;
use std::fs::DirBuilder;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid,
};
use zeroize::Zeroizing;

use super::services::{RemoteOptions, Stopped};
use crate::base::id::to_hex;
use crate::base::{Error, ErrorKind, Result, Wrap};

/// So long it remembers a folder: less than any request takes. With none at all, 1.75 took ten times the processor.
const FOLDER_MEMORY: &str = "1us";

/// The name that both sides know.
pub(super) const USER: &str = "packstone";
/// Most of what rclone says that is kept: the end of it.
const SAID_BYTES_MAX: usize = 2 << 10;
/// Longest path of a folder below which the name of a socket still fits.
const FOLDER_BYTES_MAX: usize = 50;
/// Where the socket is if the folder for such things has too long a name.
const USUAL_FOLDER: &str = "/tmp";
/// Some remotes ask much before they are ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// So often, and with such waits, it is asked whether all of a run are gone. Where nobody collects the dead, they stay.
const END_LOOKS: usize = 50;
const END_INTERVAL: Duration = Duration::from_millis(2);

/// Runs `"$@"` behind the name of our folder until it ends or until nobody holds the other end of the standard input;
/// then nobody else removes the folder either, so that what removes it is not ended with the rest.
const SUPERVISOR: &str = r#"
folder=$1
shift
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
{
    exec 2>/dev/null
    read -r _ <&3
    trap '' TERM
    kill "$child"
    rm -f -- "$folder/socket"
    rmdir -- "$folder"
} &
watcher=$!
wait "$child"
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"#;

/// What would make rclone serve, or tell, something else than what it is asked for.
const UNWANTED: [&str; 13] = [
    "RCLONE_ADDR",
    "RCLONE_AUTH_PROXY",
    "RCLONE_BASEURL",
    "RCLONE_CERT",
    "RCLONE_CLIENT_CA",
    "RCLONE_DISABLE_DIR_LIST",
    "RCLONE_HTPASSWD",
    "RCLONE_KEY",
    "RCLONE_LOG_FILE",
    "RCLONE_READ_ONLY",
    "RCLONE_SYSLOG",
    "RCLONE_USER_FROM_HEADER",
    "RCLONE_USE_JSON_LOG",
];

/// The way to a remote of rclone.
pub(super) struct Rclone {
    program: PathBuf,
    /// `remote:path`.
    remote: String,
    folder: PathBuf,
    password: Zeroizing<String>,
    withheld: Vec<String>,
    is_stopped: Stopped,
    running: Mutex<Option<Running>>,
    /// The process that runs now, or ran last, did something for us.
    has_served: AtomicBool,
}

impl Rclone {
    /// Makes the private folder; starts nothing.
    pub(super) fn prepare(remote: String, options: &RemoteOptions) -> Result<Self> {
        let random = || {
            let mut random = [0; 16];
            getrandom::fill(&mut random).map_err(|cause| {
                Error::caused(ErrorKind::Failed, "the system gives no random bytes", cause)
            })?;
            Ok::<_, Error>(to_hex(&random))
        };
        let above = &options.runtime_folder;
        let is_usable = above.is_absolute() && above.as_os_str().len() <= FOLDER_BYTES_MAX;
        let above = if is_usable { above } else { Path::new(USUAL_FOLDER) };
        let folder = above.join(format!("packstone-{}", random()?));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .wrap(|| format!("cannot make a private directory in {}", above.display()))?;
        Ok(Self {
            program: options.rclone_program.clone(),
            remote,
            folder,
            password: Zeroizing::new(random()?),
            withheld: options.withheld.clone(),
            is_stopped: options.is_stopped.clone(),
            running: Mutex::default(),
            has_served: AtomicBool::new(false),
        })
    }

    /// Where rclone listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// The process that runs answered.
    pub(super) fn served(&self) {
        self.has_served.store(true, Ordering::Relaxed);
    }

    /// Starts rclone, unless it runs. If it ended without having done anything, the error says what it said.
    pub(super) fn ensure_running(&self) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = running.as_mut() {
            if !process.has_ended()? {
                return Ok(());
            }
            if !self.has_served.load(Ordering::Relaxed) {
                return Err(self.ended(process));
            }
        }
        // What is left of it is gone before another listens in the same place.
        *running = None;
        let _ = std::fs::remove_file(self.socket());
        self.has_served.store(false, Ordering::Relaxed);
        let process = running.insert(self.start()?);
        self.await_socket(process)
    }

    fn start(&self) -> Result<Running> {
        let program = self.program.display();
        let address = format!("unix://{}", self.socket().display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SUPERVISOR, "sh"]).arg(&self.folder).arg(&self.program);
        command.args(["serve", "webdav", "--addr", &address, "--vfs-cache-mode", "off"]);
        command.args(["--dir-cache-time", FOLDER_MEMORY, "--poll-interval", "0s", "--buffer-size", "0"]);
        command.args(["--no-modtime", "--ask-password=false", "--log-level", "NOTICE", "--", &self.remote]);
        for name in UNWANTED.iter().copied().chain(self.withheld.iter().map(String::as_str)) {
            command.env_remove(name);
        }
        command.env("RCLONE_USER", USER).env("RCLONE_PASS", self.password.as_str());
        // An interruption that is typed is for us; we end rclone when its work is done.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().wrap(|| format!("cannot start a shell for {program}"))?;
        let listener = child.stderr.take().map(Listener::start);
        Ok(Running { child, status: None, listener })
    }

    fn await_socket(&self, process: &mut Running) -> Result<()> {
        let mut waited = Duration::ZERO;
        while UnixStream::connect(self.socket()).is_err() {
            if process.has_ended()? {
                return Err(self.ended(process));
            }
            if (self.is_stopped.0)() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted while rclone started"));
            }
            if waited > START_PATIENCE {
                process.end();
                let message = format!(
                    "{} does not serve on a socket within {} seconds; 1.65 is the oldest version that was tried{}",
                    self.program.display(),
                    START_PATIENCE.as_secs(),
                    process.said()
                );
                return Err(Error::new(ErrorKind::Unreachable, message));
            }
            std::thread::sleep(LOOK_INTERVAL);
            waited += LOOK_INTERVAL;
        }
        Ok(())
    }

    fn ended(&self, process: &mut Running) -> Error {
        let (program, said) = (self.program.display(), process.said());
        let code = process.status.and_then(|status| status.code());
        if matches!(code, Some(126 | 127)) {
            let message = format!(
                "{program} cannot be run: install rclone, or name it in PACKSTONE_RCLONE_COMMAND{said}"
            );
            return Error::new(ErrorKind::Usage, message);
        }
        let is_old = ["unknown flag", "unknown command", "listen tcp"];
        let hint = if is_old.iter().any(|words| said.contains(words)) {
            "; rclone 1.65 is the oldest version that was tried"
        } else {
            ""
        };
        Error::new(ErrorKind::Failed, format!("{program} ended{hint}{said}"))
    }
}

impl Drop for Rclone {
    fn drop(&mut self) {
        *self.running.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = std::fs::remove_file(self.socket());
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// The shell that keeps rclone; both die with it.
struct Running {
    child: Child,
    /// How it ended, once it was waited for.
    status: Option<ExitStatus>,
    listener: Option<Listener>,
}

impl Running {
    fn has_ended(&mut self) -> Result<bool> {
        let Some(process) = self.process().filter(|_| self.status.is_none()) else { return Ok(true) };
        // Its number stays its own, and with it that of the group.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(process), options).wrap(|| "cannot ask for the state of rclone")?;
        Ok(status.is_some())
    }

    fn process(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Ends the shell, if it has not ended, and whatever it left behind.
    fn end(&mut self) {
        if self.status.is_some() {
            return;
        }
        let group = self.process();
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        self.status = self.child.wait().ok();
        for _ in 0..END_LOOKS {
            // Who was killed needs a moment for it.
            if group.is_none_or(|group| test_kill_process_group(group).is_err()) {
                return;
            }
            std::thread::sleep(END_INTERVAL);
        }
    }

    /// What it said last, for the end of a message; it has ended.
    fn said(&mut self) -> String {
        self.end();
        let said = self.listener.take().map(Listener::finish).unwrap_or_default();
        let line = said.replace(|letter: char| letter.is_control(), " ");
        let line = line.trim().to_owned();
        // It is asked for more than once.
        self.listener = Some(Listener::of(said));
        if line.is_empty() { ", and said nothing".to_owned() } else { format!(": {line}") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keeps the end of what is said, so that nobody waits for a full pipe.
struct Listener {
    said: Arc<Mutex<VecDeque<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(mut pipe: ChildStderr) -> Self {
        let said = Arc::<Mutex<VecDeque<u8>>>::default();
        let kept = Arc::clone(&said);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(bytes) = pipe.read(&mut buffer) {
                let Some(read) = buffer.get(..bytes).filter(|read| !read.is_empty()) else { return };
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(read);
                let excess = kept.len().saturating_sub(SAID_BYTES_MAX);
                kept.drain(..excess);
            }
        });
        Self { said, thread: Some(thread) }
    }

    fn of(said: String) -> Self {
        Self { said: Arc::new(Mutex::new(said.into_bytes().into())), thread: None }
    }

    /// All of it, once nobody can say more.
    fn finish(mut self) -> String {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said.iter().copied().collect::<Vec<u8>>()).into_owned()
    }
}
