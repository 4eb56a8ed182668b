//! MQTT 5 as rumqttc implements it.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, LastWill, Packet, PubAck, PubAckReason,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{NetworkOptions, Outgoing, TlsConfiguration, Transport};
use shared::config::BrokerAddress;

use super::connection::{Happening, Protocol, REQUESTS};
use super::{CONNECT_TIMEOUT, Cause, KEEP_ALIVE, MqttSettings, Trouble};
use crate::delivery::{Fault, WINDOW_MESSAGES};

/// We subscribe to nothing: what the broker sends us is small.
const LARGEST_INCOMING: u32 = 64 * 1024;

/// See the module.
pub(super) struct Version5 {
    events: EventLoop,
    broker: BrokerAddress,
    has_login: bool,
}

impl Protocol for Version5 {
    type Client = AsyncClient;
    type Loop = Self;

    const NAME: &'static str = "MQTT 5";

    fn open(settings: &MqttSettings, broker: &BrokerAddress) -> (AsyncClient, Self) {
        let mut options = MqttOptions::new(&settings.client_id, &broker.host, broker.port);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options
            .set_clean_start(true)
            .set_keep_alive(KEEP_ALIVE)
            // rumqttc sets aside room for as many: its default of 65,535 takes megabytes.
            .set_outgoing_inflight_upper_limit(WINDOW_MESSAGES as u16)
            .set_pending_throttle(Duration::ZERO)
            .set_max_packet_size(Some(LARGEST_INCOMING))
            .set_connection_timeout(CONNECT_TIMEOUT.as_secs())
            .set_network_options(network);
        if let Some(login) = &settings.login {
            options.set_credentials(&login.user, &login.password);
        }
        if let Some(will) = &settings.will {
            let payload = will.payload.as_str();
            options.set_last_will(LastWill::new(
                &will.topic,
                payload,
                QoS::AtLeastOnce,
                will.is_retained,
                None,
            ));
        }
        if let (true, Some(tls)) = (broker.is_tls, &settings.tls) {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
        }
        let (client, events) = AsyncClient::new(options, REQUESTS);
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
            Ok(event) => {
                // A broker that wants no keep-alive at all says 0, which rumqttc takes for a ping
                // without a pause.
                if connection.events.options.keep_alive().is_zero() {
                    connection.events.options.set_keep_alive(KEEP_ALIVE);
                }
                Ok(happening(&event))
            }
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
            .publish(topic, QoS::AtLeastOnce, is_retained, payload)
            .await
            .is_ok()
    }

    fn say_goodbye(client: &AsyncClient) -> bool {
        client.try_disconnect().is_ok()
    }
}

impl Version5 {
    fn trouble(&self, error: &ConnectionError) -> Trouble {
        let broker = &self.broker;
        match error {
            ConnectionError::ConnectionRefused(code)
            | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => self.refused(*code),
            ConnectionError::Timeout(_) => Trouble::timed_out(broker),
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
            ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code,
                reason_string,
            }) => {
                let said = reason_string
                    .as_ref()
                    .map(|text| format!(" ({text})"))
                    .unwrap_or_default();
                Trouble::other(
                    broker,
                    format!("the broker ended the connection: {}{said}", goodbye(*reason_code)),
                )
            }
            // Its source is not told by rumqttc: look into it here.
            ConnectionError::MqttState(StateError::Deserialization(error)) => match error {
                rumqttc::v5::mqttbytes::Error::Io(error) => Trouble::from_error(broker, error),
                other => Trouble::new(
                    broker,
                    Cause::Unanswered,
                    format!("the broker sent what is not MQTT 5: {other}"),
                ),
            },
            other => Trouble::from_error(broker, other),
        }
    }

    fn refused(&self, code: ConnectReturnCode) -> Trouble {
        let broker = &self.broker;
        match code {
            ConnectReturnCode::UnsupportedProtocolVersion | ConnectReturnCode::RefusedProtocolVersion => {
                Trouble::new(
                    broker,
                    Cause::Version,
                    "the broker does not speak MQTT 5: set mqtt.version",
                )
            }
            ConnectReturnCode::BadUserNamePassword => Trouble::credentials(broker, self.has_login),
            ConnectReturnCode::NotAuthorized => Trouble::not_authorized(broker, self.has_login),
            ConnectReturnCode::ClientIdentifierNotValid | ConnectReturnCode::BadClientId => Trouble::other(
                broker,
                "the broker does not accept this client id: set another as mqtt.client_id",
            ),
            ConnectReturnCode::Banned => {
                Trouble::new(broker, Cause::Credentials, "the broker has banned this client")
            }
            ConnectReturnCode::ServerUnavailable
            | ConnectReturnCode::ServiceUnavailable
            | ConnectReturnCode::ServerBusy
            | ConnectReturnCode::ConnectionRateExceeded
            | ConnectReturnCode::QuotaExceeded => {
                Trouble::other(broker, "the broker says that it is not available at present")
            }
            ConnectReturnCode::RetainNotSupported => Trouble::other(
                broker,
                "the broker keeps no retained messages: leave out mqtt.state_topic and mqtt.availability_topic",
            ),
            ConnectReturnCode::QoSNotSupported => Trouble::other(
                broker,
                "the broker does not support QoS 1, without which nothing is acknowledged",
            ),
            ConnectReturnCode::UseAnotherServer | ConnectReturnCode::ServerMoved => {
                Trouble::other(broker, "the broker says to use another one: change mqtt.address")
            }
            other => Trouble::other(broker, format!("the broker refuses the connection: {other:?}")),
        }
    }
}

fn happening(event: &Event) -> Happening {
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => {
            let properties = ack.properties.as_ref();
            Happening::Greeted {
                receive_maximum: properties.and_then(|known| known.receive_max).unwrap_or(u16::MAX),
                largest_packet: properties.and_then(|known| known.max_packet_size),
            }
        }
        Event::Incoming(Packet::PubAck(ack)) => Happening::Answered {
            packet_id: ack.pkid,
            verdict: verdict(ack),
        },
        Event::Outgoing(Outgoing::Publish(packet_id)) => Happening::Sent {
            packet_id: *packet_id,
        },
        Event::Outgoing(Outgoing::Disconnect) => Happening::SaidGoodbye,
        _ => Happening::Nothing,
    }
}

/// MQTT 5, 3.4.2.1: what a PUBACK means.
fn verdict(ack: &PubAck) -> Result<(), (Fault, String)> {
    let (fault, words) = match ack.reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return Ok(()),
        PubAckReason::UnspecifiedError => (Fault::Message, "unspecified error"),
        PubAckReason::ImplementationSpecificError => (Fault::Message, "implementation specific error"),
        PubAckReason::NotAuthorized => (Fault::Standing, "not authorized to publish on this topic"),
        PubAckReason::TopicNameInvalid => (Fault::Standing, "topic name invalid"),
        PubAckReason::PacketIdentifierInUse => (Fault::Standing, "packet identifier in use"),
        PubAckReason::QuotaExceeded => (Fault::Standing, "quota exceeded"),
        PubAckReason::PayloadFormatInvalid => (Fault::Message, "payload format invalid"),
    };
    let said = ack
        .properties
        .as_ref()
        .and_then(|known| known.reason_string.as_deref());
    Err((
        fault,
        said.map_or_else(|| words.to_owned(), |said| format!("{words} ({said})")),
    ))
}

fn goodbye(code: DisconnectReasonCode) -> String {
    let words = match code {
        DisconnectReasonCode::NormalDisconnection => "without a reason",
        DisconnectReasonCode::NotAuthorized => "not authorized",
        DisconnectReasonCode::ServerBusy => "it is busy",
        DisconnectReasonCode::ServerShuttingDown => "it is shutting down",
        DisconnectReasonCode::KeepAliveTimeout => "it had heard nothing for too long",
        DisconnectReasonCode::SessionTakenOver => {
            "another client has connected with the same client id: give each publisher its own \
             mqtt.client_id"
        }
        DisconnectReasonCode::TopicNameInvalid => "topic name invalid",
        DisconnectReasonCode::ReceiveMaximumExceeded => "too many messages at once",
        DisconnectReasonCode::PacketTooLarge => "packet too large: lower mqtt.max_payload",
        DisconnectReasonCode::MessageRateTooHigh => "message rate too high",
        DisconnectReasonCode::QuotaExceeded => "quota exceeded",
        DisconnectReasonCode::AdministrativeAction => "administrative action",
        DisconnectReasonCode::PayloadFormatInvalid => "payload format invalid",
        DisconnectReasonCode::RetainNotSupported => "it keeps no retained messages",
        DisconnectReasonCode::QoSNotSupported => "it does not support QoS 1",
        other => return format!("{other:?}"),
    };
    words.to_owned()
}
