//! The program `flatview`.

#![forbid(unsafe_code)]

fn main() {}
