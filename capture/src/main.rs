//! `capture`: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    capture::cli::main(std::env::args_os()).into()
}
