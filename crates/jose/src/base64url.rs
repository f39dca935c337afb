//! base64url without padding (RFC 7515 section 2), strict: every value has exactly one spelling.
//!
//! The alphabet is `[A-Za-z0-9_-]` and nothing else: padding, whitespace and set trailing bits are refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// The text is not strict base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64url: only A-Z a-z 0-9 - _, without padding and without trailing bits")]
pub struct InvalidBase64url;

/// Number of characters that `bytes` bytes take.
#[must_use]
pub const fn encoded_len(bytes: usize) -> usize {
    bytes / 3 * 4 + (bytes % 3 * 4).div_ceil(3)
}

/// Number of bytes that `characters` characters hold; exact for every valid length.
#[must_use]
pub const fn decoded_len(characters: usize) -> usize {
    characters / 4 * 3 + characters % 4 * 3 / 4
}

/// Encodes into a new string.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends the encoding of `bytes` to `out`.
pub fn encode_into(bytes: impl AsRef<[u8]>, out: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// Decodes into a new buffer.
///
/// # Errors
/// [`InvalidBase64url`] for anything but the one spelling of a value.
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, InvalidBase64url> {
    let text = text.as_ref();
    let mut out = vec![0; decoded_len(text.len())];
    let written = decode_slice(text, &mut out)?;
    out.truncate(written);
    Ok(out)
}

/// Decodes a secret into a buffer that is zeroised on drop, also when decoding fails half way.
///
/// # Errors
/// As [`decode`].
pub fn decode_secret(text: impl AsRef<[u8]>) -> Result<Zeroizing<Vec<u8>>, InvalidBase64url> {
    let text = text.as_ref();
    let mut out = Zeroizing::new(vec![0; decoded_len(text.len())]);
    let written = decode_slice(text, &mut out)?;
    out.truncate(written);
    Ok(out)
}

/// Decodes into a buffer of the caller and returns the number of bytes written.
///
/// # Errors
/// As [`decode`], and when `out` is too short.
pub fn decode_slice(text: impl AsRef<[u8]>, out: &mut [u8]) -> Result<usize, InvalidBase64url> {
    URL_SAFE_NO_PAD
        .decode_slice(text, out)
        .map_err(|_malformed| InvalidBase64url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_one_spelling_of_a_value_decodes() {
        // RFC 7515 appendix C
        assert_eq!(encode([3, 236, 255, 224, 193]), "A-z_4ME");
        assert_eq!(decode("A-z_4ME").unwrap(), [3, 236, 255, 224, 193]);
        for bad in [
            "A", "AAAAA", "AA==", "AA=", "=", "AB", "AAB", "A+A=", "AA/A", "AA+A", "AA A",
            "AAAA\n", " AAAA", "AAAA ", "A.AA", "AA\0A", "\u{e9}AA",
        ] {
            assert_eq!(decode(bad), Err(InvalidBase64url), "{bad:?}");
            assert!(decode_secret(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = encode(&bytes);
            prop_assert_eq!(text.len(), encoded_len(bytes.len()));
            prop_assert_eq!(decoded_len(text.len()), bytes.len());
            prop_assert_eq!(decode(&text).unwrap(), bytes);
        }

        #[test]
        fn what_decodes_encodes_to_itself(text in "[A-Za-z0-9_-]{0,40}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(bytes), text);
            }
        }
    }
}
