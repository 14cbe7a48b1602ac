//! `flatview boot`, run as a user runs it.
//!
//! - [`seabios`]: the firmware that everybody has, what the program shows of it, and other firmware.
//! - [`own`]: guests of a few bytes, each of which does one thing.
//! - [`kvm`]: which accelerator it is, and what that says.
//! - [`wrong`]: what is wrong with the arguments, and how that is told.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod kvm;
mod own;
mod seabios;
#[path = "../support/mod.rs"]
mod support;
mod wrong;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

/// `cli; hlt`: a guest that ends at once.
const HALT: &[u8] = &[0xfa, 0xf4];

/// A home for who runs the program: nothing is in it but what a test or the program puts there.
fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// `flatview boot` in a folder; on the software CPU, if the arguments do not say otherwise.
fn boot(home: &TempDir, arguments: &[&str]) -> Command {
    let accel: &[&str] = match arguments.contains(&"--accel") {
        true => &[],
        false => &["--accel", "soft"],
    };
    let mut command = support::flatview(&[&["boot"], arguments, accel].concat());
    command.current_dir(home).env("HOME", home.path());
    command
}

fn run(home: &TempDir, arguments: &[&str]) -> Output {
    boot(home, arguments).output().unwrap()
}

/// Makes a file in a folder.
fn put(home: &TempDir, name: &str, bytes: &[u8]) {
    fs::write(home.path().join(name), bytes).unwrap();
}

/// What is in a folder: names and sizes.
fn listing(folder: &Path) -> Vec<(String, u64)> {
    let entry = |entry: fs::DirEntry| {
        let name = entry.file_name().to_str().unwrap().to_owned();
        (name, entry.metadata().unwrap().len())
    };
    let mut list: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|found| entry(found.unwrap()))
        .collect();
    list.sort();
    list
}

/// How it ended: the exit code, and what it said of it.
fn verdict(output: &Output) -> (Option<i32>, &str) {
    (output.status.code(), support::text(&output.stderr))
}

/// A process that runs while the test talks to it. Killed when dropped, after a panic as well.
struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running {
            child,
            stdout: Some(stdout),
        }
    }

    /// Reads lines up to the one with this text.
    fn read_to(&mut self, text: &str) {
        let stdout = self.stdout.as_mut().unwrap();
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the end before {text}");
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: the exit code, and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
