//! The configuration in use: which file it is, and what it says of the repository that is meant.
//!
//! What must hold: a flag goes before the environment, and that before the configuration; what it says of one repository
//! never touches another; a configuration that is wrong is never used in part; it is read only by commands that need it.

mod trust;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use packstone::base::monitor::show_file;
use packstone::base::{Error, ErrorKind, Wrap};
use packstone::config::{Config, Problem, RepositoryConfig, nearest};
use packstone::storage::location::Location;

use crate::args::Global;
use crate::configuration::trust::Trusted;
use crate::context::Context;
use crate::credentials::Source;
use crate::environment::{self, Environment};
use crate::folders::Folder;
use crate::report::{Hint, Outcome};
use crate::{secrets, show};

/// The configuration of all users.
const OF_SYSTEM: &str = "/etc/packstone/packstone.toml";
/// Its name in the folder of one user.
const NAME: &str = "packstone.toml";
/// Larger than any that a person wrote.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The configuration, once something asked for it; then whether there is one.
pub type Loaded = Arc<OnceLock<Option<Arc<Configured>>>>;

/// A configuration and its file.
#[derive(Debug)]
pub struct Configured {
    /// Its file.
    pub file: PathBuf,
    /// What it says.
    pub config: Config,
}

/// A file that was read, and what it says or what is wrong with it.
pub struct Judged {
    /// The file.
    pub file: PathBuf,
    /// What became of it.
    pub config: std::result::Result<Config, Vec<Problem>>,
}

/// The file that is the configuration. `None` if none was named and none is in its places.
pub fn find(global: &Global, environment: &Environment) -> Option<PathBuf> {
    let named = global.config.clone().or_else(|| environment.get(environment::CONFIG).map(PathBuf::from));
    named.or_else(|| places(environment).into_iter().find(|place| is_meant(place)))
}

/// Whether a file in one of the places is there for who runs this: that of the system may be root's alone.
fn is_meant(place: &Path) -> bool {
    let is_denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    match place == Path::new(OF_SYSTEM) && std::fs::File::open(place).is_err_and(is_denied) {
        true => false,
        false => place.symlink_metadata().is_ok(),
    }
}

/// Where it is looked for if no file was named, the first first.
pub fn places(environment: &Environment) -> Vec<PathBuf> {
    let of_user = Folder::Config.of_program(environment).map(|folder| folder.join(NAME));
    of_user.into_iter().chain([PathBuf::from(OF_SYSTEM)]).collect()
}

/// Reads and judges a file. `Usage` if others may change it, as its commands run with the rights of who uses it. The
/// variables in which it says secrets are reach no other program from then on.
pub fn judge(file: PathBuf, environment: &Environment) -> Outcome<Judged> {
    let shown = show_file(&file);
    let failed = || format!("cannot read the configuration {shown}");
    let metadata = std::fs::metadata(&file).wrap(failed)?;
    if metadata.len() > FILE_BYTES_MAX {
        let message = format!("the configuration {shown} is larger than any can be");
        return Err(Error::new(ErrorKind::Usage, message).into());
    }
    let text = std::fs::read_to_string(&file).wrap(failed)?;
    let absolute = std::path::absolute(&file).wrap(failed)?;
    if metadata.is_file() {
        Trusted::here(environment).check(&absolute)?;
    }
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let config = Config::parse(&text, folder);
    if let Ok(config) = &config {
        environment.withhold(config.secret_variables());
    }
    Ok(Judged { file, config })
}

impl Context {
    /// The configuration. `None` if there is none; `Usage` if it is wrong.
    pub fn configured(&self) -> Outcome<Option<Arc<Configured>>> {
        if let Some(loaded) = self.configuration.get() {
            return Ok(loaded.clone());
        }
        let loaded = match find(&self.global, &self.environment) {
            None => None,
            Some(file) => Some(Arc::new(load(file, &self.environment)?)),
        };
        Ok(self.configuration.get_or_init(|| loaded).clone())
    }

    /// The same, for a repository of the configuration: its location and, where neither a flag nor a variable says
    /// anything else, what opens it and its limits.
    pub fn with_repository(&self, repository: &RepositoryConfig) -> Self {
        let mut context = self.as_given();
        fill(&mut context.global, &self.environment, repository);
        context
    }

    /// The same, once it is known which repository is meant: the one that is named, or the only one of the configuration.
    pub fn settled(&self) -> Outcome<Self> {
        let variable = self.environment.get(environment::REPOSITORY);
        let Some(named) = self.global.repository.as_deref().or(variable) else {
            return self.with_only_repository();
        };
        // A file that was named is read in any case: it may not be there, or be wrong.
        if self.global.config.is_some() {
            self.configured()?;
        }
        Ok(match self.named_repository(named)? {
            Some((configured, name)) => match configured.config.repository(&name) {
                Some(repository) => self.with_repository(repository),
                None => self.clone(),
            },
            None => self.clone(),
        })
    }

    fn with_only_repository(&self) -> Outcome<Self> {
        let Some(configured) = self.configured()? else { return Ok(self.clone()) };
        match configured.config.repositories.as_slice() {
            [] => Ok(self.clone()),
            [only] => Ok(self.with_repository(only)),
            several => {
                let names: Vec<&str> = several.iter().map(|repository| repository.name.as_str()).collect();
                let message = format!(
                    "no repository was named, and the configuration {} has several: {}",
                    show_file(&configured.file),
                    names.join(", ")
                );
                Err(Error::new(ErrorKind::Usage, message))
                    .hint(ErrorKind::Usage, || "name one with -r".to_owned())
            }
        }
    }

    /// The configuration and the name in it that a text is, if it is one.
    fn named_repository(&self, text: &OsStr) -> Outcome<Option<(Arc<Configured>, String)>> {
        let Some(name) = as_name(text) else { return Ok(None) };
        let Some(configured) = self.configured()? else { return Ok(None) };
        let is_known = configured.config.repository(name).is_some();
        Ok(is_known.then(|| (Arc::clone(&configured), name.to_owned())))
    }

    /// The repository of the configuration that was probably meant by what was taken for a directory.
    pub fn nearest_repository(&self, location: &Location) -> Option<String> {
        let name = as_name(location.directory()?.as_os_str())?;
        let configured = self.configured().ok()??;
        let names: Vec<&str> =
            configured.config.repositories.iter().map(|repository| repository.name.as_str()).collect();
        nearest(name, &names).map(str::to_owned)
    }

    /// The same without what the configuration says of the repository that is meant.
    fn as_given(&self) -> Self {
        let mut context = self.clone();
        context.global = (*self.given).clone();
        context.global.no_cache |= self.global.no_cache;
        context
    }

    /// What a text for another repository means: where that is and, if it is a name of the configuration, what opens it
    /// and its limits.
    pub fn other_repository(&self, text: &OsStr) -> Outcome<OtherRepository> {
        if let Some((configured, name)) = self.named_repository(text)?
            && let Some(repository) = configured.config.repository(&name)
        {
            let source = repository.credential.as_ref();
            let source = source.map(|source| secrets::credential(source, &self.environment)).transpose()?;
            let location = repository.location.clone();
            return Ok(OtherRepository { context: self.with_repository(repository), location, source });
        }
        let location = Location::parse(text.as_bytes())?;
        Ok(OtherRepository { context: self.as_given(), location, source: None })
    }
}

/// Another repository than the one that is meant.
pub struct OtherRepository {
    /// For work on it.
    pub context: Context,
    /// Where it is.
    pub location: Location,
    /// What opens it as the configuration says.
    pub source: Option<Source>,
}

/// Adds what the configuration says of a repository where neither a flag nor a variable says anything else.
fn fill(global: &mut Global, environment: &Environment, repository: &RepositoryConfig) {
    global.repository = Some(text_of(&repository.location));
    global.configured.clone_from(&repository.credential);
    let limits = &repository.limits;
    global.memory_limit = global.memory_limit.or(limits.memory_bytes);
    if !global.no_cache {
        global.cache_size = global.cache_size.or(limits.cache_bytes);
        if global.cache_dir.is_none() && environment.get(environment::CACHE_DIR).is_none() {
            global.cache_dir.clone_from(&limits.cache_folder);
        }
    }
    let network = &mut global.network;
    network.limit_upload = network.limit_upload.or(limits.upload_bytes_per_second);
    network.limit_download = network.limit_download.or(limits.download_bytes_per_second);
    network.connections = network.connections.or(limits.connections);
    network.retry_for = network.retry_for.or(limits.retry_for);
    network.storage_class = network.storage_class.take().or_else(|| limits.storage_class.clone());
    network.ca_file = network.ca_file.take().or_else(|| limits.ca_file.clone());
    network.tls_client_cert = network.tls_client_cert.take().or_else(|| limits.tls_client_cert.clone());
}

/// A text that may be a name of the configuration: a path contains `/` or begins with a dot, a location has a scheme.
fn as_name(text: &OsStr) -> Option<&str> {
    text.to_str().filter(|text| !text.starts_with('.') && !text.contains(['/', ':']))
}

fn text_of(location: &Location) -> OsString {
    match location {
        Location::Local(path) => path.clone().into_os_string(),
        Location::Remote(remote) => OsString::from(remote.to_string()),
    }
}

fn load(file: PathBuf, environment: &Environment) -> Outcome<Configured> {
    let judged = judge(file, environment)?;
    let file = judged.file;
    match judged.config {
        Ok(config) => Ok(Configured { file, config }),
        Err(problems) => Err(wrong(&file, &problems)).hint(ErrorKind::Usage, || {
            format!("\"packstone config check {}\" tells all of them", show::argument(&file, "FILE"))
        }),
    }
}

/// The error that a wrong configuration is.
pub fn wrong(file: &Path, problems: &[Problem]) -> Error {
    let count = show::count(u64::try_from(problems.len()).unwrap_or(u64::MAX), "problem");
    let error = Error::new(ErrorKind::Usage, format!("the configuration {} has {count}", show_file(file)));
    match problems {
        [first, ..] => Error::caused(
            ErrorKind::Usage,
            error.to_string(),
            Error::new(ErrorKind::Usage, first.to_string()),
        ),
        [] => error,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Arguments;
    use crate::credentials;
    use crate::environment::tests::environment;

    const TEXT: &str = "[repository.main]\nurl = \"s3://bucket/prefix?region=x\"\nkey-file = \"key\"\nlimit-upload = 1\n\
        limit-download = 2\nconnections = 3\nretry-for = \"4s\"\nstorage-class = \"COLD\"\nca-file = \"ca\"\n\
        tls-client-cert = \"cert\"\nmemory-limit = \"64M\"\ncache-dir = \"cache\"\ncache-size = \"5k\"\n";

    fn filled(line: &str, variables: &[(&str, &str)]) -> (Global, Environment) {
        let arguments = Arguments::try_parse_from(line.split(' ')).expect("arguments");
        let mut global = arguments.global;
        let config = Config::parse(TEXT, Path::new("/c")).expect("a configuration");
        let environment = environment(variables);
        fill(&mut global, &environment, config.repository("main").expect("a repository"));
        (global, environment)
    }

    #[test]
    fn the_configuration_is_used_where_nothing_else_is_said() {
        let (global, environment) = filled("packstone snapshots", &[]);
        assert_eq!(global.repository.as_deref(), Some(OsStr::new("s3://bucket/prefix?region=x")));
        let network = &global.network;
        assert_eq!((network.limit_upload, network.limit_download), (Some(1024), Some(2048)));
        assert_eq!((network.connections, network.storage_class.as_deref()), (Some(3), Some("COLD")));
        assert_eq!(network.retry_for, Some(std::time::Duration::from_secs(4)));
        assert_eq!(
            (network.ca_file.as_deref(), network.tls_client_cert.as_deref()),
            (Some(Path::new("/c/ca")), Some(Path::new("/c/cert")))
        );
        assert_eq!((global.memory_limit, global.cache_size), (Some(64 << 20), Some(5 << 10)));
        assert_eq!(global.cache_dir.as_deref(), Some(Path::new("/c/cache")));
        let source = credentials::choose(&global, &environment).expect("one");
        assert!(matches!(source, Some(Source::KeyFile(path)) if path == Path::new("/c/key")));
    }

    #[test]
    fn flags_and_variables_go_before_the_configuration() {
        let line = "packstone --limit-upload 9M --connections 9 --memory-limit 99M --ca-file other --no-cache snapshots";
        let (global, environment) = filled(line, &[("PACKSTONE_PASSWORD", "x")]);
        let network = &global.network;
        assert_eq!((network.limit_upload, network.limit_download), (Some(9 << 20), Some(2048)));
        assert_eq!((network.connections, global.memory_limit), (Some(9), Some(99 << 20)));
        assert_eq!(network.ca_file.as_deref(), Some(Path::new("other")));
        assert_eq!((global.cache_size, global.cache_dir.as_deref()), (None, None));
        let source = credentials::choose(&global, &environment).expect("one");
        assert!(matches!(source, Some(Source::Password(name, _)) if name == "PACKSTONE_PASSWORD"));
        let (global, _) = filled("packstone snapshots", &[("PACKSTONE_CACHE_DIR", "/x")]);
        assert_eq!(global.cache_dir, None);
        let (global, environment) = filled("packstone --password-file p snapshots", &[]);
        let source = credentials::choose(&global, &environment).expect("one");
        assert!(matches!(source, Some(Source::PasswordFile(path)) if path == Path::new("p")));
    }

    #[test]
    fn a_path_and_a_location_are_no_names() {
        for (text, expected) in [
            ("main", true),
            ("a-b_c.d", true),
            ("./main", false),
            (".", false),
            ("/main", false),
            ("a/b", false),
            ("s3:x", false),
        ] {
            assert_eq!(as_name(OsStr::new(text)).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn the_file_is_looked_for_in_its_places() {
        let home = tempfile::tempdir().expect("a directory");
        let variables = [("HOME", home.path().to_str().expect("UTF-8"))];
        let flag = Global { config: Some("flag".into()), ..Global::default() };
        let with_variable = environment(&[variables[0], ("PACKSTONE_CONFIG", "variable")]);
        assert_eq!(find(&flag, &with_variable), Some("flag".into()));
        assert_eq!(find(&Global::default(), &with_variable), Some("variable".into()));
        let folder = home.path().join(".config/packstone");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(NAME), "").expect("a file");
        assert_eq!(find(&Global::default(), &environment(&variables)), Some(folder.join(NAME)));
        assert_eq!(places(&environment(&[])), [Path::new(OF_SYSTEM)]);
    }
}
