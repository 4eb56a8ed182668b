//! Where the meter and the brokers are: `tcp://host:port`, `mqtts://host`, `:1883`, `[::1]:1883`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{BrokerAddress, PortAddress};

/// What a broker's address may look like, for a message.
const BROKER_FORM: &str = "host:port, :port, or one of those after mqtt://, tcp://, mqtts://, ssl:// or tls://, such as localhost:1883";

/// What the meter's port may look like, for a message.
const PORT_FORM: &str =
    "a serial device such as /dev/ttyUSB0, tcp://host:port, file:PATH, or file:- for standard input";

/// One broker's address. The error says what is wrong and what is expected.
pub(super) fn broker(text: &str) -> Result<BrokerAddress, String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => (String::new(), text),
    };
    let is_tls = match scheme.as_str() {
        "" | "mqtt" | "tcp" => false,
        "mqtts" | "ssl" | "tls" => true,
        _ => {
            return Err(format!(
                "has a scheme that is not spoken here; expected {BROKER_FORM}"
            ));
        }
    };
    if rest.contains('@') {
        return Err(
            "holds a user name; put user and password into the file that mqtt.cred_file names".into(),
        );
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = host_and_port(rest).map_err(|fault| format!("{fault}; expected {BROKER_FORM}"))?;
    if host.is_empty() && port.is_none() {
        return Err(format!("names no broker; expected {BROKER_FORM}"));
    }
    Ok(BrokerAddress {
        host: if host.is_empty() { "localhost".into() } else { host },
        port: port.unwrap_or(if is_tls { MQTT_TLS_PORT } else { MQTT_PORT }),
        is_tls,
    })
}

/// IANA's ports for MQTT.
const MQTT_PORT: u16 = 1883;
const MQTT_TLS_PORT: u16 = 8883;

/// The meter's port. The error says what is wrong and what is expected.
pub(super) fn port(text: &str) -> Result<PortAddress, String> {
    if let Some(path) = text.strip_prefix("file:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !is_path(path) {
            return Err(format!(
                "looks like an address after `file:`; write ./ before a file of that name; expected {PORT_FORM}"
            ));
        }
    }
    if let Some(rest) = text.strip_prefix("tcp://") {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = host_and_port(rest).map_err(|fault| format!("{fault}; expected {PORT_FORM}"))?;
        return match (host.as_str(), port) {
            ("", _) => Err(format!("names no host; expected {PORT_FORM}")),
            (_, None) => {
                Err("names no port; expected tcp://host:port, and ser2net often uses 2001 or 3333".into())
            }
            (_, Some(port)) => Ok(PortAddress::Tcp { host, port }),
        };
    }
    if let Some(path) = text.strip_prefix("file:") {
        return match path {
            "" => Err(format!("names no file; expected {PORT_FORM}")),
            "-" => Ok(PortAddress::Stdin),
            // Some write it as a URL: file:///var/lib/x is /var/lib/x.
            path => Ok(PortAddress::File(PathBuf::from(
                path.strip_prefix("//").unwrap_or(path),
            ))),
        };
    }
    if text.contains("://") {
        return Err(format!(
            "has a scheme that is not spoken here; expected {PORT_FORM}"
        ));
    }
    if !text.contains('/') || !is_path(text) {
        return Err(format!("is no path; expected {PORT_FORM}"));
    }
    Ok(PortAddress::Serial(PathBuf::from(text)))
}

/// Whether a text is a path rather than an address with a user and a password: what stands before its first `/` has
/// none of the signs of an address.
fn is_path(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    let first = if text.starts_with("//") { text } else { first };
    !first.contains([':', '@', '?', '=', '#'])
}

/// Splits `host:port`, `host`, `:port`, `[v6]:port` and `[v6]`.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("has a `[` without a `]`")?;
        let (address, _zone) = host.split_once('%').unwrap_or((host, ""));
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("has no IPv6 address between its brackets".into());
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err("goes on after the `]` with something else than a port".into()),
        }
    } else {
        match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                return Err("has several `:`; an IPv6 address stands in brackets, such as [::1]:1883".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let is_of_name = |c: char| c.is_alphanumeric() || "-._".contains(c);
    if let Some(odd) = host.chars().find(|&c| !is_of_name(c) && !text.starts_with('[')) {
        return Err(format!("has {odd:?} in the host's name"));
    }
    let port = port.map(|digits| match digits.parse::<u16>() {
        Ok(port) if port != 0 && !digits.starts_with('+') => Ok(port),
        _ => Err("has no port number from 1 to 65535 after its `:`"),
    });
    Ok((host.to_owned(), port.transpose()?))
}

/// A name or address as it stands before a port: IPv6 in brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

impl BrokerAddress {
    /// Whether a connection to it stays on this machine, as far as the address shows it.
    pub fn is_this_machine(&self) -> bool {
        let host = self.host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.split('%').next().unwrap_or_default();
        match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) => address.is_loopback() || address.is_unspecified(),
            Err(_) => {
                host == "localhost"
                    || host.ends_with(".localhost")
                    || host == "ip6-localhost"
                    || host == "ip6-loopback"
            }
        }
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "mqtts://" } else { "" };
        write!(f, "{scheme}{}:{}", bracketed(&self.host), self.port)
    }
}

impl fmt::Display for PortAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp://{}:{port}", bracketed(host)),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Stdin => f.write_str("file:-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_read_in_every_documented_form() {
        for (text, host, port, is_tls) in [
            ("localhost:1883", "localhost", 1883, false),
            (":1883", "localhost", 1883, false),
            ("broker", "broker", 1883, false),
            ("mqtt://broker", "broker", 1883, false),
            ("tcp://10.0.0.2:11883", "10.0.0.2", 11883, false),
            ("mqtts://broker.example", "broker.example", 8883, true),
            ("ssl://broker:8884", "broker", 8884, true),
            ("TLS://broker:8883/", "broker", 8883, true),
            ("tcp://:1884", "localhost", 1884, false),
            ("[::1]:1883", "::1", 1883, false),
            ("mqtts://[fd00::2]", "fd00::2", 8883, true),
            ("[fe80::1%eth0]:1883", "fe80::1%eth0", 1883, false),
        ] {
            let expected = BrokerAddress {
                host: host.into(),
                port,
                is_tls,
            };
            assert_eq!(broker(text), Ok(expected.clone()), "for {text}");
            assert_eq!(
                broker(&expected.to_string()),
                Ok(expected),
                "its Display reads back, for {text}"
            );
        }
    }

    #[test]
    fn only_loopback_is_this_machine() {
        let is_this_machine = |text: &str| broker(text).expect("a broker").is_this_machine();
        for text in [
            ":1883",
            "localhost",
            "LOCALHOST.:1883",
            "broker.localhost",
            "127.0.0.1",
            "127.8.9.10:1883",
            "[::1]:1883",
            "[::ffff:127.0.0.1]:1883",
            "mqtts://localhost",
            "0.0.0.0",
        ] {
            assert!(is_this_machine(text), "{text}");
        }
        for text in [
            "mosquitto",
            "192.168.1.2",
            "localhost.example.org",
            "notlocalhost",
            "128.0.0.1",
            "127.0.0.1.example.org",
            "[fd00::1]:1883",
            "[fe80::1%lo]:1883",
            "[::ffff:10.0.0.1]:1883",
        ] {
            assert!(!is_this_machine(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_broker_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "names no broker"),
            ("mqtt://", "names no broker"),
            ("ws://broker:80", "scheme"),
            ("http://broker", "scheme"),
            ("broker:0", "port number"),
            ("broker:", "port number"),
            ("broker:65536", "port number"),
            ("broker:+1883", "port number"),
            ("broker:mqtt", "port number"),
            ("fd00::2:1883", "brackets"),
            ("::1", "brackets"),
            ("[::1", "without a `]`"),
            ("[broker]:1883", "IPv6"),
            ("[::1]1883", "after the `]`"),
            ("my broker:1883", "host's name"),
            ("broker/topic:1883", "host's name"),
            ("mqtt://me:secret@broker", "cred_file"),
        ] {
            let fault = broker(text).expect_err(text);
            assert!(fault.contains(reason), "{text}: {fault}");
            assert!(!fault.contains("secret"), "{fault}");
        }
    }

    #[test]
    fn ports_are_read_in_every_documented_form() {
        for (text, address) in [
            ("/dev/ttyUSB0", PortAddress::Serial("/dev/ttyUSB0".into())),
            (
                "/dev/serial/by-id/usb-FTDI",
                PortAddress::Serial("/dev/serial/by-id/usb-FTDI".into()),
            ),
            ("./pty", PortAddress::Serial("./pty".into())),
            (
                "tcp://p1.local:3333",
                PortAddress::Tcp {
                    host: "p1.local".into(),
                    port: 3333,
                },
            ),
            (
                "tcp://[::1]:2001",
                PortAddress::Tcp {
                    host: "::1".into(),
                    port: 2001,
                },
            ),
            ("file:day.txt", PortAddress::File("day.txt".into())),
            ("file:-", PortAddress::Stdin),
        ] {
            assert_eq!(port(text), Ok(address.clone()), "for {text}");
            assert_eq!(address.to_string(), text);
        }
        assert_eq!(
            port("file:///tmp/day.txt"),
            Ok(PortAddress::File("/tmp/day.txt".into()))
        );
    }

    #[test]
    fn what_is_no_port_is_refused_with_the_reason() {
        for (text, reason) in [
            ("ttyUSB0", "no path"),
            ("tcp://host", "names no port"),
            ("tcp://:3333", "names no host"),
            ("tcp://host:0", "port number"),
            ("udp://host:1", "scheme"),
            ("file:", "names no file"),
        ] {
            let fault = port(text).expect_err(text);
            assert!(fault.contains(reason), "{text}: {fault}");
        }
    }
}
