//! Batches: tokens that are asked for in one call, and may refer to each other.
//!
//! An item may name earlier ones: for a hash of their tokens, or to encrypt one. So a batch is worked on in waves: what
//! names nothing first, all of it at once, then what needs only those, and so on: as many waves as the longest chain of names.
//!
//! A token that is named counts in its final form, as the client gets it: where the item that is named encrypts, `at_hash` and
//! `c_hash` are of the JWE. It is what a client has in hand to compare them with.

use service_kit::identity::Caller;
use tokio::time::Instant;

use super::wave::{Hashed, Item};
use super::{SignCommand, SignedToken, inside};
use crate::refusal::{Refusal, Violation};
use crate::usecase::encrypt::Prepared;
use crate::usecase::nested::claims_first;
use crate::usecase::{DataPlane, EncryptCommand};

/// How many encryptions go by before others get the thread: one takes up to 50 us.
const BETWEEN_YIELDS: usize = 8;

/// The longest token that another item may name: a nested form of the longest signed token. Longer ones only grow.
const LONGEST_NAMED: usize = 32 * 1024;

static NOT_WORKED_ON: Refusal = Refusal::Internal("the item was not worked on");

/// One token of a batch. Positions name earlier items.
#[derive(Debug)]
pub struct BatchItem {
    /// Where the token comes from.
    pub source: BatchSource,
    /// The access token.
    pub at_hash_of: Option<usize>,
    /// The authorization code.
    pub code: Option<AuthorizationCode>,
    /// Whom to encrypt it for; its payload is ignored.
    pub encrypt: Option<Box<EncryptCommand>>,
    /// When the token is worth nothing any more.
    pub due: Option<Instant>,
}

/// Where a token comes from.
#[derive(Debug)]
pub enum BatchSource {
    /// It is signed.
    Sign(SignCommand),
    /// It is that of an earlier item.
    Token(usize),
}

/// An authorization code.
pub enum AuthorizationCode {
    /// The token of an earlier item.
    Token(usize),
    /// Anything.
    Text(String),
}

impl std::fmt::Debug for AuthorizationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(item) => f.debug_tuple("Token").field(item).finish(),
            Self::Text(_) => f.write_str("Text(redacted)"),
        }
    }
}

/// A token of a batch.
#[derive(Debug)]
pub struct BatchedToken {
    /// The token; where it is encrypted, what is known of the one inside.
    pub signed: SignedToken,
    /// The recipient's key, where it is encrypted and the key has a name.
    pub encryption_kid: Option<String>,
}

/// Why an item has no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRefusal {
    /// What went wrong, here or with an item that is needed.
    pub refusal: Refusal,
    /// The item that is needed and has no token, and the field that names it.
    pub needed: Option<(usize, &'static str)>,
}

impl From<Refusal> for ItemRefusal {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            needed: None,
        }
    }
}

type Outcome = Result<BatchedToken, ItemRefusal>;

impl DataPlane {
    /// Makes the tokens of a batch, each as a call of its own would. Items that were refused before keep their places.
    /// `fits` says whether an answer still has room for a token, in the order in which they are made.
    pub async fn sign_batch(
        &self,
        caller: &Caller,
        items: Vec<Result<BatchItem, Refusal>>,
        mut fits: impl FnMut(&BatchedToken) -> Result<(), Refusal> + Send,
    ) -> Vec<Outcome> {
        let waves = waves(&items);
        let mut batch = Batch {
            plane: self,
            caller,
            items: Vec::with_capacity(items.len()),
            outcomes: Vec::with_capacity(items.len()),
        };
        for item in items {
            let (item, outcome) = match item {
                Ok(item) => (Some(item), None),
                Err(refusal) => (None, Some(Err(refusal.into()))),
            };
            batch.items.push(item);
            batch.outcomes.push(outcome);
        }
        for wave in waves {
            for (place, outcome) in batch.run(wave, &mut fits).await {
                if let Some(slot) = batch.outcomes.get_mut(place) {
                    *slot = Some(outcome);
                }
            }
        }
        let lost = || Err(NOT_WORKED_ON.clone().into());
        let outcomes = batch.outcomes.into_iter();
        outcomes
            .map(|outcome| outcome.unwrap_or_else(lost))
            .collect()
    }
}

/// The items by the length of the chain of names before them, each wave in the order of the items.
fn waves(items: &[Result<BatchItem, Refusal>]) -> Vec<Vec<usize>> {
    let mut depths: Vec<usize> = Vec::with_capacity(items.len());
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let needed = item.iter().flat_map(BatchItem::needs);
        let below = |(item, _field): (usize, _)| depths.get(item).map_or(0, |depth| depth + 1);
        let depth = needed.map(below).max().unwrap_or_default();
        depths.push(depth);
        if item.is_ok() {
            if waves.len() <= depth {
                waves.resize_with(depth + 1, Vec::new);
            }
            if let Some(wave) = waves.get_mut(depth) {
                wave.push(place);
            }
        }
    }
    waves
}

impl BatchItem {
    /// The items that this one names, and the fields that do.
    fn needs(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let source = match self.source {
            BatchSource::Sign(_) => None,
            BatchSource::Token(item) => Some((item, "encrypt_to.token_of")),
        };
        let code = match self.code {
            Some(AuthorizationCode::Token(item)) => Some((item, "c_hash")),
            Some(AuthorizationCode::Text(_)) | None => None,
        };
        let access = self.at_hash_of.map(|item| (item, "at_hash_of"));
        [source, access, code].into_iter().flatten()
    }
}

/// A batch that is worked on.
struct Batch<'b> {
    plane: &'b DataPlane,
    caller: &'b Caller,
    items: Vec<Option<BatchItem>>,
    /// What earlier waves made of their items.
    outcomes: Vec<Option<Outcome>>,
}

/// An item on its way through a wave.
struct Step<'s> {
    place: usize,
    item: &'s BatchItem,
    recipient: Option<Prepared>,
}

impl Batch<'_> {
    /// A token that does not fit is dropped as soon as it is made: a small request must not fill the memory.
    async fn run(
        &self,
        wave: Vec<usize>,
        fits: &mut (impl FnMut(&BatchedToken) -> Result<(), Refusal> + Send),
    ) -> Vec<(usize, Outcome)> {
        let now = Instant::now();
        let mut done = Vec::with_capacity(wave.len());
        let mut steps = Vec::with_capacity(wave.len());
        for place in wave {
            let Some(item) = self.items.get(place).and_then(Option::as_ref) else {
                continue;
            };
            match self.begin(item, now) {
                Ok(recipient) => steps.push(Step {
                    place,
                    item,
                    recipient,
                }),
                Err(refusal) => done.push((place, Err(refusal))),
            }
        }
        let signed = self.sign(&steps).await;
        for (number, (step, signed)) in steps.iter().zip(signed).enumerate() {
            if step.recipient.is_some() && number % BETWEEN_YIELDS == BETWEEN_YIELDS - 1 {
                tokio::task::yield_now().await;
            }
            let outcome = signed.and_then(|signed| {
                let token = self.finish(step, signed)?;
                fits(&token)?;
                Ok(token)
            });
            done.push((step.place, outcome.map_err(ItemRefusal::from)));
        }
        done
    }

    /// Looks whether the item can be worked on, and finds its recipient.
    fn begin(&self, item: &BatchItem, now: Instant) -> Result<Option<Prepared>, ItemRefusal> {
        for (needed, field) in item.needs() {
            let named = self.token(needed);
            if named.is_ok_and(|signed| signed.token.len() > LONGEST_NAMED) {
                let fix = "must name a token of at most 32 KiB";
                return Err(Refusal::field(field, fix).into());
            }
            if let Err(refused) = named {
                let refusal = refused.clone();
                let needed = Some((needed, field));
                return Err(ItemRefusal { refusal, needed });
            }
        }
        if item.due.is_some_and(|due| due <= now) {
            return Err(Refusal::DeadlineExceeded.into());
        }
        let Some(encrypt) = &item.encrypt else {
            return Ok(None);
        };
        let recipient = match &item.source {
            BatchSource::Sign(sign) => {
                let found = self.plane.recipient_of_nested(self.caller, sign, encrypt);
                let hashes = self.hashed(item).announced();
                found.map_err(|refusal| claims_first(sign, hashes, to_recipient(refusal)))
            }
            BatchSource::Token(_) => {
                let granted = self.plane.may_encrypt(self.caller, encrypt);
                let found = granted.and_then(|()| self.plane.recipient(encrypt));
                found.map_err(to_recipient)
            }
        };
        Ok(Some(recipient?))
    }

    /// Signs those that are to be signed. `None`: the item encrypts a token that is there.
    async fn sign(&self, steps: &[Step<'_>]) -> Vec<Result<Option<SignedToken>, Refusal>> {
        let mut results = Vec::with_capacity(steps.len());
        let (mut items, mut places) = (Vec::with_capacity(steps.len()), Vec::new());
        for (place, step) in steps.iter().enumerate() {
            results.push(match &step.item.source {
                BatchSource::Sign(command) => {
                    places.push(place);
                    items.push(Item {
                        command,
                        hashed: self.hashed(step.item),
                        due: step.item.due,
                    });
                    Err(NOT_WORKED_ON.clone())
                }
                BatchSource::Token(_) => Ok(None),
            });
        }
        for (place, made) in self.plane.sign_items(self.caller, &items).await {
            let slot = places.get(place).and_then(|place| results.get_mut(*place));
            if let Some(slot) = slot {
                *slot = made.map(Some).map_err(|refusal| inside("sign.", refusal));
            }
        }
        results
    }

    fn finish(
        &self,
        step: &Step<'_>,
        signed: Option<SignedToken>,
    ) -> Result<BatchedToken, Refusal> {
        let mut signed = match (signed, &step.item.source) {
            (Some(signed), _) => signed,
            (None, BatchSource::Token(named)) => {
                self.token(*named).cloned().map_err(Refusal::clone)?
            }
            (None, BatchSource::Sign(_)) => return Err(NOT_WORKED_ON.clone()),
        };
        let mut encryption_kid = None;
        if let Some(recipient) = &step.recipient {
            if step.item.due.is_some_and(|due| due <= Instant::now()) {
                return Err(Refusal::DeadlineExceeded);
            }
            let payload = signed.token.as_bytes();
            let outer = self.plane.encrypt_to(recipient, payload, "JWT");
            let outer = outer.map_err(to_recipient)?;
            (signed.token, encryption_kid) = (outer.token, outer.kid);
        }
        Ok(BatchedToken {
            signed,
            encryption_kid,
        })
    }

    fn hashed<'h>(&'h self, item: &'h BatchItem) -> Hashed<'h> {
        let text = |item: usize| self.token(item).ok().map(|signed| signed.token.as_str());
        Hashed {
            access_token: item.at_hash_of.and_then(text),
            code: match &item.code {
                Some(AuthorizationCode::Token(item)) => text(*item),
                Some(AuthorizationCode::Text(code)) => Some(code),
                None => None,
            },
        }
    }

    /// The token of an item of an earlier wave.
    fn token(&self, item: usize) -> Result<&SignedToken, &Refusal> {
        match self.outcomes.get(item) {
            Some(Some(Ok(token))) => Ok(&token.signed),
            Some(Some(Err(refused))) => Err(&refused.refusal),
            Some(None) | None => Err(&NOT_WORKED_ON),
        }
    }
}

/// Names fields of the recipient as the item has them.
fn to_recipient(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Fields(found) if found.iter().any(|violation| violation.field == "payload") => {
            let named = |violation: Violation| Violation::new("encrypt_to", violation.description);
            Refusal::Fields(found.into_iter().map(named).collect())
        }
        other => inside("encrypt_to.", other),
    }
}
