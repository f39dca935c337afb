//! Tokens with one thing changed, each still of strict form, so that only cryptography can tell.

use jose::base64url;

/// A JWS with another signature, payload and header.
pub(crate) fn signed(token: &str) -> Vec<(&'static str, String)> {
    vec![
        ("signature", with(token, 2, flip)),
        ("payload", with(token, 1, flip)),
        ("header", with(token, 0, another_member)),
    ]
}

/// A JWE with another tag, ciphertext, IV, encrypted key and header.
pub(crate) fn encrypted(token: &str) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("tag", with(token, 4, flip)),
        ("ciphertext", with(token, 3, flip)),
        ("iv", with(token, 2, flip)),
        ("header", with(token, 0, another_member)),
    ];
    if !token.contains("..") {
        all.push(("encrypted key", with(token, 1, flip)));
    }
    all
}

/// The token with the bytes of one segment changed.
pub(crate) fn with(token: &str, segment: usize, change: impl Fn(Vec<u8>) -> Vec<u8>) -> String {
    let mut segments: Vec<_> = token.split('.').map(str::to_owned).collect();
    let changed = change(base64url::decode(&segments[segment]).expect("base64url"));
    segments[segment] = base64url::encode(changed);
    segments.join(".")
}

/// One bit of the last byte: nothing but arithmetic depends on it.
fn flip(mut bytes: Vec<u8>) -> Vec<u8> {
    let last = bytes.last_mut().expect("a segment that is not empty");
    *last ^= 1;
    bytes
}

fn another_member(header: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(header).expect("a header is text");
    let open = text
        .trim_end()
        .strip_suffix('}')
        .expect("a header is an object");
    format!("{open},\"x\":1}}").into_bytes()
}
