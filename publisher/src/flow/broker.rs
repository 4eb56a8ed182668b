//! What a person is told of the connection to the broker: one line when it goes and one when it is back. Connections
//! that come and go are summarised, since nothing changes by the next one: the first is told, the third names what it
//! may be, and from then on there is at most one line a minute with their number.

use std::time::Duration;

use crate::mqtt::Trouble;

/// A connection that ends before is not steady.
const STEADY: Duration = Duration::from_secs(10);
/// So many connections in a row that are not steady are no accident.
const UNSTEADY_TOLD: u32 = 3;
/// From then on at most one line in this time.
const SUMMARY_PAUSE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct BrokerLog {
    connection: Option<Connection>,
    /// Connections in a row that were not steady.
    unsteady: u32,
    /// Of those, how many since the last line.
    untold: u32,
    told_at: Duration,
}

#[derive(Debug)]
struct Connection {
    since: Duration,
    /// What is said when it has shown to be steady; none once it is said.
    words: Option<String>,
    is_steady: bool,
}

/// What delivery knows of the present connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// The broker has acknowledged readings or a summary on it.
    pub(super) has_progressed: bool,
    /// No readings and no summary wait for it.
    pub(super) is_idle: bool,
}

impl BrokerLog {
    /// The broker has accepted a connection. The words are for the log now, or not yet.
    pub(super) fn connected(&mut self, now: Duration, words: String) -> Option<String> {
        let (told, words) = if self.unsteady == 0 {
            (Some(words), None)
        } else {
            (None, Some(words))
        };
        self.connection = Some(Connection {
            since: now,
            words,
            is_steady: false,
        });
        told
    }

    /// Time has passed, or the broker has acknowledged something: what is to be told of it.
    pub(super) fn goes_on(&mut self, now: Duration, standing: Standing) -> Option<String> {
        let connection = self.connection.as_mut()?;
        if !connection.is_steady(now, standing) {
            return None;
        }
        connection.is_steady = true;
        self.unsteady = 0;
        self.untold = 0;
        connection.words.take()
    }

    /// The connection was ended on purpose.
    pub(super) fn left(&mut self) {
        self.connection = None;
    }

    /// The connection is lost. What is to be told of it, in a sentence; `client_id` is how the broker knows this
    /// client.
    pub(super) fn lost(
        &mut self,
        now: Duration,
        trouble: &Trouble,
        client_id: &str,
        standing: Standing,
    ) -> Option<String> {
        let connection = self.connection.take()?;
        let first = format!("lost the broker {trouble}; telegrams are kept in the queue meanwhile");
        if connection.is_steady(now, standing) {
            self.unsteady = 0;
            self.untold = 0;
            self.told_at = now;
            return Some(first);
        }
        self.unsteady = self.unsteady.saturating_add(1);
        self.untold += 1;
        let is_due = self.unsteady == UNSTEADY_TOLD
            || (self.unsteady > UNSTEADY_TOLD && now.saturating_sub(self.told_at) >= SUMMARY_PAUSE);
        if self.unsteady > 1 && !is_due {
            return None;
        }
        self.told_at = now;
        let untold = std::mem::take(&mut self.untold);
        if self.unsteady == 1 {
            return Some(first);
        }
        Some(format!(
            "lost the broker {untold} more times, soon after it had accepted the connection; the last time {trouble}. \
             It may be another client with the same mqtt.client_id ({client_id}), a queue of the broker's that is \
             full, or an access list; telegrams are kept in the queue meanwhile"
        ))
    }
}

impl Connection {
    fn is_steady(&self, now: Duration, standing: Standing) -> bool {
        let is_at_work = standing.has_progressed || standing.is_idle;
        self.is_steady || (is_at_work && now.saturating_sub(self.since) >= STEADY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Cause;

    const FRUITLESS: Standing = Standing {
        has_progressed: false,
        is_idle: false,
    };
    const WORKING: Standing = Standing {
        has_progressed: true,
        is_idle: false,
    };

    fn trouble() -> Trouble {
        Trouble {
            broker: "broker:1883".to_owned(),
            cause: Cause::Other,
            words: "the broker closed the connection".to_owned(),
        }
    }

    /// Lines told of connections of these lengths, one every other second, up to a number of seconds.
    fn lines(log: &mut BrokerLog, from_s: u64, to_s: u64, standing: Standing) -> Vec<String> {
        let mut lines = Vec::new();
        for at_s in (from_s..to_s).step_by(2) {
            let now = Duration::from_secs(at_s);
            lines.extend(log.connected(now, "connected".to_owned()));
            lines.extend(log.goes_on(now, standing));
            lines.extend(log.lost(now + Duration::from_millis(50), &trouble(), "meter@pi", standing));
        }
        lines
    }

    #[test]
    fn connections_that_come_and_go_are_at_most_a_line_a_minute_that_names_what_it_may_be() {
        for standing in [FRUITLESS, WORKING] {
            let mut log = BrokerLog::default();
            let told = lines(&mut log, 0, 600, standing);
            assert_eq!(told[0], "connected");
            assert!(told[1].starts_with("lost the broker broker:1883"), "{told:?}");
            assert!(
                told[2].contains("2 more times") && told[2].contains("(meter@pi)"),
                "{told:?}"
            );
            assert!(
                told[2].contains("full") && told[2].contains("access list"),
                "{told:?}"
            );
            assert!(told[3].contains("30 more times"), "{told:?}");
            assert!((10..=13).contains(&told.len()), "{}: {told:?}", told.len());
        }
    }

    #[test]
    fn it_is_back_when_a_connection_lasts_and_readings_are_acknowledged() {
        let mut log = BrokerLog::default();
        lines(&mut log, 0, 20, FRUITLESS);
        let at = Duration::from_secs;
        assert_eq!(log.connected(at(20), "connected again".to_owned()), None);
        assert_eq!(log.goes_on(at(29), WORKING), None);
        assert_eq!(log.goes_on(at(31), FRUITLESS), None);
        assert_eq!(log.goes_on(at(31), WORKING).as_deref(), Some("connected again"));
        assert_eq!(log.goes_on(at(32), WORKING), None, "said once");
        let lost = log.lost(at(40), &trouble(), "meter@pi", WORKING).expect("a line");
        assert!(lost.starts_with("lost the broker broker:1883"), "{lost}");
        let back = log.connected(at(41), "connected".to_owned());
        assert_eq!(
            back.as_deref(),
            Some("connected"),
            "an ordinary outage has two lines"
        );
    }
}
