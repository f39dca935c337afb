//! Signatures that are made together. What holds for many of them is looked up once: the grant, the set and its key, the
//! lease, the time; randomness is drawn once, and the lanes get all of them in one piece.

use std::sync::Arc;

use jose::jwt::{TokenHashes, half_hash};
use jose::provider::SecureRandom;
use jose_aws_lc::AwsLc;
use service_kit::identity::Caller;
use tokio::time::Instant;

use super::choose::Signing;
use super::claims::fields_first;
use super::{SignCommand, inside};
use crate::issued::Permit;
use crate::lanes::{Ask, Class, LaneError, SignJob};
use crate::refusal::Refusal;
use crate::usecase::{DataPlane, SignedToken};

/// Bytes of a `jti`, and the characters that they take.
const ID_BYTES: usize = 16;
const ID_LEN: usize = 22;
/// How many of the last key sets are remembered: a token request alternates between two or three.
const REMEMBERED: usize = 8;
/// Classes that wait for threads of their own, and one for all that are done where they stand.
const GROUPS: usize = 4;

/// What to sign, and when it is due.
#[derive(Debug)]
pub struct TimedSign {
    /// What to sign.
    pub command: SignCommand,
    /// When the token is worth nothing any more.
    pub due: Option<Instant>,
}

/// What an ID token names by hashes.
#[derive(Clone, Copy, Default)]
pub(super) struct Hashed<'w> {
    pub(super) access_token: Option<&'w str>,
    pub(super) code: Option<&'w str>,
}

impl Hashed<'_> {
    /// That there are hashes, for who asks only whether claims may stand beside them.
    pub(super) fn announced(self) -> TokenHashes<'static> {
        TokenHashes {
            at_hash: self.access_token.map(|_token| ""),
            c_hash: self.code.map(|_code| ""),
        }
    }
}

/// One token of a wave.
pub(super) struct Item<'w> {
    pub(super) command: &'w SignCommand,
    pub(super) hashed: Hashed<'w>,
    pub(super) due: Option<Instant>,
}

impl<'w> From<&'w TimedSign> for Item<'w> {
    fn from(timed: &'w TimedSign) -> Self {
        Self {
            command: &timed.command,
            hashed: Hashed::default(),
            due: timed.due,
        }
    }
}

/// A token's place in its wave, and that of its key among the chosen ones.
type Placed = (usize, usize);
/// A token's place, and what became of it.
pub(super) type Made = (usize, Result<SignedToken, Refusal>);

/// The keys of a wave.
#[derive(Default)]
pub(super) struct Choices {
    pub(super) chosen: Vec<Signing>,
    refused: Vec<(String, String, Refusal)>,
}

impl Choices {
    fn choose(
        &mut self,
        plane: &DataPlane,
        caller: &Caller,
        command: &SignCommand,
    ) -> Result<usize, Refusal> {
        let (tenant, key_set) = (command.tenant.as_str(), command.key_set.as_str());
        let last = self.chosen.iter().enumerate().rev().take(REMEMBERED);
        let known = last
            .map(|(place, signing)| (place, &signing.set))
            .find(|(_, set)| *set.name == *key_set && *set.tenant == *tenant);
        if let Some((place, _set)) = known {
            return Ok(place);
        }
        let refused = self.refused.iter().rev().take(REMEMBERED);
        let mut refused = refused.filter(|(of, name, _)| of == tenant && name == key_set);
        if let Some((_, _, refusal)) = refused.next() {
            return Err(refusal.clone());
        }
        let signing = plane.choose(caller, command).inspect_err(|refusal| {
            let names = (command.tenant.clone(), command.key_set.clone());
            self.refused.push((names.0, names.1, refusal.clone()));
        })?;
        self.chosen.push(signing);
        Ok(self.chosen.len() - 1)
    }
}

impl DataPlane {
    /// Signs what came together and may be answered apart: `done` hears of each group as it is made, so that nothing waits
    /// for a slower class. Refusals name fields as in a message that holds the command: `sign.`.
    pub async fn sign_apart(
        &self,
        caller: &Caller,
        commands: &[TimedSign],
        done: impl Fn(Vec<(usize, Result<SignedToken, Refusal>)>) + Sync,
    ) {
        let items: Vec<_> = commands.iter().map(Item::from).collect();
        let done = |made: Vec<Made>| {
            let named = |(place, made): Made| (place, made.map_err(|found| inside("sign.", found)));
            done(made.into_iter().map(named).collect());
        };
        let (choices, placed) = self.choose_all(caller, &items).await;
        let mut groups: [Vec<Placed>; GROUPS] = Default::default();
        let mut refused = Vec::new();
        for (place, choice) in placed.into_iter().enumerate() {
            match choice {
                Ok(choice) => {
                    let group = choices.chosen.get(choice).map_or(0, group_of);
                    if let Some(group) = groups.get_mut(group) {
                        group.push((place, choice));
                    }
                }
                Err(refusal) => refused.push((place, Err(refusal))),
            }
        }
        if !refused.is_empty() {
            done(refused);
        }
        let [cheap, small, middle, large] = groups;
        let sign = async |group: Vec<Placed>| {
            if !group.is_empty() {
                let made = self.sign_chosen(caller, &choices.chosen, &items, group);
                done(made.await);
            }
        };
        // Those that only wait are begun before those that compute here.
        tokio::join!(sign(large), sign(middle), sign(small), sign(cheap));
    }

    /// Signs what came together and is answered together. What became of an item says which one it is.
    pub(super) async fn sign_items(&self, caller: &Caller, items: &[Item<'_>]) -> Vec<Made> {
        if items.is_empty() {
            return Vec::new();
        }
        let (choices, choice_of) = self.choose_all(caller, items).await;
        let (mut placed, mut refused) = (Vec::with_capacity(items.len()), Vec::new());
        for (place, choice) in choice_of.into_iter().enumerate() {
            match choice {
                Ok(choice) => placed.push((place, choice)),
                Err(refusal) => refused.push((place, Err(refusal))),
            }
        }
        let made = self.sign_chosen(caller, &choices.chosen, items, placed);
        let mut made = made.await;
        made.append(&mut refused);
        made
    }

    /// Chooses the key of each item, in the order grant, existence, readiness; parses those that are not there yet.
    pub(super) async fn choose_all(
        &self,
        caller: &Caller,
        items: &[Item<'_>],
    ) -> (Choices, Vec<Result<usize, Refusal>>) {
        let mut choices = Choices::default();
        let now = Instant::now();
        let mut choose = |item: &Item<'_>| {
            if item.due.is_some_and(|due| due <= now) {
                return Err(Refusal::DeadlineExceeded);
            }
            choices
                .choose(self, caller, item.command)
                .map_err(|refusal| first(item, refusal))
        };
        let mut placed: Vec<_> = items.iter().map(&mut choose).collect();
        for place in 0..choices.chosen.len() {
            let Some(signing) = choices.chosen.get_mut(place) else {
                continue;
            };
            if signing.key.is_some() {
                continue;
            }
            let ask = ask(signing, None);
            match self.parse_key(&ask, signing).await {
                Ok(key) => signing.key = Some(key),
                Err(refusal) => {
                    let theirs = items.iter().zip(&mut placed);
                    for (item, choice) in theirs.filter(|(_, choice)| **choice == Ok(place)) {
                        *choice = Err(first(item, refusal.clone()));
                    }
                }
            }
        }
        (choices, placed)
    }

    /// Signs items whose keys are chosen, in one piece.
    pub(super) async fn sign_chosen(
        &self,
        caller: &Caller,
        chosen: &[Signing],
        items: &[Item<'_>],
        placed: Vec<Placed>,
    ) -> Vec<Made> {
        let ids = match self.random_ids(placed.len()) {
            Ok(ids) => ids,
            Err(refusal) => {
                let failed = |(place, _choice)| (place, Err(refusal.clone()));
                return placed.into_iter().map(failed).collect();
            }
        };
        let now = self.clock().unix_seconds();
        let mut jobs = Vec::with_capacity(placed.len());
        let mut made = Vec::with_capacity(placed.len());
        for (number, (place, choice)) in placed.into_iter().enumerate() {
            let id = ids.get(number * ID_LEN..).and_then(|id| id.get(..ID_LEN));
            let job = chosen.get(choice).zip(items.get(place)).zip(id);
            let job = job.ok_or(Refusal::Internal("an item has no key"));
            let job = job.and_then(|((signing, item), id)| {
                let permit = self.permit(signing);
                let permit = permit.map_err(|refusal| first(item, refusal))?;
                Ok((prepare(signing, item, (now, id))?, permit))
            });
            let signed = job.map(|((job, signed), permit)| {
                jobs.push(job);
                (signed, permit)
            });
            made.push((place, choice, signed));
        }
        let mut tokens = self.lanes().sign_all(jobs).await.into_iter();
        // The lease may have run out, a key been revoked, or the machine been suspended, while the signatures were made.
        let lease = self.may_sign();
        let stand: Vec<_> = chosen
            .iter()
            .map(|signing| self.still_stands(signing).and_then(|()| lease.clone()))
            .collect();
        type Prepared = Result<(SignedToken, Option<Permit>), Refusal>;
        let finish = |(place, choice, signed): (usize, usize, Prepared)| {
            let finished = signed.and_then(|(signed, permit)| {
                let token = tokens.next().unwrap_or(Err(LaneError::Lost))?;
                stand.get(choice).cloned().unwrap_or(Ok(()))?;
                let signing = chosen.get(choice);
                if let Some(key) = signing.and_then(|signing| signing.key.as_ref()) {
                    self.metrics().signed(key.algorithm().name());
                }
                if let Some((signing, permit)) = signing.zip(permit) {
                    signing.record(permit, caller, &signed);
                }
                Ok(SignedToken { token, ..signed })
            });
            (place, finished)
        };
        made.into_iter().map(finish).collect()
    }

    /// `jti`s for so many tokens, one behind the other.
    fn random_ids(&self, count: usize) -> Result<String, Refusal> {
        let mut bytes = vec![0; count * ID_BYTES];
        AwsLc
            .fill(&mut bytes)
            .map_err(|_failed| Refusal::Internal("the system has no randomness"))?;
        let mut ids = String::with_capacity(count * ID_LEN);
        for id in bytes.chunks_exact(ID_BYTES) {
            jose::base64url::encode_into(id, &mut ids);
        }
        Ok(ids)
    }
}

fn prepare(
    signing: &Signing,
    item: &Item<'_>,
    (now, id): (u64, &str),
) -> Result<((Ask, SignJob), SignedToken), Refusal> {
    let key = signing
        .key
        .clone()
        .ok_or(Refusal::Internal("the signing key cannot be used"))?;
    let hash = |token: &str| half_hash(&AwsLc, key.algorithm(), token);
    let at_hash = item.hashed.access_token.map(hash);
    let c_hash = item.hashed.code.map(hash);
    let hashes = TokenHashes {
        at_hash: at_hash.as_deref(),
        c_hash: c_hash.as_deref(),
    };
    let (token, signed) = signing.unsigned(&key, item.command, hashes, (now, id))?;
    Ok(((ask(signing, item.due), SignJob { key, token }), signed))
}

fn ask(signing: &Signing, deadline: Option<Instant>) -> Ask {
    Ask {
        tenant: Arc::clone(&signing.set.tenant),
        deadline,
    }
}

fn first(item: &Item<'_>, refusal: Refusal) -> Refusal {
    fields_first(item.command, item.hashed.announced(), refusal)
}

fn group_of(signing: &Signing) -> usize {
    match signing.key.as_ref().map(|key| key.class()) {
        Some(Class::Rsa4096) => 3,
        Some(Class::Rsa3072) => 2,
        Some(Class::Rsa2048) => 1,
        _ => 0,
    }
}
