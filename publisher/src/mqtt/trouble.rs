//! What went wrong with a connection, in words that a user can act on.

use std::error::Error;
use std::fmt;
use std::io;

use shared::config::BrokerAddress;
use shared::container;

use super::Will;
use super::connection::address;
use crate::delivery::Fault;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The broker as configured.
    pub broker: String,
    /// What it is about.
    pub cause: Cause,
    /// What happened and what to do, without the broker's name.
    pub words: String,
}

/// What a trouble is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The broker does not speak this version of MQTT.
    Version,
    /// The broker closed the connection before it answered, or answered what cannot be read.
    Unanswered,
    /// User, password or permission.
    Credentials,
    /// Certificates.
    Tls,
    /// It keeps no retained messages, and was asked to.
    Retain,
    /// The name, the network, the port.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The broker objects to the content of a message.
    Content,
    /// Anything else.
    Other,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.broker, self.words)
    }
}

impl Trouble {
    pub(super) fn new(broker: &BrokerAddress, cause: Cause, words: impl Into<String>) -> Self {
        Self {
            broker: address(broker),
            cause,
            words: words.into(),
        }
    }

    pub(super) fn other(broker: &BrokerAddress, words: impl Into<String>) -> Self {
        Self::new(broker, Cause::Other, words)
    }

    /// What the end of a connection says of the message that was outstanding.
    pub fn fault(&self) -> Fault {
        match self.cause {
            Cause::Content => Fault::Message,
            _ => Fault::Silence,
        }
    }

    /// The user name or password was refused.
    pub(super) fn credentials(broker: &BrokerAddress, has_login: bool) -> Self {
        let words = if has_login {
            "the broker does not accept the user name or password: check mqtt.cred_file"
        } else {
            "the broker wants a user name and password: name a file with both as mqtt.cred_file"
        };
        Self::new(broker, Cause::Credentials, words)
    }

    /// The broker knows who this is, or does not want to, and says no.
    pub(super) fn not_authorized(broker: &BrokerAddress, has_login: bool) -> Self {
        let words = if has_login {
            "the broker does not authorize this client: check user and password in mqtt.cred_file, \
             and what the broker allows this user"
        } else {
            "the broker does not authorize clients without a user name and password: name a file with \
             both as mqtt.cred_file"
        };
        Self::new(broker, Cause::Credentials, words)
    }

    /// Of two attempts, with MQTT 5 and then with 3.1.1, what says more.
    pub(super) fn of_both(first: Self, second: Self, will: Option<&Will>) -> Self {
        if second.cause != Cause::Unanswered {
            return second;
        }
        if first.cause != Cause::Version {
            return first;
        }
        // It speaks MQTT, so what it closes the connection at is what the CONNECT holds beside the version.
        let what = match will {
            Some(will) if will.topic.contains(['.', ' ']) => format!(
                "some brokers (NATS before 2.10) take no `.` and no blank in a topic, and that of the will, {}, has one: \
                 set another mqtt.topic or mqtt.availability_topic",
                will.topic
            ),
            _ => "it may forbid the topic of the will (mqtt.availability_topic) or the client id".to_owned(),
        };
        Self {
            words: format!(
                "the broker speaks MQTT 3.1.1 and closes the connection as soon as it is asked for: {what}"
            ),
            ..second
        }
    }

    /// What the system or TLS says, found out by what lies under it.
    pub(super) fn from_error(broker: &BrokerAddress, error: &(dyn Error + 'static)) -> Self {
        if let Some(error) = find::<rustls::Error>(error) {
            return Self::new(broker, Cause::Tls, tls_words(error));
        }
        match find_io(error) {
            Some(error) => Self::from_io(broker, error).of_localhost(broker),
            None => Self::other(broker, error.to_string()),
        }
    }

    /// The name has no address.
    pub(super) fn unknown_host(broker: &BrokerAddress, error: &io::Error) -> Self {
        let words = format!(
            "no host named {} is known (mqtt.address): check the name, and that this machine has a name server \
             ({error})",
            broker.host
        );
        Self::new(broker, Cause::Unreachable, words)
    }

    /// Readings are published at least once, and the broker does not take that.
    pub(super) fn at_most_once(broker: &BrokerAddress) -> Self {
        Self::other(
            broker,
            "the broker takes messages at most once only (Maximum QoS 0), and then acknowledges none: readings \
             cannot be delivered to it without loss, so none is sent until it takes QoS 1",
        )
    }

    fn from_io(broker: &BrokerAddress, error: &io::Error) -> Self {
        let words = error.to_string();
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::new(
                broker,
                Cause::Unreachable,
                "the connection was refused: check that the broker runs and listens on this port (mqtt.address)",
            ),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => Self::new(
                broker,
                Cause::Unreachable,
                format!("there is no way to the broker: {words}"),
            ),
            io::ErrorKind::TimedOut => Self::timed_out(broker),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionAborted => Self::closed(broker),
            _ => Self::other(broker, words),
        }
    }

    /// The same, if the broker's host is not the machine that its user thinks of.
    fn of_localhost(mut self, broker: &BrokerAddress) -> Self {
        if self.cause == Cause::Unreachable {
            let advice = container::localhost_advice(&broker.host, "mqtt.address", container::is_inside());
            self.words.push_str(&advice);
        }
        self
    }

    /// The connection ended without a word.
    pub(super) fn closed(broker: &BrokerAddress) -> Self {
        let hint = if broker.is_tls {
            "is this its port for TLS (mqtts://), or one without (mqtt://)?"
        } else {
            "does it expect TLS on this port (mqtts://)?"
        };
        let words = format!("the broker closed the connection before it answered: {hint}");
        Self::new(broker, Cause::Unanswered, words)
    }

    pub(super) fn timed_out(broker: &BrokerAddress) -> Self {
        let seconds = super::CONNECT_TIMEOUT.as_secs();
        // What waits for a request that it knows, such as a web server, is as silent as a firewall.
        let kind = if broker.is_tls {
            "an MQTT broker with TLS listens there (one without is mqtt://)"
        } else {
            "an MQTT broker without TLS listens there (one with it is mqtts://)"
        };
        let words = format!(
            "no answer within {seconds} s: check the address and any firewall on the way (mqtt.address), and that \
             {kind}"
        );
        Self::new(broker, Cause::TimedOut, words)
    }

    /// The same, of a connection that had been accepted.
    pub(super) fn after_greeting(mut self) -> Self {
        match self.cause {
            Cause::Unanswered => "the broker closed the connection".clone_into(&mut self.words),
            Cause::TimedOut => "the broker takes no more data".clone_into(&mut self.words),
            _ => {}
        }
        self
    }
}

/// Words of the broker, for a log line: no control character, and no more of it than a line needs.
pub(super) fn said(words: &str) -> String {
    shared::outside::quoted(words)
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::CertificateError;
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::UnknownIssuer => {
                "TLS: the broker's certificate was issued by an authority that is not trusted here: name \
                 that authority's certificate as mqtt.ca_file"
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "TLS: the broker's certificate has expired, or this machine's clock is wrong".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "TLS: the broker's certificate is not valid yet, or this machine's clock is wrong".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "TLS: the broker's certificate is for another name than the one in mqtt.address".to_owned()
            }
            // What `openssl req -x509` makes is an authority's; the library has no name of its own for this.
            other if other.to_string().contains("CaUsedAsEndEntity") => {
                "TLS: the broker shows the certificate of an authority itself (self-signed): give it one that was \
                 issued by it"
                    .to_owned()
            }
            other => format!("TLS: the broker's certificate is not accepted: {other}"),
        },
        rustls::Error::AlertReceived(alert) => format!(
            "TLS: the broker refuses the connection ({alert:?}): check mqtt.client_cert_file and \
             mqtt.client_key_file"
        ),
        rustls::Error::InvalidMessage(_) => {
            "TLS: the broker does not speak TLS on this port: use mqtt:// or the broker's TLS port".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

/// The first error of this type in the chain of sources, looking into I/O errors as well, which hide
/// what they wrap.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn find_io<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    find::<io::Error>(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_broker_are_one_short_line() {
        assert_eq!(said("quota of Müller"), "quota of Müller");
        let forged = said("no\r\n2026-01-01 INFO all is well \u{1b}[2J\u{9b}2J\u{202e}");
        assert!(!forged.chars().any(char::is_control), "{forged}");
        assert!(forged.starts_with("no\\r\\n2026"), "{forged}");
        assert!(said(&"x".repeat(1_000)).chars().count() <= 65);
    }

    #[test]
    fn of_two_attempts_the_one_that_says_more_is_told() {
        let broker = BrokerAddress {
            host: "nats.lan".to_owned(),
            port: 1883,
            is_tls: false,
        };
        let old = Trouble::new(&broker, Cause::Version, "the broker does not speak MQTT 5");
        let closed = Trouble::closed(&broker);
        let refused = Trouble::credentials(&broker, true);
        let will = |topic: &str| Will {
            topic: topic.to_owned(),
            payload: "GoingDown".to_owned(),
            is_retained: false,
        };
        let told = |first: &Trouble, second: &Trouble, topic: &str| {
            Trouble::of_both(first.clone(), second.clone(), Some(&will(topic))).words
        };
        assert_eq!(told(&closed, &closed, "will:a"), closed.words);
        assert_eq!(told(&old, &refused, "will:a"), refused.words);
        let words = told(&old, &closed, "will:dev.sample.topic");
        assert!(
            words.contains("NATS before 2.10") && words.contains("will:dev.sample.topic"),
            "{words}"
        );
        let words = told(&old, &closed, "meter/availability");
        assert!(
            !words.contains("NATS") && words.contains("the client id"),
            "{words}"
        );
    }
}
