//! As much of MQTT as a bystander needs: cutting a connection's bytes into packets, and reading the two
//! that matter here, PUBLISH and PUBACK (MQTT 3.1.1 and 5.0, sections 2 and 3).

/// A packet as it went over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// All of its bytes.
    pub bytes: Vec<u8>,
    body: usize,
}

/// What a PUBLISH says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where it goes.
    pub topic: String,
    /// What it carries.
    pub payload: Vec<u8>,
    /// 0 where the quality of service is 0.
    pub packet_id: u16,
    /// Quality of service.
    pub qos: u8,
    /// Whether the broker is to keep it.
    pub is_retained: bool,
}

/// CONNECT.
pub const CONNECT: u8 = 1;
/// PUBLISH.
pub const PUBLISH: u8 = 3;
/// PUBACK.
pub const PUBACK: u8 = 4;

impl Packet {
    /// Its type: the upper four bits of its first byte.
    pub fn kind(&self) -> u8 {
        self.bytes[0] >> 4
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.body..]
    }

    /// Version of the protocol that a CONNECT asks for: 4 is 3.1.1.
    pub fn connect_version(&self) -> Option<u8> {
        let body = self.body();
        let name = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
        body.get(2 + name).copied()
    }

    /// What a PUBLISH says, on a connection of this version.
    pub fn publish(&self, version: u8) -> Option<Publish> {
        let body = self.body();
        let topic_length = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
        let topic = String::from_utf8(body.get(2..2 + topic_length)?.to_vec()).ok()?;
        let mut rest = body.get(2 + topic_length..)?;
        let qos = self.bytes[0] >> 1 & 3;
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
            rest = rest.get(2..)?;
        }
        if version >= 5 {
            let (length, used) = variable_integer(rest)?;
            rest = rest.get(used + length..)?;
        }
        Some(Publish {
            topic,
            payload: rest.to_vec(),
            packet_id,
            qos,
            is_retained: self.bytes[0] & 1 == 1,
        })
    }

    /// The packet id of a PUBACK that takes the message: success, or no matching subscribers.
    pub fn acknowledges(&self) -> Option<u16> {
        let body = self.body();
        let is_taken = matches!(body.get(2), None | Some(0x00 | 0x10));
        is_taken.then_some(u16::from_be_bytes([*body.first()?, *body.get(1)?]))
    }
}

/// Bytes of one direction of a connection, cut into packets.
#[derive(Debug, Default)]
pub struct Packets {
    pending: Vec<u8>,
}

impl Packets {
    /// Takes bytes and gives the packets that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Packet> {
        self.pending.extend_from_slice(bytes);
        let mut packets = Vec::new();
        let mut from = 0;
        while let Some((length, used)) = self.pending.get(from + 1..).and_then(variable_integer) {
            let end = from + 1 + used + length;
            let Some(bytes) = self.pending.get(from..end) else {
                break;
            };
            packets.push(Packet {
                bytes: bytes.to_vec(),
                body: 1 + used,
            });
            from = end;
        }
        self.pending.drain(..from);
        packets
    }
}

/// A variable byte integer and how many bytes it takes.
fn variable_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (n, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, n + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_cut_wherever_the_bytes_are_split() {
        let mut stream = vec![0x32, 8, 0, 1, b't', 0, 7, b'a', b'b', b'c'];
        stream.extend([0x40, 2, 0, 7]);
        let long = 200;
        stream.extend([0x30, (long & 0x7F) as u8 | 0x80, 1, 0, 1, b't']);
        stream.extend(vec![b'x'; long - 3]);
        for split in 1..stream.len() {
            let mut packets = Packets::default();
            let mut found = packets.push(&stream[..split]);
            found.extend(packets.push(&stream[split..]));
            assert_eq!(found.len(), 3, "split at {split}");
            let publish = found[0].publish(4).unwrap();
            assert_eq!(
                (publish.topic.as_str(), publish.packet_id, publish.qos),
                ("t", 7, 1)
            );
            assert_eq!(publish.payload, b"abc");
            assert_eq!(found[1].acknowledges(), Some(7));
            assert_eq!(found[2].publish(4).unwrap().payload.len(), long - 3);
        }
    }

    #[test]
    fn under_5_properties_are_passed_over_and_a_refusal_is_no_acknowledgement() {
        let mut packets = Packets::default();
        let found = packets.push(&[
            0x32, 9, 0, 1, b't', 0, 7, 2, 1, 1, b'c', 0x40, 3, 0, 7, 0x87, 0x40, 3, 0, 7, 0x10,
        ]);
        assert_eq!(found[0].publish(5).unwrap().payload, b"c");
        assert_eq!(
            [found[1].acknowledges(), found[2].acknowledges()],
            [None, Some(7)]
        );
    }
}
