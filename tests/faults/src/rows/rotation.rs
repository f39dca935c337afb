//! Key sets rotate without force while three instances sign and verify, and a verifier that knows only our JWK Sets verifies too.

mod traffic;
mod verifier;

use std::{sync::Arc, time::Duration};

use blackbox::Stack;
use client_admin::{AdminClient, Profile, RotateKeySet};
use futures::FutureExt as _;
use tokio::task::JoinSet;

use super::Group;
use crate::{
    Fault, count,
    figure::{Figure, Measured},
    now, number, progress,
    settings::Run,
    stack::{self, admin, eventually, signing_set},
};

use traffic::Traffic;

const FAILED: Figure = Figure::at_most("rotation_failed_tokens", 0.0);

pub(super) const GROUP: Group = Group {
    name: "rotation",
    about: "all key sets rotate without force while three instances and an independent verifier handle their tokens",
    figures: &[FAILED],
    run: |run| measure(run).boxed_local(),
};

/// Short times, so that a thousand rotations take minutes: a key is published for two seconds before it signs.
const TIMES: [(&str, &str); 6] = [
    ("KEY_MANAGER_TIMES_JWKS_CAP", "1s"),
    ("KEY_MANAGER_TIMES_LEAD", "2s"),
    ("KEY_MANAGER_TIMES_SKEW", "1s"),
    ("KEY_MANAGER_TIMES_MAX_SIGN_STALENESS", "20s"),
    ("KEY_MANAGER_TIMES_MAX_VERIFY_STALENESS", "30s"),
    ("KEY_MANAGER_LOG_FILTER", "warn"),
];
/// Shorter than the lead.
const CACHE: Duration = Duration::from_millis(1_000);
/// How long a token lives: its key has to be there that long.
const LIFETIME: Duration = Duration::from_secs(20);
/// A promotion that takes longer than this is held up by something.
const PATIENCE: Duration = Duration::from_secs(120);
const INSTANCES: usize = 3;
const ALGORITHMS: [&str; 4] = ["ES256", "ES256", "ES256", "Ed25519"];

async fn measure(run: Run) -> Result<Vec<Measured>, Fault> {
    let (sets, rotations, tokens) = run.of((4, 8, 2_000), (50, 1_000, 1_000_000));
    let mut stack = Stack::init();
    stack.set_environment(&TIMES);
    stack.start_daemons();
    let admin = admin(&stack)?;
    let instances = stack::instances(&stack, INSTANCES)?;
    let names: Vec<String> = (0..sets).map(|number| format!("op/set-{number}")).collect();
    create(&admin, &instances, &names).await?;

    let traffic = Arc::new(Traffic::new(names.clone(), CACHE, LIFETIME, &instances));
    let mut signing = JoinSet::new();
    for caller in 0..traffic::CALLERS {
        let dice = run.dice(&format!("caller {caller}"));
        signing.spawn(Arc::clone(&traffic).keep_signing(caller, dice));
    }
    rotate_all(&admin, &names, rotations, &traffic).await?;
    // the rotations are over sooner than a million tokens are signed, or later: both are waited for
    traffic
        .wait_for(tokens, || rotate_once(&admin, &names))
        .await?;
    traffic.stop();
    while let Some(ended) = signing.join_next().await {
        ended??;
    }
    traffic.verify_the_old().await?;
    let (signed, failed) = traffic.counted();
    progress(&format!("rotation: {}", traffic.told()));
    Ok(vec![FAILED.measured(number(failed), count(signed))])
}

async fn create(
    admin: &AdminClient,
    instances: &[stack::Instance],
    names: &[String],
) -> Result<(), Fault> {
    for (name, algorithm) in names.iter().zip(ALGORITHMS.iter().cycle()) {
        let profile = Profile {
            default_lifetime: Some(LIFETIME),
            max_lifetime: Some(LIFETIME),
            ..Profile::default()
        };
        let set = signing_set(name, algorithm).profile(profile);
        admin.create(&set).await?;
        admin.rotate(&RotateKeySet::new(name).force()).await?;
    }
    // what is forced has no lead: the verifier begins once everybody can know every key
    for instance in instances {
        for name in names {
            let signs = async || instance.token.sign(&stack::sign(name)).await.is_ok();
            if !eventually(PATIENCE, signs).await {
                return Err(format!("{name} does not sign").into());
            }
        }
    }
    tokio::time::sleep(2 * CACHE).await;
    Ok(())
}

/// Rotates every set again and again, side by side, until there were so many promotions.
async fn rotate_all(
    admin: &AdminClient,
    names: &[String],
    rotations: usize,
    traffic: &Traffic,
) -> Result<(), Fault> {
    let mut done = 0;
    let start = now();
    while done < rotations {
        rotate_once(admin, names).await?;
        done += names.len();
        progress(&format!(
            "rotation: {done} of {rotations} rotations in {:.0?}, {}",
            start.elapsed(),
            traffic.told()
        ));
    }
    Ok(())
}

/// One unforced rotation of each set; returns when every one has been promoted.
async fn rotate_once(admin: &AdminClient, names: &[String]) -> Result<(), Fault> {
    let mut rotating = JoinSet::new();
    for name in names {
        rotating.spawn(rotate(admin.clone(), name.clone()));
    }
    while let Some(rotated) = rotating.join_next().await {
        rotated??;
    }
    Ok(())
}

/// One unforced rotation; returns when the standby has been promoted.
pub(super) async fn rotate(admin: AdminClient, name: String) -> Result<(), Fault> {
    let rotated = admin.rotate(&RotateKeySet::new(&name)).await?;
    let active = |set: &client_admin::KeySet| set.active().map(|version| version.kid.clone());
    let before = active(&rotated.key_set);
    // the promotion may have happened within the call
    if rotated.holding.is_empty() {
        return Ok(());
    }
    let start = now();
    while start.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if active(&admin.get("", &name).await?.key_set) != before {
            return Ok(());
        }
    }
    let holding = admin.get("", &name).await?.holding;
    Err(format!("{name} is not promoted: {holding:?}").into())
}
