//! Any bytes in the list of losses are losses, as many as are kept, and what is written is read again.

use capture::queue::losses::{KEPT, Losses};
use shared::wire::Loss;

use super::scratch::File;

/// Asserts every claim for these bytes. How many losses are in them.
pub(crate) fn hold_for(bytes: &[u8]) -> usize {
    let file = File::holding("losses", bytes);
    let found = Losses::open(file.path()).list().to_vec();
    assert!(found.len() <= KEPT);
    for loss in &found {
        let (first, last) = (loss.first_sequence, loss.last_sequence);
        assert!(first <= last);
        let mut losses = Losses::open(file.path());
        assert!(losses.covers(first, last));
        let middle = first + (last - first) / 2;
        losses.found_again(middle, last);
        assert!(!losses.covers(middle, middle));
    }
    let mut losses = Losses::open(file.path());
    found.iter().for_each(|loss: &Loss| losses.add(loss.clone()));
    losses.save().expect("the temporary folder takes a file");
    assert_eq!(Losses::open(file.path()).list(), losses.list());
    found.len()
}
