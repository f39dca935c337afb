//! From `RevokeKey` to the last token that any replica still accepts: connected, and cut off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use blackbox::{Addresses, PATIENCE, Stack};
use client_admin::{AdminClient, RevokeKey, RotateKeySet};
use client_core::CryptoClient;
use futures::FutureExt as _;
use testkit::Proxy;
use tokio::task::JoinSet;

use super::Group;
use crate::{
    Fault, count,
    figure::{Figure, Measured},
    progress,
    settings::Run,
    stack::{self, Instance, admin, eventually, sign, signing_set, verdict},
};

/// What the key-manager grants for here: short, so that a lease can be seen to end.
const SIGN_LEASE: &str = "3s";
const VERIFY_LEASE: &str = "6s";
const LEASE_S: f64 = 6.0;

const P99: Figure = Figure::at_most("revoke_p99_ms", 250.0);
const BOUND: Figure = Figure::at_most("revoke_partition_bound_s", LEASE_S);

pub(super) const GROUP: Group = Group {
    name: "revocation",
    about: "a key is revoked while three replicas verify its token without a pause; then the same with one replica cut off",
    figures: &[P99, BOUND],
    run: |run| measure(run).boxed_local(),
};

const REPLICAS: usize = 3;
/// Tasks that verify at each replica.
const CALLERS: usize = 2;
/// Rejections in a row after which a caller is sure that no acceptance follows.
const SURE: usize = 5;
/// Revocations of one set, after which another takes its place: a record grows with each key.
const OF_A_SET: usize = 25;

async fn measure(run: Run) -> Result<Vec<Measured>, Fault> {
    let (revocations, cuts) = (run.of(10, 500), run.of(1, 10));
    let mut stack = Stack::init();
    stack.set_environment(&[
        ("KEY_MANAGER_TIMES_MAX_SIGN_STALENESS", SIGN_LEASE),
        ("KEY_MANAGER_TIMES_MAX_VERIFY_STALENESS", VERIFY_LEASE),
    ]);
    stack.start_daemons();
    let admin = admin(&stack)?;
    let replicas = stack::instances(&stack, REPLICAS)?;
    let first = replicas.first().ok_or("no replica")?;
    let mut taken = Vec::with_capacity(revocations);
    let mut set = String::new();
    for done in 0..revocations {
        if done % OF_A_SET == 0 {
            set = format!("op/revoked-{done}");
            stack::create_active(&admin, &first.token, &signing_set(&set, "ES256"), &set).await?;
        }
        taken.push(revoke_connected(&admin, &replicas, &set).await?);
        if (done + 1) % 100 == 0 {
            progress(&format!("revocation: {} of {revocations}", done + 1));
        }
    }
    let mut longest = 0.0_f64;
    for _cut in 0..cuts {
        let bound = revoke_cut_off(&stack, &admin, first, &set).await?;
        longest = longest.max(bound.as_secs_f64());
    }
    Ok(vec![
        P99.measured(millis(percentile(taken, 99)), count(revocations)),
        BOUND.measured(longest, count(cuts)),
    ])
}

fn millis(taken: Duration) -> f64 {
    taken.as_secs_f64() * 1_000.0
}

/// The smallest that `percent` of all do not exceed.
fn percentile(mut all: Vec<Duration>, percent: usize) -> Duration {
    all.sort_unstable();
    let rank = (all.len() * percent).div_ceil(100);
    all.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// A token by the Active key, and that key; it is valid everywhere.
async fn token(
    signer: &Instance,
    verifiers: &[&CryptoClient],
    set: &str,
) -> Result<(String, String), Fault> {
    // the instance signs with a new Active key as soon as it has it
    let mut signed = None;
    let valid = async || {
        let Ok(answer) = signer.token.sign(&sign(set)).await else {
            return false;
        };
        let token = answer.token.clone();
        signed = Some((answer.token, answer.kid));
        for verifier in verifiers {
            if !matches!(verdict(verifier, &token).await, Ok(Ok(()))) {
                return false;
            }
        }
        true
    };
    match eventually(PATIENCE, valid).await {
        true => signed.ok_or_else(|| "nothing was signed".into()),
        false => Err("no token of the set is valid on every replica".into()),
    }
}

/// Waits until the set has a standby to put in the place of what is revoked.
async fn standby(admin: &AdminClient, set: &str) -> Result<(), Fault> {
    let standing = async || {
        let shown = admin.get("", set).await;
        shown.is_ok_and(|shown| shown.key_set.standby().is_some())
    };
    match eventually(PATIENCE, standing).await {
        true => Ok(()),
        false => Err("the set has no standby".into()),
    }
}

/// From the call to the last acceptance that any replica answered.
async fn revoke_connected(
    admin: &AdminClient,
    replicas: &[Instance],
    set: &str,
) -> Result<Duration, Fault> {
    let verifiers: Vec<_> = replicas.iter().map(|replica| &replica.auth).collect();
    let (token, kid) = token(replicas.first().ok_or("no replica")?, &verifiers, set).await?;
    standby(admin, set).await?;
    let mut callers = Callers::start(&token, replicas.iter().map(|replica| &replica.auth));
    callers.all_have_accepted().await?;
    let start = crate::now();
    let revoked = admin.revoke(&RevokeKey::new(set, kid)).await?;
    if usize::try_from(revoked.total)? < REPLICAS {
        return Err(format!("{} replicas were counted: {revoked:?}", revoked.total).into());
    }
    let last = callers.last_acceptance().await?;
    Ok(last.saturating_duration_since(start))
}

/// Tasks that verify one token without a pause, until each of them is sure.
struct Callers {
    tasks: JoinSet<Result<Instant, client_core::Error>>,
    accepted: Arc<AtomicUsize>,
    all: usize,
    /// A caller that only hears of errors ends when this is set.
    over: Arc<AtomicBool>,
}

impl Callers {
    fn start<'a>(token: &str, replicas: impl Iterator<Item = &'a CryptoClient>) -> Self {
        let mut callers = Self {
            tasks: JoinSet::new(),
            accepted: Arc::default(),
            all: 0,
            over: Arc::default(),
        };
        for client in replicas {
            for _caller in 0..CALLERS {
                let (accepted, over) = (Arc::clone(&callers.accepted), Arc::clone(&callers.over));
                callers.all += 1;
                callers.tasks.spawn(keep_verifying(
                    client.clone(),
                    token.to_owned(),
                    accepted,
                    over,
                ));
            }
        }
        callers
    }

    async fn all_have_accepted(&self) -> Result<(), Fault> {
        let all = async || self.accepted.load(Ordering::SeqCst) >= self.all;
        match eventually(PATIENCE, all).await {
            true => Ok(()),
            false => Err("a replica does not accept the token".into()),
        }
    }

    async fn last_acceptance(&mut self) -> Result<Instant, Fault> {
        let mut last = None;
        while let Some(ended) = self.tasks.join_next().await {
            last = last.max(Some(ended??));
        }
        last.ok_or_else(|| "nobody verified".into())
    }
}

/// Gives when the last acceptance was answered, once several rejections have followed it.
async fn keep_verifying(
    client: CryptoClient,
    token: String,
    accepted: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) -> Result<Instant, client_core::Error> {
    let (mut last, mut rejected, mut first) = (crate::now(), 0, true);
    while rejected < SURE {
        match verdict(&client, &token).await {
            Ok(Ok(())) => {
                (last, rejected) = (crate::now(), 0);
                if std::mem::take(&mut first) {
                    accepted.fetch_add(1, Ordering::SeqCst);
                }
            }
            // rejected, or refused by an instance whose lease has ended
            Ok(Err(_)) => rejected += 1,
            Err(_refused) if over.load(Ordering::SeqCst) => rejected += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(last)
}

/// From the call to the last acceptance of a replica that cannot hear of it. Afterwards it answers nothing, and healed it rejects.
async fn revoke_cut_off(
    stack: &Stack,
    admin: &AdminClient,
    signer: &Instance,
    set: &str,
) -> Result<Duration, Fault> {
    let proxy = Proxy::to(stack.keys.grpc);
    let replica = cut_off_replica(stack, &proxy)?;
    let (token, kid) = token(signer, &[&signer.auth, &replica.auth], set).await?;
    standby(admin, set).await?;
    let mut callers = Callers::start(&token, std::iter::once(&replica.auth));
    callers.all_have_accepted().await?;
    callers.over.store(true, Ordering::SeqCst);
    proxy.cut();
    let start = crate::now();
    let revoked = admin.revoke(&RevokeKey::new(set, kid)).await?;
    if revoked.stragglers.is_empty() {
        return Err(format!("nobody is named as cut off: {revoked:?}").into());
    }
    let last = callers.last_acceptance().await?;
    if verdict(&replica.auth, &token).await.is_ok() {
        return Err("a replica without a lease answers".into());
    }
    proxy.heal();
    // it had given the connection up, or takes it up again; either way it learns what it missed
    let rejects = async || matches!(verdict(&replica.auth, &token).await, Ok(Err(_)));
    if !eventually(PATIENCE, rejects).await {
        return Err("the healed replica does not reject the token".into());
    }
    // the next one begins with a key that signs
    admin.rotate(&RotateKeySet::new(set).force()).await?;
    Ok(last.saturating_duration_since(start))
}

fn cut_off_replica(stack: &Stack, proxy: &Proxy) -> Result<Instance, Fault> {
    let addresses = Addresses::free();
    let process = stack.spawn(
        "crypto-service",
        &[
            ("CRYPTO_GRPC", addresses.grpc.to_string()),
            ("CRYPTO_HTTP", addresses.http.to_string()),
            ("KEYS_GRPC", proxy.address().to_string()),
        ],
    );
    stack.ready(addresses.http);
    Instance::at(stack, addresses, Some(process))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_a_hundred_is_the_percentile_and_of_few_the_largest() {
        let all = |n: u64| (1..=n).rev().map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(percentile(all(100), 99), Duration::from_millis(99));
        assert_eq!(percentile(all(500), 99), Duration::from_millis(495));
        assert_eq!(percentile(all(10), 99), Duration::from_millis(10));
        assert_eq!(percentile(Vec::new(), 99), Duration::ZERO);
    }
}
