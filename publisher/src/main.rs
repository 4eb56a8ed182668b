//! The publisher's process: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    publisher::cli::run(std::env::args_os()).into()
}
