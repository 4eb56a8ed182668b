//! What the queue is compared with: the least that can be done for the same promise, a file to which is appended
//! and which is synced, and what others would take, SQLite with a write-ahead log.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rusqlite::Connection;

use crate::telegrams::{START_US, Telegrams};

/// Somewhere telegrams are kept, durable from a sync on.
pub trait Kept {
    /// Takes telegrams, and returns when they are durable.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn keep(&mut self, numbers: std::ops::Range<u64>, telegrams: &Telegrams) -> anyhow::Result<()>;
}

/// A plain file.
#[derive(Debug)]
pub struct Plain(File);

impl Plain {
    /// A new one.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        Ok(Self(File::create(path)?))
    }
}

impl Kept for Plain {
    fn keep(&mut self, numbers: std::ops::Range<u64>, telegrams: &Telegrams) -> anyhow::Result<()> {
        let bytes: Vec<u8> = numbers
            .flat_map(|number| telegrams.at(number).iter().copied())
            .collect();
        self.0.write_all(&bytes)?;
        self.0.sync_data()?;
        Ok(())
    }
}

/// A table of sequence, time and telegram, a transaction for what shares a sync. What was delivered is not
/// removed.
#[derive(Debug)]
pub struct Sqlite(Connection);

impl Sqlite {
    /// A new one.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute(
            "CREATE TABLE telegrams (sequence INTEGER PRIMARY KEY, captured_at INTEGER, telegram BLOB)",
            (),
        )?;
        Ok(Self(connection))
    }
}

impl Kept for Sqlite {
    fn keep(&mut self, numbers: std::ops::Range<u64>, telegrams: &Telegrams) -> anyhow::Result<()> {
        let transaction = self.0.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO telegrams VALUES (?, ?, ?)")?;
            for number in numbers {
                insert.execute((
                    number as i64,
                    START_US + number as i64 * 1_000_000,
                    telegrams.at(number),
                ))?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}
