//! Secrets that are looked for where they must not be.

use jose::base64url;
use serde_json::Value;

/// Secrets under the names by which a failure reports them; the values are never shown.
#[derive(Default)]
pub(crate) struct Planted(Vec<(String, Vec<u8>)>);

impl Planted {
    /// A text that no one else writes.
    pub(crate) fn text(&mut self, what: &str, text: &str) {
        self.0.push((what.to_owned(), text.as_bytes().to_vec()));
        self.0.push((
            format!("{what}, base64url"),
            base64url::encode(text).into_bytes(),
        ));
    }

    /// A token, and each of its longer segments but the header, which is no secret.
    pub(crate) fn token(&mut self, what: &str, token: &str) {
        let segments = token
            .split('.')
            .skip(1)
            .filter(|segment| segment.len() > 20);
        self.0
            .extend(segments.map(|segment| (what.to_owned(), segment.as_bytes().to_vec())));
    }

    /// The private members of a JWK, in every form in which bytes get into a log.
    pub(crate) fn jwk(&mut self, what: &str, jwk: &str) {
        let jwk: Value = serde_json::from_str(jwk).expect("a JWK");
        let mut found = 0;
        for member in ["d", "k", "p", "q", "dp", "dq", "qi"] {
            let Some(encoded) = jwk[member].as_str() else {
                continue;
            };
            found += 1;
            let bytes = base64url::decode(encoded).expect("base64url");
            for (form, bytes) in forms(encoded, &bytes) {
                self.0.push((format!("{member} of {what}, {form}"), bytes));
            }
        }
        assert!(found > 0, "{what} has no private member");
    }

    /// Fails where `bytes` hold one of them.
    pub(crate) fn none_in(&self, place: &str, bytes: &[u8]) {
        for (what, secret) in &self.0 {
            assert!(!contains(bytes, secret), "{place} shows {what}");
        }
    }
}

/// Raw, and the first half in hex, in decimals as `Debug` of a slice has it, escaped as `Debug` of bytes has it, in base64.
fn forms(encoded: &str, bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let half = &bytes[..bytes.len() / 2];
    let hex: String = half.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimals: Vec<String> = half.iter().map(u8::to_string).collect();
    let base64 = encoded[..encoded.len() / 2]
        .replace('-', "+")
        .replace('_', "/");
    vec![
        ("raw", half.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("hex in capitals", hex.to_uppercase().into_bytes()),
        ("decimals", decimals.join(", ").into_bytes()),
        ("escaped", half.escape_ascii().to_string().into_bytes()),
        (
            "base64url",
            encoded.as_bytes()[..encoded.len() / 2].to_vec(),
        ),
        ("base64", base64.into_bytes()),
    ]
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    assert!(part.len() >= 12, "too short to be looked for");
    memchr::memmem::find(bytes, part).is_some()
}
