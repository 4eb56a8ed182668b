//! A connection for `publisher --check`: opened as a run would open it, with its will, and closed again. If asked to,
//! it also publishes an empty array of readings, which says nothing to whoever reads it, and looks whether the broker
//! delivers it: under MQTT 3.1.1 a broker acknowledges what it discards, and only a subscriber sees the difference.

use std::time::Duration;

use bytes::Bytes;
use shared::config::{BrokerAddress, MqttVersion};

use super::connection::{self, Answer, Greeting, Line, Protocol, acknowledge};
use super::incoming::{Expected, next_packet};
use super::version5::Version5;
use super::version311::Version311;
use super::{CONNECT_TIMEOUT, Cause, MqttSettings, Trouble, Will};

/// The readings of no telegram.
const NOTHING: &[u8] = b"[]";
/// How long the broker has for each answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what was acknowledged may take to come back.
const RETURN_TIMEOUT: Duration = Duration::from_secs(3);

const SUBSCRIBE_ID: u16 = 1;
const PUBLISH_ID: u16 = 2;

/// What a broker answered.
#[derive(Debug)]
pub struct Probed {
    /// `MQTT 5`.
    pub version: &'static str,
    /// How many unacknowledged messages it takes; none if it names no bound.
    pub receive_maximum: Option<u16>,
    /// The largest packet that it takes, in bytes; none if it names no bound.
    pub largest_packet: Option<u32>,
    /// Whether it keeps messages for later subscribers.
    pub takes_retained: bool,
    /// What became of the empty array, if that was asked for.
    pub trial: Option<Trial>,
}

/// What became of the empty array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// It was acknowledged and came back.
    Delivered,
    /// The broker refused it, for this reason.
    Refused(String),
    /// It was acknowledged and did not come back.
    Discarded,
    /// It was acknowledged. Whether it is delivered cannot be seen, for this reason.
    Unseen(String),
}

/// Connects to the broker, in the version that a run would use.
///
/// # Errors
/// [`Trouble`], as a run would have it.
pub fn probe(
    settings: &MqttSettings,
    broker: &BrokerAddress,
    is_delivering: bool,
) -> Result<Probed, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::from_error(broker, &error))?;
    let probed = runtime.block_on(async {
        if settings.version == MqttVersion::V311 {
            return with_any_will::<Version311>(settings, broker, is_delivering).await;
        }
        let first = match with_any_will::<Version5>(settings, broker, is_delivering).await {
            Err(trouble) if settings.version == MqttVersion::Auto => trouble,
            probed => return probed,
        };
        match first.cause {
            Cause::Version | Cause::Unanswered | Cause::TimedOut => {}
            _ => return Err(first),
        }
        let probed = with_any_will::<Version311>(settings, broker, is_delivering).await;
        probed.map_err(|second| Trouble::of_both(first, second, settings.will.as_ref()))
    });
    // Looking up a name cannot be interrupted.
    runtime.shutdown_background();
    probed
}

/// A broker that keeps no retained messages may refuse a will that is to be kept. A run then goes on without.
async fn with_any_will<P: Protocol>(
    settings: &MqttSettings,
    broker: &BrokerAddress,
    is_delivering: bool,
) -> Result<Probed, Trouble> {
    match attempt::<P>(settings, broker, settings.will.clone(), is_delivering).await {
        Err(trouble) if trouble.cause == Cause::Retain => {
            let will = settings.will.clone().map(|will| Will {
                is_retained: false,
                ..will
            });
            let probed = attempt::<P>(settings, broker, will, is_delivering).await?;
            Ok(Probed {
                takes_retained: false,
                ..probed
            })
        }
        attempted => attempted,
    }
}

async fn attempt<P: Protocol>(
    settings: &MqttSettings,
    broker: &BrokerAddress,
    will: Option<Will>,
    is_delivering: bool,
) -> Result<Probed, Trouble> {
    let protocol = P::new(settings, broker);
    let opening = connection::open(&protocol, settings, broker, will.as_ref());
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, opening).await;
    let (line, greeting) = opened.unwrap_or_else(|_| Err(Trouble::timed_out(broker)))?;
    let mut talk = Talk {
        protocol,
        broker,
        line,
    };
    let trial = match is_delivering {
        false => None,
        // A broker may end the connection at what it forbids, and have no other word for it.
        true => Some(match talk.deliver(&settings.topics.readings).await {
            Ok(trial) => trial,
            Err(trouble) if trouble.cause == Cause::TimedOut => {
                Trial::Refused(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))
            }
            Err(trouble) => Trial::Refused(trouble.after_greeting().words),
        }),
    };
    // Otherwise the broker would publish the will.
    talk.line.outgoing.extend_from_slice(&connection::DISCONNECT);
    let _ = tokio::time::timeout(ANSWER_TIMEOUT, talk.write_all()).await;
    let Greeting {
        receive_maximum,
        largest_packet,
        takes_retained,
        ..
    } = greeting;
    Ok(Probed {
        version: P::NAME,
        receive_maximum,
        largest_packet,
        takes_retained,
        trial,
    })
}

/// A connection, one question at a time.
struct Talk<'a, P> {
    protocol: P,
    broker: &'a BrokerAddress,
    line: Line,
}

impl<P: Protocol> Talk<'_, P> {
    /// Subscribes to the topic itself, since access lists name topics exactly, and publishes nothing on it.
    async fn deliver(&mut self, topic: &str) -> Result<Trial, Trouble> {
        let too_long = || {
            Trouble::other(
                self.broker,
                format!("the topic {topic} is longer than MQTT can carry"),
            )
        };
        if !P::subscribe(topic, SUBSCRIBE_ID, &mut self.line.outgoing) {
            return Err(too_long());
        }
        let subscribed = loop {
            if let Answer::Subscribed { packet_id, verdict } = self.answer(ANSWER_TIMEOUT).await? {
                if packet_id == SUBSCRIBE_ID {
                    break verdict;
                }
            }
        };
        let payload = Bytes::from_static(NOTHING);
        let is_written = P::publish(topic, false, PUBLISH_ID, payload, &mut self.line.outgoing);
        if !is_written {
            return Err(Trouble::other(self.broker, "the empty array cannot be written"));
        }
        let (mut is_acknowledged, mut is_back) = (false, false);
        while !is_acknowledged {
            match self.answer(ANSWER_TIMEOUT).await? {
                Answer::Acknowledged { packet_id, verdict } if packet_id == PUBLISH_ID => match verdict {
                    Ok(()) => is_acknowledged = true,
                    Err((_, reason)) => return Ok(Trial::Refused(reason)),
                },
                answer => is_back |= self.is_nothing(&answer, topic),
            }
        }
        if let Err(reason) = subscribed {
            return Ok(Trial::Unseen(format!(
                "the broker does not let this client subscribe to its topic ({reason})"
            )));
        }
        let until = tokio::time::Instant::now() + RETURN_TIMEOUT;
        while !is_back {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            match self.answer(left).await {
                Ok(answer) => is_back = self.is_nothing(&answer, topic),
                Err(trouble) if trouble.cause == Cause::TimedOut => return Ok(Trial::Discarded),
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(Trial::Delivered)
    }

    /// Whether it is the empty array. Whatever comes with a packet id is acknowledged.
    fn is_nothing(&mut self, answer: &Answer, expected: &str) -> bool {
        let Answer::Received {
            topic,
            payload,
            packet_id,
        } = answer
        else {
            return false;
        };
        if *packet_id != 0 {
            self.line.outgoing.extend_from_slice(&acknowledge(*packet_id));
        }
        topic == expected && payload == NOTHING
    }

    /// The next answer; [`Cause::TimedOut`] if none comes within this time.
    async fn answer(&mut self, within: Duration) -> Result<Answer, Trouble> {
        let expected = [
            Expected::PubAck,
            Expected::PingResp,
            Expected::Disconnect,
            Expected::SubAck,
            Expected::Publish,
        ];
        let next = async {
            loop {
                match next_packet(&mut self.line.incoming, &expected) {
                    Ok(Some(packet)) => return self.protocol.read(packet),
                    Ok(None) => {}
                    Err(unexpected) => return Err(Trouble::other(self.broker, unexpected.to_string())),
                }
                let exchanged = self
                    .line
                    .transport
                    .exchange(&mut self.line.incoming, &mut self.line.outgoing)
                    .await;
                if let Err(error) = exchanged {
                    // What it said before it hung up may say why.
                    return match next_packet(&mut self.line.incoming, &expected) {
                        Ok(Some(packet)) => self.protocol.read(packet),
                        _ => Err(Trouble::from_error(self.broker, &error)),
                    };
                }
            }
        };
        tokio::time::timeout(within, next)
            .await
            .unwrap_or_else(|_| Err(Trouble::timed_out(self.broker)))
    }

    async fn write_all(&mut self) -> std::io::Result<()> {
        while !self.line.outgoing.is_empty() {
            self.line
                .transport
                .exchange(&mut self.line.incoming, &mut self.line.outgoing)
                .await?;
        }
        Ok(())
    }
}
