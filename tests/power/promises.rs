//! What the recorded process had been promised at a moment, from what it said up to then.

use std::collections::{BTreeMap, BTreeSet};

use super::recording::Moment;

/// Everything promised up to some moment, and what was under way at it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Promises {
    /// Highest sequence that a reader had seen.
    pub(crate) visible: u64,
    /// The telegram of every sequence that was visible.
    pub(crate) telegrams: BTreeMap<u64, u64>,
    /// Telegrams that were given a sequence and had not become visible. They may be there.
    pub(crate) given: BTreeMap<u64, u64>,
    /// Everything from this sequence on is kept.
    pub(crate) tail: u64,
    /// Consumers that were told that they are registered.
    pub(crate) consumers: BTreeMap<String, Cursor>,
    /// Consumers that were told that they are forgotten.
    pub(crate) forgotten: BTreeSet<String>,
    /// Identity of the folder, where it was told.
    pub(crate) identity: Option<String>,
    /// What is under way.
    pub(crate) under_way: String,
    /// Commits since the last flush began.
    commits: BTreeMap<String, u64>,
}

/// What a consumer has been promised.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The cursor is here or further on.
    pub(crate) at_least: u64,
    /// It is here or less far.
    pub(crate) at_most: u64,
}

impl Promises {
    /// Goes on by one moment.
    pub(crate) fn take(&mut self, moment: &Moment) {
        let Moment::Said(words) = moment else {
            return;
        };
        let words: Vec<&str> = words.split(' ').collect();
        let number = |position: usize| words[position].parse::<u64>().unwrap();
        match words[0] {
            "appended" => {
                self.given.insert(number(1), number(2));
                let visible = self.telegrams.get(&number(1));
                assert_eq!(
                    visible,
                    None,
                    "sequence {} was visible and is given again",
                    number(1)
                );
            }
            "visible" => self.see(number(1)),
            "opened" => {
                self.see(number(1));
                // What an earlier life had not made durable is gone, and its sequences may be given again.
                self.given.clear();
                self.tail = self.tail.max(number(2));
                let identity = words[3].to_owned();
                if let Some(known) = &self.identity {
                    assert_eq!(*known, identity, "the folder has another identity");
                }
                self.identity = Some(identity);
            }
            "flushed" => {
                self.see(number(1));
                self.tail = self.tail.max(number(2));
                for (name, sequence) in std::mem::take(&mut self.commits) {
                    let cursor = self.consumers.entry(name).or_default();
                    cursor.at_least = cursor.at_least.max(sequence);
                }
            }
            "commit" => {
                let cursor = self.consumers.entry(words[1].to_owned()).or_default();
                cursor.at_most = cursor.at_most.max(number(2));
                let pending = self.commits.entry(words[1].to_owned()).or_default();
                *pending = number(2).max(*pending);
            }
            "maintained" => self.tail = self.tail.max(number(1)),
            "registered" => {
                let cursor = self.consumers.entry(words[1].to_owned()).or_default();
                cursor.at_least = cursor.at_least.max(number(2));
                cursor.at_most = cursor.at_most.max(number(2));
                self.forgotten.remove(words[1]);
                self.tail = self.tail.max(number(3));
            }
            "register" => {
                self.forgotten.remove(words[1]);
            }
            "forget" => {
                self.consumers.remove(words[1]);
                self.commits.remove(words[1]);
            }
            "forgot" => {
                self.forgotten.insert(words[1].to_owned());
                self.tail = self.tail.max(number(2));
            }
            "closed" => {
                for (name, sequence) in std::mem::take(&mut self.commits) {
                    let cursor = self.consumers.entry(name).or_default();
                    cursor.at_least = cursor.at_least.max(sequence);
                }
            }
            // A commit that no flush has carried by then is gone with the process that was told of it.
            "open" => self.commits.clear(),
            "flush" | "maintain" | "close" => {}
            other => panic!("the process said what this does not know: {other}"),
        }
        if !matches!(words[0], "visible" | "appended" | "commit") {
            self.under_way = words[0].to_owned();
        }
    }

    /// A reader has seen this head: what was given up to it is visible.
    fn see(&mut self, head: u64) {
        if head <= self.visible {
            return;
        }
        self.visible = head;
        let later = self.given.split_off(&(head + 1));
        self.telegrams
            .append(&mut std::mem::replace(&mut self.given, later));
    }

    /// The tail that what is under way at this moment may leave, from what was said after it.
    pub(crate) fn tail_after(&self, later: &[Moment]) -> u64 {
        let said = later.iter().find_map(|moment| match moment {
            Moment::Said(words) => {
                let words: Vec<&str> = words.split(' ').collect();
                let position = match words[0] {
                    "opened" | "flushed" | "forgot" => 2,
                    "maintained" => 1,
                    "registered" => 3,
                    _ => return None,
                };
                words[position].parse().ok()
            }
            _ => None,
        });
        self.tail.max(said.unwrap_or(self.tail))
    }
}
