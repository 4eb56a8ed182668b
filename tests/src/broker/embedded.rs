//! A broker inside this process: rumqttd, for the demo.
//!
//! It has no clean stop: what takes it away for a while is a [`crate::proxy::Proxy`] in front of it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use crate::ports;

/// The broker. It lives as long as the process.
#[derive(Debug)]
pub struct Embedded {
    port: u16,
}

impl Embedded {
    /// Starts it on a port of its own and waits until it listens.
    ///
    /// # Errors
    /// In words, where it does not come to listen.
    pub fn start() -> Result<Self, String> {
        let port = ports::free();
        // The default would refuse an interval's array: 20 KiB a packet.
        let connections = ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: 8 * 1024 * 1024,
            max_inflight_count: 500,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        };
        let settings = ServerSettings {
            name: "demo".to_owned(),
            listen: (Ipv4Addr::LOCALHOST, port).into(),
            tls: None,
            next_connection_delay_ms: 1,
            connections,
        };
        // A subscriber is served from a log that drops its oldest segment when it is full: this one holds
        // more than any demo sends.
        let router = RouterConfig {
            max_connections: 64,
            max_outgoing_packet_count: 500,
            max_segment_size: 16 * 1024 * 1024,
            max_segment_count: 16,
            ..RouterConfig::default()
        };
        let config = Config {
            router,
            v4: Some(HashMap::from([("1".to_owned(), settings)])),
            ..Config::default()
        };
        let mut broker = Broker::new(config);
        thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || drop(broker.start()))
            .map_err(|error| format!("the embedded broker has no thread: {error}"))?;
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if started.elapsed() > Duration::from_secs(10) {
                return Err(format!("the embedded broker does not listen on port {port}"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { port })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}
