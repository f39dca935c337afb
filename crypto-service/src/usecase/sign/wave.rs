//! Signatures that are made together. What holds for many of them is looked up once: the grant, the set and its key, the
//! lease, the time; randomness is drawn once, and the lanes get all of them in one piece.

use std::sync::Arc;

use jose::jwt::{TokenHashes, half_hash};
use jose::provider::SecureRandom;
use jose_aws_lc::AwsLc;
use keyring::Use;
use service_kit::grants::{Operation, Policy};
use service_kit::identity::Caller;
use tokio::time::Instant;

use super::choose::Signing;
use super::claims::fields_first;
use super::{SignCommand, inside};
use crate::issued::Permit;
use crate::keys::{KeySet, Snapshot};
use crate::lanes::{Ask, Class, LaneError, SignJob};
use crate::policy::require_of;
use crate::refusal::Refusal;
use crate::usecase::{DataPlane, SignedToken, set_in};

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

/// The key sets of a wave, found in one snapshot.
struct Finding<'s, 'w> {
    seen: &'s Arc<Snapshot>,
    caller: &'w Caller,
    policy: Arc<Policy>,
    /// Whether the instance may sign at all.
    lease: Result<(), Refusal>,
    found: Vec<&'s Arc<KeySet>>,
    refused: Vec<(&'w SignCommand, Refusal)>,
}

impl<'s, 'w> Finding<'s, 'w> {
    /// The place of the command's set among those that are found, in the order grant, existence, readiness.
    fn find(&mut self, command: &'w SignCommand) -> Result<usize, Refusal> {
        let (tenant, key_set) = (command.tenant.as_str(), command.key_set.as_str());
        let mut last = self.found.iter().enumerate().rev().take(REMEMBERED);
        let known = last.find(|(_, set)| *set.name == *key_set && *set.tenant == *tenant);
        if let Some((place, _set)) = known {
            return Ok(place);
        }
        let mut refused = self.refused.iter().rev().take(REMEMBERED);
        let known = refused.find(|(like, _)| like.tenant == tenant && like.key_set == key_set);
        if let Some((_, refusal)) = known {
            return Err(refusal.clone());
        }
        let set = self.look(tenant, key_set);
        let set = set.inspect_err(|refusal| self.refused.push((command, refusal.clone())))?;
        self.found.push(set);
        Ok(self.found.len() - 1)
    }

    fn look(&self, tenant: &str, key_set: &str) -> Result<&'s Arc<KeySet>, Refusal> {
        require_of(&self.policy, self.caller, Operation::Sign, tenant, key_set)?;
        let set = set_in(self.seen, "key_set", tenant, key_set, Use::Sign)?;
        self.lease.clone().map(|()| set)
    }
}

/// The keys of a wave, or why there is none.
pub(super) struct Choices<'s> {
    /// What they were found in.
    seen: &'s Arc<Snapshot>,
    chosen: Vec<Result<Signing<'s>, Refusal>>,
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
        let seen = self.keys().snapshot_owned();
        let (choices, placed) = self.choose_all(&seen, caller, &items).await;
        let mut groups: [Vec<Placed>; GROUPS] = Default::default();
        let mut refused = Vec::new();
        for (place, choice) in placed.into_iter().enumerate() {
            match choice {
                Ok(choice) => {
                    let group = group_of(choices.chosen.get(choice));
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
                let made = self.sign_chosen(caller, &choices, &items, group);
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
        let seen = self.keys().snapshot_owned();
        let (choices, choice_of) = self.choose_all(&seen, caller, items).await;
        let (mut placed, mut refused) = (Vec::with_capacity(items.len()), Vec::new());
        for (place, choice) in choice_of.into_iter().enumerate() {
            match choice {
                Ok(choice) => placed.push((place, choice)),
                Err(refusal) => refused.push((place, Err(refusal))),
            }
        }
        let made = self.sign_chosen(caller, &choices, items, placed);
        let mut made = made.await;
        made.append(&mut refused);
        made
    }

    /// Chooses the key of each item, in the order grant, existence, readiness; parses those that are not there yet.
    pub(super) async fn choose_all<'s>(
        &self,
        seen: &'s Arc<Snapshot>,
        caller: &Caller,
        items: &[Item<'_>],
    ) -> (Choices<'s>, Vec<Result<usize, Refusal>>) {
        let mut finding = Finding {
            seen,
            caller,
            policy: self.access().current(),
            lease: self.may_sign(),
            found: Vec::new(),
            refused: Vec::new(),
        };
        let now = Instant::now();
        let mut placed = Vec::with_capacity(items.len());
        for item in items {
            placed.push(match item.due {
                Some(due) if due <= now => Err(Refusal::DeadlineExceeded),
                _ => finding
                    .find(item.command)
                    .map_err(|refusal| first(item, refusal)),
            });
        }
        let mut chosen = self.choose_each(seen, &finding.found);
        for choice in &mut chosen {
            let Ok(signing) = choice else { continue };
            if signing.key.is_some() {
                continue;
            }
            match self.parse_key(&ask(signing, None), signing).await {
                Ok(key) => signing.key = Some(key),
                Err(refusal) => *choice = Err(refusal),
            }
        }
        (Choices { seen, chosen }, placed)
    }

    /// Signs items whose keys are chosen, in one piece.
    pub(super) async fn sign_chosen(
        &self,
        caller: &Caller,
        choices: &Choices<'_>,
        items: &[Item<'_>],
        placed: Vec<Placed>,
    ) -> Vec<Made> {
        let Choices { seen, chosen } = choices;
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
                let signing = signing.as_ref();
                let signing = signing.map_err(|refusal| first(item, refusal.clone()))?;
                let permit = self.permit(signing);
                let permit = permit.map_err(|refusal| first(item, refusal))?;
                Ok((self.prepare(signing, item, (now, id))?, permit))
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
        let stands = |signing: &'_ Result<Signing<'_>, Refusal>| {
            let signing = signing.as_ref().map_err(Refusal::clone)?;
            self.still_stands(seen, signing)?;
            lease.clone()
        };
        let stand: Vec<_> = chosen.iter().map(stands).collect();
        type Prepared = Result<(SignedToken, Option<Permit>), Refusal>;
        let finish = |(place, choice, signed): (usize, usize, Prepared)| {
            let finished = signed.and_then(|(signed, permit)| {
                let token = tokens.next().unwrap_or(Err(LaneError::Lost))?;
                stand.get(choice).cloned().unwrap_or(Ok(()))?;
                if let Some(Ok(signing)) = chosen.get(choice) {
                    if let Some(key) = &signing.key {
                        self.metrics().signed(key.algorithm().name());
                    }
                    if let Some(permit) = permit {
                        signing.record(permit, caller, &signed);
                    }
                }
                Ok(SignedToken { token, ..signed })
            });
            (place, finished)
        };
        made.into_iter().map(finish).collect()
    }

    fn prepare(
        &self,
        signing: &Signing<'_>,
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
        let (token, signed) =
            signing.unsigned(self.keys(), &key, item.command, hashes, (now, id))?;
        Ok(((ask(signing, item.due), SignJob { key, token }), signed))
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

fn ask(signing: &Signing<'_>, deadline: Option<Instant>) -> Ask {
    Ask {
        tenant: Arc::clone(&signing.set.tenant),
        deadline,
    }
}

fn first(item: &Item<'_>, refusal: Refusal) -> Refusal {
    fields_first(item.command, item.hashed.announced(), refusal)
}

fn group_of(choice: Option<&Result<Signing<'_>, Refusal>>) -> usize {
    let key = choice.and_then(|choice| choice.as_ref().ok()?.key.as_ref());
    match key.map(|key| key.class()) {
        Some(Class::Rsa4096) => 3,
        Some(Class::Rsa3072) => 2,
        Some(Class::Rsa2048) => 1,
        _ => 0,
    }
}
