//! Programs and files that may be missing.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// Where `name` is in `PATH`; `None`, after a loud word on stderr, if it is nowhere and the test must skip.
///
/// `need` is the short word by which `FLATVIEW_REQUIRE` (a list with commas) may forbid skipping: `qemu`, `chromium`.
///
/// # Panics
///
/// If the program is missing and `FLATVIEW_REQUIRE` has `need` in it.
#[must_use]
pub fn program(need: &str, name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    needed(need, name, found)
}

/// `path`, if it is a file; as [`program`] otherwise. For what packages install that is no program: firmware.
///
/// # Panics
///
/// As [`program`].
#[must_use]
pub fn file(need: &str, path: &str) -> Option<PathBuf> {
    let found = Some(Path::new(path)).filter(|path| path.is_file());
    needed(need, path, found.map(Path::to_path_buf))
}

/// The file of an unpacked package of Debian whose name in `folder` (`boot`) begins and ends like this, the last one by
/// name; as [`program`] otherwise. For packages that a test wants to read and nobody to install: kernels, whose
/// installation changes the machine.
///
/// `.ci/run` unpacks them, all into one folder: `target/debian` of this workspace, or what the environment variable
/// `FLATVIEW_DEBIAN` says.
///
/// # Panics
///
/// As [`program`].
#[must_use]
pub fn unpacked(need: &str, folder: &str, prefix: &str, suffix: &str) -> Option<PathBuf> {
    let root = env::var_os("FLATVIEW_DEBIAN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debian"),
        PathBuf::from,
    );
    let folder = root.join(folder);
    let files = fs::read_dir(&folder).into_iter().flatten().flatten();
    let is_it = |file: &PathBuf| {
        let name = file.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix)) && file.is_file()
    };
    let found = files.map(|file| file.path()).filter(is_it).max();
    let name = folder.join(format!("{prefix}*{suffix}"));
    needed(need, &name.to_string_lossy(), found)
}

/// Whether this user may use the kernel's KVM; as [`program`] otherwise, with the word `kvm`.
///
/// # Panics
///
/// As [`program`].
#[must_use]
pub fn kvm() -> bool {
    const DEVICE: &str = "/dev/kvm";
    let opened = OpenOptions::new().read(true).write(true).open(DEVICE);
    needed("kvm", DEVICE, opened.ok().map(|_| DEVICE.into())).is_some()
}

fn needed(need: &str, name: &str, found: Option<PathBuf>) -> Option<PathBuf> {
    if found.is_none() {
        let required = env::var("FLATVIEW_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|word| word.trim() == need),
            "`{name}` is missing, and FLATVIEW_REQUIRE={required} forbids to skip the tests that need it"
        );
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let word = format!("\n*** SKIPPED {test}: `{name}` is missing, so it proves nothing ***\n");
        // Not `eprintln!`: of a test that passes nobody sees that.
        let _ = io::stderr().write_all(word.as_bytes());
    }
    found
}
