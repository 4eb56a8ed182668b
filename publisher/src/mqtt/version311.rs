//! MQTT 3.1.1, by rumqttc's packets.

use bytes::{Bytes, BytesMut};
use rumqttc::{
    Connect, ConnectReturnCode, LastWill, Login, Packet, Publish, QoS, Subscribe, SubscribeReasonCode,
};
use shared::config::BrokerAddress;

use super::connection::{Answer, Greeting, Protocol};
use super::incoming::{Expected, LARGEST_INCOMING};
use super::trouble::said;
use super::{Cause, KEEP_ALIVE, MqttSettings, Trouble, Will};

/// See the module.
pub(super) struct Version311 {
    broker: BrokerAddress,
    has_login: bool,
}

impl Protocol for Version311 {
    const NAME: &'static str = "MQTT 3.1.1";
    const ANSWERS: &'static [Expected] = &[Expected::PubAck, Expected::PingResp];

    fn new(settings: &MqttSettings, broker: &BrokerAddress) -> Self {
        Self {
            broker: broker.clone(),
            has_login: settings.login.is_some(),
        }
    }

    fn connect(settings: &MqttSettings, will: Option<&Will>, buffer: &mut BytesMut) -> bool {
        let mut connect = Connect::new(&settings.client_id);
        connect.keep_alive = KEEP_ALIVE.as_secs() as u16;
        connect.last_will = will.map(|will| {
            let payload = will.payload.as_str();
            LastWill::new(&will.topic, payload, QoS::AtLeastOnce, will.is_retained)
        });
        let login = settings.login.as_ref();
        connect.login = login.map(|login| Login::new(&login.user, &login.password));
        connect.write(buffer).is_ok()
    }

    fn publish(
        topic: &str,
        is_retained: bool,
        packet_id: u16,
        payload: Bytes,
        buffer: &mut BytesMut,
    ) -> bool {
        let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload);
        publish.retain = is_retained;
        publish.pkid = packet_id;
        publish.write(buffer).is_ok()
    }

    fn subscribe(topic: &str, packet_id: u16, buffer: &mut BytesMut) -> bool {
        let mut subscribe = Subscribe::new(topic, QoS::AtLeastOnce);
        subscribe.pkid = packet_id;
        subscribe.write(buffer).is_ok()
    }

    fn read(&self, mut packet: BytesMut) -> Result<Answer, Trouble> {
        match Packet::read(&mut packet, LARGEST_INCOMING) {
            Ok(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => {
                Ok(Answer::Greeted(Greeting::default()))
            }
            Ok(Packet::ConnAck(ack)) => Err(self.refused(ack.code)),
            Ok(Packet::PubAck(ack)) => Ok(Answer::Acknowledged {
                packet_id: ack.pkid,
                verdict: Ok(()),
            }),
            Ok(Packet::PingResp) => Ok(Answer::Alive),
            Ok(Packet::SubAck(ack)) => Ok(Answer::Subscribed {
                packet_id: ack.pkid,
                verdict: match ack.return_codes[..] {
                    [SubscribeReasonCode::Success(_)] => Ok(()),
                    _ => Err("refused".to_owned()),
                },
            }),
            Ok(Packet::Publish(publish)) => Ok(Answer::Received {
                topic: publish.topic,
                payload: publish.payload,
                packet_id: publish.pkid,
            }),
            Ok(_) => Err(self.not_mqtt("a packet that was not asked for")),
            Err(error) => Err(self.not_mqtt(&error.to_string())),
        }
    }
}

impl Version311 {
    fn not_mqtt(&self, what: &str) -> Trouble {
        let words = format!("the broker sent what is not MQTT 3.1.1: {}", said(what));
        Trouble::new(&self.broker, Cause::Unanswered, words)
    }

    fn refused(&self, code: ConnectReturnCode) -> Trouble {
        let broker = &self.broker;
        match code {
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
        }
    }
}
