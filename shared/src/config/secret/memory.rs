//! Looks for a secret in this process's memory, as whoever gets hold of that would.
//!
//! The secret is given as a function from a place to the byte there, so that looking for it makes no copy of it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Writes a file that holds the secret, and forgets it.
pub(in crate::config) fn write(path: &Path, length: usize, byte: impl Fn(usize) -> u8) {
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend((0..length).map(byte));
    File::options()
        .append(true)
        .open(path)
        .unwrap()
        .write_all(&bytes)
        .unwrap();
}

/// How often the secret is in memory that can be written to.
pub(in crate::config) fn copies(length: usize, byte: impl Fn(usize) -> u8) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut page = Zeroizing::new(vec![0; PAGE_BYTES + length - 1]);
    let own = page.as_ptr() as usize..page.as_ptr() as usize + page.len();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|digits| usize::from_str_radix(digits, 16).unwrap());
        for at in (start..end).step_by(PAGE_BYTES) {
            // What other threads give back meanwhile is not there any more.
            let Ok(read) = memory.read_at(&mut page, at as u64) else {
                continue;
            };
            let hits = memchr::memchr_iter(byte(0), &page[..read]).filter(|offset| {
                let is_there = |place| page[..read].get(offset + place) == Some(&byte(place));
                *offset < PAGE_BYTES && !own.contains(&(at + offset)) && (0..length).all(is_there)
            });
            found += hits.count();
        }
    }
    found
}

const PAGE_BYTES: usize = 4096;
