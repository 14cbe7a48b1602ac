//! Makes a packed corpus from folders: `pack OUT FOLDER...`.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let mut paths = env::args_os().skip(1).map(PathBuf::from);
    let out = paths.next();
    let folders: Vec<PathBuf> = paths.collect();
    let Some(out) = out.filter(|_| !folders.is_empty()) else {
        eprintln!("usage: pack OUT FOLDER...");
        return ExitCode::from(2);
    };
    let packed = match flatview_corpus::pack(&folders) {
        Ok(packed) => packed,
        Err(error) => {
            eprintln!("pack: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = fs::write(&out, &packed) {
        eprintln!("pack: {}: {error}", out.display());
        return ExitCode::FAILURE;
    }
    println!("{}: {} bytes", out.display(), packed.len());
    ExitCode::SUCCESS
}
