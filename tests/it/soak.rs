//! A day of meter time, as fast as it goes, with an outage every few minutes of it: nothing lost, memory
//! flat, the folder within its bound. It takes minutes: `tests/soak` runs it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::deadline::wait_for;
use tests::household::random::Random;

use crate::installation::{Installation, assert_readings_are_true};

const DAY: usize = 86_400;
/// Meter time between two outages, in telegrams.
const BETWEEN: usize = 600;
const MAX_SIZE_BYTES: u64 = 64 << 20;
/// What the processes may grow by between the first quarter and the end.
const GROWTH_BYTES: u64 = 8 << 20;
const RECOVERY: Duration = Duration::from_secs(600);

#[test]
#[ignore = "takes minutes: tests/soak"]
fn a_day_with_an_outage_every_ten_minutes_loses_nothing_and_grows_nowhere() {
    let mut house = Installation::new(71);
    house.configure(60, "", "");
    let file = house.folder.join("smartmeter.yml");
    let text = fs::read_to_string(&file).unwrap() + "  max_size: 64MiB\n  flush_interval: 100ms\n";
    fs::write(&file, text).unwrap();
    let capture = house.start_capture();
    let publisher = house.start_publisher();
    let mut random = Random::new(71);
    let started = Instant::now();
    let mut resident = Vec::new();
    let mut largest = 0;
    for _ in 0..DAY / BETWEEN {
        house.send(BETWEEN / 2);
        house.proxy.refuse();
        house.send(BETWEEN / 2);
        // An outage lasts as long as half the telegrams take, or a little longer.
        std::thread::sleep(Duration::from_millis(random.below(200)));
        house.proxy.pass();
        // Each outage ends in delivery: otherwise all of them are one.
        wait_for("delivery to catch up after an outage", RECOVERY, || {
            let lag = house.try_status()?.consumers.first().map(|consumer| consumer.lag);
            match lag {
                Some(lag) if lag < BETWEEN as u64 / 4 => Ok(()),
                lag => Err(format!("{lag:?}")),
            }
        });
        largest = largest.max(size_on_disk(&house.folder.join("queue")));
        resident.push((capture.resident_bytes().0, publisher.resident_bytes().0));
    }
    house.send_into_the_next(60);
    let head = house.wait_for_the_last();
    house.wait_for_reading(head - 1, RECOVERY);
    let late = (capture.resident_bytes().0, publisher.resident_bytes().0);
    let ledger = house.ledger();
    let early = resident[resident.len() / 4];
    let most = resident.iter().fold((0, 0), |most: (u64, u64), now| {
        (most.0.max(now.0), most.1.max(now.1))
    });
    let missing = ledger.missing(head - 1);
    println!("telegrams sent      {:>9}", house.sent.len());
    println!("accepted            {head:>9}");
    println!("never received      {:>9}", missing.len());
    println!("received twice      {:>9}", ledger.duplicates());
    println!("outages             {:>9}", resident.len());
    println!("seconds             {:>9}", started.elapsed().as_secs());
    println!(
        "largest folder      {:>9} KiB of {}",
        largest >> 10,
        MAX_SIZE_BYTES >> 10
    );
    println!(
        "resident, KiB       {:>9} {:>9} {:>9}",
        "a quarter", "most", "the end"
    );
    println!(
        "  capture           {:>9} {:>9} {:>9}",
        early.0 >> 10,
        most.0 >> 10,
        late.0 >> 10
    );
    println!(
        "  publisher         {:>9} {:>9} {:>9}",
        early.1 >> 10,
        most.1 >> 10,
        late.1 >> 10
    );
    assert_eq!(head, house.sent.len() as u64);
    assert_eq!(missing, Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
    assert!(
        late.0 < early.0 + GROWTH_BYTES && late.1 < early.1 + GROWTH_BYTES,
        "memory grew: {early:?}, {late:?}"
    );
    assert!(largest < MAX_SIZE_BYTES, "{largest} bytes on disk");
    wait_for(
        "the cursor to stand at the last closed interval",
        RECOVERY,
        || {
            let lag = house.try_status()?.consumers.first().map(|consumer| consumer.lag);
            if lag.is_some_and(|lag| lag <= 1) {
                Ok(())
            } else {
                Err(format!("{lag:?}"))
            }
        },
    );
}

/// What a folder takes on disk, in bytes.
fn size_on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| {
            let blocks = entry.metadata().map_or(0, |metadata| metadata.blocks() * 512);
            blocks
                + if entry.path().is_dir() {
                    size_on_disk(&entry.path())
                } else {
                    0
                }
        })
        .sum()
}
