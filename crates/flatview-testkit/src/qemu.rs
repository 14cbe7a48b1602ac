//! A real QEMU for a test.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::need::program;

/// The time that QEMU gets to open its socket. CI machines are slow.
const START: Duration = Duration::from_secs(60);

/// A `qemu-system-x86_64` in a temporary folder; killed when dropped, after a panic as well.
///
/// It has a QMP socket, no display, and stands still (`-S`) until a test lets it run.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    folder: TempDir,
}

impl Qemu {
    /// Starts QEMU with these arguments, such as `["-M", "pc", "-m", "64"]`, under TCG and without default devices'
    /// back ends, and waits until its QMP socket listens. `None` if QEMU is not installed: see [`program`].
    ///
    /// # Panics
    ///
    /// If QEMU ends, or opens no socket in a minute.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let program = program("qemu", "qemu-system-x86_64")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("stderr")).expect("a file in it");
        let child = Command::new(program)
            .args(["-accel", "tcg", "-S", "-display", "none", "-monitor", "none"])
            .args(["-serial", "null", "-parallel", "null"])
            .args(["-qmp", "unix:qmp.sock,server=on,wait=off"])
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("QEMU starts");
        let mut qemu = Self { child, folder };
        qemu.wait_for_socket();
        Some(qemu)
    }

    /// The path of its QMP socket. It talks to one client at a time.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("qmp.sock")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A folder that lives as long as this QEMU.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn wait_for_socket(&mut self) {
        let begin = Instant::now();
        // The file is there from `bind` on, before `listen`. A connection that is closed at once does no harm.
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.child.try_wait().expect("its state");
            assert!(
                ended.is_none() && begin.elapsed() < START,
                "QEMU opened no QMP socket in {:?} ({ended:?}); it said:\n{}",
                begin.elapsed(),
                fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default(),
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // By its own pid, and only if it has not been waited for: `Child` sees to both.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
