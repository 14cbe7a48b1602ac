//! A QMP server that follows a test's script.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A server on a Unix socket, in a thread of this process, for one client.
///
/// When it is dropped it waits for its script to end, and fails if that failed: so drop the client first.
#[derive(Debug)]
pub struct QmpServer {
    folder: TempDir,
    script: Option<JoinHandle<()>>,
}

impl QmpServer {
    /// Listens, and follows the script with the first who connects. The connection ends with the script.
    ///
    /// # Panics
    ///
    /// If there can be no socket.
    #[must_use]
    pub fn start(script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join("qmp.sock")).expect("a socket in it");
        let script = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            // A client that says nothing must not hang the test.
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .expect("a timeout");
            let reader = BufReader::new(stream.try_clone().expect("the socket again"));
            script(&mut Peer { stream, reader });
        });
        Self {
            folder,
            script: Some(script),
        }
    }

    /// Greets as QEMU 7.2.22 of `Debian` and agrees to `qmp_capabilities`, and then follows the script.
    #[must_use]
    pub fn after_handshake(script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        Self::start(|peer| {
            peer.handshake();
            script(peer);
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("qmp.sock")
    }

    /// A folder that lives as long as this server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for QmpServer {
    fn drop(&mut self) {
        let script = self.script.take().expect("only taken here");
        // If nobody ever connected, the script never began: be the client, so that it ends.
        if !script.is_finished() {
            drop(UnixStream::connect(self.socket()));
        }
        let ended = script.join();
        if !thread::panicking() {
            ended.expect("the script of the server");
        }
    }
}

/// The client, as the script sees it.
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Peer {
    /// Says this, without an end of line. A client that left hears nothing, and that is no failure.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Says a message, and ends the line as QEMU does.
    pub fn send(&mut self, message: &Value) {
        self.say(format!("{message}\r\n"));
    }

    /// Hears a command: its name and its whole message. `None` if the client has left.
    ///
    /// # Panics
    ///
    /// If what comes is no command.
    pub fn hear(&mut self) -> Option<(String, Value)> {
        let mut line = String::new();
        let length = self.reader.read_line(&mut line).expect("a line from the client");
        (length > 0).then(|| {
            let message: Value = serde_json::from_str(&line).expect("JSON from the client");
            let name = message["execute"].as_str().expect("a command").to_owned();
            (name, message)
        })
    }

    /// Hears a command line for the human monitor: the line, and the `id` to answer with.
    ///
    /// # Panics
    ///
    /// If the client says something else, or leaves.
    pub fn hear_human(&mut self) -> (String, Value) {
        let (name, message) = self.hear().expect("a command");
        assert_eq!(name, "human-monitor-command");
        let line = message["arguments"]["command-line"]
            .as_str()
            .expect("a command line")
            .to_owned();
        (line, message["id"].clone())
    }

    /// Greets and agrees to `qmp_capabilities`, as QEMU 7.2.22 of `Debian`.
    ///
    /// # Panics
    ///
    /// If the client asks for something else first.
    pub fn handshake(&mut self) {
        self.greet();
        let (name, message) = self.hear().expect("qmp_capabilities");
        assert_eq!(name, "qmp_capabilities");
        self.send(&json!({"return": {}, "id": message["id"]}));
    }

    /// Greets as QEMU 7.2.22 of `Debian`.
    pub fn greet(&mut self) {
        self.send(&json!({"QMP": {
            "version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"},
            "capabilities": ["oob"],
        }}));
    }
}
