//! MQTT 5, by rumqttc's packets.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, Filter,
    LastWill, Login, Packet, PubAck, PubAckReason, Publish, Subscribe, SubscribeReasonCode,
};
use shared::config::BrokerAddress;

use super::connection::{Answer, Greeting, Protocol};
use super::incoming::{Expected, LARGEST_INCOMING};
use super::trouble::said;
use super::{Cause, KEEP_ALIVE, MqttSettings, Trouble, Will};
use crate::delivery::Fault;

/// See the module.
pub(super) struct Version5 {
    broker: BrokerAddress,
    has_login: bool,
}

impl Protocol for Version5 {
    const NAME: &'static str = "MQTT 5";
    const ANSWERS: &'static [Expected] = &[Expected::PubAck, Expected::PingResp, Expected::Disconnect];

    fn new(settings: &MqttSettings, broker: &BrokerAddress) -> Self {
        Self {
            broker: broker.clone(),
            has_login: settings.login.is_some(),
        }
    }

    fn connect(settings: &MqttSettings, will: Option<&Will>, buffer: &mut BytesMut) -> bool {
        let properties = ConnectProperties {
            max_packet_size: u32::try_from(LARGEST_INCOMING).ok(),
            topic_alias_max: Some(0),
            ..ConnectProperties::new()
        };
        let connect = Connect {
            keep_alive: KEEP_ALIVE.as_secs() as u16,
            client_id: settings.client_id.clone(),
            clean_start: true,
            properties: Some(properties),
        };
        let will = will.map(|will| {
            let payload = will.payload.as_str();
            LastWill::new(&will.topic, payload, QoS::AtLeastOnce, will.is_retained, None)
        });
        let login = settings.login.as_ref();
        let login = login.map(|login| Login::new(&login.user, &login.password));
        connect.write(&will, &login, buffer).is_ok()
    }

    fn publish(
        topic: &str,
        is_retained: bool,
        packet_id: u16,
        payload: Bytes,
        buffer: &mut BytesMut,
    ) -> bool {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, None);
        publish.retain = is_retained;
        publish.pkid = packet_id;
        publish.write(buffer).is_ok()
    }

    fn subscribe(topic: &str, packet_id: u16, buffer: &mut BytesMut) -> bool {
        let mut subscribe = Subscribe::new(Filter::new(topic, QoS::AtLeastOnce), None);
        subscribe.pkid = packet_id;
        subscribe.write(buffer).is_ok()
    }

    fn read(&self, mut packet: BytesMut) -> Result<Answer, Trouble> {
        // A DISCONNECT may leave out its properties, and a normal one its reason as well (3.14.2): the library takes
        // neither.
        match packet[..] {
            // The answer of a broker that knows 3.1.1 alone has no properties (3.2 of both).
            [0x20, 2, _, _] => {
                let words = "the broker does not speak MQTT 5";
                return Err(Trouble::new(&self.broker, Cause::Version, words));
            }
            [0xe0, 0] => packet = BytesMut::from(&[0xe0, 2, 0, 0][..]),
            [0xe0, 1, reason] => packet = BytesMut::from(&[0xe0, 2, reason, 0][..]),
            _ => {}
        }
        match Packet::read(&mut packet, None) {
            Ok(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => self.greeting(&ack),
            Ok(Packet::ConnAck(ack)) => Err(self.refused(&ack)),
            Ok(Packet::PubAck(ack)) => Ok(Answer::Acknowledged {
                packet_id: ack.pkid,
                verdict: verdict(&ack),
            }),
            Ok(Packet::PingResp(_)) => Ok(Answer::Alive),
            Ok(Packet::SubAck(ack)) => Ok(Answer::Subscribed {
                packet_id: ack.pkid,
                verdict: match ack.return_codes[..] {
                    [SubscribeReasonCode::Success(_)] => Ok(()),
                    [SubscribeReasonCode::NotAuthorized] => Err("not authorized".to_owned()),
                    _ => Err("refused".to_owned()),
                },
            }),
            Ok(Packet::Publish(publish)) => Ok(Answer::Received {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload,
                packet_id: publish.pkid,
            }),
            Ok(Packet::Disconnect(disconnect)) => Err(self.goodbye(&disconnect)),
            Ok(_) => Err(self.not_mqtt("a packet that was not asked for")),
            Err(error) => Err(self.not_mqtt(&error.to_string())),
        }
    }
}

impl Version5 {
    fn not_mqtt(&self, what: &str) -> Trouble {
        let words = format!("the broker sent what is not MQTT 5: {}", said(what));
        Trouble::new(&self.broker, Cause::Unanswered, words)
    }

    fn goodbye(&self, disconnect: &Disconnect) -> Trouble {
        let properties = disconnect.properties.as_ref();
        let reason = properties.and_then(|known| known.reason_string.as_deref());
        let words = with_reason(goodbye(disconnect.reason_code), reason);
        let cause = cause(disconnect.reason_code);
        Trouble::new(
            &self.broker,
            cause,
            format!("the broker ended the connection: {words}"),
        )
    }

    /// MQTT 5, 3.2.2.3: what the broker takes.
    fn greeting(&self, ack: &ConnAck) -> Result<Answer, Trouble> {
        let broker = &self.broker;
        let protocol_error = |what: &str| {
            let words = format!("the broker answers the connection with {what}, which MQTT 5 does not allow");
            Trouble::other(broker, words)
        };
        let Some(properties) = &ack.properties else {
            return Ok(Answer::Greeted(Greeting::default()));
        };
        if properties.receive_max == Some(0) {
            return Err(protocol_error("Receive Maximum 0 (it takes no message at all)"));
        }
        if properties.max_packet_size == Some(0) {
            return Err(protocol_error("Maximum Packet Size 0"));
        }
        match properties.max_qos {
            None | Some(1) => {}
            Some(0) => return Err(Trouble::at_most_once(broker)),
            Some(other) => return Err(protocol_error(&format!("Maximum QoS {other}"))),
        }
        if let Some(id) = &properties.assigned_client_identifier {
            tracing::debug!("the broker gave this client the id {}", said(id));
        }
        Ok(Answer::Greeted(Greeting {
            receive_maximum: properties.receive_max,
            largest_packet: properties.max_packet_size,
            takes_retained: properties.retain_available != Some(0),
            keep_alive: properties.server_keep_alive,
        }))
    }

    fn refused(&self, ack: &ConnAck) -> Trouble {
        let properties = ack.properties.as_ref();
        let reason = properties.and_then(|known| known.reason_string.as_deref());
        let mut trouble = self.refusal(
            ack.code,
            properties.and_then(|known| known.server_reference.as_deref()),
        );
        trouble.words = with_reason(trouble.words, reason);
        trouble
    }

    fn refusal(&self, code: ConnectReturnCode, other_server: Option<&str>) -> Trouble {
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
            ConnectReturnCode::RetainNotSupported => Trouble::new(
                broker,
                Cause::Retain,
                "the broker keeps no retained messages: leave out mqtt.state_topic and mqtt.availability_topic",
            ),
            ConnectReturnCode::QoSNotSupported => Trouble::at_most_once(broker),
            ConnectReturnCode::UseAnotherServer | ConnectReturnCode::ServerMoved => {
                let which = other_server
                    .map(|name| format!(", {}", said(name)))
                    .unwrap_or_default();
                Trouble::other(
                    broker,
                    format!("the broker says to use another one{which}: change mqtt.address"),
                )
            }
            other => Trouble::other(broker, format!("the broker refuses the connection: {other:?}")),
        }
    }
}

/// With what the broker says about it.
fn with_reason(words: String, reason: Option<&str>) -> String {
    match reason {
        Some(reason) if !reason.is_empty() => format!("{words} ({})", said(reason)),
        _ => words,
    }
}

/// MQTT 5, 3.14.2.1: what the broker objects to as it ends the connection.
fn cause(code: DisconnectReasonCode) -> Cause {
    match code {
        DisconnectReasonCode::PacketTooLarge | DisconnectReasonCode::PayloadFormatInvalid => Cause::Content,
        _ => Cause::Other,
    }
}

/// MQTT 5, 3.4.2.1: what a PUBACK means. Only the payload format is about a message: the others stand for all of them,
/// such as RabbitMQ's full queue, which is an implementation specific error.
fn verdict(ack: &PubAck) -> Result<(), (Fault, String)> {
    let (fault, words) = match ack.reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return Ok(()),
        PubAckReason::UnspecifiedError => (Fault::Standing, "unspecified error"),
        PubAckReason::ImplementationSpecificError => (Fault::Standing, "implementation specific error"),
        PubAckReason::NotAuthorized => (Fault::Standing, "not authorized to publish on this topic"),
        PubAckReason::TopicNameInvalid => (Fault::Standing, "topic name invalid"),
        PubAckReason::PacketIdentifierInUse => (Fault::Standing, "packet identifier in use"),
        PubAckReason::QuotaExceeded => (Fault::Standing, "quota exceeded"),
        PubAckReason::PayloadFormatInvalid => (Fault::Message, "payload format invalid"),
    };
    let properties = ack.properties.as_ref();
    let reason = properties.and_then(|known| known.reason_string.as_deref());
    Err((fault, with_reason(words.to_owned(), reason)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Topics;

    #[test]
    fn connect_states_that_nothing_large_and_no_topic_alias_is_taken() {
        let settings = MqttSettings {
            brokers: Vec::new(),
            order: shared::config::BrokerOrder::Listed,
            version: shared::config::MqttVersion::V5,
            client_id: "id".to_owned(),
            login: None,
            tls: None,
            will: None,
            topics: Topics {
                readings: "meter".to_owned(),
                summary: None,
                state: None,
                availability: None,
            },
        };
        let mut buffer = BytesMut::new();
        assert!(Version5::connect(&settings, None, &mut buffer));
        // 3.1.2.11: Maximum Packet Size 4,096 and Topic Alias Maximum 0.
        let properties = [8, 0x27, 0, 0, 0x10, 0, 0x22, 0, 0];
        assert!(buffer.windows(9).any(|bytes| bytes == properties), "{buffer:x?}");
    }

    #[test]
    fn a_refusal_without_properties_is_that_of_a_broker_that_knows_only_311() {
        let broker = BrokerAddress {
            host: "localhost".to_owned(),
            port: 1883,
            is_tls: false,
        };
        let protocol = Version5 {
            broker,
            has_login: false,
        };
        let trouble = protocol.read(BytesMut::from(&[0x20, 2, 0, 1][..])).unwrap_err();
        assert_eq!(trouble.cause, Cause::Version, "{trouble}");
    }
}
