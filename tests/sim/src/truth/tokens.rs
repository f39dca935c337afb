//! Tokens that were issued, those that were revoked, and what is good of them.

use super::{Finding, Truth};
use crate::clock::EPOCH_MS;
use crate::invariant::Invariant;

/// A token is no longer called good so long before its end, because clocks differ, in seconds.
const MARGIN: u64 = 10;

/// A token that was issued.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) kid: String,
    pub(crate) set: String,
    pub(crate) sub: String,
    pub(crate) jti: String,
    /// Seconds since 1970, on the clock of who signed.
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    /// The signer's clock was right.
    pub(crate) sane: bool,
}

/// A ciphertext that somebody made.
#[derive(Clone, Debug)]
pub(crate) struct Cipher {
    pub(crate) text: String,
    pub(crate) kid: String,
    pub(crate) at: u64,
}

/// What `RevokeToken` was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) jti: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) sets: Vec<String>,
    /// The last `iat`; the end of time until the answer says it.
    pub(crate) issued_before: u64,
    /// The epoch and the moment of the answer; `None` while it is not known whether it was done.
    pub(crate) done: Option<(u64, u64)>,
}

impl Target {
    fn names(&self, set: &str, jti: &str, sub: &str, iat: u64) -> bool {
        let of_set = self.sets.iter().any(|name| name == set);
        let by_jti = self.jti.as_deref().is_some_and(|named| named == jti);
        let by_sub = self.sub.as_deref().is_some_and(|named| named == sub);
        of_set && (by_jti || (by_sub && iat <= self.issued_before))
    }
}

/// What is true of a token at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Everybody has to take it.
    Good,
    /// Nobody who is at that epoch, or after that moment's lease, may take it.
    KeyRevoked(u64, u64),
    /// The same.
    TokenRevoked(u64, u64),
    /// Nobody can tell: it is about to end, a clock was wrong, a call is under way, or its key was promoted by force.
    Unsure,
}

impl Truth {
    pub(crate) fn standing(&self, token: &Token, now: u64) -> Standing {
        let seconds = (EPOCH_MS + now) / 1_000;
        let Some(key) = self.kids.get(&token.kid) else {
            return Standing::Unsure;
        };
        if let Some((at, epoch)) = key.revoked {
            return Standing::KeyRevoked(at, epoch);
        }
        let named = self.targets.iter();
        let mut named =
            named.filter(|one| one.names(&token.set, &token.jti, &token.sub, token.iat));
        let unsure = seconds + MARGIN >= token.exp || !token.sane || key.is_excused(now);
        match named.next() {
            Some(first) => {
                let all = std::iter::once(first).chain(named);
                let done = all.filter_map(|one| one.done).min();
                done.map_or(Standing::Unsure, |(epoch, at)| {
                    Standing::TokenRevoked(at, epoch)
                })
            }
            None if unsure => Standing::Unsure,
            None => Standing::Good,
        }
    }

    /// A token leaves an instance that is at some epoch.
    ///
    /// # Errors
    /// What it breaks.
    pub(crate) fn signed(&mut self, process: usize, token: Token, now: u64) -> Result<(), Finding> {
        let Some(of) = self.processes.get(process) else {
            return Ok(());
        };
        let (node, epoch) = (of.node, of.epoch);
        if now > of.sign_end {
            let late = (now - of.sign_end) / 1_000;
            let what = format!("i{node} signs {late} s after its lease");
            return Err((Invariant::LeaseHeld, what));
        }
        let key = self.kids.get(&token.kid);
        if let Some((_, at)) = key.and_then(|key| key.revoked)
            && at <= epoch
        {
            let what = format!(
                "i{node} is at epoch {epoch} and signs with {}",
                self.label(&token.kid)
            );
            return Err((Invariant::RevokedKey, what));
        }
        let born = self.targets.iter().find(|one| {
            one.done.is_some_and(|(done, _)| done <= epoch)
                && one.names(&token.set, &token.jti, &token.sub, token.iat)
        });
        if born.is_some() {
            let what = format!(
                "i{node} issues a token of {} whose second is revoked",
                token.sub
            );
            return Err((Invariant::BornRevoked, what));
        }
        self.long_published(&token.kid, now)?;
        self.issued += 1;
        self.tokens.push_back(token);
        Ok(())
    }

    /// Drops what has expired, and what nobody asks for any more.
    pub(crate) fn tidy(&mut self, now: u64) {
        let seconds = (EPOCH_MS + now) / 1_000;
        self.tokens.retain(|token| seconds < token.exp + 90);
        while self.tokens.len() > 2_000 {
            self.tokens.pop_front();
        }
        let longest = self.sets.values();
        let longest = longest.map(|set| set.policy.max_ciphertext_age.as_millis());
        let oldest = longest.max().unwrap_or_default();
        self.ciphers.retain(|cipher| now <= cipher.at + oldest);
        self.targets
            .retain(|target| target.issued_before.saturating_add(7_200) > seconds);
    }
}
