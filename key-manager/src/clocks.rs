//! The clocks of the key-managers that share a store, compared.
//!
//! Acks tell a key-manager how far its instances' clocks are from its own. One to which no instance is connected would hear of no other clock,
//! take every lease for ended, and promote and retire by its own clock alone, however wrong that is. So those that share a store tell each other:
//! each writes what its clock says every other second, and reads each second what the others wrote. What is read was written after the
//! reading before, so the two clocks are compared within that time; where a reading comes late, what it brings is of unknown age and is
//! not used. Between two readings the boot clock says whether the own one was set.
//!
//! After its start, and after each pause, a key-manager listens for a few seconds before anything happens by date.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keyring::{PeerClock, Peers, Time};
use service_kit::{
    clock::{BootTime, SharedClock},
    shutdown::Shutdown,
};

use crate::{
    seal::{SealError, random},
    vault::{Told, Vault, VaultError},
};

/// How often a key-manager listens.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// In intervals: how often a key-manager tells its clock.
const TELL: u32 = 2;
/// In intervals: after a longer gap between two readings nobody knows how old what was told is.
const GAP: u32 = 3;
/// In intervals: whoever is there tells its clock twice in this time. The first time says only that it is there: what is read may be
/// what a dead one left.
const LISTEN: u32 = 6;
/// In intervals: who was not heard for so long is gone.
const FRESH: u32 = 10;
/// What nobody has renewed for so long is deleted.
const FORGET: Duration = Duration::from_secs(3600);

/// The wall time, as the lifecycle counts it.
pub(crate) fn wall(clock: &SharedClock) -> Time {
    Time::from_millis(u64::try_from(clock.since_epoch().as_millis()).unwrap_or(u64::MAX))
}

/// The comparison. One for each process that serves a shared store.
pub struct Clocks {
    vault: Arc<Vault>,
    clock: SharedClock,
    name: String,
    interval: Duration,
    heard: Mutex<Heard>,
}

impl Clocks {
    /// The comparison for a vault, under a name that nobody else has; `None` where nobody shares the store.
    #[must_use]
    pub fn of(
        vault: &Arc<Vault>,
        clock: &SharedClock,
        name: String,
        interval: Duration,
    ) -> Option<Arc<Self>> {
        vault.is_shared().then(|| {
            Arc::new(Self {
                vault: Arc::clone(vault),
                clock: Arc::clone(clock),
                name,
                interval,
                heard: Mutex::new(Heard::new(interval, clock.boot())),
            })
        })
    }

    /// A name for this process: that of its machine, for people, and 64 random bits.
    ///
    /// # Errors
    /// [`SealError`] where the system has no randomness.
    pub fn own_name() -> Result<String, SealError> {
        let system = rustix::system::uname();
        let machine = system.nodename().to_string_lossy();
        let known = |letter: &char| letter.is_ascii_alphanumeric() || "-.".contains(*letter);
        let machine: String = machine.chars().filter(known).take(64).collect();
        Ok(format!("{machine}#{:016x}", u64::from_be_bytes(random()?)))
    }

    /// Tells and listens until shutdown.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.guard(ticks.tick()).await.is_some() {
            self.turn().await;
        }
        if let Err(error) = self.vault.forget_clock(&self.name).await {
            tracing::debug!(%error, "the record of this key-manager's clock stays until others delete it");
        }
    }

    /// One turn. Where the store does not answer, the driver of the plan says so; here nothing is heard.
    pub async fn turn(&self) {
        if self.lock().tells(self.clock.boot()) {
            let told = Told {
                name: self.name.clone(),
                at: self.now(),
            };
            if let Err(error) = self.vault.tell_clock(&told).await {
                tracing::debug!(%error, "the clock is told later");
            }
        }
        if let Err(error) = self.listen().await {
            tracing::debug!(%error, "the other clocks are heard later");
        }
    }

    async fn listen(&self) -> Result<(), VaultError> {
        let (began, since) = (self.clock.boot(), self.lock().read_to);
        let (told, read_to) = self.vault.told_since(since).await?;
        let (now, ended) = (self.now(), self.clock.boot());
        let others = told.into_iter().filter(|told| told.name != self.name);
        let gone = {
            let mut heard = self.lock();
            heard.read_to = read_to;
            heard.hear(others, now, (began, ended));
            heard.gone(ended)
        };
        for name in gone {
            self.vault.forget_clock(&name).await?;
        }
        Ok(())
    }

    /// The clocks of the others, as far as they are known now.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.lock().peers(self.now(), self.clock.boot())
    }

    fn now(&self) -> Time {
        wall(&self.clock)
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clocks")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What was heard, by the boot clock of this machine.
#[derive(Debug)]
struct Heard {
    interval: Duration,
    told: Option<BootTime>,
    /// When the last reading began.
    listened: BootTime,
    /// Since when no reading came late.
    since: BootTime,
    read_to: u64,
    others: BTreeMap<String, Other>,
}

/// Another key-manager.
#[derive(Debug)]
struct Other {
    /// What its clock said last.
    said: Time,
    /// Its clock minus the own one; absent before it spoke for the second time.
    offset_ms: Option<i64>,
    /// When it was heard, by both own clocks.
    heard: BootTime,
    wall: Time,
}

impl Heard {
    fn new(interval: Duration, now: BootTime) -> Self {
        Self {
            interval,
            told: None,
            listened: now,
            since: now,
            read_to: 0,
            others: BTreeMap::new(),
        }
    }

    /// Whether it is time to tell the own clock; counts as told.
    fn tells(&mut self, now: BootTime) -> bool {
        // Half an interval early, because ticks do not come on the dot.
        let between = self.interval * TELL - self.interval / 2;
        let due = self
            .told
            .is_none_or(|told| now.saturating_since(told) >= between);
        if due {
            self.told = Some(now);
        }
        due
    }

    /// Takes in what a reading brought; `now` is the wall clock at its end.
    fn hear(
        &mut self,
        told: impl Iterator<Item = Told>,
        now: Time,
        (began, ended): (BootTime, BootTime),
    ) {
        let gap = ended.saturating_since(self.listened);
        self.listened = began;
        let late = gap > self.interval * GAP;
        if late {
            self.since = ended;
        }
        for Told { name, at } in told {
            let known = self.others.get(&name);
            // Written once more under another data key, and not by whom it is of.
            if known.is_some_and(|known| known.said == at) {
                continue;
            }
            let offset_ms = match known {
                Some(_) if !late => Some(offset(at, now, gap)),
                known => known.and_then(|known| known.offset_at(now, ended)),
            };
            let other = Other {
                said: at,
                offset_ms,
                heard: ended,
                wall: now,
            };
            self.others.insert(name, other);
        }
    }

    /// Those that were not heard for so long that they are forgotten.
    fn gone(&mut self, now: BootTime) -> Vec<String> {
        let is_gone = |_: &String, other: &mut Other| now.saturating_since(other.heard) >= FORGET;
        let gone = self.others.extract_if(.., is_gone);
        gone.map(|(name, _)| name).collect()
    }

    fn peers(&self, wall: Time, now: BootTime) -> Peers {
        let fresh = |other: &Other| now.saturating_since(other.heard) <= self.interval * FRESH;
        let clocks = self.others.iter().filter(|(_, other)| fresh(other));
        Peers {
            clocks: clocks
                .filter_map(|(name, other)| {
                    Some(PeerClock {
                        name: name.clone(),
                        offset_ms: other.offset_at(wall, now)?,
                    })
                })
                .collect(),
            listening: now.saturating_since(self.listened) > self.interval * GAP
                || now.saturating_since(self.since) < self.interval * LISTEN,
        }
    }
}

impl Other {
    /// Its clock minus the own one now: the own one may have been set since it was heard.
    fn offset_at(&self, wall: Time, boot: BootTime) -> Option<i64> {
        let passed = boot.saturating_since(self.heard).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let set = minus(wall, self.wall).saturating_sub(passed);
        self.offset_ms.map(|offset| offset.saturating_sub(set))
    }
}

/// In milliseconds.
fn minus(one: Time, other: Time) -> i64 {
    let millis = |time: Time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    millis(one).saturating_sub(millis(other))
}

/// The other clock minus the own one, in milliseconds. It was read up to `gap` before the own one: what that may explain is no offset.
fn offset(said: Time, now: Time, gap: Duration) -> i64 {
    let apart = minus(said, now);
    let gap = i64::try_from(gap.as_millis()).unwrap_or(i64::MAX);
    match apart < 0 {
        true => apart.saturating_add(gap).min(0),
        false => apart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    /// Two key-managers, of which one listens.
    struct Bench {
        heard: Heard,
        seconds: u64,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                heard: Heard::new(INTERVAL, boot(0)),
                seconds: 0,
            }
        }

        fn wall(&self) -> Time {
            Time::from_millis(1_800_000_000_000 + self.seconds * 1000)
        }

        /// So many seconds pass, and then what was said 300 ms ago by a clock that is off by `offset_ms` is read.
        fn hear(&mut self, seconds: u64, said: &[(&str, i64)]) {
            self.seconds += seconds;
            let now = self.wall();
            let told = said.iter().map(|(name, offset_ms)| Told {
                name: (*name).to_owned(),
                at: now.shifted(offset_ms - 300),
            });
            let at = boot(self.seconds);
            self.heard.hear(told, now, (at, at));
        }

        /// Each second so many times.
        fn listen(&mut self, seconds: u64, said: &[(&str, i64)]) {
            for second in 0..seconds {
                let said = if second % 2 == 0 { said } else { &[] };
                self.hear(1, said);
            }
        }

        fn peers(&self) -> Peers {
            self.heard.peers(self.wall(), boot(self.seconds))
        }

        fn offsets(&self) -> Vec<(String, i64)> {
            let clocks = self.peers().clocks.into_iter();
            clocks.map(|peer| (peer.name, peer.offset_ms)).collect()
        }
    }

    fn boot(seconds: u64) -> BootTime {
        BootTime::from_zero(Duration::from_secs(1_000 + seconds))
    }

    #[test]
    fn nothing_happens_by_date_before_everybody_was_heard_twice() {
        let mut bench = Bench::new();
        for second in 1..=8 {
            bench.hear(
                1,
                if second % 2 == 0 {
                    &[("b", -HOUR)]
                } else {
                    &[]
                },
            );
            let peers = bench.peers();
            assert_eq!(peers.listening, second < 6, "{second}");
            assert_eq!(peers.clocks.len(), usize::from(second >= 4), "{second}");
        }
        assert_eq!(bench.offsets(), [("b".to_owned(), 700 - HOUR)]);
    }

    #[test]
    fn a_clock_that_agrees_is_not_taken_for_one_that_lags() {
        let mut bench = Bench::new();
        bench.listen(8, &[("b", 0), ("c", 2_000)]);
        let agree = [("b".to_owned(), 0), ("c".to_owned(), 1_700)];
        assert_eq!(bench.offsets(), agree);
    }

    #[test]
    fn what_a_dead_one_left_and_what_is_read_late_say_nothing() {
        let mut bench = Bench::new();
        let left = Told {
            name: "dead".to_owned(),
            at: bench.wall().shifted(-HOUR),
        };
        for _ in 0..4 {
            bench.seconds += 1;
            // The second time it was sealed anew.
            let at = boot(bench.seconds);
            let told = std::iter::once(left.clone());
            bench.heard.hear(told, bench.wall(), (at, at));
        }
        bench.listen(8, &[("b", 0)]);
        assert_eq!(bench.offsets(), [("b".to_owned(), 0)]);

        bench.hear(60, &[("b", -50_000)]);
        assert!(bench.peers().listening, "nobody knows what happened");
        assert_eq!(bench.offsets(), [("b".to_owned(), 0)]);
        bench.listen(6, &[("b", -HOUR)]);
        assert!(!bench.peers().listening);
        assert_eq!(bench.offsets(), [("b".to_owned(), 700 - HOUR)]);
    }

    #[test]
    fn who_is_silent_counts_no_more_and_is_forgotten_after_an_hour() {
        let mut bench = Bench::new();
        bench.listen(8, &[("b", 0)]);
        bench.listen(9, &[]);
        assert_eq!(bench.offsets().len(), 1);
        bench.listen(2, &[]);
        assert_eq!(bench.offsets(), []);
        assert!(bench.heard.gone(boot(3_600)).is_empty());
        assert_eq!(bench.heard.gone(boot(3_700)), ["b"]);
        assert!(bench.heard.gone(boot(3_700)).is_empty());
    }

    #[test]
    fn an_own_clock_that_is_set_shows_at_once() {
        let mut bench = Bench::new();
        bench.listen(8, &[("b", 0)]);
        let ahead = bench.wall().shifted(HOUR);
        let peers = bench.heard.peers(ahead, boot(bench.seconds));
        assert_eq!(peers.clocks[0].offset_ms, -HOUR);
    }

    #[test]
    fn a_pause_is_noticed_before_the_next_reading() {
        let mut bench = Bench::new();
        bench.listen(8, &[]);
        assert!(!bench.peers().listening);
        bench.seconds += 4;
        assert!(bench.peers().listening);
    }

    #[test]
    fn a_clock_is_told_every_other_turn() {
        let mut heard = Heard::new(INTERVAL, boot(0));
        let told = (0..6).map(|second| heard.tells(boot(second)));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [true, false, true, false, true, false]
        );
    }
}
