//! `capture --check`: would it run? Looks at the port, the queue's folder and the socket, prints what it
//! found and the values in effect, and leaves a running capture alone.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use shared::check::Report;
use shared::commands::command;
use shared::config::{Config, Loaded, PortAddress, SerialSetting};
use shared::wire::Status;
use shared::wire::client::{Client, ClientError};

use crate::failure::Failure;
use crate::intake::WAITING;
use crate::port::stop::Stop;
use crate::port::{Line, Port};
use crate::queue::layout::Layout;
use crate::queue::mark::MarkFile;
use crate::queue::{OpenError, own_files};
use crate::server::socket::{self, Found, SocketError};
use crate::{run, words};

/// Prints the values in effect and what each check found.
///
/// # Errors
///
/// Where a check failed; all of them are made.
pub fn check(loaded: &Loaded, output: &mut dyn Write) -> Result<(), Failure> {
    let config = &loaded.config;
    let mut report = Report::begin(loaded, output);
    let running = running(config);
    report.take("usb", &check_port(config, running.as_ref().ok()));
    report.take(
        "queue.path",
        &check_folder(&config.queue.path, config.queue.max_size_bytes),
    );
    if let Some(words) = own_files::open_to_others(&Layout::new(&config.queue.path)) {
        report.note(&words);
    }
    report.take("queue.socket", &check_socket(config, running));
    report.note(&format!(
        "the broker is checked by `{}`",
        command("publisher --check")
    ));
    report.end().map_err(Failure::failed)
}

/// The capture that runs on the configured socket.
fn running(config: &Config) -> Result<Status, ClientError> {
    Client::connect(&config.queue.socket, Duration::from_secs(5)).and_then(|mut client| client.status())
}

fn check_port(config: &Config, running: Option<&Status>) -> Result<String, String> {
    let address = &config.port.address;
    let name = address.to_string();
    if let Some(status) = running.filter(|status| status.port == name) {
        return match status.port_state.strip_prefix(WAITING) {
            None => Ok(format!(
                "{name} is with the running capture: {}",
                status.port_state
            )),
            Some(trouble) => Err(format!(
                "{name} is with the running capture, which waits: {trouble}"
            )),
        };
    }
    if *address == PortAddress::Stdin {
        return Ok("standard input".to_owned());
    }
    let line = match config.port.line {
        SerialSetting::Baud9600 => Line::Baud9600,
        SerialSetting::Auto | SerialSetting::Baud115200 => Line::Baud115200,
    };
    let stop = Stop::new().map_err(|error| error.to_string())?;
    match Port::open(address, line, &stop) {
        Ok(_) => Ok(format!("{name} can be opened")),
        Err(trouble) => Err(trouble.to_string()),
    }
}

fn check_folder(folder: &Path, max_size_bytes: u64) -> Result<String, String> {
    let shown = folder.display();
    // What does not exist yet will be made in the nearest folder above it that does.
    let mut nearest = folder;
    while fs::symlink_metadata(nearest).is_err() {
        nearest = match nearest.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    run::expect_folder(nearest)?;
    access(nearest, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        format!(
            "cannot write in {}: {} (queue.path)",
            nearest.display(),
            io::Error::from(error)
        )
    })?;
    let mark = folder.join("mark");
    if mark.exists() {
        access(&mark, Access::READ_OK | Access::WRITE_OK).map_err(|error| {
            format!(
                "cannot write {}: {}: whose is it?",
                mark.display(),
                io::Error::from(error)
            )
        })?;
    }
    own_files::expect_own(&Layout::new(folder))
        .map_err(|(path, found)| OpenError::NotOwn { path, found }.to_string())?;
    if let Some(found) = MarkFile::later_version(&mark) {
        let path = folder.to_owned();
        return Err(OpenError::Later { path, found }.to_string());
    }
    let state = if mark.exists() { "there" } else { "will be made" };
    let room = rustix::fs::statvfs(nearest)
        .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
        .map_err(|error| format!("cannot look at the disk of {shown}: {}", io::Error::from(error)))?;
    let note = if room < max_size_bytes && !mark.exists() {
        format!(", less than queue.max_size of {}", words::size(max_size_bytes))
    } else {
        String::new()
    };
    Ok(format!(
        "{shown} {state}, writable; {} free on its disk{note}",
        words::size(room)
    ))
}

fn check_socket(config: &Config, running: Result<Status, ClientError>) -> Result<String, String> {
    let path = &config.queue.socket;
    let shown = path.display();
    match running {
        Ok(status) => {
            return Ok(format!(
                "{shown} is served by a running capture {}, head {}",
                status.version, status.head
            ));
        }
        Err(ClientError::NoSocket { .. } | ClientError::NotServed { .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    let found = match socket::inspect(path) {
        Ok(Found::Nothing) => "will be made",
        Ok(Found::Stale) => "is stale and will be replaced",
        Err(error @ SocketError::Live { .. }) => return Err(format!("{error}; it answers no status")),
        Err(error) => return Err(error.to_string()),
    };
    let mut folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    while !folder.exists() {
        folder = folder
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
    }
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        format!(
            "cannot write in {}: {} (queue.socket)",
            folder.display(),
            io::Error::from(error)
        )
    })?;
    Ok(format!("{shown} {found}"))
}
