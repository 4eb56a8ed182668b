//! What is different in a container: whether this is one, and what a program does there when it cannot run.
//!
//! A container engine knows no exit code that means "do not start this again", as systemd does. A program whose
//! configuration is wrong would be started again and again. So where [`WAIT_VARIABLE`] asks for it, as the project's
//! compositions do, it stays until the configuration changes, and only then ends.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config::flags::Flags;
use crate::exit::Exit;

/// Asks a program to wait when its configuration is wrong.
pub const WAIT_VARIABLE: &str = "SMARTMETER_WAIT_FOR_CONFIG";

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whether this process runs in a container of Docker, Podman or Kubernetes.
pub fn is_inside() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| Path::new(mark).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// What to add when `host` cannot be reached: that `localhost` means another machine here than its author thinks.
/// Empty for any other host, and outside of a container.
pub fn localhost_advice(host: &str, key: &str, is_inside: bool) -> String {
    let is_loopback = host.eq_ignore_ascii_case("localhost")
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if !(is_loopback && is_inside) {
        return String::new();
    }
    let example = if key == "mqtt.address" {
        "mosquitto:1883"
    } else {
        "tcp://ser2net:2001"
    };
    format!(
        "; in a container {host} is the container itself: write the name of the service in {key}, such as {example}, or \
         the address of the machine that it runs on"
    )
}

/// Waits before the program ends with `exit`, if the environment asks for it and that is an end which comes again
/// at every start: with a wrong configuration until one of its files changes, with a wrong command line until a signal
/// asks for the end. Without [`WAIT_VARIABLE`] it returns at once.
pub fn wait_before(exit: Exit, flags: &Flags) {
    let files = match exit {
        Exit::Configuration => crate::config::places(flags),
        // What the engine itself has started, and no command that a person has run in the container.
        Exit::Usage if std::process::id() == 1 => Vec::new(),
        _ => return,
    };
    let is_asked =
        std::env::var(WAIT_VARIABLE).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false" | "no"));
    if !is_asked {
        return;
    }
    let is_ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal_hook::flag::register(signal, Arc::clone(&is_ending)).is_err() {
            return;
        }
    }
    let before = stamps(&files);
    crate::logging::start(false);
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    match names.as_slice() {
        [] => {
            tracing::error!("waiting to be stopped: the command line is wrong, and would be at every start")
        }
        names => tracing::error!(
            "waiting until {} changes: the configuration is wrong, and would be at every start",
            names.join(" or ")
        ),
    }
    while !is_ending.load(Ordering::Relaxed) && stamps(&files) == before {
        thread::sleep(LOOK_EVERY);
    }
}

/// What shows that a file is another one: its inode, length and time of change.
fn stamps(files: &[PathBuf]) -> BTreeMap<&Path, Option<(u64, u64, i64, i64)>> {
    files
        .iter()
        .map(|file| {
            let stamp = fs::metadata(file)
                .ok()
                .map(|data| (data.ino(), data.size(), data.mtime(), data.mtime_nsec()));
            (file.as_path(), stamp)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_the_container_and_nothing_is_said_outside_of_one() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.3.2.1", "::1", "[::1]"] {
            let words = localhost_advice(host, "mqtt.address", true);
            assert!(words.contains("is the container itself"), "{host}: {words}");
            assert!(words.contains("mosquitto:1883"), "{words}");
            assert_eq!(localhost_advice(host, "mqtt.address", false), "", "{host}");
        }
        for host in ["mosquitto", "192.168.1.2", "localhost.lan"] {
            assert_eq!(localhost_advice(host, "mqtt.address", true), "", "{host}");
        }
        assert!(localhost_advice("localhost", "usb", true).contains("tcp://"));
    }

    #[test]
    fn a_file_that_changes_appears_or_goes_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("smartmeter.yml");
        let files = [file.clone()];
        let none = stamps(&files);
        fs::write(&file, "a").expect("written");
        let first = stamps(&files);
        assert_ne!(none, first);
        assert_eq!(first, stamps(&files));
        fs::write(&file, "ab").expect("written");
        assert_ne!(first, stamps(&files));
        fs::remove_file(&file).expect("removed");
        assert_eq!(none, stamps(&files));
    }
}
