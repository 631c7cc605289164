//! What a configuration names that can be seen not to be there: files, paths, programs.
//!
//! What must hold: nothing is opened that holds a secret, nothing is run, and no network is asked.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use packstone::base::monitor::{show_file, show_path};
use packstone::config::{
    Config, CredentialSource, EngineConfig, EngineOptions, Input, JobConfig, PathsConfig, RepositoryConfig,
    SecretSource,
};
use packstone::ops::backup::check_places;
use packstone::source::engine::{Access, postgres};
use packstone::source::glob;

use crate::environment::Environment;
use crate::patterns::read_rules;
use crate::secrets;

/// What is worth a warning, with the key that names it.
pub fn warnings(config: &Config, environment: &Environment) -> Vec<String> {
    let mut seen = Seen { environment, warnings: Vec::new() };
    config.repositories.iter().for_each(|repository| seen.repository(repository));
    for job in &config.jobs {
        for source in &job.sources {
            let key = format!("job.{}.source {}", job.name, source.name);
            match &source.input {
                Input::Paths(paths) => seen.paths(&key, paths),
                Input::Engine(engine) => seen.engine(&key, engine),
            }
        }
        seen.places(job);
    }
    seen.warnings
}

struct Seen<'e> {
    environment: &'e Environment,
    warnings: Vec<String>,
}

impl Seen<'_> {
    fn warn(&mut self, key: &str, what: &str) {
        self.warnings.push(format!("{key}: {what}"));
    }

    fn repository(&mut self, repository: &RepositoryConfig) {
        let key = format!("repository.{}", repository.name);
        if let Some(directory) = repository.location.directory()
            && !directory.join("config").exists()
        {
            let name = &repository.name;
            let what = format!(
                "there is none at {} yet: \"packstone -r {name} repo init\" makes it",
                show_file(directory)
            );
            self.warn(&key, &what);
        }
        match &repository.credential {
            None => {}
            Some(CredentialSource::KeyFile(path)) => self.secret_file(&format!("{key}.key-file"), path),
            Some(CredentialSource::KeyCredential(name)) => {
                self.secret(&key, &SecretSource::Credential(name.clone()));
            }
            Some(CredentialSource::Password(source)) => self.secret(&key, source),
        }
        let limits = &repository.limits;
        for (name, path) in [("ca-file", &limits.ca_file), ("tls-client-cert", &limits.tls_client_cert)] {
            if let Some(path) = path {
                self.file(&format!("{key}.{name}"), path);
            }
        }
    }

    fn file(&mut self, key: &str, path: &Path) {
        if let Err(error) = path.metadata() {
            self.warn(key, &format!("cannot see {}: {error}", show_file(path)));
        }
    }

    fn secret_file(&mut self, key: &str, path: &Path) {
        self.file(key, path);
        let mode =
            path.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.mode() & 0o777);
        if let Some(mode) = mode.filter(|mode| mode & 0o077 != 0) {
            let shown = show_file(path);
            self.warn(
                key,
                &format!("others than its owner may use {shown}: its mode is {mode:04o}, not 0600"),
            );
        }
    }

    fn secret(&mut self, key: &str, source: &SecretSource) {
        match source {
            SecretSource::File(path) => self.secret_file(key, path),
            SecretSource::Variable(name) => {
                let is_set =
                    self.environment.get(name).is_some() || self.environment.password(name).is_some();
                if !is_set {
                    self.warn(key, &format!("the variable {name} is not set here"));
                }
            }
            SecretSource::Credential(name) => {
                // Outside of a service there are none.
                if let Ok(path) = secrets::credential_file(name, self.environment) {
                    self.file(key, &path);
                }
            }
            SecretSource::Shell(_) => {}
        }
    }

    fn paths(&mut self, key: &str, paths: &PathsConfig) {
        self.globs(key, &paths.paths);
        if let Err(error) = read_rules(&paths.rules, self.environment) {
            self.warn(key, &error.chain().join(": "));
        }
    }

    /// What two sources claim as of now.
    fn places(&mut self, job: &JobConfig) {
        let (mut paths, mut dumps) = (Vec::new(), Vec::new());
        for source in &job.sources {
            match &source.input {
                // What cannot be expanded was told.
                Input::Paths(of_source) => {
                    paths.extend(
                        packstone::job::expand(&of_source.paths).map(|(paths, _)| paths).unwrap_or_default(),
                    );
                }
                Input::Engine(_) => dumps.push(source.name.as_str()),
            }
        }
        if let Err(error) = check_places(&paths, &dumps) {
            self.warn(&format!("job.{}", job.name), &error.chain().join(": "));
        }
    }

    fn globs(&mut self, key: &str, patterns: &[String]) {
        for pattern in patterns {
            let shown = show_path(pattern.as_bytes());
            match glob(pattern.as_bytes(), Path::new("/")) {
                Err(error) => self.warn(key, &error.chain().join(": ")),
                Ok(globbed) => {
                    for (path, error) in &globbed.problems {
                        self.warn(key, &format!("{}: {}", show_file(path), error.chain().join(": ")));
                    }
                    // A pattern without wildcards is its path, whether something stands there or not.
                    let is_there = globbed.paths.iter().any(|path| path.symlink_metadata().is_ok());
                    if !is_there && globbed.problems.is_empty() {
                        self.warn(key, &format!("nothing is at {shown}"));
                    }
                }
            }
        }
    }

    fn engine(&mut self, key: &str, engine: &EngineConfig) {
        engine.secrets().for_each(|source| self.secret(key, source));
        match engine.without_secrets() {
            EngineOptions::Postgres(postgres) => {
                let programs: &[&[&str]] = match postgres.format {
                    postgres::Format::BaseBackup => &[&["pg_basebackup"]],
                    _ => &[&["pg_dump"], &["pg_dumpall"], &["psql"]],
                };
                self.clients(key, &postgres.access, programs);
            }
            EngineOptions::Mariadb(mariadb) if mariadb.is_mysql => {
                self.clients(key, &mariadb.access, &[&["mysqldump"], &["mysql"]]);
            }
            EngineOptions::Mariadb(mariadb) => {
                self.clients(key, &mariadb.access, &[&["mariadb-dump", "mysqldump"], &["mariadb", "mysql"]]);
            }
            EngineOptions::Redis(redis) => {
                self.clients(key, &redis.access, &[&["redis-cli", "valkey-cli"]]);
                redis.folder.iter().for_each(|folder| self.file(key, Path::new(folder)));
            }
            EngineOptions::Mongodb(mongodb) => self.clients(key, &mongodb.access, &[&["mongodump"]]),
            EngineOptions::Sqlite(sqlite) => self.globs(key, &sqlite.paths),
            EngineOptions::Chroma(chroma) => {
                self.file(key, &Path::new(&chroma.path).join("chroma.sqlite3"));
                chroma
                    .paused_container
                    .iter()
                    .for_each(|container| self.program(key, &[&container.program], None));
            }
            EngineOptions::AnyCommand(command) => match (&command.container, command.command.first()) {
                (Some(container), _) => self.program(key, &[&container.program], None),
                (None, Some(program)) => self.program(key, &[program], None),
                (None, None) => {}
            },
        }
    }

    /// The programs of a server's clients, each by the names that it may have.
    fn clients(&mut self, key: &str, access: &Access, programs: &[&[&str]]) {
        match &access.container {
            Some(container) => self.program(key, &[&container.program], None),
            None => {
                let folder = access.programs.as_deref().map(Path::new);
                programs.iter().for_each(|names| self.program(key, names, folder));
            }
        }
    }

    fn program(&mut self, key: &str, names: &[&str], folder: Option<&Path>) {
        if names.iter().any(|name| self.is_program(name, folder)) {
            return;
        }
        let place = folder.map_or_else(|| "on PATH".to_owned(), |folder| format!("in {}", show_file(folder)));
        let names = names.join(" or ");
        let what = match names.contains('/') {
            true => format!("there is no program {names}"),
            false => format!("there is no program {names} {place}"),
        };
        self.warn(key, &what);
    }

    fn is_program(&self, name: &str, folder: Option<&Path>) -> bool {
        let is_executable = |path: PathBuf| {
            path.metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        };
        if name.contains('/') {
            return is_executable(PathBuf::from(name));
        }
        match folder {
            Some(folder) => is_executable(folder.join(name)),
            None => {
                let path = self.environment.get("PATH").unwrap_or_default();
                std::env::split_paths(path).any(|folder| is_executable(folder.join(name)))
            }
        }
    }
}
