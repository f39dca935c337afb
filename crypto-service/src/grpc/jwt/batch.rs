//! `SignBatch`.

use crypto_proto::jwt::v1 as proto;
use jose::jwt::TokenHashes;
use proto::sign_batch_result::Result as Signed;
use service_kit::identity::Caller;

use super::sign::{claims_too, encrypt_to, sign_command, sign_response};
use crate::grpc::batch::{Arrival, Room, check_count, item_error};
use crate::grpc::fields::Fields;
use crate::refusal::{Refusal, Violation};
use crate::usecase::{
    AuthorizationCode, BatchItem, BatchSource, BatchedToken, DataPlane, ItemRefusal,
};

/// The longest authorization code.
const CODE_LEN: usize = 4 * 1024;
const EARLIER: &str = "must be the position of an earlier item, counted from 0";

type Decoded = Result<BatchItem, Refusal>;

/// Reads the items, signs and answers. The call is refused as a whole only for what is no item's own.
pub(super) async fn sign_batch(
    plane: &DataPlane,
    caller: &Caller,
    arrival: Arrival,
    request: proto::SignBatchRequest,
) -> Result<proto::SignBatchResponse, Refusal> {
    check_count(request.items.len())?;
    let mut call = Fields::default();
    call.request_id(&request.request_id);
    call.finish(Some(()))?;
    let mut items: Vec<Decoded> = Vec::with_capacity(request.items.len());
    for item in request.items {
        let item = Reader::new(&items, arrival).item(item);
        items.push(item);
    }
    let mut room = Room::of_answer(items.len());
    let fits = |token: &BatchedToken| room.take(content(token));
    let made = plane.sign_batch(caller, items, fits).await;
    let results = made.into_iter().map(|made| match made {
        Ok(token) => signed(token),
        Err(refused) => refusal(&mut room, refused),
    });
    Ok(proto::SignBatchResponse {
        results: results.collect(),
    })
}

fn content(token: &BatchedToken) -> usize {
    let BatchedToken {
        signed,
        encryption_kid,
    } = token;
    let names = [&signed.jti, encryption_kid].into_iter().flatten();
    let names: usize = names.map(String::len).sum();
    signed.token.len() + signed.kid.len() + names
}

fn signed(token: BatchedToken) -> proto::SignBatchResult {
    proto::SignBatchResult {
        result: Some(Signed::Signed(sign_response(token.signed))),
        encryption_kid: token.encryption_kid.unwrap_or_default(),
    }
}

fn refusal(room: &mut Room, refused: ItemRefusal) -> proto::SignBatchResult {
    let ItemRefusal { refusal, needed } = refused;
    let mut error = item_error(refusal);
    if let Some((item, field)) = needed {
        let message = format!(
            "item {item}, which {field} names, has no token: {}",
            error.message
        );
        if !error.field_violations.is_empty() {
            let violations = vec![Violation::new(field, message.as_str())];
            error = item_error(Refusal::Fields(violations));
        }
        error.message = message;
    }
    proto::SignBatchResult {
        result: Some(Signed::Error(room.error(error))),
        encryption_kid: String::new(),
    }
}

/// Reads one item, knowing those before it.
struct Reader<'r> {
    earlier: &'r [Decoded],
    arrival: Arrival,
    fields: Fields,
}

impl<'r> Reader<'r> {
    fn new(earlier: &'r [Decoded], arrival: Arrival) -> Self {
        Self {
            earlier,
            arrival,
            fields: Fields::default(),
        }
    }

    fn item(mut self, item: proto::SignBatchItem) -> Decoded {
        let due = self.arrival.due(&mut self.fields, item.timeout);
        let at_hash_of = self.position("at_hash_of", item.at_hash_of);
        let code = self.code(item.c_hash, item.c_hash_code);
        let token_of = item.encrypt_to.as_ref().and_then(|to| to.token_of);
        let source = match (item.sign, token_of) {
            (Some(sign), _) => {
                self.fields.inside("sign.");
                sign_command(&mut self.fields, sign).map(BatchSource::Sign)
            }
            (None, Some(token)) => {
                self.only_encrypts(at_hash_of.is_some() || code.is_some());
                self.position("encrypt_to.token_of", Some(token))
                    .map(BatchSource::Token)
            }
            (None, None) => {
                let fix = "is required, unless encrypt_to.token_of names an earlier item";
                self.fields.violation("sign", fix);
                None
            }
        };
        let encrypt = item
            .encrypt_to
            .map(|to| self.recipient(source.as_ref(), to));
        self.claims(source.as_ref(), at_hash_of, code.as_ref());
        let encrypts = encrypt.is_some();
        let encrypt = encrypt.flatten();
        let whole = source.filter(|_| encrypts == encrypt.is_some());
        self.fields.finish(whole.map(|source| BatchItem {
            source,
            at_hash_of,
            code,
            encrypt,
            due,
        }))
    }

    fn position(&mut self, field: &str, position: Option<u32>) -> Option<usize> {
        let position = usize::try_from(position?).unwrap_or(usize::MAX);
        if position >= self.earlier.len() {
            self.fields.inside("").violation(field, EARLIER);
            return None;
        }
        Some(position)
    }

    fn code(&mut self, of: Option<u32>, text: String) -> Option<AuthorizationCode> {
        if of.is_some() && !text.is_empty() {
            let fix = "must be absent beside c_hash";
            self.fields.violation("c_hash_code", fix);
        }
        if text.len() > CODE_LEN || !text.is_ascii() {
            let fix = "must be at most 4 KiB of ASCII";
            self.fields.violation("c_hash_code", fix);
        }
        let token = self.position("c_hash", of).map(AuthorizationCode::Token);
        token.or_else(|| (!text.is_empty()).then_some(AuthorizationCode::Text(text)))
    }

    fn only_encrypts(&mut self, hashes: bool) {
        if hashes {
            let fix = "is required where at_hash_of, c_hash or c_hash_code is given";
            self.fields.violation("sign", fix);
        }
    }

    fn recipient(
        &mut self,
        source: Option<&BatchSource>,
        mut to: proto::EncryptTo,
    ) -> Option<Box<crate::usecase::EncryptCommand>> {
        let tenant = match source {
            Some(BatchSource::Sign(sign)) => {
                if to.token_of.take().is_some() {
                    let fix = "must be absent beside sign: its own token is encrypted";
                    self.fields.inside("encrypt_to.").violation("token_of", fix);
                }
                sign.tenant.clone()
            }
            Some(BatchSource::Token(item)) => self.tenant_of(*item),
            None => String::new(),
        };
        encrypt_to(self.fields.inside("encrypt_to."), tenant, to)
    }

    /// The tenant of an earlier item. One that could not be read fails this one too, whatever its tenant.
    fn tenant_of(&self, item: usize) -> String {
        match self.earlier.get(item) {
            Some(Ok(BatchItem {
                source: BatchSource::Sign(sign),
                ..
            })) => sign.tenant.clone(),
            Some(Ok(BatchItem {
                encrypt: Some(encrypt),
                ..
            })) => encrypt.tenant.clone(),
            _ => String::new(),
        }
    }

    fn claims(
        &mut self,
        source: Option<&BatchSource>,
        access: Option<usize>,
        code: Option<&AuthorizationCode>,
    ) {
        let command = source.and_then(|source| match source {
            BatchSource::Sign(command) => Some(command),
            BatchSource::Token(_) => None,
        });
        let hashes = TokenHashes {
            at_hash: access.map(|_item| ""),
            c_hash: code.map(|_code| ""),
        };
        claims_too(self.fields.inside("sign."), command, hashes);
    }
}
