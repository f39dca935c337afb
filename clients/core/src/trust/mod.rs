//! Local verification: this process verifies on its own, from the keys that `WatchTrust` pushes and under their lease.
//!
//! | what comes up | what follows |
//! | --- | --- |
//! | a key that is held | the verdict, by the same [`jose::jwt::verify`] as at the service |
//! | a revocation | the key verifies nothing from that message on, on whatever instance the stream continues |
//! | a revoked token | it is rejected from that message on; where too many are revoked to be held, a filter says which to ask for |
//! | an unknown `kid`, a token without one, ES512, HS*, a set that is not held, an unchecked audience | the service is asked |
//! | the lease has run out | the service is asked |
//! | the service cannot be asked | an error, UNAVAILABLE: never a rejection |

mod lease;
mod tokens;
mod view;
mod watch;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jose::jwt::{self, NotVerified, VerifyOptions, VerifyRules};
use tokio::sync::watch as signal;
use tokio::task::AbortHandle;

use self::view::View;
use crate::client::CryptoClient;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::request::{Purpose, RejectReason, ValidToken, Verdict, Verify};

/// Which keys to follow.
#[derive(Debug, Clone, Default)]
pub struct Follow {
    tenant: String,
    key_sets: Vec<String>,
    max_token_revocations: u32,
}

impl Follow {
    /// Every SIGN set of the tenant `default` that the caller may verify with.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The tenant. Default: `default`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Holds so many revocations of tokens of one key set, 24 bytes each, at most 100,000. Where there are more, a filter of 1.25 bytes
    /// each is held, and the service is asked when it hits: always for a token that was revoked, and for 0.8 % of the others. Default: 10,000.
    #[must_use]
    pub fn max_token_revocations(mut self, count: u32) -> Self {
        self.max_token_revocations = count;
        self
    }

    /// Follows this key set only, or this one too.
    #[must_use]
    pub fn key_set(mut self, key_set: impl Into<String>) -> Self {
        self.key_sets.push(key_set.into());
        self
    }
}

/// Verifies in this process while its lease lives, and asks the service where it must. Cheap to clone; the stream behind it ends with
/// the last clone.
#[derive(Clone)]
pub struct LocalVerifier {
    state: Arc<State>,
    _stream: Arc<AbortOnDrop>,
}

/// What the stream writes and verification reads.
struct State {
    client: CryptoClient,
    follow: Follow,
    view: ArcSwap<View>,
    clock: Arc<dyn Clock>,
    /// Told of each event.
    changed: signal::Sender<()>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl LocalVerifier {
    /// Starts to follow the trust stream. Until its first lease, [`LocalVerifier::verify`] asks the service. Has to be called inside a
    /// tokio runtime.
    #[must_use]
    pub fn start(client: CryptoClient, follow: Follow) -> Self {
        let clock = client.channel().clock();
        let view = ArcSwap::from_pointee(View::default());
        let state = Arc::new(State {
            client,
            follow,
            view,
            clock,
            changed: signal::Sender::new(()),
        });
        let stream = tokio::spawn(watch::follow(Arc::clone(&state)));
        Self {
            state,
            _stream: Arc::new(AbortOnDrop(stream.abort_handle())),
        }
    }

    /// Waits until there is a lease to verify under.
    pub async fn ready(&self) {
        let mut changed = self.state.changed.subscribe();
        // The sender lives in `self`: waiting for it cannot fail.
        while !self.is_leased() && changed.changed().await.is_ok() {}
    }

    /// Whether tokens are verified here at this moment, as opposed to by the service.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.state.view.load().covers(self.state.clock.boot())
    }

    /// Verifies a token, here or at the service.
    ///
    /// # Errors
    /// Those of [`CryptoClient::verify`], where the service had to be asked.
    pub async fn verify(&self, verify: &Verify) -> Result<Verdict, Error> {
        match self.verify_here(verify) {
            Some(verdict) => Ok(verdict),
            None => self.ask(verify).await,
        }
    }

    /// Verifies a token without asking anyone. `None` means that only the service can tell.
    #[must_use]
    pub fn verify_here(&self, verify: &Verify) -> Option<Verdict> {
        self.state.verify(verify)
    }

    async fn ask(&self, verify: &Verify) -> Result<Verdict, Error> {
        self.state
            .client
            .verify(verify)
            .await
            .map_err(|error| match error.code() {
                Code::DeadlineExceeded | Code::Cancelled => {
                    Error::new(Code::Unavailable, error.message())
                }
                _ => error,
            })
    }
}

impl fmt::Debug for LocalVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalVerifier")
            .field("follow", &self.state.follow)
            .field("view", &self.state.view.load())
            .finish_non_exhaustive()
    }
}

impl State {
    fn verify(&self, verify: &Verify) -> Option<Verdict> {
        let view = self.view.load();
        if !self.may_judge(&view, verify) {
            return None;
        }
        // Demands that are not valid are the service's to refuse, in its own words.
        let rules = VerifyRules::try_from(options(verify)?).ok()?;
        let verdict = match jwt::verify(&verify.token, &**view, &rules, self.clock.unix().as_secs())
        {
            Ok(claims) => Verdict::Valid(valid(&claims)),
            Err(NotVerified::Rejected(reason)) => Verdict::Rejected(reason.into()),
            Err(NotVerified::AskService) => return None,
        };
        // A verdict leaves under a lease that lives when it leaves, and not against a revocation that came in the meantime.
        let now = self.view.load();
        (now.covers(self.clock.boot()) && now.agrees_on_revocations(&view)).then_some(verdict)
    }

    /// Skipping `aud` is a grant of its own, and a set that is not held may be one that this caller may not name.
    fn may_judge(&self, view: &View, verify: &Verify) -> bool {
        let same_tenant = tenant(&verify.tenant) == tenant(&self.follow.tenant);
        let held = verify.key_sets.iter().all(|set| view.holds(set));
        same_tenant && held && !verify.audience_unchecked && view.covers(self.clock.boot())
    }
}

fn tenant(name: &str) -> &str {
    if name.is_empty() { "default" } else { name }
}

/// `None` where the leeway is no whole number of seconds.
fn options(verify: &Verify) -> Option<VerifyOptions> {
    let purpose = match verify.purpose {
        Purpose::Ordinary => jwt::Purpose::Access,
        Purpose::Hint => jwt::Purpose::Hint,
    };
    (verify.leeway.subsec_nanos() == 0).then(|| VerifyOptions {
        issuer: verify.issuer.clone(),
        audiences: verify.audiences.clone(),
        audience_unchecked: verify.audience_unchecked,
        types: verify.types.clone(),
        key_sets: verify.key_sets.clone(),
        leeway: verify.leeway.as_secs(),
        purpose,
    })
}

fn valid(claims: &jwt::Claims) -> ValidToken {
    ValidToken {
        claims_json: claims.json().to_owned(),
        header_json: claims.header_json().to_owned(),
        kid: claims.kid().to_owned(),
        key_set: claims.key_set().to_owned(),
    }
}

impl From<jwt::RejectReason> for RejectReason {
    fn from(reason: jwt::RejectReason) -> Self {
        match reason {
            jwt::RejectReason::Malformed => Self::Malformed,
            jwt::RejectReason::TooLarge => Self::TooLarge,
            jwt::RejectReason::Algorithm => Self::Algorithm,
            jwt::RejectReason::UnknownKey => Self::UnknownKey,
            jwt::RejectReason::KeyRevoked => Self::KeyRevoked,
            jwt::RejectReason::Signature => Self::Signature,
            jwt::RejectReason::CriticalHeader => Self::CriticalHeader,
            jwt::RejectReason::Type => Self::Type,
            jwt::RejectReason::ClaimInvalid => Self::ClaimInvalid,
            jwt::RejectReason::Expired => Self::Expired,
            jwt::RejectReason::NotYetValid => Self::NotYetValid,
            jwt::RejectReason::Issuer => Self::Issuer,
            jwt::RejectReason::Audience => Self::Audience,
            jwt::RejectReason::Revoked => Self::Revoked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_one_name_here_and_at_the_service() {
        for reason in jwt::RejectReason::ALL {
            assert_eq!(RejectReason::from(reason).name(), reason.name());
        }
    }
}
