//! Servers that speak SFTP, for tests: OpenSSH's own behind a pipe, whole or broken, and behind a real `sshd`.
//!
//! What must hold: what is not installed is said and skipped; a server works in a directory of its own, on a port that the
//! system gave, with keys that were made for it, and is gone when the test is over.

use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use packstone::storage::Storage;
use packstone::storage::location::Location;
use packstone::storage::remote::{self, RemoteOptions};

use crate::support::scratch::Scratch;
use crate::support::skip::skip;

fn first_file(paths: &[&str], name: &str, skipped: &str) -> Option<PathBuf> {
    let found = paths.iter().map(PathBuf::from).find(|path| path.exists());
    if found.is_none() {
        skip(name, skipped);
    }
    found
}

/// OpenSSH's server without a network.
pub fn sftp_server(skipped: &str) -> Option<PathBuf> {
    let paths = [
        "/usr/lib/openssh/sftp-server",
        "/usr/libexec/openssh/sftp-server",
        "/usr/libexec/sftp-server",
        "/usr/lib/ssh/sftp-server",
    ];
    first_file(&paths, "sftp-server", skipped)
}

/// Options of a storage that is reached by this command.
pub fn options(ssh_command: &[&str]) -> RemoteOptions {
    RemoteOptions {
        ssh_command: ssh_command.iter().map(OsString::from).collect(),
        patience: Duration::from_secs(20),
        ..RemoteOptions::default()
    }
}

/// Options of a storage whose server is this script of a shell; what ssh is given is ignored.
pub fn script(script: &str) -> RemoteOptions {
    options(&["sh", "-c", script])
}

/// The storage at a location.
#[track_caller]
pub fn open(location: &str, options: &RemoteOptions) -> Arc<dyn Storage> {
    let Location::Remote(location) = Location::parse(location.as_bytes()).unwrap() else {
        panic!("{location} is local")
    };
    remote::open(&location, options).unwrap()
}

/// The storage in a directory, by a script.
#[track_caller]
pub fn open_by(directory: &Path, run: &str) -> Arc<dyn Storage> {
    open(&location_of(directory), &script(run))
}

/// Where a directory of this machine is for a server.
pub fn location_of(directory: &Path) -> String {
    format!("sftp:server:{}", directory.to_str().unwrap())
}

/// A real `sshd`.
pub struct Sshd {
    child: Child,
    scratch: Scratch,
    port: u16,
}

impl Sshd {
    /// Starts one. Without the programs, says that `skipped` is not tested.
    pub fn start(skipped: &str) -> Option<Self> {
        let sshd = first_file(&["/usr/sbin/sshd", "/usr/bin/sshd"], "sshd", skipped)?;
        first_file(&["/usr/bin/ssh"], "ssh", skipped)?;
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root without.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let scratch = Scratch::new();
        for name in ["host", "other-host", "user", "stranger"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(scratch.join(name));
            assert!(command.status().unwrap().success());
        }
        std::fs::copy(scratch.join("user.pub"), scratch.join("authorized")).unwrap();
        std::fs::create_dir(scratch.join("home")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| scratch.join(name).to_str().unwrap().to_owned();
        let child = Command::new(sshd)
            .args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string(), "-h", &path("host")])
            .args(["-o", "ListenAddress=127.0.0.1", "-o", "StrictModes=no", "-o", "UsePAM=no"])
            .args(["-o", "PidFile=none", "-o", "PermitRootLogin=prohibit-password", "-o", "MaxStartups=100"])
            .args(["-o", &format!("AuthorizedKeysFile={}", path("authorized"))])
            .args(["-o", &format!("Subsystem=sftp internal-sftp -d {}", path("home"))])
            .stderr(std::fs::File::create(scratch.join("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, scratch, port };
        server.wait();
        Some(server)
    }

    /// Until it answers.
    fn wait(&self) {
        for _ in 0..1000 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("sshd does not start: {}", self.log());
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("log")).unwrap()
    }

    /// Its login directory.
    pub fn home(&self) -> PathBuf {
        self.scratch.join("home")
    }

    /// Options of a storage that `ssh` reaches with the key of `user` and a host key that is known to be that of `host`,
    /// if one is.
    pub fn options(&self, user: &str, host: Option<&str>) -> RemoteOptions {
        let known = host.map(|host| {
            let key = std::fs::read_to_string(self.scratch.join(&format!("{host}.pub"))).unwrap();
            format!("[127.0.0.1]:{} {key}", self.port)
        });
        let name = |kind: &str| self.scratch.join(&format!("{kind}-{user}-{}", host.unwrap_or("none")));
        std::fs::write(name("known"), known.unwrap_or_default()).unwrap();
        let config = [
            "Host server\n HostName 127.0.0.1\n BatchMode yes\n StrictHostKeyChecking yes\n".to_owned(),
            format!(" Port {}\n IdentitiesOnly yes\n IdentityAgent none\n", self.port),
            format!(" IdentityFile {}\n", self.scratch.join(user).display()),
            format!(" UserKnownHostsFile {}\n GlobalKnownHostsFile none\n", name("known").display()),
        ];
        std::fs::write(name("config"), config.concat()).unwrap();
        options(&["ssh", "-F", name("config").to_str().unwrap()])
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
