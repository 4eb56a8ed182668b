//! The `capture` and `publisher` of this very source.
//!
//! cargo builds no other member's programs for a test or a `cargo run`, and what lies in the target
//! folder may be stale: so cargo is asked once per test process, with the same profile, and says itself
//! where it put them. `SMARTMETER_BIN_DIR` names a folder of programs built otherwise, for another
//! machine for instance.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::{self, Process, Ran};

/// Where the two programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `capture`.
    pub capture: PathBuf,
    /// `publisher`.
    pub publisher: PathBuf,
}

/// How long a command that does not wait for anything may take on a busy machine.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

impl Programs {
    /// The programs, built where that has not been done by this process.
    pub fn built() -> &'static Self {
        static PROGRAMS: OnceLock<Programs> = OnceLock::new();
        PROGRAMS.get_or_init(|| Self::find(Stdio::null()).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Builds them, cargo's progress going to `progress`.
    ///
    /// # Errors
    /// In words, where cargo does not run or the source does not build.
    pub fn find(progress: Stdio) -> Result<Self, String> {
        if let Some(folder) = std::env::var_os("SMARTMETER_BIN_DIR") {
            let folder = PathBuf::from(folder);
            let programs = Self {
                capture: folder.join("capture"),
                publisher: folder.join("publisher"),
            };
            for program in [&programs.capture, &programs.publisher] {
                if !program.is_file() {
                    return Err(format!("SMARTMETER_BIN_DIR: there is no {}", program.display()));
                }
            }
            return Ok(programs);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or("the workspace has a folder")?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // From the workspace's root and for all of its members, so that the dependencies are those that
        // are built already.
        cargo
            .current_dir(root)
            .args(["build", "--locked", "--bin", "capture", "--bin", "publisher"]);
        cargo.arg("--message-format=json-render-diagnostics");
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        // What cargo tells this process about its package is not meant for another run of cargo: build
        // scripts that look at it (ring's does) would run again, and all that depends on them be built anew.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
                .iter()
                .any(|told| text.starts_with(told))
            {
                cargo.env_remove(&name);
            }
        }
        let built = cargo
            .stdin(Stdio::null())
            .stderr(progress)
            .output()
            .map_err(|error| format!("cargo does not run: {error}"))?;
        if !built.status.success() {
            return Err(format!(
                "cargo build: {}: capture and publisher do not build",
                built.status
            ));
        }
        let (mut capture, mut publisher) = (None, None);
        for line in String::from_utf8_lossy(&built.stdout).lines() {
            let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
                continue;
            };
            let Some(path) = message["executable"].as_str().map(PathBuf::from) else {
                continue;
            };
            match message["target"]["name"].as_str() {
                Some("capture") => capture = Some(path),
                Some("publisher") => publisher = Some(path),
                _ => {}
            }
        }
        Ok(Self {
            capture: capture.ok_or("cargo did not say where capture is")?,
            publisher: publisher.ok_or("cargo did not say where publisher is")?,
        })
    }

    /// `capture`, to be given arguments, in an environment that configures nothing.
    pub fn capture(&self) -> Command {
        command(&self.capture)
    }

    /// `publisher`, the same.
    pub fn publisher(&self) -> Command {
        command(&self.publisher)
    }
}

/// Starts `capture` with these arguments in this folder.
pub fn start_capture(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Process {
    Process::start(
        "capture",
        Programs::built().capture().current_dir(folder).args(arguments),
    )
}

/// Starts `publisher` with these arguments in this folder.
pub fn start_publisher(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Process {
    Process::start(
        "publisher",
        Programs::built().publisher().current_dir(folder).args(arguments),
    )
}

/// Runs `capture` with these arguments to its end.
pub fn run_capture(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Ran {
    process::run(
        Programs::built().capture().current_dir(folder).args(arguments),
        b"",
        COMMAND_DEADLINE,
    )
}

/// Runs `publisher` with these arguments to its end.
pub fn run_publisher(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Ran {
    process::run(
        Programs::built().publisher().current_dir(folder).args(arguments),
        b"",
        COMMAND_DEADLINE,
    )
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    process::clean_environment(&mut command);
    command
}
