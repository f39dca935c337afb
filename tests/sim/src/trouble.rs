//! What goes wrong, and when it is mended.

use std::sync::Arc;

use crate::invariant::Invariant;
use crate::stage::Stage;
use crate::store::copy_of;

const MINUTE: u64 = 60_000;

/// How long there is trouble, and how long there is none, in minutes.
const STORM: u64 = 110;
const CALM: u64 = 100;

/// How fast a clock drifts, in milliseconds for each ten seconds.
const DRIFT: i64 = 300;

/// Trouble and calm by turns; at the end of each calm everything that was due has been done.
pub(crate) async fn weather(stage: Arc<Stage>) {
    loop {
        stage.set_storm(true);
        stage.sim.sleep(STORM * MINUTE).await;
        stage.set_storm(false);
        stage.sim.step(format_args!("calm"));
        mend(&stage).await;
        stage.sim.sleep(CALM * MINUTE).await;
        let found = stage.sim.truth().progress(stage.sim.now(), CALM * MINUTE);
        if let Err((invariant, what)) = found {
            stage.sim.broken(invariant, what);
        }
    }
}

async fn mend(stage: &Arc<Stage>) {
    stage.mend();
    stage.disk.set_reachable(true);
    set_clocks(stage);
    for replica in &stage.replicas {
        replica.start().await;
    }
    for node in &stage.nodes {
        if let Err(error) = node.start(stage) {
            stage.sim.broken(Invariant::Progress, error);
        }
    }
}

/// How far sound clocks are off at most. What two key-managers measured of two instances is then less than 5 s apart, so that nothing halts.
const SOUND: u64 = 1_200;

pub(crate) fn set_clocks(stage: &Stage) {
    let sound = || {
        let ahead = stage.sim.within((0, 2 * SOUND));
        ahead.cast_signed() - SOUND.cast_signed()
    };
    for replica in &stage.replicas {
        replica.clock.set_offset(sound());
    }
    for node in &stage.nodes {
        node.clock.set_offset(sound());
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Cut,
    Crash,
    Restart,
    Pause,
    Outage,
    Drift,
    WrongClock,
    Lonely,
    Rollback,
}

/// Starts everything that goes wrong.
pub(crate) fn start(stage: &Arc<Stage>) {
    let every = stage.sim.world().troubles;
    let kinds = [
        (every.cut, Kind::Cut),
        (every.crash, Kind::Crash),
        (every.restart, Kind::Restart),
        (every.pause, Kind::Pause),
        (every.outage, Kind::Outage),
        (every.drift, Kind::Drift),
        (every.wrong_clock, Kind::WrongClock),
        (every.lonely, Kind::Lonely),
        (every.rollback, Kind::Rollback),
    ];
    for (minutes, kind) in kinds {
        if minutes > 0 {
            tokio::spawn(each(Arc::clone(stage), minutes, kind));
        }
    }
}

async fn each(stage: Arc<Stage>, minutes: u64, kind: Kind) {
    loop {
        stage.sim.sleep_about(minutes * MINUTE).await;
        if !stage.is_storm() {
            continue;
        }
        match kind {
            Kind::Cut => cut(&stage),
            Kind::Crash => crash(&stage).await,
            Kind::Restart => restart(&stage).await,
            Kind::Pause => pause(&stage),
            Kind::Outage => outage(&stage).await,
            Kind::Drift => drift(&stage).await,
            Kind::WrongClock => wrong_clock(&stage).await,
            Kind::Lonely => lonely(&stage).await,
            Kind::Rollback => rollback(&stage).await,
        }
    }
}

/// Seconds, minutes, or longer than a lease.
fn how_long(stage: &Stage) -> u64 {
    let roll = stage.sim.dice().below(4);
    match roll {
        0 => stage.sim.within((2_000, 30_000)),
        1 => stage.sim.within((30_000, 5 * MINUTE)),
        2 => stage.sim.within((5 * MINUTE, 14 * MINUTE)),
        _ => stage.sim.within((14 * MINUTE, 25 * MINUTE)),
    }
}

fn cut(stage: &Stage) {
    let Some(node) = stage.any_node() else { return };
    let long = how_long(stage);
    let until = stage.sim.now() + long;
    let all = stage.sim.dice().below(3) > 0;
    let only = stage.any_replica().map(|replica| replica.index);
    for replica in &stage.replicas {
        if all || Some(replica.index) == only {
            stage.cut(node.index, replica.index, until);
        }
    }
    stage.sim.step(format_args!(
        "i{} is cut off for {} s, from all {all}",
        node.index,
        long / 1_000
    ));
}

async fn crash(stage: &Stage) {
    let Some(replica) = stage.any_replica() else {
        return;
    };
    replica.crash();
    let long = how_long(stage) / 4;
    stage.sim.sleep(long).await;
    replica.start().await;
}

async fn restart(stage: &Arc<Stage>) {
    let Some(node) = stage.any_node() else { return };
    node.kill(&stage.sim);
    let long = how_long(stage) / 4;
    stage.sim.sleep(long).await;
    if let Err(error) = node.start(stage) {
        stage.sim.broken(Invariant::Progress, error);
    }
}

fn pause(stage: &Stage) {
    let Some(node) = stage.any_node() else { return };
    let long = how_long(stage);
    node.freeze(stage.sim.now() + long);
    stage.sim.step(format_args!(
        "i{} stands still for {} s",
        node.index,
        long / 1_000
    ));
}

async fn outage(stage: &Stage) {
    stage.disk.set_reachable(false);
    stage.sim.step(format_args!("the store is away"));
    let long = how_long(stage) / 4;
    stage.sim.sleep(long).await;
    stage.disk.set_reachable(true);
    stage.sim.step(format_args!("the store is back"));
}

/// So slowly that acks tell of it before it does harm.
async fn drift(stage: &Stage) {
    let Some(replica) = stage.any_replica() else {
        return;
    };
    stage
        .sim
        .step(format_args!("the clock of r{} drifts", replica.index));
    while stage.is_storm() {
        replica.clock.set_offset(replica.clock.offset() + DRIFT);
        stage.sim.sleep(10_000).await;
    }
}

async fn wrong_clock(stage: &Stage) {
    let Some(node) = stage.any_node() else { return };
    let before = node.clock.offset();
    let off = i64::try_from(stage.sim.within((10_000, 3_600_000))).unwrap_or_default();
    let ahead = stage.sim.dice().below(2) == 0;
    node.clock.set_offset(if ahead { off } else { -off });
    stage.sim.step(format_args!(
        "the clock of i{} is {} s off",
        node.index,
        off / 1_000
    ));
    let long = how_long(stage);
    stage.sim.sleep(long).await;
    node.clock.set_offset(before);
}

/// No instance reaches it, so no ack tells it how late it is.
async fn lonely(stage: &Stage) {
    let Some(replica) = stage.any_replica() else {
        return;
    };
    let long = stage.sim.within((10 * MINUTE, 30 * MINUTE));
    for node in &stage.nodes {
        stage.cut(node.index, replica.index, stage.sim.now() + long);
    }
    let before = replica.clock.offset();
    let off = i64::try_from(stage.sim.within((20_000, 60 * MINUTE))).unwrap_or_default();
    replica.clock.set_offset(before + off);
    stage.sim.step(format_args!(
        "nobody reaches r{}, whose clock is {} s ahead",
        replica.index,
        off / 1_000
    ));
    stage.sim.sleep(long).await;
    replica.clock.set_offset(before);
}

/// An operator puts a backup in place, read-only, and notices.
async fn rollback(stage: &Arc<Stage>) {
    let Ok(old) = copy_of(&stage.disk.present()).await else {
        return;
    };
    let age = stage.sim.within((5 * MINUTE, 40 * MINUTE));
    stage.sim.sleep(age).await;
    if !stage.is_storm() {
        return;
    }
    stop(stage);
    let right = stage.disk.replace(old, true);
    stage.sim.step(format_args!(
        "a store of {} s ago is put in place",
        age / 1_000
    ));
    for replica in &stage.replicas {
        replica.start().await;
    }
    stage.sim.sleep_about(2 * MINUTE).await;
    stop(stage);
    stage.disk.replace(right, false);
    stage.sim.step(format_args!("the right store is put back"));
    for replica in &stage.replicas {
        replica.start().await;
    }
}

fn stop(stage: &Stage) {
    for replica in &stage.replicas {
        replica.crash();
    }
}
