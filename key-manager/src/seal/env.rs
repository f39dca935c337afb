//! A key-encryption key from an environment variable. The configuration names the variable; it never holds the key.

use zeroize::Zeroizing;

use super::{KekError, LocalKek, parse_key};

/// Reads the key from the variable `name` by `lookup`: 64 hexadecimal digits.
///
/// # Errors
/// [`KekError::NotSet`] and [`KekError::NotAKey`].
pub fn read(name: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<LocalKek, KekError> {
    let value = lookup(name)
        .map(Zeroizing::new)
        .ok_or_else(|| KekError::NotSet(name.to_owned()))?;
    let not_a_key = || KekError::NotAKey(name.to_owned());
    // 32 bytes as they are would be a passphrase, not a key.
    let digits = Some(value.as_bytes()).filter(|bytes| bytes.len() > super::KEY_LEN);
    let key = digits.and_then(parse_key).ok_or_else(not_a_key)?;
    LocalKek::new(&key).map_err(|_engine| not_a_key())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_holds_64_digits() {
        for (what, value, error) in [
            ("good", Some("ab".repeat(32)), None),
            (
                "missing",
                None,
                Some(KekError::NotSet("THE_KEK".to_owned())),
            ),
            (
                "a passphrase",
                Some("x".repeat(32)),
                Some(KekError::NotAKey("THE_KEK".to_owned())),
            ),
            (
                "empty",
                Some(String::new()),
                Some(KekError::NotAKey("THE_KEK".to_owned())),
            ),
        ] {
            let found = read("THE_KEK", |name| {
                (name == "THE_KEK").then(|| value.clone()).flatten()
            });
            assert_eq!(found.err(), error, "{what}");
        }
    }
}
