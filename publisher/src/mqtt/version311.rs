//! MQTT 3.1.1 as rumqttc implements it.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions,
    Outgoing, Packet, QoS, StateError, TlsConfiguration, Transport,
};
use shared::config::BrokerAddress;

use super::connection::{Happening, Protocol, REQUESTS};
use super::{CONNECT_TIMEOUT, Cause, KEEP_ALIVE, MqttSettings, Trouble};
use crate::delivery::WINDOW_MESSAGES;

/// The protocol's own bound on a packet; rumqttc's default of 10 KiB is less than an interval.
const LARGEST_PACKET: usize = 268_435_460;
/// We subscribe to nothing: what the broker sends us is small.
const LARGEST_INCOMING: usize = 64 * 1024;

/// See the module.
pub(super) struct Version311 {
    events: EventLoop,
    broker: BrokerAddress,
    has_login: bool,
}

impl Protocol for Version311 {
    type Client = AsyncClient;
    type Loop = Self;

    const NAME: &'static str = "MQTT 3.1.1";

    fn open(settings: &MqttSettings, broker: &BrokerAddress) -> (AsyncClient, Self) {
        let mut options = MqttOptions::new(&settings.client_id, &broker.host, broker.port);
        options
            .set_clean_session(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_inflight(WINDOW_MESSAGES as u16)
            .set_pending_throttle(Duration::ZERO)
            .set_max_packet_size(LARGEST_INCOMING, LARGEST_PACKET);
        if let Some(login) = &settings.login {
            options.set_credentials(&login.user, &login.password);
        }
        if let Some(will) = &settings.will {
            let will = LastWill::new(
                &will.topic,
                will.payload.as_str(),
                QoS::AtLeastOnce,
                will.is_retained,
            );
            options.set_last_will(will);
        }
        if let (true, Some(tls)) = (broker.is_tls, &settings.tls) {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
        }
        let (client, mut events) = AsyncClient::new(options, REQUESTS);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
        events.set_network_options(network);
        (
            client,
            Self {
                events,
                broker: broker.clone(),
                has_login: settings.login.is_some(),
            },
        )
    }

    async fn poll(connection: &mut Self) -> Result<Happening, Trouble> {
        match connection.events.poll().await {
            Ok(event) => Ok(happening(&event)),
            Err(error) => Err(connection.trouble(&error)),
        }
    }

    fn leftovers(connection: &mut Self) -> Vec<Happening> {
        connection
            .events
            .state
            .events
            .drain(..)
            .map(|event| happening(&event))
            .collect()
    }

    async fn publish(client: &AsyncClient, topic: &str, is_retained: bool, payload: Bytes) -> bool {
        client
            .publish_bytes(topic, QoS::AtLeastOnce, is_retained, payload)
            .await
            .is_ok()
    }

    fn say_goodbye(client: &AsyncClient) -> bool {
        client.try_disconnect().is_ok()
    }
}

impl Version311 {
    fn trouble(&self, error: &ConnectionError) -> Trouble {
        let broker = &self.broker;
        match error {
            ConnectionError::ConnectionRefused(code) => match code {
                ConnectReturnCode::RefusedProtocolVersion => {
                    Trouble::new(broker, Cause::Version, "the broker does not speak MQTT 3.1.1")
                }
                ConnectReturnCode::BadClientId => Trouble::other(
                    broker,
                    "the broker does not accept this client id: set another as mqtt.client_id",
                ),
                ConnectReturnCode::BadUserNamePassword => Trouble::credentials(broker, self.has_login),
                ConnectReturnCode::NotAuthorized => Trouble::not_authorized(broker, self.has_login),
                ConnectReturnCode::ServiceUnavailable => {
                    Trouble::other(broker, "the broker says that it is not available at present")
                }
                ConnectReturnCode::Success => Trouble::other(broker, "refused without a reason"),
            },
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Trouble::timed_out(broker),
            ConnectionError::NotConnAck(_) => Trouble::new(
                broker,
                Cause::Unanswered,
                "what answers there is not an MQTT broker",
            ),
            ConnectionError::MqttState(StateError::ConnectionAborted) => Trouble::closed(broker),
            ConnectionError::MqttState(StateError::AwaitPingResp) => {
                Trouble::other(broker, "the broker does not answer any longer")
            }
            ConnectionError::MqttState(StateError::Unsolicited(packet_id)) => Trouble::other(
                broker,
                format!("the broker acknowledged packet id {packet_id}, which was not outstanding"),
            ),
            ConnectionError::MqttState(StateError::Deserialization(error)) if !is_io(error) => Trouble::new(
                broker,
                Cause::Unanswered,
                format!("the broker sent what is not MQTT 3.1.1: {error}"),
            ),
            other => Trouble::from_error(broker, other),
        }
    }
}

fn is_io(error: &rumqttc::mqttbytes::Error) -> bool {
    matches!(error, rumqttc::mqttbytes::Error::Io(_))
}

fn happening(event: &Event) -> Happening {
    match event {
        Event::Incoming(Packet::ConnAck(_)) => Happening::Greeted {
            receive_maximum: u16::MAX,
            largest_packet: None,
        },
        Event::Incoming(Packet::PubAck(ack)) => Happening::Answered {
            packet_id: ack.pkid,
            verdict: Ok(()),
        },
        Event::Outgoing(Outgoing::Publish(packet_id)) => Happening::Sent {
            packet_id: *packet_id,
        },
        Event::Outgoing(Outgoing::Disconnect) => Happening::SaidGoodbye,
        _ => Happening::Nothing,
    }
}
