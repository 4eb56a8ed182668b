//! `publisher --check`: whether everything that the configuration names is there and answers. Really
//! connects, under a client id of its own, without a will and without a word on any topic.

use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use shared::config::{BrokerAddress, Loaded};
use shared::exit::Exit;
use shared::wire::client::Client;

use crate::mqtt::{CONNECT_TIMEOUT, Command, Mqtt, MqttEvent, MqttSettings};
use crate::settings;

const SOCKET_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints the values in effect and what became of each check.
///
/// # Errors
/// Where nothing can be printed.
pub fn check(loaded: &Loaded, out: &mut impl Write) -> io::Result<Exit> {
    let config = &loaded.config;
    match &loaded.file {
        Some(file) => writeln!(out, "# {}", file.display())?,
        None => writeln!(out, "# no configuration file: flags, environment and defaults")?,
    }
    writeln!(out, "{}", loaded.effective)?;
    let mut is_good = true;
    let mut tell = |what: &str, outcome: Result<String, String>| {
        is_good &= outcome.is_ok();
        let (mark, words) = match outcome {
            Ok(words) => ("ok", words),
            Err(words) => ("FAILED", words),
        };
        writeln!(out, "# {mark:<7}{what}: {words}")
    };
    match settings::keys(&config.decryption) {
        Ok((None, _)) => {}
        Ok((Some(_), _)) => tell("decryption_key", Ok("32 hex digits".to_owned()))?,
        Err(error) => tell("decryption_key", Err(error.to_string()))?,
    }
    tell("queue.socket", socket(loaded))?;
    match settings::mqtt(&config.mqtt) {
        Err(error) => tell("mqtt", Err(error.to_string()))?,
        Ok((settings, warnings)) => {
            for warning in warnings {
                tell("mqtt", Ok(format!("warning: {warning}")))?;
            }
            for broker in &config.mqtt.brokers {
                tell("mqtt.address", answer(&settings, broker))?;
            }
        }
    }
    writeln!(out, "# the meter's port is checked by `capture --check`")?;
    Ok(if is_good { Exit::Done } else { Exit::Failed })
}

fn socket(loaded: &Loaded) -> Result<String, String> {
    let socket = &loaded.config.queue.socket;
    let mut client = Client::connect(socket, SOCKET_TIMEOUT).map_err(|error| error.to_string())?;
    let status = client.status().map_err(|error| error.to_string())?;
    Ok(format!(
        "capture {} serves the queue {} at {}, newest telegram #{}",
        status.version,
        status.queue,
        socket.display(),
        status.head
    ))
}

/// Connects to one broker and says what it answered.
fn answer(settings: &MqttSettings, broker: &BrokerAddress) -> Result<String, String> {
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
