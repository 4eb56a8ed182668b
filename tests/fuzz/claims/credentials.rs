//! Any bytes in a credentials file are a user, or an error that fits a terminal and says nothing of the password.

use shared::config::credentials::Credentials;

use super::scratch::File;

/// Asserts every claim for these bytes.
pub(crate) fn hold_for(bytes: &[u8]) {
    let file = File::holding("credentials", bytes);
    let words = match Credentials::load(file.path()) {
        Ok((credentials, warnings)) => {
            assert!(!credentials.user.is_empty());
            warnings.join(" ")
        }
        Err(error) => error.to_string(),
    };
    assert!(!words.chars().any(char::is_control), "{words:?}");
    assert!(words.chars().count() <= 1_000, "{words}");
    // The same user and password as Java reads, from a file that is written as Java writes it.
    let text: String = bytes.iter().copied().map(char::from).collect();
    let Some((user, password)) = text.split_once('\0').filter(|(user, _)| !user.is_empty()) else {
        return;
    };
    let file = File::holding(
        "written",
        format!("user={}\npassword={}\n", escaped(user), escaped(password)).as_bytes(),
    );
    let (credentials, _) = Credentials::load(file.path()).expect("it has a user");
    assert_eq!(credentials.user, user);
    assert_eq!(
        credentials.password.map(|secret| secret.expose().to_owned()),
        Some(password.to_owned())
    );
}

/// As `java.util.Properties.store` writes a value.
fn escaped(value: &str) -> String {
    value
        .chars()
        .map(|character| match character {
            '\\' | ' ' | '=' | ':' | '#' | '!' => format!("\\{character}"),
            ' '..='~' => character.to_string(),
            other => format!("\\u{:04x}", u32::from(other)),
        })
        .collect()
}
