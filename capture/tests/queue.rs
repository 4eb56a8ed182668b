//! The queue, by claim.

use std::time::Duration;

use capture::queue::{Arrival, Queue, QueueOptions};
use shared::wire::Start;

fn telegram(number: u64) -> Vec<u8> {
    format!(
        "/ABC5MADE-UP\r\n\r\n1-0:1.8.1({:010.3}*kWh)\r\n!0000\r\n",
        number as f64 / 1000.0
    )
    .into_bytes()
}

fn arrival(second: u64) -> Arrival {
    Arrival {
        captured_at_us: 1_700_000_000_000_000 + second as i64 * 1_000_000,
        uptime_us: second * 1_000_000,
    }
}

#[test]
fn what_was_flushed_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let options = QueueOptions::new(folder.path());
    let (mut queue, report) = Queue::open(&options).unwrap();
    assert!(report.is_new);
    let mut reader = queue.reader();
    for number in 1..=1000 {
        assert_eq!(queue.append(arrival(number), &telegram(number)).unwrap(), number);
        assert_eq!(reader.head(), number - 1, "visible before it was flushed");
        queue.flush().unwrap();
        assert_eq!(reader.head(), number);
        queue
            .maintain(arrival(number).captured_at_us, number * 1_000_000)
            .unwrap();
    }
    assert_eq!(queue.register("mqtt", Start::Oldest).unwrap(), 0);
    queue.commit("mqtt", 500).unwrap();
    let identity = queue.identity().to_owned();
    queue.close().unwrap();
    drop(reader);

    let (queue, report) = Queue::open(&options).unwrap();
    assert_eq!(report.losses, []);
    assert_eq!(report.records, 1000);
    assert_eq!(queue.identity(), identity);
    assert_eq!(queue.consumers().get("mqtt"), Some(&500));
    reader = queue.reader();
    let mut next = 1;
    while next <= 1000 {
        let batch = reader.read(next, 10_000).unwrap();
        for record in &batch.records {
            assert_eq!(record.sequence, next);
            assert_eq!(record.telegram, telegram(next));
            assert_eq!(record.captured_at_us, arrival(next).captured_at_us);
            assert_eq!(record.silence_ms, if next == 1 { 0 } else { 1000 });
            next += 1;
        }
        assert!(!batch.records.is_empty());
    }
    assert!(!reader.wait_beyond(1000, Duration::from_millis(1)));
    assert_eq!(reader.locate(arrival(700).captured_at_us).unwrap(), 700);
}
