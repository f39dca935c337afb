//! Batches whose items stand alone: `VerifyBatch`, `EncryptBatch`, `DecryptBatch`.

use std::time::Duration;

use crypto_proto::jwe::v1 as jwe;
use crypto_proto::jwt::v1 as jwt;

use super::{Decrypt, Decryption, Encrypt, EncryptedToken, Verdict, Verify, to_wire};
use crate::error::Error;

/// The most items that one batch may hold.
pub const MOST_ITEMS: usize = 1_000;

/// Tokens to verify in one call.
pub type VerifyBatch = Batch<Verify>;
/// Payloads to encrypt in one call.
pub type EncryptBatch = Batch<Encrypt>;
/// Tokens to decrypt in one call.
pub type DecryptBatch = Batch<Decrypt>;

/// Up to 1,000 items of one call. They fail one by one, and their results stand in their order.
#[derive(Debug, Clone)]
pub struct Batch<T> {
    items: Vec<(T, Option<Duration>)>,
    request_id: String,
}

impl<T> Batch<T> {
    /// No items yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            items: Vec::new(),
            request_id: String::new(),
        }
    }

    /// One more item, which may take as long as the call.
    #[must_use]
    pub fn item(mut self, item: T) -> Self {
        self.items.push((item, None));
        self
    }

    /// One more item, which fails with DEADLINE_EXCEEDED when it is not done within `timeout` of the call's arrival.
    #[must_use]
    pub fn item_within(mut self, item: T, timeout: Duration) -> Self {
        self.items.push((item, Some(timeout)));
        self
    }

    /// Names the request in logs and traces: at most 128 printable ASCII characters.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none; such a batch is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn wire<I>(&self, item: impl Fn(&T, Option<prost_types::Duration>) -> I) -> Vec<I> {
        self.items
            .iter()
            .map(|(asked, timeout)| item(asked, timeout.map(to_wire)))
            .collect()
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> FromIterator<T> for Batch<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        items.into_iter().fold(Self::new(), Self::item)
    }
}

impl Batch<Verify> {
    pub(crate) fn to_request(&self) -> jwt::VerifyBatchRequest {
        jwt::VerifyBatchRequest {
            items: self.wire(|verify, timeout| jwt::VerifyBatchItem {
                verify: Some(verify.wire()),
                timeout,
            }),
            request_id: self.request_id.clone(),
        }
    }
}

impl Batch<Encrypt> {
    pub(crate) fn to_request(&self) -> jwe::EncryptBatchRequest {
        jwe::EncryptBatchRequest {
            items: self.wire(|encrypt, timeout| jwe::EncryptBatchItem {
                encrypt: Some(encrypt.wire()),
                timeout,
            }),
            request_id: self.request_id.clone(),
        }
    }
}

impl Batch<Decrypt> {
    pub(crate) fn to_request(&self) -> jwe::DecryptBatchRequest {
        jwe::DecryptBatchRequest {
            items: self.wire(|decrypt, timeout| jwe::DecryptBatchItem {
                decrypt: Some(decrypt.wire()),
                timeout,
            }),
            request_id: self.request_id.clone(),
        }
    }
}

/// Refuses what no service would take, before it is sent.
pub(crate) fn bounded(items: usize) -> Result<(), Error> {
    match items {
        0 => Err(Error::invalid("items", "a batch holds at least one item")),
        1..=MOST_ITEMS => Ok(()),
        _ => Err(Error::invalid(
            "items",
            format!("{items} items are too many: a batch holds at most {MOST_ITEMS}"),
        )),
    }
}

/// One result for each item, in their order.
pub(crate) fn results<W, T>(
    wire: Vec<W>,
    asked: usize,
    read: impl Fn(W) -> Result<T, Error>,
) -> Result<Vec<Result<T, Error>>, Error> {
    if wire.len() != asked {
        return Err(Error::answer("result for each item"));
    }
    Ok(wire.into_iter().map(read).collect())
}

impl Verdict {
    pub(crate) fn read_item(wire: jwt::VerifyBatchResult) -> Result<Self, Error> {
        use jwt::verify_batch_result::Result as Wire;
        match wire.result.ok_or_else(|| Error::answer("verdict"))? {
            Wire::Valid(token) => Ok(Self::Valid(token.into())),
            Wire::Rejected(rejected) => Ok(Self::rejected(&rejected)),
            Wire::Error(error) => Err(Error::from_item(error)),
        }
    }
}

impl EncryptedToken {
    pub(crate) fn read_item(wire: jwe::EncryptBatchResult) -> Result<Self, Error> {
        use jwe::encrypt_batch_result::Result as Wire;
        match wire.result.ok_or_else(|| Error::answer("token"))? {
            Wire::Encrypted(token) => Self::read(token),
            Wire::Error(error) => Err(Error::from_item(error)),
        }
    }
}

impl Decryption {
    pub(crate) fn read_item(wire: jwe::DecryptBatchResult) -> Result<Self, Error> {
        use jwe::decrypt_batch_result::Result as Wire;
        match wire.result.ok_or_else(|| Error::answer("verdict"))? {
            Wire::Decrypted(token) => Ok(Self::Decrypted(token.into())),
            Wire::Rejected(_) => Ok(Self::Failed),
            Wire::Error(error) => Err(Error::from_item(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn a_batch_holds_one_to_a_thousand_items() {
        for (items, fits) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
            let refused = bounded(items).err();
            assert_eq!(refused.is_none(), fits, "{items}");
            if let Some(error) = refused {
                assert_eq!(error.code(), Code::InvalidArgument, "{items}");
                assert!(error.to_string().contains("items: "), "{error}");
            }
        }
    }

    #[test]
    fn results_that_are_not_as_many_as_items_break_the_contract() {
        for (answered, whole) in [(1, false), (2, true), (3, false)] {
            let read = results(vec![(); answered], 2, Ok);
            assert_eq!(read.is_ok(), whole, "{answered}");
        }
    }

    #[test]
    fn a_result_that_says_nothing_is_an_error_of_its_item() {
        let internal = |code: Option<Error>| code.map(|error| error.code()) == Some(Code::Internal);
        assert!(internal(Verdict::read_item(Default::default()).err()));
        assert!(internal(
            EncryptedToken::read_item(Default::default()).err()
        ));
        assert!(internal(Decryption::read_item(Default::default()).err()));
    }

    #[test]
    fn an_item_keeps_its_timeout_and_its_request_id() {
        let verify = Verify::new("a.b.c", "api").request_id("one");
        let batch = VerifyBatch::new()
            .item_within(verify.clone(), Duration::from_millis(250))
            .item(verify)
            .request_id("all");
        assert_eq!((batch.len(), batch.is_empty()), (2, false));
        let wire = batch.to_request();
        assert_eq!(wire.request_id, "all");
        let timeouts: Vec<_> = wire.items.iter().map(|item| item.timeout).collect();
        assert_eq!(timeouts, [Some(to_wire(Duration::from_millis(250))), None]);
        assert!(
            wire.items
                .iter()
                .all(|item| item.verify.as_ref().unwrap().request_id == "one")
        );
    }
}
