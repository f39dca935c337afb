//! Operators: they rotate, revoke keys and revoke tokens, at whichever key-manager is there.

use std::sync::Arc;

use key_manager::lifecycle::{Lifecycle, Mutation, TokenTarget};
use key_manager::vault::SetName;
use keyring::{Algorithm, KeySpec, NewKeySet, Policy, Profile, Publish, Span, State, Use};

use crate::Fault;
use crate::calls;
use crate::invariant::Invariant;
use crate::stage::{Stage, TENANT};
use crate::truth::Target;

const MINUTE: u64 = 60_000;

/// How old a ciphertext may be.
const CIPHERTEXT_AGE: Span = Span::from_minutes(60);

fn by_operator() -> Mutation {
    Mutation {
        caller: "operator".to_owned(),
        ..Mutation::default()
    }
}

fn named(name: &str) -> SetName {
    SetName::new(TENANT, name)
}

/// Makes the key sets, and promotes their first keys.
///
/// # Errors
/// Where they are refused.
pub(crate) async fn begin(stage: &Arc<Stage>) -> Result<(), Fault> {
    let Some(replica) = stage.replicas.first() else {
        return Ok(());
    };
    let sets = [
        ("op/access-token", "Ed25519", Use::Sign, Publish::Public),
        (
            "op/encryption",
            "ECDH-ES+A256KW",
            Use::Encrypt,
            Publish::Public,
        ),
        ("op/session", "HS256", Use::Sign, Publish::None),
    ];
    for (name, algorithm, key_use, publish) in sets {
        let mut key = KeySpec::of(Algorithm::new(algorithm)?);
        if key_use == Use::Encrypt {
            key.curve = Some("X25519".to_owned());
        }
        let period = stage.sim.within(stage.sim.world().cryptoperiod);
        let policy = Policy {
            cryptoperiod: Some(Span::from_minutes(period)),
            max_ciphertext_age: CIPHERTEXT_AGE,
            ..Policy::new(key)
        };
        let new = NewKeySet {
            tenant: TENANT.to_owned(),
            name: name.to_owned(),
            key_use,
            issuer: None,
            publish,
            profile: Profile::default(),
            policy,
        };
        let lifecycle = running(replica).await;
        // An answer may be lost: it is asked again until it is there.
        while lifecycle.create(new.clone(), &by_operator()).await.is_err() {
            if stage.sim.truth().sets.contains_key(name) {
                break;
            }
            stage.sim.sleep(1_000).await;
        }
        let _answer = lifecycle.rotate(&named(name), true, &by_operator()).await;
    }
    Ok(())
}

async fn running(replica: &crate::replica::Replica) -> Lifecycle {
    loop {
        match replica.lifecycle() {
            Some(lifecycle) => return lifecycle,
            None => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
        }
    }
}

/// Starts the operators.
pub(crate) fn start(stage: &Arc<Stage>) {
    let every = stage.sim.world().operators;
    let spawn = |minutes: u64, act: Act| {
        if minutes > 0 {
            tokio::spawn(each(Arc::clone(stage), minutes, act));
        }
    };
    spawn(every.rotate, Act::Rotate);
    spawn(every.force, Act::Force);
    spawn(every.revoke_key, Act::RevokeKey);
    spawn(every.revoke_tokens, Act::RevokeTokens);
}

#[derive(Clone, Copy)]
enum Act {
    Rotate,
    Force,
    RevokeKey,
    RevokeTokens,
}

async fn each(stage: Arc<Stage>, minutes: u64, act: Act) {
    loop {
        stage.sim.sleep_about(minutes * MINUTE).await;
        if !stage.is_storm() {
            continue;
        }
        let Some(lifecycle) = stage.any_replica().and_then(|one| one.lifecycle()) else {
            continue;
        };
        match act {
            Act::Rotate => rotate(&stage, &lifecycle, false).await,
            Act::Force => rotate(&stage, &lifecycle, true).await,
            Act::RevokeKey => revoke_key(&stage, &lifecycle).await,
            Act::RevokeTokens => revoke_tokens(&stage, &lifecycle).await,
        }
    }
}

fn any_set(stage: &Stage, wanted: impl Fn(&keyring::KeySet) -> bool) -> Option<String> {
    let truth = stage.sim.truth();
    let sets = truth.sets.values().filter(|set| wanted(set));
    let names: Vec<String> = sets.map(|set| set.name.clone()).collect();
    stage.sim.dice().pick(&names).cloned()
}

async fn rotate(stage: &Stage, lifecycle: &Lifecycle, force: bool) {
    let Some(name) = any_set(stage, |_| true) else {
        return;
    };
    stage.sim.step(format_args!("rotate {name}, force {force}"));
    let _answer = lifecycle.rotate(&named(&name), force, &by_operator()).await;
    // Some are in a hurry: the key that was made with this promotion is to be the next one already.
    for _ in 0..3 {
        stage.sim.sleep_about(3 * MINUTE).await;
        if !force && stage.is_storm() {
            let _answer = lifecycle.rotate(&named(&name), false, &by_operator()).await;
        }
    }
}

async fn revoke_key(stage: &Arc<Stage>, lifecycle: &Lifecycle) {
    let Some(name) = any_set(stage, |_| true) else {
        return;
    };
    let (kid, label, in_use) = {
        let truth = stage.sim.truth();
        let set = truth.sets.get(&name);
        let usable = |state: State| matches!(state, State::Active | State::Retiring);
        let versions = set.map(|set| set.versions.iter().filter(|one| usable(one.state)));
        let kids: Vec<String> = versions
            .into_iter()
            .flatten()
            .map(|one| one.kid.clone())
            .collect();
        let Some(kid) = stage.sim.dice().pick(&kids).cloned() else {
            return;
        };
        let of_kid = truth.tokens.iter().filter(|token| token.kid == kid);
        let in_use: Vec<_> = of_kid.take(3).cloned().collect();
        (kid.clone(), truth.label(&kid).to_owned(), in_use)
    };
    // It is in use while it is revoked.
    for token in in_use {
        for node in &stage.nodes {
            if let Some(process) = node.process(&stage.sim) {
                calls::verify(stage, (Arc::clone(node), process), token.clone(), 0).await;
            }
        }
    }
    stage.sim.step(format_args!("revoke {label}"));
    let answer = lifecycle.revoke(&named(&name), &kid, &by_operator()).await;
    if answer.is_ok() {
        let revoked = stage
            .sim
            .truth()
            .kids
            .get(&kid)
            .is_some_and(|one| one.revoked.is_some());
        if !revoked {
            stage.sim.broken(
                Invariant::AckedWrite,
                format_args!("{label} is not revoked"),
            );
        }
    }
}

async fn revoke_tokens(stage: &Arc<Stage>, lifecycle: &Lifecycle) {
    let signing: Vec<String> = {
        let truth = stage.sim.truth();
        let sets = truth.sets.values();
        let sets = sets.filter(|set| set.key_use == Use::Sign);
        sets.map(|set| set.name.clone()).collect()
    };
    let by_jti = stage.sim.dice().below(2) == 0;
    let jti = if by_jti {
        let truth = stage.sim.truth();
        let index = stage.sim.dice().index(truth.tokens.len());
        truth.tokens.get(index).map(|token| token.jti.clone())
    } else {
        None
    };
    let sub = jti
        .is_none()
        .then(|| format!("u{}", stage.sim.dice().below(5)));
    let target = match (&jti, &sub) {
        (Some(jti), _) => TokenTarget::Jti {
            jti: jti.clone(),
            expires_at: None,
        },
        (None, sub) => TokenTarget::Match {
            sub: sub.clone(),
            sid: None,
            client: None,
            issued_before: None,
        },
    };
    stage.sim.truth().targets.push(Target {
        jti: jti.clone(),
        sub: sub.clone(),
        sets: signing.clone(),
        issued_before: u64::MAX,
        done: None,
    });
    let names: Vec<SetName> = signing.iter().map(|name| named(name)).collect();
    stage
        .sim
        .step(format_args!("revoke tokens of {jti:?} {sub:?}"));
    let answer = lifecycle
        .revoke_tokens(&names, &target, &by_operator())
        .await;
    let now = stage.sim.now();
    {
        let mut truth = stage.sim.truth();
        let epoch = lifecycle.vault().epoch();
        let open = truth.targets.iter_mut().rev();
        let mut open = open.filter(|one| one.jti == jti && one.sub == sub && one.done.is_none());
        if let Some(mine) = open.next() {
            let last = answer.as_ref().ok().and_then(|one| one.issued_before);
            // Where it is not known whether it was done, the clock that was furthest ahead bounds it.
            let bound = (crate::clock::EPOCH_MS + now) / 1_000 + 10;
            mine.issued_before = last.map_or(bound, u64::from);
            mine.done = answer.is_ok().then_some((epoch, now));
        }
    }
    // Somebody who was logged out logs in again at once.
    if let (Some(sub), Ok(_)) = (sub, answer) {
        log_in_again(stage, &sub).await;
    }
}

async fn log_in_again(stage: &Arc<Stage>, sub: &str) {
    for _ in 0..4 {
        for node in &stage.nodes {
            if let Some(process) = node.process(&stage.sim) {
                calls::sign(stage, (Arc::clone(node), process), sub.to_owned(), 0).await;
            }
        }
        stage.sim.sleep_about(200).await;
    }
}
