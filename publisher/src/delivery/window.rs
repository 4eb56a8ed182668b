//! The window: messages in the order in which they must first be received, and the ends of closed
//! intervals between them. The cursor may move to an end as soon as nothing unacknowledged is left
//! before it, so what has been acknowledged out of order waits here (without its payload) for what
//! is before it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::{Kind, array};

/// A message of the window and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) kind: Kind,
    pub(super) payload: Bytes,
    pub(super) last_sequence: u64,
    pub(super) progress: Progress,
    /// How often it was refused, or may have been.
    pub(super) refusals: u32,
    /// What is known of whether it is never taken.
    /// By each broker of the list that has refused it.
    pub(super) proofs: Vec<Proof>,
    /// Whether a person has been told about it.
    pub(super) is_named: bool,
    /// The id it was last sent under.
    sent_as: Option<u64>,
    /// Whether the broker may have it from before that.
    may_be_there: bool,
}

impl Held {
    /// It is sent under this id.
    pub(super) fn sent(&mut self, id: u64) {
        self.progress = Progress::Sent(id);
        self.may_be_there |= self.sent_as.is_some();
        self.sent_as = Some(id);
    }

    /// Whether the broker cannot have it: what is sent twice is the same bytes.
    pub(super) fn may_be_cut(&self) -> bool {
        !self.may_be_there && self.sent_as.is_none()
    }
}

impl Held {
    /// What is known of whether this broker never takes it.
    pub(super) fn proof(&self, broker: &str) -> Option<&Proof> {
        self.proofs.iter().find(|proof| proof.broker == broker)
    }

    /// What came between the acknowledgement of another message and the refusal of this one may be the reason for the
    /// latter: it must be acknowledged again.
    pub(super) fn wants_another(&mut self) {
        for proof in &mut self.proofs {
            if proof.step == Step::Confirmation {
                proof.step = Step::Other;
            }
        }
    }

    pub(super) fn proof_mut(&mut self, broker: &str) -> Option<&mut Proof> {
        self.proofs.iter_mut().find(|proof| proof.broker == broker)
    }
}

/// A message was refused for its content, with nothing else outstanding.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    /// When, at first.
    pub(super) since: Duration,
    /// On which connection.
    pub(super) connection: u64,
    /// By which broker.
    pub(super) broker: String,
    pub(super) step: Step,
}

/// What the proof lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// That the broker acknowledges another message of the same kind.
    Other,
    /// That it refuses this one after that.
    Confirmation,
    /// That it refuses this one some time later on another connection.
    Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// To be sent, for the first time or again.
    Waiting,
    /// Sent on the present connection under this id.
    Sent(u64),
    /// Acknowledged; the payload is gone.
    Acknowledged,
    /// Passed over for good; the payload is gone.
    Skipped,
}

#[derive(Debug)]
enum Entry {
    Message(Held),
    Closed { last_sequence: u64 },
}

/// What [`Window::advance`] took off the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advanced {
    /// How many acknowledged messages.
    pub(super) acknowledged: usize,
    /// The last end of a closed interval, if there was one.
    pub(super) end: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    bytes: usize,
    messages: usize,
    /// No message before this place is still to be sent: a full window is not looked through for each message.
    none_waiting_before: usize,
}

impl Window {
    /// Bytes of payload held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages held, those included that were acknowledged out of order.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn push(&mut self, kind: Kind, payload: Bytes, last_sequence: u64) {
        self.bytes += payload.len();
        self.messages += 1;
        self.entries.push_back(Entry::Message(Held {
            kind,
            payload,
            last_sequence,
            progress: Progress::Waiting,
            refusals: 0,
            proofs: Vec::new(),
            is_named: false,
            sent_as: None,
            may_be_there: false,
        }));
    }

    /// Of ends with no message between them the last says it all: a long run of telegrams that are passed
    /// over behind a message that waits takes no memory.
    pub(super) fn close(&mut self, last_sequence: u64) {
        match self.entries.back_mut() {
            Some(Entry::Closed { last_sequence: end }) => *end = last_sequence,
            _ => self.entries.push_back(Entry::Closed { last_sequence }),
        }
    }

    /// Forgets the ends of intervals: they belong to a queue that is gone. The messages stay.
    pub(super) fn forget_ends(&mut self) {
        self.entries.retain(|entry| matches!(entry, Entry::Message(_)));
        self.none_waiting_before = 0;
    }

    /// The first message that is still to be sent, with its place.
    pub(super) fn first_waiting(&mut self) -> Option<(usize, &Held)> {
        let is_waiting =
            |entry: &Entry| matches!(entry, Entry::Message(held) if held.progress == Progress::Waiting);
        let known = self.none_waiting_before;
        debug_assert!(!self.entries.iter().take(known).any(is_waiting));
        let further = self.entries.iter().skip(known).position(is_waiting);
        let place = further.map_or(self.entries.len(), |further| known + further);
        self.none_waiting_before = place;
        match self.entries.get(place) {
            Some(Entry::Message(held)) => Some((place, held)),
            _ => None,
        }
    }

    /// The message that everything behind it waits for.
    pub(super) fn front(&self) -> Option<&Held> {
        match self.entries.front() {
            Some(Entry::Message(held)) => Some(held),
            _ => None,
        }
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Held> {
        match self.entries.front_mut() {
            Some(Entry::Message(held)) => Some(held),
            _ => None,
        }
    }

    /// The message of this place, with its place, if it is still to be sent.
    pub(super) fn waiting_at(&self, place: usize) -> Option<(usize, &Held)> {
        match self.entries.get(place) {
            Some(Entry::Message(held)) if held.progress == Progress::Waiting => Some((place, held)),
            _ => None,
        }
    }

    /// The place of a message of this kind behind the first that is still to be sent and not too large: of those that
    /// were refused least often the nearest.
    pub(super) fn other_waiting(&self, kind: Kind, largest: usize) -> Option<usize> {
        let others = self.entries.iter().enumerate().skip(1);
        let waiting = others.filter_map(|(place, entry)| match entry {
            Entry::Message(held)
                if held.kind == kind
                    && held.progress == Progress::Waiting
                    && held.payload.len() <= largest =>
            {
                Some((held.refusals, place))
            }
            _ => None,
        });
        waiting.min().map(|(_, place)| place)
    }

    /// The message of this place, to change what became of it.
    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut Held> {
        self.none_waiting_before = self.none_waiting_before.min(place);
        match self.entries.get_mut(place) {
            Some(Entry::Message(held)) => Some(held),
            _ => None,
        }
    }

    /// The place of the message that was sent under this id.
    pub(super) fn place_of(&self, id: u64) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| matches!(entry, Entry::Message(held) if held.progress == Progress::Sent(id)))
    }

    /// The broker has it: its payload is not needed any longer.
    pub(super) fn acknowledge(&mut self, place: usize) -> Option<u64> {
        let Some(Entry::Message(held)) = self.entries.get_mut(place) else {
            return None;
        };
        held.progress = Progress::Acknowledged;
        self.bytes -= held.payload.len();
        held.payload = Bytes::new();
        Some(held.last_sequence)
    }

    /// The broker cannot have what was sent under this id.
    pub(super) fn unsent(&mut self, id: u64) {
        for entry in &mut self.entries {
            if let Entry::Message(held) = entry {
                if held.sent_as == Some(id) {
                    held.sent_as = None;
                }
            }
        }
    }

    /// The connection is gone: what was sent and not acknowledged is sent again.
    pub(super) fn rewind(&mut self) {
        self.none_waiting_before = 0;
        for entry in &mut self.entries {
            if let Entry::Message(held) = entry {
                if matches!(held.progress, Progress::Sent(_)) {
                    held.progress = Progress::Waiting;
                }
            }
        }
    }

    /// Takes what is done with off the front.
    pub(super) fn advance(&mut self) -> Advanced {
        let mut advanced = Advanced {
            acknowledged: 0,
            end: None,
        };
        while let Some(entry) = self.entries.front() {
            match entry {
                Entry::Closed { last_sequence } => advanced.end = Some(*last_sequence),
                Entry::Message(held) => match held.progress {
                    Progress::Acknowledged => advanced.acknowledged += 1,
                    Progress::Skipped => {}
                    Progress::Waiting | Progress::Sent(_) => break,
                },
            }
            if let Some(Entry::Message(_)) = self.entries.pop_front() {
                self.messages -= 1;
            }
            self.none_waiting_before = self.none_waiting_before.saturating_sub(1);
        }
        advanced
    }

    /// Whether nothing before this place is still to be acknowledged.
    pub(super) fn is_first(&self, place: usize) -> bool {
        self.entries.iter().take(place).all(|entry| match entry {
            Entry::Message(held) => matches!(held.progress, Progress::Acknowledged | Progress::Skipped),
            Entry::Closed { .. } => true,
        })
    }

    /// Puts two arrays of half its readings in the place of a message. False where it holds fewer
    /// than two readings.
    pub(super) fn halve(&mut self, place: usize) -> bool {
        let Some(held) = self.at_mut(place) else {
            return false;
        };
        if held.kind != Kind::Readings {
            return false;
        }
        let Some((left, right)) = array::halve(&held.payload) else {
            return false;
        };
        self.replace(place, vec![left, right]);
        true
    }

    /// Puts arrays of at most `bound` bytes in the place of a message. False where that cannot be.
    pub(super) fn split(&mut self, place: usize, bound: usize) -> bool {
        let Some(held) = self.at_mut(place) else {
            return false;
        };
        if held.kind != Kind::Readings {
            return false;
        }
        let Some(parts) = array::split(&held.payload, bound) else {
            return false;
        };
        self.replace(place, parts);
        true
    }

    /// Takes a message out for good. Its interval can be committed without it.
    pub(super) fn drop_message(&mut self, place: usize) -> Option<Held> {
        let held = self.at_mut(place)?;
        let dropped = held.clone();
        held.progress = Progress::Skipped;
        held.payload = Bytes::new();
        self.bytes -= dropped.payload.len();
        Some(dropped)
    }

    /// Each part starts with one refusal less than what it is a part of: it has to show by itself
    /// that it is refused.
    fn replace(&mut self, place: usize, parts: Vec<Bytes>) {
        let Some(whole) = self.at_mut(place).cloned() else {
            return;
        };
        let whole_bytes = whole.payload.len();
        let tail = self.entries.split_off(place + 1);
        self.entries.pop_back();
        self.messages -= 1;
        self.bytes -= whole_bytes;
        for payload in parts {
            self.bytes += payload.len();
            self.messages += 1;
            self.entries.push_back(Entry::Message(Held {
                payload,
                progress: Progress::Waiting,
                refusals: whole.refusals.saturating_sub(1),
                proofs: Vec::new(),
                ..whole.clone()
            }));
        }
        self.entries.extend(tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_without_a_message_between_them_are_one() {
        let mut window = Window::default();
        window.push(Kind::Readings, Bytes::from_static(b"[]"), 1);
        for last_sequence in 1..1000 {
            window.close(last_sequence);
        }
        assert_eq!(window.entries.len(), 2);
        window.acknowledge(0);
        assert_eq!(window.advance().end, Some(999));
    }
}
