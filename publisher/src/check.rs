//! `publisher --check`: whether everything that the configuration names is there and answers. It connects to each
//! broker as a run does, will included, under a client id of its own. With `--deliver` it also publishes an empty array
//! of readings, and says whether the broker delivers it. What it does not try it says.

use std::io::Write;
use std::time::Duration;

use shared::check::Report;
use shared::commands::command;
use shared::config::{BrokerAddress, Loaded};
use shared::wire::client::Client;
use shared::words;

use crate::mqtt::{self, MqttSettings, Trial};
use crate::settings;

const SOCKET_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints the values in effect and what became of each check.
///
/// # Errors
/// Where a check failed, in words; all of them are made.
pub fn check(loaded: &Loaded, is_delivering: bool, output: &mut dyn Write) -> Result<(), String> {
    let config = &loaded.config;
    let mut report = Report::begin(loaded, output);
    match settings::keys(&config.decryption) {
        Ok((keys, warnings)) => {
            if keys.is_some() {
                report.take("decryption_key", &Ok("32 hex digits".to_owned()));
            }
            for warning in warnings {
                report.note(&warning);
            }
        }
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
                ask(&mut report, &settings, broker, queue.as_deref(), is_delivering);
            }
        }
    }
    report.note(&format!(
        "the meter's port is checked by `{}`",
        command("capture --check")
    ));
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

/// Connects to one broker and says what it answered, topic by topic.
fn ask(
    report: &mut Report<'_>,
    settings: &MqttSettings,
    broker: &BrokerAddress,
    queue: Option<&str>,
    is_delivering: bool,
) {
    let template = format!("{}-check-{}", settings.client_id, std::process::id());
    let settings = MqttSettings {
        brokers: vec![broker.clone()],
        client_id: mqtt::client_id(&template, queue.unwrap_or("unknown")),
        ..settings.clone()
    };
    let probed = match mqtt::probe(&settings, broker, is_delivering) {
        Ok(probed) => probed,
        Err(trouble) => return report.take("mqtt.address", &Err(trouble.to_string())),
    };
    let bound = |number: Option<u64>, what: &str| {
        number.map(|number| format!(", at most {} {what}", words::number(number)))
    };
    let bounds = [
        bound(probed.receive_maximum.map(u64::from), "messages at once"),
        bound(probed.largest_packet.map(u64::from), "bytes in a message"),
    ];
    let bounds: String = bounds.into_iter().flatten().collect();
    let name = mqtt::address(broker);
    report.take(
        "mqtt.address",
        &Ok(format!(
            "{name} accepts the connection and its will ({}{bounds})",
            probed.version
        )),
    );
    let topics = &settings.topics;
    let retained = [
        ("mqtt.state_topic", &topics.state),
        ("mqtt.availability_topic", &topics.availability),
    ];
    if !probed.takes_retained {
        for (key, topic) in retained {
            if let Some(topic) = topic {
                let words = format!("{name} keeps no retained messages, so nothing is published on {topic}");
                report.take(key, &Err(words));
            }
        }
    }
    let readings = &topics.readings;
    match probed.trial {
        Some(trial) => report.take("mqtt.topic", &said(&trial, &name, readings, probed.version)),
        None => report.note(&format!(
            "mqtt.topic: whether {name} delivers what is published on {readings} was not tried; --deliver tries it \
             with an empty array"
        )),
    }
    let others = [("mqtt.summary_topic", &topics.summary), retained[0], retained[1]];
    for (key, topic) in others {
        if let Some(topic) = topic {
            report.note(&format!(
                "{key}: whether {name} takes messages on {topic} is not tried: no message there is without a meaning"
            ));
        }
    }
}

/// What became of the empty array of readings.
fn said(trial: &Trial, broker: &str, topic: &str, version: &str) -> Result<String, String> {
    match trial {
        Trial::Delivered => Ok(format!("{broker} has delivered an empty array on {topic}")),
        Trial::Refused(reason) => Err(format!("{broker} refuses messages on {topic}: {reason}")),
        Trial::Discarded => Err(format!(
            "{broker} has acknowledged an empty array on {topic} and has not delivered it to this client, which had \
             subscribed to {topic}: either it discards what this user publishes there, which {version} lets it do in \
             silence, or this user may not read there. Allow this user both, or look with another: mosquitto_sub -t \
             '{topic}'"
        )),
        Trial::Unseen(reason) => Err(format!(
            "{broker} has acknowledged an empty array on {topic}; whether it delivers it cannot be seen: {reason}"
        )),
    }
}
