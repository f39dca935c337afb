//! A line in which tenants share by cost: deficit round robin (Shreedhar and Varghese, 1995), first in first out
//! within a tenant.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Tenants whose empty line is kept for their next job.
const KEPT: usize = 64;

/// What waits, by tenant.
#[derive(Debug)]
pub(super) struct Fair<E> {
    lines: Vec<Line<E>>,
    /// Places in `lines` without a tenant.
    free: Vec<usize>,
    places: HashMap<Arc<str>, usize>,
    /// Tenants with something in their line, the next one in front.
    turns: VecDeque<usize>,
    /// Where the latest job went: the next one is often of the same tenant.
    latest: usize,
    len: usize,
}

#[derive(Debug)]
struct Line<E> {
    tenant: Arc<str>,
    waiting: VecDeque<(u64, E)>,
    /// The cost of `waiting`, in nanoseconds.
    cost: u64,
    /// What the tenant may still take of its turns, in nanoseconds.
    credit: u64,
}

impl<E> Default for Fair<E> {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            turns: VecDeque::new(),
            latest: 0,
            len: 0,
        }
    }
}

impl<E> Fair<E> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The cost of what waits for the tenant, and how many tenants there are with it.
    pub(super) fn share(&self, tenant: &Arc<str>) -> (u64, u64) {
        let own = self.find(tenant).and_then(|place| self.lines.get(place));
        let own = own.map_or(0, |line| line.cost);
        let others = self.turns.len() + usize::from(own == 0);
        (own, u64::try_from(others).unwrap_or(u64::MAX).max(1))
    }

    pub(super) fn push(&mut self, tenant: &Arc<str>, cost: u64, entry: E) {
        let place = self.find(tenant).unwrap_or_else(|| self.open(tenant));
        self.latest = place;
        let Some(line) = self.lines.get_mut(place) else {
            return;
        };
        if line.waiting.is_empty() {
            self.turns.push_back(place);
        }
        line.waiting.push_back((cost, entry));
        line.cost = line.cost.saturating_add(cost);
        self.len += 1;
    }

    /// The first of the tenant whose turn it is.
    pub(super) fn front(&self) -> Option<&E> {
        let line = self.lines.get(*self.turns.front()?)?;
        line.waiting.front().map(|(_, entry)| entry)
    }

    /// The next in turn; `turn` is what a tenant may take each time, in nanoseconds.
    pub(super) fn pop(&mut self, turn: u64) -> Option<(u64, E)> {
        loop {
            let line = self.lines.get_mut(*self.turns.front()?)?;
            let cost = line.waiting.front()?.0;
            if let Some(rest) = line.credit.checked_sub(cost) {
                line.credit = rest;
                return self.pop_front();
            }
            line.credit = line.credit.saturating_add(turn.max(1));
            self.turns.rotate_left(1);
        }
    }

    /// Takes [`Fair::front`] out, whatever its cost.
    pub(super) fn pop_front(&mut self) -> Option<(u64, E)> {
        let place = *self.turns.front()?;
        let line = self.lines.get_mut(place)?;
        let (cost, entry) = line.waiting.pop_front()?;
        line.cost = line.cost.saturating_sub(cost);
        self.len -= 1;
        if line.waiting.is_empty() {
            line.credit = 0;
            self.turns.pop_front();
            self.close(place);
        }
        Some((cost, entry))
    }

    /// Drops what does not pass.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&E) -> bool) {
        self.turns.clear();
        self.len = 0;
        for place in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(place) else {
                continue;
            };
            if line.waiting.is_empty() {
                continue;
            }
            line.waiting.retain(|(_, entry)| keep(entry));
            line.cost = line.waiting.iter().map(|(cost, _)| cost).sum();
            self.len += line.waiting.len();
            if line.waiting.is_empty() {
                line.credit = 0;
                self.close(place);
            } else {
                self.turns.push_back(place);
            }
        }
    }

    fn find(&self, tenant: &Arc<str>) -> Option<usize> {
        let latest = self.lines.get(self.latest);
        if latest.is_some_and(|line| Arc::ptr_eq(&line.tenant, tenant)) {
            return Some(self.latest);
        }
        self.places.get(tenant).copied()
    }

    fn open(&mut self, tenant: &Arc<str>) -> usize {
        let line = Line {
            tenant: Arc::clone(tenant),
            waiting: VecDeque::new(),
            cost: 0,
            credit: 0,
        };
        let place = self.free.pop().unwrap_or(self.lines.len());
        match self.lines.get_mut(place) {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
        self.places.insert(Arc::clone(tenant), place);
        place
    }

    /// Forgets a tenant with nothing in its line, where there are many.
    fn close(&mut self, place: usize) {
        if self.places.len() <= KEPT {
            return;
        }
        if let Some(line) = self.lines.get_mut(place) {
            self.places.remove(&line.tenant);
            // No look-up may find the place by the name any more.
            line.tenant = Arc::from("");
            line.waiting = VecDeque::new();
            self.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(fair: &mut Fair<&'static str>, turn: u64) -> Vec<&'static str> {
        std::iter::from_fn(|| fair.pop(turn))
            .map(|(_, entry)| entry)
            .collect()
    }

    #[test]
    fn tenants_take_turns_and_stay_in_order_within() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut fair = Fair::default();
        for entry in ["a1", "a2", "a3", "a4"] {
            fair.push(&a, 10, entry);
        }
        for entry in ["b1", "b2"] {
            fair.push(&b, 10, entry);
        }
        assert_eq!(order(&mut fair, 10), ["a1", "b1", "a2", "b2", "a3", "a4"]);
        assert!(fair.is_empty());
    }

    #[test]
    fn what_is_shared_is_cost_and_not_count() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut fair = Fair::default();
        for _ in 0..3 {
            fair.push(&a, 40, "dear");
        }
        for _ in 0..8 {
            fair.push(&b, 10, "cheap");
        }
        let first: Vec<_> = order(&mut fair, 10).into_iter().take(10).collect();
        let dear = first.iter().filter(|entry| **entry == "dear").count();
        assert_eq!(dear, 2, "{first:?}");
    }

    #[test]
    fn a_share_is_what_waits_for_the_tenant_among_those_who_wait() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut fair = Fair::default();
        assert_eq!(fair.share(&a), (0, 1));
        fair.push(&a, 30, ());
        fair.push(&a, 30, ());
        // The same name is the same tenant, whoever allocated it.
        assert_eq!(fair.share(&"a".into()), (60, 1));
        assert_eq!(fair.share(&b), (0, 2));
    }

    #[test]
    fn what_is_dropped_takes_no_turn() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut fair = Fair::default();
        for (tenant, entry) in [(&a, "a1"), (&a, "a2"), (&b, "b1")] {
            fair.push(tenant, 10, entry);
        }
        fair.retain(|entry| !entry.starts_with('a'));
        assert_eq!((fair.len(), fair.share(&a)), (1, (0, 2)));
        assert_eq!(order(&mut fair, 10), ["b1"]);
    }

    #[test]
    fn tenants_that_come_and_go_are_forgotten() {
        let mut fair = Fair::default();
        for number in 0..1000 {
            fair.push(&format!("t{number}").into(), 1, number);
        }
        assert_eq!(std::iter::from_fn(|| fair.pop(1)).count(), 1000);
        assert!(fair.places.len() <= KEPT, "{}", fair.places.len());
        for number in 0..1000 {
            fair.push(&format!("u{number}").into(), 1, number);
            assert_eq!(fair.pop(1).map(|(_, entry)| entry), Some(number));
        }
        assert!(fair.lines.len() <= 1000 + KEPT);
    }
}
