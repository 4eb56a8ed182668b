//! Why a port cannot be opened or read, in words that a person in front of a meter cupboard can act on.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use shared::{accounts, container};
use thiserror::Error;

use super::Line;

/// Why a port cannot be opened or read. After each nothing is open, and trying again is right.
#[derive(Debug, Error)]
pub enum Trouble {
    /// The device may not be opened by this user.
    #[error("permission denied for {device}: {advice}", device = device.display())]
    PermissionDenied {
        /// The device.
        device: PathBuf,
        /// What to do about it.
        advice: String,
    },
    /// There is no such device.
    #[error("there is no device {device}: {advice}", device = device.display())]
    NoSuchDevice {
        /// The device.
        device: PathBuf,
        /// Which there are.
        advice: String,
    },
    /// Another program has it.
    #[error("{device} is in use by {holder}: stop that program, since only one can read a port", device = device.display())]
    Busy {
        /// The device.
        device: PathBuf,
        /// Who has it, as far as can be seen.
        holder: String,
    },
    /// It is something else.
    #[error("{path} is not a serial device but {kind}", path = path.display())]
    NotSerial {
        /// What was named.
        path: PathBuf,
        /// What it is, and what to write in its place.
        kind: String,
    },
    /// The device cannot be opened for another reason.
    #[error("cannot open {device}: {source}", device = device.display())]
    Device {
        /// The device.
        device: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The line's setting was refused.
    #[error("cannot set {device} to {line}: {source}", device = device.display())]
    Settings {
        /// The device.
        device: PathBuf,
        /// The setting.
        line: Line,
        /// What the system says.
        source: io::Error,
    },
    /// It was open, and is gone.
    #[error("{device} is gone ({source}): was the adapter unplugged?", device = device.display())]
    Unplugged {
        /// The device.
        device: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A host's name is unknown.
    #[error("the host {host} is not known ({source}): {}", lookup_advice())]
    UnknownHost {
        /// The name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// No connection.
    #[error("cannot connect to {address}: {}", connection_advice(address, source))]
    Connection {
        /// Host and port.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The other side closed the connection.
    #[error("the other side closed the connection")]
    Closed,
    /// The other side says nothing, though the connection stands.
    #[error("nothing came for {seconds} s, so that the connection is made anew")]
    Silent {
        /// How long.
        seconds: u64,
    },
    /// The connection or file broke.
    #[error("reading failed: {source}")]
    Broken {
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Trouble {
    /// What an error on opening `device` means. Looks around for advice: at the device's group, at the
    /// devices that there are, at who has it open.
    #[must_use]
    pub fn of_device(device: &Path, errno: Errno) -> Self {
        let device = device.to_owned();
        match errno {
            Errno::ACCESS => Self::PermissionDenied {
                advice: permission_advice(&device),
                device,
            },
            Errno::PERM => Self::PermissionDenied {
                advice: forbidden_words(container::is_inside()),
                device,
            },
            Errno::NOENT | Errno::NODEV | Errno::NXIO => Self::NoSuchDevice {
                advice: devices_advice(&serial_devices(Path::new("/dev")), container::is_inside()),
                device,
            },
            Errno::BUSY => Self::Busy {
                holder: holder(&device),
                device,
            },
            Errno::NOTTY | Errno::ISDIR | Errno::INVAL => Self::NotSerial {
                kind: kind(&device),
                path: device,
            },
            _ => Self::Device {
                device,
                source: errno.into(),
            },
        }
    }
}

/// Where the Debian package keeps the lines that let the service use the network.
const PACKAGED_NETWORK: &str = "/usr/share/smartmeter-reader/network.conf";

/// Whether this process may make no network socket at all, as the service's unit has it.
fn is_network_forbidden() -> bool {
    std::net::UdpSocket::bind("127.0.0.1:0")
        .is_err_and(|error| error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()))
}

/// How to let a sandboxed service use the network.
fn network_words(is_packaged: bool) -> String {
    let how = if is_packaged {
        format!(
            "run `sudo install -D -m 644 {PACKAGED_NETWORK} \
             /etc/systemd/system/smartmeter-capture.service.d/network.conf && sudo systemctl daemon-reload && sudo \
             systemctl restart smartmeter-capture`"
        )
    } else {
        "give its unit RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 and PrivateNetwork=no".to_owned()
    };
    format!("the sandbox of this service allows no network, which a meter at tcp:// needs: {how}")
}

fn lookup_advice() -> String {
    if is_network_forbidden() {
        network_words(Path::new(PACKAGED_NETWORK).exists())
    } else {
        "is the name right, and is there a network?".to_owned()
    }
}

fn connection_advice(address: &str, source: &io::Error) -> String {
    if source.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) && is_network_forbidden() {
        return format!(
            "{} ({source})",
            network_words(Path::new(PACKAGED_NETWORK).exists())
        );
    }
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let container = container::localhost_advice(host, "usb", container::is_inside());
    let advice = match source.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there; is the port number right, and ser2net running?"
        }
        io::ErrorKind::TimedOut => "no answer; is the adapter switched on and in this network?",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "is the adapter in this network?"
        }
        _ => return format!("{source}{container}"),
    };
    format!("{advice}{container} ({source})")
}

/// Which group to join.
fn permission_advice(device: &Path) -> String {
    let Ok(metadata) = device.metadata() else {
        return "its folder may not be looked into either".to_owned();
    };
    let user = accounts::user_name(rustix::process::geteuid().as_raw()).unwrap_or_else(|| "$USER".to_owned());
    let gid = metadata.gid();
    let group = accounts::group_name(gid).unwrap_or_else(|| gid.to_string());
    match is_member_of(gid) && metadata.mode() & 0o060 == 0o060 {
        true => member_words(&group, container::is_inside()),
        false => permission_words(
            device,
            metadata.mode(),
            gid,
            &group,
            &user,
            container::is_inside(),
        ),
    }
}

fn permission_words(
    device: &Path,
    mode: u32,
    gid: u32,
    group: &str,
    user: &str,
    is_container: bool,
) -> String {
    if mode & 0o060 != 0o060 {
        let device = device.display();
        return format!(
            "its mode {:04o} lets not even its group {group} read and write it. Until it is plugged in again \
             `sudo chgrp dialout {device} && sudo chmod 660 {device}` mends that, for good a udev rule",
            mode & 0o7777
        );
    }
    let why = format!("its group {group} may read it, and the user {user} is not in that group");
    if is_container {
        format!(
            "{why}. Set P1_GROUP={gid} for the project's compose files, or add `group_add: [\"{gid}\"]` to your own"
        )
    } else {
        format!("{why}. Run `sudo usermod -aG {group} {user}` and log in again")
    }
}

fn member_words(group: &str, is_container: bool) -> String {
    let why = if is_container {
        "the container must be given the device (`devices:` in compose.yaml)"
    } else {
        "something else forbids it, such as the settings of a systemd unit"
    };
    format!("although this process is in its group {group}: {why}")
}

fn forbidden_words(is_container: bool) -> String {
    let why = "the system forbids it whatever the user";
    if is_container {
        format!("{why}; the container must be given the device (`devices:` in compose.yaml)")
    } else {
        format!("{why}; a systemd unit must allow the device (`DeviceAllow=`)")
    }
}

fn is_member_of(gid: u32) -> bool {
    rustix::process::getegid().as_raw() == gid
        || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

/// The serial devices below `dev`, as a meter's adapter may appear: by their stable names, then by number.
/// serialport's own list is not used, since it panics where `/sys` is not mounted.
#[must_use]
pub fn serial_devices(dev: &Path) -> Vec<String> {
    let names = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        paths
    };
    let by_id = names(&dev.join("serial/by-id")).into_iter().map(|path| {
        let target = std::fs::read_link(&path).ok();
        let number = target.as_deref().and_then(Path::file_name).unwrap_or_default();
        format!("{} ({})", path.display(), number.to_string_lossy())
    });
    let numbered = names(dev).into_iter().filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["ttyUSB", "ttyACM", "ttyAMA", "ttyS0", "serial0"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    });
    by_id
        .chain(numbered.map(|path| path.display().to_string()))
        .collect()
}

fn devices_advice(devices: &[String], is_container: bool) -> String {
    if devices.is_empty() {
        let why = "no serial device is here at all. Is the adapter plugged in?";
        match is_container {
            true => format!("{why} The container must be given it (`devices:` in compose.yaml)"),
            false => why.to_owned(),
        }
    } else {
        format!(
            "`usb` must name one of those that are here: {}",
            devices.join(", ")
        )
    }
}

/// Which process has the device open, as far as this one may see.
fn holder(device: &Path) -> String {
    let real = device.canonicalize().unwrap_or_else(|_| device.to_owned());
    let mut found = String::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path();
        let is_own = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy() == std::process::id().to_string());
        let mut open = std::fs::read_dir(path.join("fd")).into_iter().flatten().flatten();
        if !is_own && open.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == real)) {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            let pid = path.file_name().unwrap_or_default().to_string_lossy();
            let _ = write!(
                found,
                "{}{} (process {pid})",
                if found.is_empty() { "" } else { ", " },
                name.trim()
            );
        }
    }
    if found.is_empty() {
        "another program".to_owned()
    } else {
        found
    }
}

fn kind(path: &Path) -> String {
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => "a folder".to_owned(),
        Ok(metadata) if metadata.is_file() => {
            format!("a file; to read it, write `usb: file:{}`", path.display())
        }
        _ => "a device of another kind".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_denied_names_the_group_to_join_and_the_command() {
        let device = Path::new("/dev/ttyUSB0");
        let words = permission_words(device, 0o020_660, 20, "dialout", "pi", false);
        assert!(
            words.ends_with("Run `sudo usermod -aG dialout pi` and log in again"),
            "{words}"
        );
        let words = permission_words(device, 0o020_660, 20, "dialout", "pi", true);
        assert!(words.contains("group_add: [\"20\"]"), "{words}");
        assert!(
            words.contains("P1_GROUP=20") && !words.contains("sudo"),
            "{words}"
        );
        let words = permission_words(device, 0o020_600, 0, "root", "pi", false);
        assert!(
            words.contains("mode 0600") && words.contains("chmod 660 /dev/ttyUSB0"),
            "{words}"
        );
    }

    #[test]
    fn words_about_containers_are_said_only_in_one() {
        let device = Path::new("/dev/ttyUSB0");
        let all = |is_container| {
            [
                permission_words(device, 0o020_660, 20, "dialout", "pi", is_container),
                member_words("dialout", is_container),
                forbidden_words(is_container),
                devices_advice(&[], is_container),
            ]
        };
        let says = |words: &String| words.contains("container") || words.contains("compose");
        assert!(all(true).iter().all(says), "{:?}", all(true));
        assert!(!all(false).iter().any(says), "{:?}", all(false));
    }

    #[test]
    fn a_missing_device_lists_those_that_there_are() {
        let dev = tempfile::tempdir().expect("a folder");
        let devices = |dev: &tempfile::TempDir| devices_advice(&serial_devices(dev.path()), false);
        assert!(devices(&dev).contains("plugged in"));
        let by_id = dev.path().join("serial/by-id");
        std::fs::create_dir_all(&by_id).expect("made");
        for name in ["ttyUSB1", "ttyAMA0", "tty3", "null"] {
            std::fs::write(dev.path().join(name), "").expect("made");
        }
        std::os::unix::fs::symlink("../../ttyUSB1", by_id.join("usb-FTDI_P1-if00-port0")).expect("made");
        let words = devices(&dev);
        assert!(words.contains("usb-FTDI_P1-if00-port0 (ttyUSB1)"), "{words}");
        assert!(
            words.contains("/ttyAMA0") && words.contains("/ttyUSB1"),
            "{words}"
        );
        assert!(!words.contains("tty3") && !words.contains("null"), "{words}");
    }

    #[test]
    fn what_is_no_serial_device_is_named_for_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("capture.txt");
        std::fs::write(&file, "").expect("made");
        let words = |path: &Path| Trouble::of_device(path, Errno::NOTTY).to_string();
        assert!(
            words(&file).contains(&format!("usb: file:{}", file.display())),
            "{}",
            words(&file)
        );
        assert!(words(folder.path()).ends_with("a folder"));
        assert!(words(Path::new("/dev/null")).contains("a device of another kind"));
    }

    #[test]
    fn a_connection_that_fails_says_what_to_look_at() {
        let words = |kind: io::ErrorKind| {
            Trouble::Connection {
                address: "p1.local:2001".to_owned(),
                source: kind.into(),
            }
            .to_string()
        };
        assert!(
            words(io::ErrorKind::ConnectionRefused)
                .contains("cannot connect to p1.local:2001: nothing listens")
        );
        assert!(words(io::ErrorKind::TimedOut).contains("switched on"));
    }

    #[test]
    fn a_service_without_a_network_is_told_the_command_that_gives_it_one() {
        let words = network_words(true);
        assert!(
            words.contains("sudo install -D -m 644 /usr/share/smartmeter-reader/network.conf"),
            "{words}"
        );
        assert!(
            words.contains("sudo systemctl restart smartmeter-capture"),
            "{words}"
        );
        assert!(network_words(false).contains("RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"));
        assert!(!is_network_forbidden(), "tests may use the network");
    }
}
