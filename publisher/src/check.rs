//! `publisher --check`: whether everything that the configuration names is there and answers. Really
//! connects, under a client id of its own, without a will and without a word on any topic.

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

use shared::check::Report;
use shared::config::{BrokerAddress, Loaded};
use shared::wire::client::Client;

use crate::mqtt::{CONNECT_TIMEOUT, Command, Mqtt, MqttEvent, MqttSettings};
use crate::settings;

const SOCKET_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints the values in effect and what became of each check.
///
/// # Errors
/// Where a check failed, in words; all of them are made.
pub fn check(loaded: &Loaded, output: &mut dyn Write) -> Result<(), String> {
    let config = &loaded.config;
    let mut report = Report::begin(loaded, output);
    match settings::keys(&config.decryption) {
        Ok((None, _)) => {}
        Ok((Some(_), _)) => report.take("decryption_key", &Ok("32 hex digits".to_owned())),
        Err(error) => report.take("decryption_key", &Err(error.to_string())),
    }
    let socket = socket(loaded);
    let queue = socket.as_ref().ok().map(|(queue, _)| queue.clone());
    report.take("queue.socket", &socket.map(|(_, words)| words));
    match settings::mqtt(&config.mqtt) {
        Err(error) => report.take("mqtt", &Err(error.to_string())),
        Ok((settings, warnings)) => {
            for warning in warnings {
                report.note(&format!("mqtt: {warning}"));
            }
            for broker in &config.mqtt.brokers {
                report.take("mqtt.address", &answer(&settings, broker, queue.as_deref()));
            }
        }
    }
    report.note("the meter's port is checked by `capture --check`");
    report.end()
}

/// The identity of the queue, and words.
fn socket(loaded: &Loaded) -> Result<(String, String), String> {
    let socket = &loaded.config.queue.socket;
    let mut client = Client::connect(socket, SOCKET_TIMEOUT).map_err(|error| error.to_string())?;
    let status = client.status().map_err(|error| error.to_string())?;
    let words = format!(
        "capture {} serves the queue {} at {}, newest telegram #{}",
        status.version,
        status.queue,
        socket.display(),
        status.head
    );
    Ok((status.queue, words))
}

/// Connects to one broker and says what it answered.
fn answer(settings: &MqttSettings, broker: &BrokerAddress, queue: Option<&str>) -> Result<String, String> {
    let settings = MqttSettings {
        brokers: vec![broker.clone()],
        client_id: format!("{}-check-{}", settings.client_id, std::process::id()),
        will: None,
        ..settings.clone()
    };
    let (sender, events) = channel();
    let mqtt = Mqtt::start(settings, move |event| {
        // Nobody listens any longer once the first answer is there.
        let _ = sender.send(event);
    })
    .map_err(|error| error.to_string())?;
    mqtt.tell(Command::Connect {
        queue: queue.map(str::to_owned),
    })
    .map_err(|stuck| stuck.to_string())?;
    // Two versions may be tried one after the other.
    let outcome = match events.recv_timeout(CONNECT_TIMEOUT * 2 + Duration::from_secs(1)) {
        Ok(MqttEvent::Connected {
            broker,
            version,
            receive_maximum,
            largest_payload,
            ..
        }) => {
            let bound = largest_payload
                .map(|bytes| format!(", payloads up to {bytes} bytes"))
                .unwrap_or_default();
            Ok(format!(
                "{broker} answers ({version}, {receive_maximum} messages at once{bound})"
            ))
        }
        Ok(MqttEvent::Failed(trouble) | MqttEvent::Lost(trouble)) => Err(trouble.to_string()),
        Ok(other) => Err(format!("unexpected: {other:?}")),
        Err(_) => Err(format!("{}:{}: no answer", broker.host, broker.port)),
    };
    if outcome.is_ok() && mqtt.tell(Command::Finish).is_ok() {
        // So that the broker does not log a client that vanished; the answer does not depend on it.
        let _ = events.recv_timeout(Duration::from_secs(1));
    }
    outcome
}
