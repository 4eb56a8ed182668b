//! Opening a queue after a power cut, and holding it to what had been promised.

use std::fmt::Debug;
use std::path::Path;

use capture::queue::{Arrival, Queue, ReadError, Reader};
use shared::record::{INTERVAL_SILENCE_MS, Record};

use super::promises::Promises;
use super::workload::{MAX_SIZE_BYTES, captured_at_us, options, telegram};

/// What was found, to be counted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Found {
    /// Records beyond those that had been visible: durable, and nobody had been told yet.
    pub(crate) beyond: u64,
    /// A database that could not be opened was moved aside; only before anything had been visible.
    pub(crate) moved_aside: u64,
    /// Openings that left out sequences.
    pub(crate) left_out: u64,
    /// Records that sled had dropped, visible ones or not, and that were put back from what is left of them in its files.
    pub(crate) put_back: u64,
}

/// Opens the queue under `root` in the start of the machine `boot` and says what does not hold. What it
/// appends are the telegrams from `first_telegram` on.
pub(crate) fn judge(
    root: &Path,
    promises: &Promises,
    tail: u64,
    boot: u8,
    first_telegram: u64,
) -> Result<Found, String> {
    let mut found = Found::default();
    let options = options(&root.join("queue"), boot, MAX_SIZE_BYTES);
    let (mut queue, report) = Queue::open(&options).map_err(|error| format!("it does not open: {error}"))?;
    let mut reader = queue.reader();
    let records = read_all(&mut reader)?;

    // What had been visible is there, byte for byte.
    holds(
        "the head is not below what had been visible",
        queue.head(),
        |&head| head >= promises.visible,
    )?;
    for (&sequence, &number) in promises.telegrams.range(tail..) {
        let position = records.partition_point(|record| record.sequence < sequence);
        match records.get(position).filter(|record| record.sequence == sequence) {
            Some(record) => is_telegram(record, number)?,
            None => {
                return Err(format!(
                    "record {sequence} had been visible and is gone; {report:?}"
                ));
            }
        }
    }
    // And nothing is there that was not appended.
    for record in &records {
        if let Some(&number) = promises.telegrams.get(&record.sequence) {
            is_telegram(record, number)?;
            continue;
        }
        found.beyond += 1;
        match promises.given.get(&record.sequence) {
            Some(&number) => is_telegram(record, number)?,
            None => return Err(format!("record {} is there and was never given", record.sequence)),
        }
    }

    if let Some(identity) = &promises.identity {
        equals("the identity", queue.identity(), identity.as_str())?;
    }

    // Cursors: never behind what was promised, never beyond the head or what was asked for.
    for (name, promised) in &promises.consumers {
        let cursor = queue.consumers().get(name).copied();
        let is_unknown_yet = promised.at_most == 0 && promised.at_least == 0;
        if cursor.is_none() && !is_unknown_yet {
            return Err(format!("consumer {name:?} had been registered and is gone"));
        }
        let cursor = cursor.unwrap_or(0);
        if cursor < promised.at_least
            || cursor > promised.at_most.max(promised.at_least)
            || cursor > queue.head()
        {
            return Err(format!(
                "the cursor of {name:?} is {cursor}, promised was {promised:?}, the head is {}",
                queue.head()
            ));
        }
    }
    for name in &promises.forgotten {
        if queue.consumers().contains_key(name) {
            return Err(format!("consumer {name:?} had been forgotten and is back"));
        }
    }

    // Losses are told of what was lost, and nothing was.
    equals("damaged blocks", &report.damaged_blocks, &0)?;
    found.put_back = report.restored_records;
    if let Some((_, why)) = &report.moved_aside {
        if promises.visible > 0 {
            return Err(format!("the database was moved aside: {why}"));
        }
        found.moved_aside += 1;
    }
    for loss in &report.losses {
        let stretch = loss.first_sequence..=loss.last_sequence;
        let is_there = records.iter().any(|record| stretch.contains(&record.sequence));
        if is_there || promises.telegrams.range(stretch).next().is_some() {
            return Err(format!(
                "told as lost, and is there or was trimmed in order: {loss:?}"
            ));
        }
        found.left_out += 1;
    }

    // It goes on, above everything that had been visible.
    let mut last = promises
        .visible
        .max(records.last().map_or(0, |record| record.sequence));
    let mut appended = Vec::new();
    for number in first_telegram..first_telegram + 3 {
        let arrival = Arrival {
            captured_at_us: captured_at_us(number),
            uptime_us: 1_000_000 * (1 + number - first_telegram),
        };
        let sequence = queue
            .append(arrival, &telegram(number))
            .map_err(|error| format!("it does not append: {error}"))?;
        holds("a sequence above all others", sequence, |&sequence| {
            sequence > last
        })?;
        last = sequence;
        appended.push((sequence, number));
        queue
            .flush()
            .map_err(|error| format!("it does not flush: {error}"))?;
    }
    equals("the head after appending", &reader.head(), &last)?;
    queue
        .close()
        .map_err(|error| format!("it does not close: {error}"))?;
    drop(reader);

    let (queue, report) =
        Queue::open(&options).map_err(|error| format!("it does not open again: {error}"))?;
    equals("losses after closing in order", report.losses.as_slice(), &[][..])?;
    equals("the head after closing in order", &queue.head(), &last)?;
    let again = read_all(&mut queue.reader())?;
    let (before, since) = again
        .split_at_checked(records.len())
        .ok_or_else(|| format!("{} records are left of {}", again.len(), records.len()))?;
    if before != records {
        return Err("the records differ after closing in order".to_owned());
    }
    equals("records appended", &since.len(), &appended.len())?;
    for (record, (sequence, number)) in since.iter().zip(appended) {
        equals("the sequence", &record.sequence, &sequence)?;
        is_telegram(record, number)?;
    }
    let is_first = records.is_empty() && promises.visible == 0;
    if let (false, Some(first)) = (is_first, since.first()) {
        holds(
            "the silence across a start of the machine",
            first.silence_ms,
            |&silence| silence > INTERVAL_SILENCE_MS,
        )?;
    }
    Ok(found)
}

fn read_all(reader: &mut Reader) -> Result<Vec<Record>, String> {
    let mut records: Vec<Record> = Vec::new();
    let mut next = 1;
    while next <= reader.head() {
        let batch = reader
            .read(next, 1 << 20)
            .map_err(|error: ReadError| format!("reading from {next}: {error}"))?;
        let Some(last) = batch.records.last() else {
            break;
        };
        next = last.sequence + 1;
        for record in batch.records {
            if let Some(before) = records.last() {
                holds("rising sequences", record.sequence, |&sequence| {
                    sequence > before.sequence
                })?;
            }
            records.push(record);
        }
    }
    Ok(records)
}

fn is_telegram(record: &Record, number: u64) -> Result<(), String> {
    if record.telegram != telegram(number) || record.captured_at_us != captured_at_us(number) {
        return Err(format!(
            "record {} is not telegram {number} as it was",
            record.sequence
        ));
    }
    Ok(())
}

fn equals<T: PartialEq + Debug + ?Sized>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: {found:?}, expected {expected:?}"))
    }
}

fn holds<T: Debug>(what: &str, found: T, is_so: impl Fn(&T) -> bool) -> Result<(), String> {
    if is_so(&found) {
        Ok(())
    } else {
        Err(format!("{what}: {found:?}"))
    }
}
