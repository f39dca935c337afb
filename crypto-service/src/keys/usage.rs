//! What the instance has signed: the highest `exp` per key, and which keys have a signature under way. And what it has encrypted with keys
//! that bear only so many encryptions.
//!
//! The key-manager retires a key early only when every instance says that nothing of it is still being made, so a
//! signature counts as under way from *before* its key is looked up in the snapshot for the last time.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the marks of one report may take, in bytes: with the keys that are under way, the message stays below the
/// 1 MiB that the key-manager reads. What finds no room goes with the next.
const ROOM_PER_REPORT: usize = 448 * 1024;
/// What a mark takes on the wire besides its names.
const MARK_OVERHEAD: usize = 32;

/// One key's usage, shared by every snapshot that holds the key.
#[derive(Debug)]
pub(crate) struct Usage {
    tenant: Arc<str>,
    kid: Arc<str>,
    highest_exp: AtomicU64,
    reported_exp: AtomicU64,
    in_flight: AtomicU32,
    /// Encryptions made, those reported, and those that the key-manager has granted, since the start of the instance.
    invoked: AtomicU64,
    reported_invoked: AtomicU64,
    granted: AtomicU64,
    enlisted: AtomicBool,
}

impl Usage {
    /// A key that has signed nothing.
    pub(crate) fn new(tenant: Arc<str>, kid: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            tenant,
            kid,
            highest_exp: AtomicU64::new(0),
            reported_exp: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            invoked: AtomicU64::new(0),
            reported_invoked: AtomicU64::new(0),
            granted: AtomicU64::new(0),
            enlisted: AtomicBool::new(false),
        })
    }

    /// So many encryptions are granted, all in all. A message that was overtaken takes nothing back.
    pub(crate) fn allow(&self, granted: u64) {
        self.granted.fetch_max(granted, Ordering::AcqRel);
    }

    /// Counts one encryption, where it is granted.
    fn take(&self) -> bool {
        let granted = self.granted.load(Ordering::Acquire);
        let one_more = |made: u64| (made < granted).then(|| made.saturating_add(1));
        self.invoked
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .is_ok()
    }

    fn weight(&self) -> usize {
        self.tenant.len() + self.kid.len() + MARK_OVERHEAD
    }
}

/// A signature under way. It counts until dropped, also when its caller has gone.
pub(crate) struct InFlight(Arc<Usage>);

impl InFlight {
    /// Notes the `exp` of the token that is about to be signed.
    pub(crate) fn will_expire(&self, exp: u64) {
        self.0.highest_exp.fetch_max(exp, Ordering::AcqRel);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InFlight").field(&self.0.kid).finish()
    }
}

/// The highest `exp` of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HighWater {
    pub(crate) tenant: Arc<str>,
    pub(crate) kid: Arc<str>,
    /// Seconds since the epoch.
    pub(crate) exp: u64,
}

/// The encryptions made with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invoked {
    pub(crate) tenant: Arc<str>,
    pub(crate) kid: Arc<str>,
    pub(crate) used: u64,
}

/// What an ack or a renewal reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) high_water: Vec<HighWater>,
    pub(crate) in_flight: Vec<Arc<str>>,
    pub(crate) invoked: Vec<Invoked>,
}

/// By tenant and kid.
type Signed = HashMap<(Arc<str>, Arc<str>), Arc<Usage>>;

/// The keys that have signed since the start of the instance.
#[derive(Debug, Default)]
pub(crate) struct UsageBook {
    signed: Mutex<Signed>,
    /// Where the next report begins, so that no key waits behind the same others each time.
    next: AtomicUsize,
}

impl UsageBook {
    /// Begins a signature. Only a key's first ones take the lock.
    pub(crate) fn begin(&self, usage: &Arc<Usage>) -> InFlight {
        usage.in_flight.fetch_add(1, Ordering::AcqRel);
        self.enlist(usage);
        // The caller looks at the snapshot next. Either it sees the new one, or `report` sees its signature.
        fence(Ordering::SeqCst);
        InFlight(Arc::clone(usage))
    }

    /// Takes one of the encryptions that are granted; false where all of them are used up.
    pub(crate) fn invoke(&self, usage: &Arc<Usage>) -> bool {
        self.enlist(usage);
        usage.take()
    }

    fn enlist(&self, usage: &Arc<Usage>) {
        if !usage.enlisted.load(Ordering::Acquire) {
            let key = (Arc::clone(&usage.tenant), Arc::clone(&usage.kid));
            self.lock().insert(key, Arc::clone(usage));
            // Only once it is in the book: nobody may pass here while no report would name the key.
            usage.enlisted.store(true, Ordering::Release);
        }
    }

    /// What rose since the last report, and what is under way. A key whose set went away and came back keeps its mark.
    pub(crate) fn report(&self) -> Report {
        let (mut report, mut room) = (Report::default(), ROOM_PER_REPORT);
        let mut left_out = None;
        fence(Ordering::SeqCst);
        let signed = self.lock();
        let start = self.next.load(Ordering::Relaxed);
        let turns = signed.values().enumerate().cycle();
        for (place, usage) in turns
            .skip(start.checked_rem(signed.len()).unwrap_or_default())
            .take(signed.len())
        {
            // In flight is read first: a signature that ends in between has then already noted its `exp`.
            if usage.in_flight.load(Ordering::Acquire) > 0 {
                report.in_flight.push(Arc::clone(&usage.kid));
            }
            let used = usage.invoked.load(Ordering::Acquire);
            if usage.reported_invoked.load(Ordering::Acquire) < used {
                match room.checked_sub(usage.weight()) {
                    None => {
                        left_out.get_or_insert(place);
                    }
                    Some(left) => {
                        room = left;
                        usage.reported_invoked.store(used, Ordering::Release);
                        let (tenant, kid) = (Arc::clone(&usage.tenant), Arc::clone(&usage.kid));
                        report.invoked.push(Invoked { tenant, kid, used });
                    }
                }
            }
            let exp = usage.highest_exp.load(Ordering::Acquire);
            if usage.reported_exp.load(Ordering::Acquire) >= exp {
                continue;
            }
            let Some(left) = room.checked_sub(usage.weight()) else {
                left_out.get_or_insert(place);
                continue;
            };
            room = left;
            usage.reported_exp.store(exp, Ordering::Release);
            let (tenant, kid) = (Arc::clone(&usage.tenant), Arc::clone(&usage.kid));
            report.high_water.push(HighWater { tenant, kid, exp });
        }
        self.next
            .store(left_out.unwrap_or_default(), Ordering::Relaxed);
        report
    }

    /// A report may have been lost with its stream: the next one tells everything again.
    pub(crate) fn forget_reports(&self) {
        for usage in self.lock().values() {
            usage.reported_exp.store(0, Ordering::Release);
            usage.reported_invoked.store(0, Ordering::Release);
        }
    }

    /// The usage of a key that has signed before, so that a new snapshot continues it.
    pub(crate) fn known(&self, tenant: &Arc<str>, kid: &Arc<str>) -> Option<Arc<Usage>> {
        self.lock()
            .get(&(Arc::clone(tenant), Arc::clone(kid)))
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Signed> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(kid: &str, exp: u64) -> HighWater {
        HighWater {
            tenant: "default".into(),
            kid: kid.into(),
            exp,
        }
    }

    #[test]
    fn only_what_rose_is_reported_and_a_new_stream_hears_everything() {
        let book = UsageBook::default();
        let usage = Usage::new("default".into(), "k1".into());
        let signing = book.begin(&usage);
        signing.will_expire(200);
        signing.will_expire(100);
        assert_eq!(
            book.report(),
            Report {
                high_water: vec![mark("k1", 200)],
                in_flight: vec!["k1".into()],
                invoked: Vec::new(),
            }
        );
        drop(signing);
        assert_eq!(book.report(), Report::default());
        book.begin(&usage).will_expire(300);
        assert_eq!(book.report().high_water, [mark("k1", 300)]);
        book.forget_reports();
        assert_eq!(book.report().high_water, [mark("k1", 300)]);
    }

    #[test]
    fn every_mark_is_told_once_however_many_there_are_and_no_report_is_too_large() {
        let book = UsageBook::default();
        let (tenant, keys): (Arc<str>, usize) = ("t".repeat(64).into(), 9_000);
        for number in 0..keys {
            let usage = Usage::new(Arc::clone(&tenant), format!("{number:0>128}").into());
            book.begin(&usage).will_expire(100);
        }
        let (mut told, mut reports) = (std::collections::HashSet::new(), 0);
        while told.len() < keys {
            let marks = book.report().high_water;
            let bytes: usize = marks
                .iter()
                .map(|mark| mark.tenant.len() + mark.kid.len() + MARK_OVERHEAD)
                .sum();
            assert!(!marks.is_empty() && bytes <= ROOM_PER_REPORT, "{bytes}");
            for mark in marks {
                assert!(told.insert(mark.kid), "told twice");
            }
            reports += 1;
        }
        assert!(reports > 1, "one report had room for all");
        assert_eq!(book.report(), Report::default());
    }

    #[test]
    fn a_key_that_signs_all_the_time_keeps_no_other_from_being_told() {
        let book = UsageBook::default();
        let kid = |number: usize| -> Arc<str> { format!("{number:0>128}").into() };
        let usages: Vec<_> = (0..9_000)
            .map(|number| Usage::new("t".into(), kid(number)))
            .collect();
        let mut told = std::collections::HashSet::new();
        for round in 1..20 {
            for usage in &usages {
                book.begin(usage).will_expire(round);
            }
            told.extend(book.report().high_water.into_iter().map(|mark| mark.kid));
        }
        assert_eq!(told.len(), usages.len());
    }

    #[test]
    fn an_instance_encrypts_as_often_as_it_is_granted_and_not_once_more() {
        let book = UsageBook::default();
        let usage = Usage::new("default".into(), "k1".into());
        assert!(!book.invoke(&usage), "nothing is granted yet");
        usage.allow(1_000);
        usage.allow(10);
        let made: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..500).filter(|_| book.invoke(&usage)).count()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(made, 1_000);
        let told = book.report().invoked;
        assert_eq!((told.len(), told[0].used), (1, 1_000));
        assert_eq!(book.report(), Report::default(), "only what rose");
        usage.allow(1_001);
        assert!(book.invoke(&usage) && !book.invoke(&usage));
        book.forget_reports();
        assert_eq!(book.report().invoked[0].used, 1_001);
    }

    #[test]
    fn a_key_that_has_signed_is_known_by_name() {
        let book = UsageBook::default();
        let (tenant, kid): (Arc<str>, Arc<str>) = ("default".into(), "k1".into());
        assert!(book.known(&tenant, &kid).is_none());
        let usage = Usage::new(Arc::clone(&tenant), Arc::clone(&kid));
        drop(book.begin(&usage));
        assert!(
            book.known(&tenant, &kid)
                .is_some_and(|known| Arc::ptr_eq(&known, &usage))
        );
    }
}
