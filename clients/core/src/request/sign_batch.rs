//! `SignBatch`: tokens signed in one call, which may name each other.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crypto_proto::jwt::v1 as proto;

use super::sign_item::{SignItem, Work};
use super::{NestedToken, SignedToken, bounded, time_from_wire, to_wire};
use crate::error::Error;
use crate::redact::Redacted;

/// Tells the references of one batch from those of another.
static BATCHES: AtomicU64 = AtomicU64::new(0);

/// An item of a [`SignBatch`], as [`SignBatch::push`] names it: only later items of the same batch can refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ItemRef {
    batch: u64,
    position: usize,
}

impl ItemRef {
    /// Where its result stands in the answer, from 0.
    #[must_use]
    pub fn position(self) -> usize {
        self.position
    }
}

/// Up to 1,000 tokens to sign in one call. They fail one by one, and their results stand in their order; where an item fails, those
/// that refer to it fail with the same code and reason.
#[derive(Debug)]
pub struct SignBatch {
    id: u64,
    items: Vec<proto::SignBatchItem>,
    request_id: String,
    /// The first reference that is no earlier item's of this batch.
    astray: Option<(usize, &'static str)>,
}

impl SignBatch {
    /// No items yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            id: BATCHES.fetch_add(1, Ordering::Relaxed),
            items: Vec::new(),
            request_id: String::new(),
            astray: None,
        }
    }

    /// One more item; what comes back names it for later ones. A reference of another batch is refused when the batch is called.
    pub fn push(&mut self, item: impl Into<SignItem>) -> ItemRef {
        let item = item.into();
        let at_hash_of = self.earlier(item.at_hash, "at_hash_of");
        let c_hash = self.earlier(item.c_hash, "c_hash");
        let (sign, encrypt_to) = match item.work {
            Work::Sign(sign, to) => (Some(sign.into_wire()), to.map(|to| to.into_wire(None))),
            Work::Encrypt(token, to) => {
                let token_of = self.earlier(Some(token), "encrypt_to.token_of");
                (None, Some(to.into_wire(token_of)))
            }
        };
        self.items.push(proto::SignBatchItem {
            sign,
            at_hash_of,
            c_hash,
            c_hash_code: item.c_hash_code.into_inner(),
            encrypt_to,
            timeout: item.timeout.map(to_wire),
        });
        ItemRef {
            batch: self.id,
            position: self.items.len() - 1,
        }
    }

    /// One more item that no other refers to.
    #[must_use]
    pub fn item(mut self, item: impl Into<SignItem>) -> Self {
        self.push(item);
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

    fn earlier(&mut self, named: Option<ItemRef>, field: &'static str) -> Option<u32> {
        let named = named?;
        let position = u32::try_from(named.position).ok();
        if named.batch != self.id || position.is_none() {
            self.astray.get_or_insert((self.items.len(), field));
        }
        position
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        bounded(self.items.len())?;
        match self.astray {
            None => Ok(()),
            Some((item, field)) => Err(Error::invalid(
                format!("items[{item}].{field}"),
                "names an item of another batch",
            )),
        }
    }

    pub(crate) fn to_request(&self) -> proto::SignBatchRequest {
        proto::SignBatchRequest {
            items: self.items.clone(),
            request_id: self.request_id.clone(),
        }
    }
}

impl Default for SignBatch {
    fn default() -> Self {
        Self::new()
    }
}

/// A token of a batch.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedItem {
    /// The JWS in compact form; the JWE where the item was encrypted. The other fields speak of the token inside.
    pub token: String,
    /// The key that signed it.
    pub kid: String,
    /// Its `jti`; empty where the set's profile omits it.
    pub jti: String,
    /// Its `exp`, where it has one.
    pub expires_at: Option<SystemTime>,
    /// The recipient's key; empty where nothing was encrypted or its JWK has no `kid`.
    pub encryption_kid: String,
}

impl SignedItem {
    pub(crate) fn read(wire: proto::SignBatchResult) -> Result<Self, Error> {
        use proto::sign_batch_result::Result as Wire;
        match wire.result.ok_or_else(|| Error::answer("token"))? {
            Wire::Signed(signed) if signed.token.is_empty() => Err(Error::answer("token")),
            Wire::Signed(signed) => Ok(Self {
                token: signed.token,
                kid: signed.kid,
                jti: signed.jti,
                expires_at: signed.expires_at.map(time_from_wire),
                encryption_kid: wire.encryption_kid,
            }),
            Wire::Error(error) => Err(Error::from_item(error)),
        }
    }
}

impl From<SignedItem> for SignedToken {
    fn from(item: SignedItem) -> Self {
        Self {
            token: item.token,
            kid: item.kid,
            jti: item.jti,
            expires_at: item.expires_at,
        }
    }
}

impl From<SignedItem> for NestedToken {
    fn from(item: SignedItem) -> Self {
        Self {
            token: item.token,
            kid: item.kid,
            jti: item.jti,
            expires_at: item.expires_at,
            encryption_kid: item.encryption_kid,
        }
    }
}

impl fmt::Debug for SignedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedItem")
            .field("token", &Redacted::of(&self.token))
            .field("kid", &self.kid)
            .field("jti", &self.jti)
            .field("expires_at", &self.expires_at)
            .field("encryption_kid", &self.encryption_kid)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Code;
    use crate::request::{EncryptTo, Recipient, Sign};

    fn sign() -> Sign {
        Sign::json("op/id-token", "{}")
    }

    #[test]
    fn items_name_earlier_ones_by_their_position() {
        let mut batch = SignBatch::new();
        let access = batch.push(sign());
        let code = batch.push(sign());
        let id = batch.push(
            SignItem::new(sign())
                .at_hash_of(access)
                .c_hash_of(code)
                .timeout(Duration::from_secs(1)),
        );
        let to = Recipient::KeySet("op/encryption".into());
        batch.push(SignItem::encrypted(id, to.clone()));
        let last = SignItem::new(sign()).c_hash_code("code");
        let batch = batch.item(last.encrypt_to(EncryptTo::new(to).alg("A").enc("E")));
        assert_eq!((batch.check(), batch.len()), (Ok(()), 5));
        let wire = batch.request_id("r").to_request();
        assert_eq!(wire.request_id, "r");
        let items = &wire.items;
        assert_eq!((items[2].at_hash_of, items[2].c_hash), (Some(0), Some(1)));
        assert_eq!(items[2].timeout.map(|timeout| timeout.seconds), Some(1));
        let nested = items[3].encrypt_to.as_ref().unwrap();
        assert_eq!((items[3].sign.is_none(), nested.token_of), (true, Some(2)));
        let own = items[4].encrypt_to.as_ref().unwrap();
        assert_eq!(
            (own.alg.as_str(), own.enc.as_str(), own.token_of),
            ("A", "E", None)
        );
        assert_eq!(items[4].c_hash_code, "code");
    }

    #[test]
    fn a_reference_of_another_batch_is_refused_by_name() {
        let foreign = SignBatch::new().push(sign());
        let to = || Recipient::KeySet("op/encryption".into());
        for (item, field) in [
            (
                SignItem::new(sign()).at_hash_of(foreign),
                "items[1].at_hash_of",
            ),
            (SignItem::new(sign()).c_hash_of(foreign), "items[1].c_hash"),
            (
                SignItem::encrypted(foreign, to()),
                "items[1].encrypt_to.token_of",
            ),
        ] {
            let error = SignBatch::new()
                .item(sign())
                .item(item)
                .check()
                .unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{field}");
            assert_eq!(error.violations()[0].field, field);
        }
    }

    #[test]
    fn a_result_without_a_token_is_an_error_of_its_item() {
        let empty = proto::sign_batch_result::Result::Signed(Default::default());
        for result in [None, Some(empty)] {
            let wire = proto::SignBatchResult {
                result,
                encryption_kid: String::new(),
            };
            assert_eq!(SignedItem::read(wire).unwrap_err().code(), Code::Internal);
        }
    }

    #[test]
    fn debug_shows_neither_claims_nor_codes_nor_tokens() {
        let item = SignItem::new(Sign::json("op/id-token", r#"{"a":"planted"}"#));
        let item = item.c_hash_code("planted");
        let signed = SignedItem {
            token: "planted".into(),
            kid: String::new(),
            jti: String::new(),
            expires_at: None,
            encryption_kid: String::new(),
        };
        let batch = SignBatch::new().item(item.clone());
        for shown in [
            format!("{item:?}"),
            format!("{batch:?}"),
            format!("{signed:?}"),
        ] {
            assert!(!shown.contains("planted"), "{shown}");
        }
    }
}
