//! What of a panic is printed: not the database's, since the call that it ends is guarded and its error is told in
//! words, and everything of the program's own.

use std::panic::{self, PanicHookInfo};

/// Keeps the database's panics off standard error, except at debug level.
pub fn keep_quiet_about_the_database() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if is_of_the_database(panic) {
            tracing::debug!("{panic}");
        } else {
            print(panic);
        }
    }));
}

fn is_of_the_database(panic: &PanicHookInfo<'_>) -> bool {
    panic
        .location()
        .is_some_and(|location| is_source_of_the_database(location.file()))
}

fn is_source_of_the_database(file: &str) -> bool {
    file.split('/').any(|part| part.starts_with("sled-"))
}

/// What the system said, of the words of a panic over an I/O error; otherwise the words themselves.
pub fn in_words(detail: &str) -> &str {
    detail
        .split_once("message: \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or(detail, |(message, _)| message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_databases_own_source_is_kept_quiet() {
        assert!(is_source_of_the_database(
            "/home/someone/.cargo/registry/src/index.crates.io-0123456789abcdef/sled-0.34.7/src/pagecache/mod.rs"
        ));
        assert!(!is_source_of_the_database("capture/src/queue/store.rs"));
    }

    #[test]
    fn an_io_error_is_told_as_the_system_says_it() {
        let panic = "called `Result::unwrap()` on an `Err` value: \
                     Io(Os { code: 28, kind: StorageFull, message: \"No space left on device\" })";
        assert_eq!(in_words(panic), "No space left on device");
        assert_eq!(in_words("it panicked"), "it panicked");
    }
}
