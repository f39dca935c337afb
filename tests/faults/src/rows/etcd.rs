//! Three key-managers on an etcd cluster of three, each feeding an instance, while the cluster and the clocks go wrong.

mod replicas;
mod tokens;
mod writers;

use std::{sync::Arc, time::Duration};

use client_admin::{AdminClient, Profile};
use futures::FutureExt as _;
use tokio::task::JoinSet;

use super::{Group, rotation::rotate};
use crate::{
    Fault, count,
    dice::Dice,
    figure::{Figure, Measured},
    number, progress,
    settings::Run,
    stack::{self, eventually, signing_set},
};

use replicas::{Clock, Replicas};
use tokens::Tokens;
use writers::Writers;

const AVAILABILITY: Figure = Figure::at_least("etcd_faults_availability", 1.0);
const STALE: Figure = Figure::at_most("etcd_stale_writes", 0.0);

pub(super) const GROUP: Group = Group {
    name: "etcd",
    about: "tokens are signed and verified, and key sets written through every replica, while etcd and the clocks go wrong",
    figures: &[AVAILABILITY, STALE],
    run: |run| measure(run).boxed_local(),
};

const SETS: [&str; 2] = ["op/first", "op/second"];
/// How long a token lives: its key has to be there that long.
pub(super) const LIFETIME: Duration = Duration::from_secs(20);
/// A replica that was away has the state of the others within this.
const PATIENCE: Duration = Duration::from_secs(120);
const AN_HOUR: i64 = 3_600;

/// What goes wrong, one after the other.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// The member that leads is killed.
    LeaderKilled,
    /// The member that leads is cut off from the other two. Its clients still reach it.
    LeaderCutOff,
    /// Another member is.
    FollowerCutOff,
    /// The history is compacted while the watch of a replica is cut off.
    CompactedWhileWatching,
    /// The clock of a replica is an hour ahead.
    ClockAhead,
    /// The clock of a replica is an hour behind.
    ClockBehind,
}

const OF_ETCD: [Wrong; 4] = [
    Wrong::LeaderKilled,
    Wrong::LeaderCutOff,
    Wrong::FollowerCutOff,
    Wrong::CompactedWhileWatching,
];

/// Last, because a time that a wrong clock wrote stays: a standby whose first ack a replica takes an hour ahead waits that hour.
const OF_CLOCKS: [Wrong; 2] = [Wrong::ClockAhead, Wrong::ClockBehind];

async fn measure(run: Run) -> Result<Vec<Measured>, Fault> {
    let (rounds, hold) = run.of((1, 2), (4, 12));
    let mut replicas = Replicas::start()?;
    let instances = replicas.instances()?;
    let admins = replicas.admins()?;
    let admin = admins.first().ok_or("no replica")?;
    for name in SETS {
        let profile = Profile {
            default_lifetime: Some(LIFETIME),
            max_lifetime: Some(LIFETIME),
            ..Profile::default()
        };
        let set = signing_set(name, "ES256").profile(profile);
        let signer = instances.first().ok_or("no instance")?;
        stack::create_active(admin, &signer.token, &set, name).await?;
        for instance in &instances {
            let signs = async || instance.token.sign(&stack::sign(name)).await.is_ok();
            if !eventually(PATIENCE, signs).await {
                return Err(format!("{name} does not sign everywhere").into());
            }
        }
    }
    let tokens = Tokens::of(&instances);
    let writers = Writers::over(&admins);
    let mut working = JoinSet::new();
    working.spawn(Arc::clone(&tokens).keep_going());
    for writer in 0..writers::WRITERS {
        let dice = run.dice(&format!("writer {writer}"));
        working.spawn(Arc::clone(&writers).keep_writing(dice));
    }
    let mut dice = run.dice("faults");
    let hold = Duration::from_secs(hold);
    for (faults, rotating) in [(&OF_ETCD[..], true), (&OF_CLOCKS[..], false)] {
        for wrong in std::iter::repeat_n(faults, rounds).flatten() {
            suffer(&mut replicas, *wrong, hold, &mut dice).await?;
            if rotating {
                rotate_all(&admins, &mut dice).await?;
            }
            agree(&admins).await?;
            progress(&format!(
                "etcd: {wrong:?}: {}, {}",
                tokens.told(),
                writers.told()
            ));
        }
    }
    tokens.stop();
    writers.stop();
    while let Some(ended) = working.join_next().await {
        ended?;
    }
    let (called, failed) = tokens.counted();
    let available = number(called - failed) / number(called.max(1));
    let (tried, stale) = writers.counted();
    Ok(vec![
        AVAILABILITY.measured(available, count(called)),
        STALE.measured(number(stale), count(tried)),
    ])
}

/// Does it, waits, and takes it back.
async fn suffer(
    replicas: &mut Replicas,
    wrong: Wrong,
    hold: Duration,
    dice: &mut Dice,
) -> Result<(), Fault> {
    match wrong {
        Wrong::LeaderKilled => {
            let leader = replicas.cluster.leader();
            replicas.cluster.kill(leader);
            tokio::time::sleep(hold).await;
            replicas.cluster.restart(leader);
            replicas.cluster.wait();
        }
        Wrong::LeaderCutOff | Wrong::FollowerCutOff => {
            let leader = replicas.cluster.leader();
            let away = match wrong {
                Wrong::LeaderCutOff => leader,
                _ => (leader + 1 + dice.index(replicas::MEMBERS - 1)) % replicas::MEMBERS,
            };
            replicas.cluster.isolate(away);
            tokio::time::sleep(hold).await;
            replicas.cluster.heal();
            replicas.cluster.wait();
        }
        Wrong::CompactedWhileWatching => {
            let away = dice.index(replicas::REPLICAS);
            replicas.cut(away);
            tokio::time::sleep(hold).await;
            replicas.cluster.compact();
            replicas.heal(away);
        }
        Wrong::ClockAhead | Wrong::ClockBehind => {
            let off = match wrong {
                Wrong::ClockAhead => AN_HOUR,
                _ => -AN_HOUR,
            };
            let one = dice.index(replicas::REPLICAS);
            replicas.restart(one, Clock::Off(off))?;
            tokio::time::sleep(hold).await;
            replicas.restart(one, Clock::Right)?;
        }
    }
    Ok(())
}

/// Every set rotates without force, through any replica.
async fn rotate_all(admins: &[AdminClient], dice: &mut Dice) -> Result<(), Fault> {
    for name in SETS {
        let admin = dice.pick(admins).ok_or("no replica")?;
        let rotates = async || rotate(admin.clone(), name.to_owned()).await.is_ok();
        if !eventually(PATIENCE, rotates).await {
            return Err(format!("{name} does not rotate any more").into());
        }
    }
    Ok(())
}

/// Every replica has the same of each set.
async fn agree(admins: &[AdminClient]) -> Result<(), Fault> {
    for name in SETS {
        let alike = async || {
            let mut active = Vec::new();
            for admin in admins {
                let Ok(shown) = admin.get("", name).await else {
                    return false;
                };
                active.push(shown.key_set.active().map(|version| version.kid.clone()));
            }
            active.windows(2).all(|pair| pair.first() == pair.last())
        };
        if !eventually(PATIENCE, alike).await {
            return Err(format!("the replicas differ about {name}").into());
        }
    }
    Ok(())
}
