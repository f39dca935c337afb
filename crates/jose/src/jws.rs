//! JWS compact form (RFC 7515): `header.payload.signature`.

use std::fmt;

use crate::algorithm::JwsAlgorithm;
use crate::base64url;
use crate::header::{Header, HeaderError};
use crate::json::ObjectWriter;
use crate::jwt::RejectReason;
use crate::limits;
use crate::provider::{Failed, Sign};

/// Longest signature: RSA with 8192 bits.
const LONGEST_SIGNATURE: usize = limits::RSA_MAX_BITS / 8;

/// Why a token was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Header or token would be longer than a verifier accepts.
    #[error("the token would be longer than 20 KiB, or its header longer than 4 KiB")]
    TooLarge,
    /// The engine failed.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// A protected header in its final form, base64url. It depends on key and profile only, so one can serve
/// every token of a key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedHeader {
    algorithm: JwsAlgorithm,
    json: String,
    encoded: String,
}

impl EncodedHeader {
    /// A header with `alg`, and the others where they are given. `kid`, `typ` and `cty` are escaped as JSON needs it.
    #[must_use]
    pub fn new(
        algorithm: JwsAlgorithm,
        kid: Option<&str>,
        typ: Option<&str>,
        cty: Option<&str>,
    ) -> Self {
        let mut out = ObjectWriter::with_capacity(128);
        out.string("alg", algorithm.name());
        for (name, value) in [("typ", typ), ("cty", cty), ("kid", kid)] {
            if let Some(value) = value {
                out.string(name, value);
            }
        }
        let json = out.finish();
        Self {
            algorithm,
            encoded: base64url::encode(&json),
            json,
        }
    }

    /// The header's JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The algorithm that it names.
    #[must_use]
    pub fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }
}

/// A token that lacks its signature. The buffer already has room for it.
pub struct UnsignedToken {
    text: String,
}

/// Shows the length and nothing of the payload.
impl fmt::Debug for UnsignedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnsignedToken({} bytes)", self.text.len())
    }
}

impl UnsignedToken {
    /// Writes header and payload; `signature_len` is the length of the signature to come, in bytes.
    ///
    /// # Errors
    /// [`SignError::TooLarge`].
    pub fn new(
        header: &EncodedHeader,
        payload: &[u8],
        signature_len: usize,
    ) -> Result<Self, SignError> {
        Self::of_parts(header, [payload, &[]], signature_len)
    }

    /// As [`UnsignedToken::new`], for a payload that stands in two places.
    ///
    /// # Errors
    /// As [`UnsignedToken::new`].
    pub fn of_parts(
        header: &EncodedHeader,
        [head, tail]: [&[u8]; 2],
        signature_len: usize,
    ) -> Result<Self, SignError> {
        let signature = base64url::encoded_len(signature_len);
        let payload = base64url::encoded_len(head.len() + tail.len());
        let len = header.encoded.len() + payload + signature + 2;
        if header.json.len() > limits::HEADER.bytes || len > limits::SIGNED_TOKEN {
            return Err(SignError::TooLarge);
        }
        let mut text = String::with_capacity(len);
        text.push_str(&header.encoded);
        text.push('.');
        encode_two(head, tail, &mut text);
        Ok(Self { text })
    }

    /// What is signed (RFC 7515 section 5.1).
    #[must_use]
    pub fn signing_input(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Adds the signature.
    #[must_use]
    pub fn finish(mut self, signature: &[u8]) -> String {
        self.text.push('.');
        base64url::encode_into(signature, &mut self.text);
        self.text
    }
}

/// Encodes both as one. Base64 goes by groups of three bytes: the group across the seam is put together here.
fn encode_two(head: &[u8], tail: &[u8], out: &mut String) {
    let (groups, begun) = head.split_at(head.len() - head.len() % 3);
    let missing = if begun.is_empty() { 0 } else { 3 - begun.len() };
    let (lent, rest) = tail.split_at(missing.min(tail.len()));
    let mut seam = [0; 3];
    for (place, byte) in seam.iter_mut().zip(begun.iter().chain(lent)) {
        *place = *byte;
    }
    base64url::encode_into(groups, out);
    let (seam, _unused) = seam.split_at(begun.len() + lent.len());
    base64url::encode_into(seam, out);
    base64url::encode_into(rest, out);
}

/// Signs `payload`: one allocation, the token.
///
/// # Errors
/// [`SignError`]; [`Failed`] also when the header names another algorithm than the key's.
pub fn sign(header: &EncodedHeader, payload: &[u8], key: &dyn Sign) -> Result<String, SignError> {
    if header.algorithm != key.algorithm() {
        return Err(Failed.into());
    }
    let token = UnsignedToken::new(header, payload, key.signature_len())?;
    let mut buffer = [0; LONGEST_SIGNATURE];
    let signature = buffer.get_mut(..key.signature_len()).ok_or(Failed)?;
    key.sign(token.signing_input(), signature)?;
    Ok(token.finish(signature))
}

/// A token taken apart. Nothing in it is to be believed: the signature has not been looked at.
pub struct UnverifiedJws<'t> {
    /// The header.
    pub header: Header<'static>,
    /// The header's algorithm.
    pub algorithm: JwsAlgorithm,
    /// What is signed.
    pub signing_input: &'t [u8],
    /// The payload.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Shows the algorithm and nothing that the token says.
impl fmt::Debug for UnverifiedJws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedJws")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl<'t> UnverifiedJws<'t> {
    /// Takes a token apart; `longest_payload` in bytes.
    ///
    /// # Errors
    /// In this order: TOO_LARGE by the token's length; MALFORMED unless there are two dots; TOO_LARGE for a part;
    /// MALFORMED for a part that is not base64url; then the header: MALFORMED, CRITICAL_HEADER, ALGORITHM.
    pub fn parse(token: &'t str, longest_payload: usize) -> Result<Self, RejectReason> {
        if token.len() > limits::SIGNED_TOKEN {
            return Err(RejectReason::TooLarge);
        }
        let (header, payload, signature) = split(token).ok_or(RejectReason::Malformed)?;
        let decode = |part: &str, longest| {
            if base64url::decoded_len(part.len()) > longest {
                return Err(RejectReason::TooLarge);
            }
            base64url::decode(part).map_err(|_malformed| RejectReason::Malformed)
        };
        let header_json = decode(header, limits::HEADER.bytes)?;
        let payload_bytes = decode(payload, longest_payload)?;
        let signature = decode(signature, limits::SIGNED_TOKEN)?;
        let signing_input = token
            .as_bytes()
            .get(..header.len() + 1 + payload.len())
            .unwrap_or_default();
        let header = Header::from_vec(header_json)?;
        let algorithm =
            JwsAlgorithm::parse(&header.alg()).map_err(|_unsupported| RejectReason::Algorithm)?;
        Ok(Self {
            header,
            algorithm,
            signing_input,
            payload: payload_bytes,
            signature,
        })
    }
}

/// Dots are counted before anything is cut, so that a text of dots costs one pass.
fn split(token: &str) -> Option<(&str, &str, &str)> {
    let mut dots = memchr::memchr_iter(b'.', token.as_bytes());
    let (first, second) = (dots.next()?, dots.next()?);
    if dots.next().is_some() {
        return None;
    }
    Some((
        token.get(..first)?,
        token.get(first + 1..second)?,
        token.get(second + 1..)?,
    ))
}

impl From<HeaderError> for RejectReason {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::TooLarge => Self::TooLarge,
            HeaderError::Malformed => Self::Malformed,
            HeaderError::Critical => Self::CriticalHeader,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_payload_in_two_parts_is_encoded_as_one(
            head in proptest::collection::vec(any::<u8>(), 0..9),
            tail in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let header = EncodedHeader::new(JwsAlgorithm::Es256, None, None, None);
            let parts = UnsignedToken::of_parts(&header, [&head, &tail], 64).unwrap();
            let whole = UnsignedToken::new(&header, &[head, tail].concat(), 64).unwrap();
            prop_assert_eq!(parts.signing_input(), whole.signing_input());
            prop_assert_eq!(parts.text.capacity(), parts.finish(&[0; 64]).len());
        }
    }

    #[test]
    fn a_token_that_no_verifier_accepts_is_not_made() {
        let header = EncodedHeader::new(JwsAlgorithm::Es256, None, None, None);
        let half = vec![b'x'; 8 * 1024];
        let refused = UnsignedToken::of_parts(&header, [&half, &half], 64);
        assert!(matches!(refused, Err(SignError::TooLarge)));
    }
}
