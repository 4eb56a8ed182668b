//! Every state of delivery against every event, by example. The simulation tries the combinations.

use std::time::Duration;

use bytes::Bytes;
use shared::config::OnTrouble;

use super::*;

const START: Duration = Duration::from_secs(1_000);
const NONE: [u64; 0] = [];

/// Delivery with a clock, and what it asked for since it was last looked at.
struct Bench {
    delivery: Delivery,
    now: Duration,
    actions: Vec<Action>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings {
            has_availability: false,
            on_rejected: OnTrouble::Wait,
        })
    }

    fn with(settings: Settings) -> Self {
        Self {
            delivery: Delivery::new(settings),
            now: START,
            actions: Vec::new(),
        }
    }

    fn skipping() -> Self {
        Self::with(Settings {
            has_availability: false,
            on_rejected: OnTrouble::Skip,
        })
    }

    fn handle(&mut self, event: Event) -> &mut Self {
        self.delivery.handle(self.now, event, &mut self.actions);
        self
    }

    fn readings(&mut self, last_sequence: u64, payload: &str) -> &mut Self {
        self.handle(Event::Readings {
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            last_sequence,
        })
    }

    /// An interval of one message with its end.
    fn interval(&mut self, last_sequence: u64) -> &mut Self {
        self.readings(last_sequence, &format!("[{{\"Sequence\":{last_sequence}}}]"))
            .handle(Event::Closed { last_sequence })
    }

    fn connect(&mut self) -> &mut Self {
        self.connect_with(u16::MAX, None)
    }

    fn connect_with(&mut self, receive_maximum: u16, largest_payload: Option<usize>) -> &mut Self {
        self.connect_to("broker:1883", receive_maximum, largest_payload)
    }

    fn connect_to(
        &mut self,
        broker: &str,
        receive_maximum: u16,
        largest_payload: Option<usize>,
    ) -> &mut Self {
        self.handle(Event::Connected {
            broker: broker.to_owned(),
            receive_maximum,
            largest_payload,
            takes_retained: true,
        })
    }

    fn disconnect(&mut self) -> &mut Self {
        self.disconnect_for(Fault::Silence)
    }

    fn disconnect_for(&mut self, fault: Fault) -> &mut Self {
        self.handle(Event::Disconnected {
            fault,
            reason: "the broker closed the connection".to_owned(),
        })
    }

    fn acknowledge(&mut self, id: u64) -> &mut Self {
        self.handle(Event::Acknowledged { id })
    }

    fn reject(&mut self, id: u64, fault: Fault) -> &mut Self {
        self.handle(Event::Rejected {
            id,
            fault,
            reason: "no".to_owned(),
        })
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self.handle(Event::Tick)
    }

    fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Ids and payloads published since last looked at; everything else is dropped.
    fn published(&mut self) -> Vec<(u64, String)> {
        self.take()
            .into_iter()
            .filter_map(|action| match action {
                Action::Publish(message) => {
                    Some((message.id, String::from_utf8_lossy(&message.payload).into_owned()))
                }
                _ => None,
            })
            .collect()
    }

    fn committed(&mut self) -> Vec<u64> {
        self.take()
            .into_iter()
            .filter_map(|action| match action {
                Action::Commit { sequence } => Some(sequence),
                _ => None,
            })
            .collect()
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.take()
            .into_iter()
            .filter_map(|action| match action {
                Action::Notice(notice) => Some(notice),
                _ => None,
            })
            .collect()
    }

    /// Connects and loses the connection with whatever it sent unacknowledged.
    fn lose_a_connection(&mut self) -> &mut Self {
        self.connect().disconnect()
    }
}

fn payloads(published: &[(u64, String)]) -> Vec<&str> {
    published.iter().map(|(_, payload)| payload.as_str()).collect()
}

#[test]
fn nothing_is_sent_or_committed_without_a_connection() {
    let mut bench = Bench::new();
    bench
        .interval(1)
        .interval(2)
        .acknowledge(1)
        .wait(100)
        .disconnect();
    assert_eq!(bench.take(), []);
    assert!(!bench.delivery.is_idle());
    assert_eq!(bench.delivery.deadline(), None);
}

#[test]
fn an_interval_is_committed_after_its_acknowledgement_and_not_before() {
    let mut bench = Bench::new();
    bench.connect().interval(7);
    let published = bench.published();
    assert_eq!(payloads(&published), ["[{\"Sequence\":7}]"]);
    bench.wait(1);
    assert_eq!(bench.take(), []);
    bench.acknowledge(published[0].0);
    assert_eq!(bench.committed(), [7]);
    assert!(bench.delivery.is_idle());
    assert_eq!(bench.delivery.counts().last_acknowledged_sequence, Some(7));
}

#[test]
fn an_open_interval_is_not_committed_however_much_of_it_is_acknowledged() {
    let mut bench = Bench::new();
    bench.connect().readings(50, "[{}]").acknowledge(1);
    assert_eq!(bench.committed(), NONE);
    bench.readings(60, "[{},{}]");
    bench.handle(Event::Summary {
        payload: Bytes::from_static(b"{}"),
        last_sequence: 60,
    });
    bench.handle(Event::Closed { last_sequence: 60 });
    bench.take();
    bench.acknowledge(2);
    assert_eq!(bench.committed(), NONE, "the summary is outstanding");
    bench.acknowledge(3);
    assert_eq!(bench.committed(), [60]);
}

#[test]
fn acknowledgements_in_any_order_commit_in_order() {
    let mut bench = Bench::new();
    bench.connect().interval(1).interval(2).interval(3);
    assert_eq!(bench.published().len(), 3);
    bench.acknowledge(3).acknowledge(2);
    assert_eq!(bench.committed(), NONE);
    bench.acknowledge(1);
    assert_eq!(bench.committed(), [3], "one move of the cursor for all three");
}

#[test]
fn unknown_repeated_and_late_acknowledgements_change_nothing() {
    let mut bench = Bench::new();
    bench.connect().interval(1).interval(2);
    bench.acknowledge(99).acknowledge(0);
    assert_eq!(bench.committed(), NONE);
    bench.acknowledge(1).acknowledge(1);
    assert_eq!(bench.committed(), [1]);
    bench.disconnect().connect();
    assert_eq!(payloads(&bench.published()), ["[{\"Sequence\":2}]"]);
    bench.acknowledge(2);
    assert_eq!(
        bench.committed(),
        NONE,
        "2 was its id on the connection that is gone"
    );
    bench.acknowledge(3);
    assert_eq!(bench.committed(), [2]);
}

#[test]
fn what_was_not_acknowledged_is_sent_again_in_order_byte_for_byte() {
    let mut bench = Bench::new();
    bench.connect().interval(1).interval(2).interval(3);
    let first = bench.published();
    bench.acknowledge(first[1].0).disconnect().interval(4).connect();
    let again = bench.published();
    assert_eq!(
        payloads(&again),
        [first[0].1.as_str(), first[2].1.as_str(), "[{\"Sequence\":4}]"]
    );
    assert!(again.iter().all(|(id, _)| *id > 3), "an id is never given twice");
}

#[test]
fn the_window_is_bounded_in_bytes_and_takes_one_larger_message_alone() {
    let mut bench = Bench::new();
    let large = format!("[{{\"a\":\"{}\"}}]", "x".repeat(WINDOW_BYTES / 2));
    bench.connect().readings(1, &large).readings(2, &large);
    assert!(!bench.delivery.has_room());
    assert_eq!(bench.published().len(), 1, "two do not fit at once");
    bench.acknowledge(1);
    assert_eq!(bench.published().len(), 1);
    bench.acknowledge(2);
    assert!(bench.delivery.has_room());

    let huge = "x".repeat(WINDOW_BYTES * 2);
    bench.readings(3, &huge);
    assert_eq!(bench.published().len(), 1, "alone it is sent, however large");
}

#[test]
fn the_window_is_bounded_in_messages() {
    let mut bench = Bench::new();
    let mut offered = 0;
    while bench.delivery.has_room() {
        offered += 1;
        bench.interval(offered);
    }
    assert_eq!(offered, WINDOW_MESSAGES as u64);
    assert_eq!(bench.connect().published().len(), WINDOW_MESSAGES);
}

#[test]
fn the_receive_maximum_counts_from_the_oldest_unacknowledged_message() {
    let mut bench = Bench::new();
    bench.connect_with(3, None);
    for sequence in 1..=6 {
        bench.interval(sequence);
    }
    assert_eq!(bench.published().len(), 3);
    bench.acknowledge(2).acknowledge(3);
    assert_eq!(bench.published().len(), 0, "packet id 1 is still taken");
    bench.acknowledge(1);
    assert_eq!(bench.published().len(), 3);
}

#[test]
fn sixty_seconds_without_any_acknowledgement_are_a_lost_connection() {
    let mut bench = Bench::new();
    bench.connect().wait(1_000);
    assert_eq!(bench.take(), [], "nothing is outstanding");
    bench.interval(1).interval(2);
    bench.take();
    bench.wait(59);
    assert_eq!(bench.take(), []);
    bench.acknowledge(1);
    assert_eq!(bench.committed(), [1]);
    assert_eq!(
        bench.delivery.deadline(),
        Some(bench.now + ACKNOWLEDGEMENT_TIMEOUT)
    );
    bench.wait(59);
    assert_eq!(bench.take(), []);
    bench.wait(1);
    assert!(
        matches!(&bench.take()[..], [Action::Disconnect { reason }] if reason.contains("60 s")),
        "time-out after an acknowledgement counts from that acknowledgement"
    );
    bench.acknowledge(2).disconnect();
    assert_eq!(bench.take(), [], "too late: it is sent again");
    bench.connect();
    assert_eq!(payloads(&bench.published()), ["[{\"Sequence\":2}]"]);
}

#[test]
fn after_two_connections_lost_without_progress_one_message_is_outstanding_at_a_time() {
    let mut bench = Bench::new();
    bench.interval(1).interval(2).interval(3);
    bench.lose_a_connection();
    assert_eq!(bench.published().len(), 3);
    bench.lose_a_connection();
    assert_eq!(bench.published().len(), 3);
    bench.connect();
    let alone = bench.published();
    assert_eq!(payloads(&alone), ["[{\"Sequence\":1}]"]);
    bench.acknowledge(alone[0].0);
    assert_eq!(bench.published().len(), 2, "progress opens the window again");
}

#[test]
fn connections_lost_with_nothing_outstanding_or_with_progress_do_not_narrow_the_window() {
    let mut bench = Bench::new();
    bench.lose_a_connection().lose_a_connection().lose_a_connection();
    bench.interval(1).interval(2).connect();
    assert_eq!(bench.published().len(), 2);
    bench.acknowledge(1).disconnect().connect();
    assert_eq!(bench.published().len(), 1);
    bench.interval(3).disconnect().connect();
    assert_eq!(
        bench.published().len(),
        3,
        "2 and 3 once more, after 3 for the first time"
    );
}

#[test]
fn the_message_a_broker_hangs_up_on_is_named_once_and_waited_for() {
    let mut bench = Bench::new();
    bench.interval(5).interval(6);
    bench.lose_a_connection().lose_a_connection();
    assert_eq!(
        bench.notices(),
        [],
        "any of the messages could have been the reason"
    );
    bench.lose_a_connection();
    let notices = bench.notices();
    assert!(
        matches!(
            &notices[..],
            [Notice::Refused {
                kind: Kind::Readings,
                last_sequence: 5,
                ..
            }]
        ),
        "{notices:?}"
    );
    for _ in 0..20 {
        bench.lose_a_connection();
    }
    assert_eq!(bench.notices(), []);
    bench.connect();
    assert_eq!(payloads(&bench.published()), ["[{\"Sequence\":5}]"]);
}

/// A broker that ends the connection on whatever holds the sixth of eight readings: what it takes, and the sizes of
/// what is skipped.
fn without_the_sixth(fault: Fault) -> (Bench, Vec<String>, Vec<usize>) {
    let readings: Vec<String> = (1..=8).map(|n| format!("{{\"n\":{n}}}")).collect();
    let mut bench = Bench::skipping();
    bench
        .readings(8, &format!("[{}]", readings.join(",")))
        .handle(Event::Closed { last_sequence: 8 });
    let (mut taken, mut skipped) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        bench.wait(1).connect();
        loop {
            let mut sent = VecDeque::new();
            for action in bench.take() {
                match action {
                    Action::Notice(Notice::Skipped { bytes, .. }) => skipped.push(bytes),
                    Action::Publish(message) => sent.push_back(message),
                    _ => {}
                }
            }
            let Some(message) = sent.pop_front() else { break };
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            if text.contains("\"n\":6") {
                break;
            }
            taken.push(text);
            bench.acknowledge(message.id);
        }
        bench.disconnect_for(fault);
    }
    (bench, taken, skipped)
}

#[test]
fn skip_halves_an_array_down_to_the_reading_that_is_refused() {
    let (bench, mut taken, skipped) = without_the_sixth(Fault::Message);
    taken.sort();
    assert_eq!(
        taken.join("").replace("][", ","),
        "[{\"n\":1},{\"n\":2},{\"n\":3},{\"n\":4},{\"n\":5},{\"n\":7},{\"n\":8}]"
    );
    assert_eq!(skipped, [9], "the size of one reading in its array");
    assert_eq!(bench.delivery.counts().skipped, 1);
    assert!(bench.delivery.is_idle());
}

#[test]
fn a_broker_that_hangs_up_without_a_reason_proves_nothing() {
    let (bench, taken, skipped) = without_the_sixth(Fault::Silence);
    assert_eq!(
        taken.concat(),
        "[{\"n\":1},{\"n\":2},{\"n\":3},{\"n\":4}][{\"n\":5}]"
    );
    assert!(skipped.is_empty(), "{skipped:?}");
    assert!(!bench.delivery.is_idle());
}

#[test]
fn a_rejected_message_is_tried_again_alone_after_a_pause_and_never_committed() {
    let mut bench = Bench::new();
    bench.connect().interval(1).interval(2);
    bench.take();
    bench.reject(1, Fault::Standing);
    assert!(matches!(
        &bench.take()[..],
        [Action::Notice(Notice::Refused { last_sequence: 1, .. })]
    ));
    bench.acknowledge(2);
    assert_eq!(bench.take(), [], "2 waits for 1");
    assert_eq!(
        bench.delivery.deadline(),
        Some(bench.now + Duration::from_secs(1))
    );
    bench.wait(1);
    let again = bench.published();
    assert_eq!(payloads(&again), ["[{\"Sequence\":1}]"]);
    bench.reject(again[0].0, Fault::Standing);
    assert_eq!(bench.notices(), [], "named once");
    bench.interval(3).wait(1);
    assert_eq!(bench.take(), [], "the pause doubles");
    bench.wait(1);
    let again = bench.published();
    assert_eq!(payloads(&again), ["[{\"Sequence\":1}]"]);
    bench.acknowledge(again[0].0);
    let actions = bench.take();
    assert!(
        matches!(&actions[..], [Action::Commit { sequence: 2 }, Action::Publish(_)]),
        "{actions:?}"
    );
}

/// Delivery with `skip` whose first message was refused alone, with nothing else to send.
fn with_a_refused_message() -> Bench {
    let mut bench = Bench::skipping();
    bench.connect().interval(1).interval(2);
    bench.take();
    bench.reject(1, Fault::Message).acknowledge(2).wait(1);
    let again = bench.published();
    assert_eq!(payloads(&again), ["[{\"Sequence\":1}]"]);
    bench.reject(again[0].0, Fault::Message);
    assert_eq!(bench.take(), []);
    bench
}

/// The only message that is sent next.
fn only(bench: &mut Bench, sequence: u64) -> u64 {
    let published = bench.published();
    assert_eq!(payloads(&published), [format!("[{{\"Sequence\":{sequence}}}]")]);
    published[0].0
}

#[test]
fn skip_wants_another_message_taken_and_the_same_refused_again_on_another_connection() {
    let mut bench = with_a_refused_message();
    bench.interval(3).interval(4).wait(2);
    let other = only(&mut bench, 3);
    bench.acknowledge(other);
    let again = only(&mut bench, 1);
    bench.reject(again, Fault::Message).wait(20);
    assert_eq!(bench.take(), [], "not so soon");
    bench.wait(10);
    let actions = bench.take();
    assert!(matches!(&actions[..], [Action::Disconnect { .. }]), "{actions:?}");
    bench.connect();
    let again = only(&mut bench, 1);
    bench.reject(again, Fault::Message);
    let actions = bench.take();
    assert!(
        matches!(
            &actions[..],
            [
                Action::Notice(Notice::Skipped { last_sequence: 1, .. }),
                Action::Commit { sequence: 3 },
                Action::Publish(_)
            ]
        ),
        "{actions:?}"
    );
    assert_eq!(bench.delivery.counts().skipped, 1);
}

#[test]
fn a_message_that_is_taken_on_the_way_to_its_proof_is_delivered() {
    for steps in 0..3 {
        let mut bench = with_a_refused_message();
        bench.interval(3).wait(2);
        let other = only(&mut bench, 3);
        bench.acknowledge(other);
        let mut again = only(&mut bench, 1);
        if steps > 0 {
            bench.reject(again, Fault::Message).wait(40);
            bench.connect();
            again = only(&mut bench, 1);
        }
        if steps > 1 {
            // Nothing that is not about the message completes it.
            bench.reject(again, Fault::Standing).wait(60);
            again = only(&mut bench, 1);
            bench.disconnect().connect();
            again = only(&mut bench, 1).max(again);
        }
        bench.acknowledge(again);
        assert_eq!(bench.committed(), [3]);
        assert_eq!(bench.delivery.counts().skipped, 0);
    }
}

#[test]
fn what_one_broker_of_a_list_takes_proves_nothing_of_another() {
    let mut bench = with_a_refused_message();
    bench.interval(3).disconnect();
    bench.connect_to("second:1883", 10, None);
    assert_eq!(bench.published().len(), 1);
    bench.disconnect();
    bench.connect_to("second:1883", 10, None);
    let first = only(&mut bench, 1);
    bench.acknowledge(first);
    let other = only(&mut bench, 3);
    bench.acknowledge(other);
    assert_eq!(bench.committed(), [3]);
}

#[test]
fn nothing_is_skipped_where_nothing_is_taken() {
    let mut bench = Bench::skipping();
    for sequence in 1..=10 {
        bench.interval(sequence);
    }
    for round in 0..300 {
        if round % 7 == 0 {
            bench.disconnect().connect();
        }
        for (id, _) in bench.published() {
            bench.reject(id, Fault::Message);
        }
        bench.wait(30);
    }
    assert_eq!(bench.delivery.counts().skipped, 0);
}

#[test]
fn a_missing_permission_and_silence_are_waited_for_even_with_skip() {
    let mut bench = Bench::skipping();
    bench.connect().interval(1);
    for _ in 0..20 {
        for (id, _) in bench.published() {
            bench.reject(id, Fault::Standing);
        }
        bench.wait(30);
    }
    for _ in 0..20 {
        bench.wait(60).connect();
    }
    assert_eq!(bench.delivery.counts().skipped, 0);
    assert!(!bench.delivery.is_idle());
}

#[test]
fn an_array_larger_than_the_broker_takes_is_cut_between_readings() {
    let mut bench = Bench::new();
    let payload = "[{\"n\":1},{\"n\":2},{\"n\":3}]";
    bench
        .readings(3, payload)
        .handle(Event::Closed { last_sequence: 3 });
    bench.connect_with(10, Some(18));
    let parts = bench.published();
    assert_eq!(payloads(&parts), ["[{\"n\":1},{\"n\":2}]", "[{\"n\":3}]"]);
    bench.acknowledge(parts[0].0);
    assert_eq!(bench.committed(), NONE);
    bench.acknowledge(parts[1].0);
    assert_eq!(bench.committed(), [3]);
}

#[test]
fn what_is_too_large_and_cannot_be_cut_is_waited_for_or_passed_over() {
    let mut bench = Bench::new();
    bench
        .readings(1, "[{\"n\":1111111}]")
        .handle(Event::Closed { last_sequence: 1 })
        .interval(2);
    bench.connect_with(10, Some(10)).wait(1);
    assert!(matches!(
        &bench.take()[..],
        [Action::Notice(Notice::Refused { last_sequence: 1, .. })]
    ));
    bench.disconnect().connect();
    assert_eq!(bench.published().len(), 2, "another broker takes it");

    let mut bench = Bench::skipping();
    bench
        .readings(1, "[{\"n\":1111111}]")
        .handle(Event::Closed { last_sequence: 1 });
    bench.connect_with(10, Some(10));
    assert!(matches!(
        &bench.take()[..],
        [
            Action::Notice(Notice::Skipped { last_sequence: 1, .. }),
            Action::Commit { sequence: 1 }
        ]
    ));
}

fn state(sequence: u64) -> Event {
    Event::State {
        payload: Bytes::from(format!("{{\"sequence\":{sequence}}}")),
        sequence,
    }
}

#[test]
fn a_state_is_never_older_than_one_already_sent() {
    let mut bench = Bench::new();
    bench.connect().handle(state(100));
    assert_eq!(bench.published(), [(1, "{\"sequence\":100}".to_owned())]);
    bench
        .handle(state(60))
        .acknowledge(1)
        .handle(state(99))
        .handle(state(100));
    assert_eq!(bench.published(), []);
    bench.handle(state(101)).handle(state(102)).handle(state(103));
    assert_eq!(
        payloads(&bench.published()),
        ["{\"sequence\":101}"],
        "one at a time"
    );
    bench.acknowledge(2);
    assert_eq!(
        payloads(&bench.published()),
        ["{\"sequence\":103}"],
        "and the newest next"
    );
}

#[test]
fn a_state_under_way_when_the_connection_goes_is_sent_again_unless_there_is_a_newer_one() {
    let mut bench = Bench::new();
    bench.connect().handle(state(1)).disconnect().connect();
    assert_eq!(
        payloads(&bench.published()),
        ["{\"sequence\":1}", "{\"sequence\":1}"]
    );
    bench.disconnect().handle(state(2)).connect();
    assert_eq!(payloads(&bench.published()), ["{\"sequence\":2}"]);
}

#[test]
fn after_an_outage_the_state_goes_before_the_backlog() {
    let mut bench = Bench::new();
    bench.interval(1).interval(2).handle(state(500)).connect();
    assert_eq!(bench.take().len(), 3);
    bench.disconnect().connect();
    let published = bench.published();
    assert_eq!(published[0].1, "{\"sequence\":500}");
    assert_eq!(published.len(), 3);
}

#[test]
fn states_hold_up_no_commit_and_a_refused_one_is_named_once() {
    let mut bench = Bench::new();
    bench.connect().handle(state(1)).interval(1);
    bench.take();
    bench.reject(1, Fault::Standing).acknowledge(2);
    let actions = bench.take();
    assert!(
        matches!(
            &actions[..],
            [
                Action::Notice(Notice::Unpublished {
                    kind: Kind::State,
                    ..
                }),
                Action::Commit { sequence: 1 }
            ]
        ),
        "{actions:?}"
    );
    bench.handle(state(2));
    let next = bench.published();
    bench.reject(next[0].0, Fault::Standing);
    assert_eq!(bench.notices(), []);
}

#[test]
fn a_state_that_the_broker_hangs_up_on_does_not_stop_the_backlog() {
    let mut bench = Bench::new();
    bench.handle(state(9)).interval(1);
    bench.lose_a_connection().lose_a_connection();
    bench.take();
    // From now on one at a time, and in turns.
    for expected in ["[{\"Sequence\":1}]", "{\"sequence\":9}", "[{\"Sequence\":1}]"] {
        bench.connect();
        assert_eq!(payloads(&bench.published()), [expected]);
        bench.disconnect();
    }
}

fn with_availability() -> Bench {
    let mut bench = Bench::with(Settings {
        has_availability: true,
        on_rejected: OnTrouble::Wait,
    });
    bench.handle(Event::Meter { is_online: true });
    bench
}

#[test]
fn availability_is_said_first_on_every_connection_and_follows_the_meter() {
    let mut bench = with_availability();
    bench.interval(1).connect();
    assert_eq!(payloads(&bench.published()), ["online", "[{\"Sequence\":1}]"]);
    bench.handle(Event::Meter { is_online: false });
    assert_eq!(bench.take(), [], "the first word is still under way");
    bench.acknowledge(1);
    assert_eq!(payloads(&bench.published()), ["offline"]);
    bench
        .handle(Event::Meter { is_online: false })
        .acknowledge(3)
        .acknowledge(2);
    assert_eq!(bench.committed(), [1]);
    bench.handle(Event::Meter { is_online: true });
    assert_eq!(payloads(&bench.published()), ["online"]);
    bench.handle(Event::Meter { is_online: false }).disconnect();
    bench.connect();
    assert_eq!(
        payloads(&bench.published()),
        ["offline"],
        "not what was so before"
    );
}

#[test]
fn a_broker_that_hangs_up_after_every_message_gets_all_of_them_in_the_end() {
    for on_rejected in [OnTrouble::Wait, OnTrouble::Skip] {
        let mut bench = Bench::with(Settings {
            has_availability: true,
            on_rejected,
        });
        bench.handle(Event::Meter { is_online: true }).handle(state(5));
        (1..=5).for_each(|last_sequence| {
            bench.interval(last_sequence);
        });
        let mut committed = Vec::new();
        let mut said = 0;
        for _ in 0..40 {
            bench.connect();
            let actions = bench.take();
            let first = actions.iter().find_map(|action| match action {
                Action::Publish(message) => Some(message.clone()),
                _ => None,
            });
            let Some(first) = first else { break };
            said += u64::from(first.kind == Kind::Availability);
            bench.acknowledge(first.id);
            committed.extend(bench.committed());
            bench.disconnect();
        }
        assert_eq!(committed, [1, 2, 3, 4, 5], "{on_rejected:?}");
        assert!(said > 1, "and hears in between that the meter is there");
        assert_eq!(bench.delivery.counts().skipped, 0);
    }
}

#[test]
fn at_the_end_offline_is_said_and_nothing_else_sent() {
    let mut bench = with_availability();
    bench.connect();
    bench.take();
    bench.handle(Event::Finish).interval(1);
    assert_eq!(payloads(&bench.published()), ["offline"]);
    assert!(!bench.delivery.is_quiet());
    bench.acknowledge(1).acknowledge(2);
    assert!(bench.delivery.is_quiet());
    assert_eq!(bench.take(), []);
}

#[test]
fn what_a_former_queue_gave_is_delivered_but_not_committed_to_the_new_one() {
    let mut bench = Bench::new();
    bench
        .interval(900)
        .handle(state(900))
        .handle(Event::NewQueue)
        .interval(1)
        .handle(state(1))
        .connect();
    let published = bench.published();
    assert_eq!(
        payloads(&published),
        ["{\"sequence\":1}", "[{\"Sequence\":900}]", "[{\"Sequence\":1}]"]
    );
    bench.acknowledge(2);
    assert_eq!(bench.committed(), NONE);
    bench.acknowledge(3);
    assert_eq!(bench.committed(), [1]);
}

#[test]
fn availability_is_not_said_while_nothing_is_known_of_the_meter() {
    let settings = Settings {
        has_availability: true,
        on_rejected: OnTrouble::Wait,
    };
    let mut bench = Bench::with(settings);
    bench.connect().interval(1);
    assert_eq!(payloads(&bench.published()), ["[{\"Sequence\":1}]"]);
    bench.handle(Event::Meter { is_online: false });
    assert_eq!(payloads(&bench.published()), ["offline"]);

    let mut bench = Bench::with(settings);
    bench.connect().handle(Event::Finish);
    assert_eq!(payloads(&bench.published()), ["offline"], "the end is known");
}

/// So many readings of some bytes each.
fn array(readings: usize, bytes: usize) -> String {
    let reading = format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    format!("[{}]", vec![reading; readings].join(","))
}

impl Bench {
    /// The broker's side takes so many bytes in the next seconds.
    fn taken(&mut self, bytes: usize, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        let within = Duration::from_secs(seconds);
        self.handle(Event::Taken { bytes, within })
    }

    fn is_given_up(&mut self) -> bool {
        let actions = self.take();
        actions
            .iter()
            .any(|action| matches!(action, Action::Disconnect { .. }))
    }
}

#[test]
fn bytes_that_are_still_taken_are_life() {
    let mut bench = Bench::new();
    bench.connect().readings(1, &array(500, 1_000)).take();
    for _ in 0..8 {
        bench.taken(60_000, 30).handle(Event::Tick);
        assert!(!bench.is_given_up());
    }
    // All is taken and nothing comes back.
    bench.wait(59);
    assert!(!bench.is_given_up());
    bench.wait(1);
    assert!(bench.is_given_up());
}

#[test]
fn bytes_in_drops_are_not() {
    let mut bench = Bench::new();
    bench.connect().readings(1, &array(500, 1_000)).take();
    let mut seconds = 0;
    while !bench.is_given_up() {
        bench.taken(1, 10).handle(Event::Tick);
        seconds += 10;
    }
    assert!((60..=70).contains(&seconds), "{seconds} s");
    // Whatever the pace: half a megabyte takes 35 minutes at the longest.
    bench.handle(Event::Connected {
        broker: "broker".to_owned(),
        receive_maximum: 10,
        largest_payload: None,
        takes_retained: true,
    });
    bench.take();
    let mut seconds = 0;
    while !bench.is_given_up() {
        bench.taken(2_500, 10).handle(Event::Tick);
        seconds += 10;
    }
    assert!((2_000..=3_000).contains(&seconds), "{seconds} s");
}

#[test]
fn on_a_link_that_is_slow_arrays_are_split_and_few_are_under_way() {
    let mut bench = Bench::new();
    bench.connect().readings(1, &array(60, 1_000));
    assert_eq!(bench.published().len(), 1, "nothing is known of the link yet");
    bench.taken(20_000, 10).readings(2, &array(60, 1_000));
    bench.take();
    bench.now += Duration::from_secs(20);
    bench.acknowledge(1);
    let published = bench.published();
    let bytes: usize = published.iter().map(|(_, payload)| payload.len()).sum();
    assert!(
        published.len() == 2 && bytes <= 8_000,
        "{bytes} bytes in {}",
        published.len()
    );
    // It becomes fast.
    bench.readings(3, &array(60, 1_000));
    let mut largest = 0;
    let mut next = published;
    while let Some((id, payload)) = next.pop() {
        largest = largest.max(payload.len());
        bench.acknowledge(id);
        next.extend(bench.published());
    }
    assert!(largest > 10_000, "{largest} bytes");
    assert!(bench.delivery.is_idle());
}

#[test]
fn what_the_broker_may_have_is_sent_again_as_it_was_and_what_it_cannot_have_is_split_first() {
    for is_unsent in [false, true] {
        let mut bench = Bench::new();
        bench.connect().readings(1, &array(60, 1_000));
        let whole = bench.published();
        bench.taken(20_000, 10);
        if is_unsent {
            bench.handle(Event::Unsent { id: whole[0].0 });
        }
        bench.disconnect().connect();
        let again = bench.published();
        if is_unsent {
            assert_eq!(again.len(), 2);
            assert!(
                again.iter().all(|(_, payload)| payload.len() <= 4_000),
                "{again:?}"
            );
        } else {
            assert_eq!(payloads(&again), payloads(&whole));
            // Had it been cut off now, the broker may still have it from before.
            bench
                .handle(Event::Unsent { id: again[0].0 })
                .disconnect()
                .connect();
            assert_eq!(payloads(&bench.published()), payloads(&whole));
        }
    }
}

#[test]
fn without_retained_messages_state_and_availability_are_off_for_that_connection_and_named_once() {
    let mut bench = Bench::with(Settings {
        has_availability: true,
        on_rejected: OnTrouble::Wait,
    });
    let state = |sequence| Event::State {
        payload: Bytes::from_static(b"{}"),
        sequence,
    };
    bench.handle(Event::Meter { is_online: true }).handle(state(1));
    for round in 0..3 {
        bench.handle(Event::Connected {
            broker: "broker".to_owned(),
            receive_maximum: 10,
            largest_payload: None,
            takes_retained: false,
        });
        bench.interval(10 + round).handle(state(10 + round));
        let actions = bench.take();
        let named: Vec<Kind> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Notice(Notice::Unpublished { kind, .. }) => Some(*kind),
                _ => None,
            })
            .collect();
        let expected: &[Kind] = if round == 0 {
            &[Kind::Availability, Kind::State]
        } else {
            &[]
        };
        assert_eq!(named, expected);
        let ids: Vec<u64> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Publish(message) => {
                    assert_eq!(message.kind, Kind::Readings);
                    Some(message.id)
                }
                _ => None,
            })
            .collect();
        assert_eq!(ids.len(), 1);
        bench.acknowledge(ids[0]);
        assert_eq!(bench.committed(), [10 + round]);
        bench.disconnect();
    }
    bench.connect();
    assert_eq!(payloads(&bench.published()), ["online", "{}"]);
}
