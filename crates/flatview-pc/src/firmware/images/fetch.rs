//! Getting SeaBIOS from Debian.
//!
//! `apt-get` does it, with the system's sources and keys, but with state and cache of its own, so that it needs no root
//! and changes nothing; `dpkg-deb` unpacks. All of it happens in a folder that is thrown away; only the images are
//! moved out of it, in one step, when they are complete.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

use super::{BIOS, ImageError, VGA_BIOS, load_bios, load_option_rom};

/// Debian's package, and where it has its images.
const PACKAGE: &str = "seabios";
const IN_PACKAGE: &str = "usr/share/seabios";
/// What the end of the messages says.
const BY_HAND: &str =
    "install it by hand (on Debian: `apt-get install seabios`), or name a file with `--bios`";

/// The settings that are not paths. What the system wants done after an update is none of our business.
const SETTINGS: &str = "\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
// The files belong to whoever asked, also if that is root.
APT::Sandbox::User \"root\";
APT::Update::Error-Mode \"any\";
Acquire::Languages \"none\";
Acquire::Retries \"1\";
Acquire::http::Timeout \"30\";
Acquire::https::Timeout \"30\";
";

/// What [`fetch_debian_seabios`] does now; each may take a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchStep {
    /// Reads which packages there are.
    Update,
    /// Downloads the package.
    Download,
    /// Unpacks it.
    Unpack,
}

impl fmt::Display for FetchStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FetchStep::Update => "reading Debian's lists of packages",
            FetchStep::Download => "downloading Debian's package `seabios`",
            FetchStep::Unpack => "unpacking SeaBIOS",
        })
    }
}

/// Gets SeaBIOS and its VGA BIOSes from Debian into the folder `seabios` in `cache`, unless they are there already, and
/// returns that folder. `progress` is told what happens.
///
/// It works on systems with `apt-get` and sources that have the package, as any user who may write to `cache`, which
/// is made if there is none. Two that do it at the same time do not disturb each other.
///
/// # Errors
///
/// [`FetchError`]. Nothing of a failed attempt stays.
pub fn fetch_debian_seabios(
    cache: &Path,
    mut progress: impl FnMut(FetchStep),
) -> Result<PathBuf, FetchError> {
    let folder_error = |path: &Path| {
        let path = path.to_owned();
        move |source| FetchError::Folder { path, source }
    };
    fs::create_dir_all(cache).map_err(folder_error(cache))?;
    // `apt-get` would take relative paths as below the system's folders.
    let cache = fs::canonicalize(cache).map_err(folder_error(cache))?;
    let images = cache.join("seabios");
    if check(&images).is_ok() {
        return Ok(images);
    }
    let work = Scratch::new(&cache)?;
    let apt = Apt::new(&work.0).map_err(folder_error(&work.0))?;
    progress(FetchStep::Update);
    // A source that has nothing to do with it may be out of reach. If the package is, that is why.
    let updated = apt.run(&["update"]);
    progress(FetchStep::Download);
    apt.run(&["download", PACKAGE])
        .map_err(|error| updated.err().unwrap_or(error))?;
    progress(FetchStep::Unpack);
    let package = find_package(&work.0).ok_or(FetchError::NoPackage)?;
    let unpacked = work.0.join("unpacked");
    run(
        "dpkg-deb",
        "-x",
        Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked),
    )?;
    let fresh = unpacked.join(IN_PACKAGE);
    check(&fresh)?;
    // What is there is no good, or it would have been taken. Somebody else may have been faster.
    if check(&images).is_err() {
        let _ = fs::remove_dir_all(&images);
        if let Err(source) = fs::rename(&fresh, &images)
            && check(&images).is_err()
        {
            return Err(FetchError::Folder { path: images, source });
        }
    }
    Ok(images)
}

/// Whether the images are there and good.
fn check(folder: &Path) -> Result<(), ImageError> {
    load_bios(&folder.join(BIOS))?;
    load_option_rom(&folder.join(VGA_BIOS))?;
    Ok(())
}

fn find_package(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    files
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "deb"))
}

/// A folder that is removed with all that is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Scratch, FetchError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = parent.join(format!(".fetch-{}-{}", process::id(), now.as_nanos()));
        match fs::create_dir(&path) {
            Ok(()) => Ok(Scratch(path)),
            Err(source) => Err(FetchError::Folder { path, source }),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An `apt-get` that keeps to itself.
struct Apt<'a> {
    folder: &'a Path,
}

impl Apt<'_> {
    fn new(folder: &Path) -> io::Result<Apt<'_>> {
        for name in ["state/lists/partial", "cache/archives/partial", "log"] {
            fs::create_dir_all(folder.join(name))?;
        }
        // No package is installed, as far as it knows.
        fs::write(folder.join("status"), "")?;
        fs::write(folder.join("apt.conf"), SETTINGS)?;
        Ok(Apt { folder })
    }

    fn run(&self, arguments: &[&str]) -> Result<(), FetchError> {
        let mut command = Command::new("apt-get");
        // `download` writes where it is.
        command.current_dir(self.folder).arg("-qq");
        command.arg("-c").arg(self.folder.join("apt.conf"));
        for (setting, name) in [
            ("Dir::State", "state"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Log", "log"),
        ] {
            let mut value = std::ffi::OsString::from(setting);
            value.push("=");
            value.push(self.folder.join(name));
            command.arg("-o").arg(value);
        }
        run("apt-get", arguments[0], command.args(arguments))
    }
}

/// Runs a program that asks nothing and speaks English.
fn run(program: &'static str, doing: &str, command: &mut Command) -> Result<(), FetchError> {
    let output = command
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(process::Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FetchError::NoProgram { program });
        }
        Err(source) => return Err(FetchError::NotStarted { program, source }),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(FetchError::Failed {
        program,
        doing: doing.to_owned(),
        said: last_lines(&said),
    })
}

/// The end of what a program said, which is where programs say what went wrong.
fn last_lines(text: &str) -> String {
    const MOST: usize = 5;
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(MOST)..].join("; ")
}

/// Why SeaBIOS was not fetched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A program is missing.
    #[error("SeaBIOS cannot be fetched without `{program}`; {BY_HAND}")]
    NoProgram {
        /// The program.
        program: &'static str,
    },
    /// A program did not start.
    #[error("SeaBIOS cannot be fetched: `{program}` did not start: {source}; {BY_HAND}")]
    NotStarted {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program failed: often there is no network.
    #[error("SeaBIOS cannot be fetched: `{program} {doing}` failed: {said}; {BY_HAND}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it was to do.
        doing: String,
        /// The end of what it said.
        said: String,
    },
    /// Nothing was downloaded, and nothing failed.
    #[error("SeaBIOS cannot be fetched: `apt-get download {PACKAGE}` brought no package; {BY_HAND}")]
    NoPackage,
    /// A folder cannot be made or written.
    #[error("SeaBIOS cannot be kept in `{}`: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What came is not what it should be.
    #[error("Debian's SeaBIOS is not what it should be: {0}; {BY_HAND}")]
    Image(#[from] ImageError),
}
