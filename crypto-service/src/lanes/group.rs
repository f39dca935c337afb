//! Many jobs of one call: handed over under one lock, answered with one wake-up.

use multibuffer::LANES;

use super::call::{Call, Caller};
use super::class::{Kind, PoolId};
use super::compute::caught;
use super::job::{Entry, LaneJob};
use super::pool::Newcomer;
use super::{Ask, LaneError, Shared};

/// What a thread that serves connections does of one group itself, in nanoseconds. More goes to crypto threads.
const HERE: u64 = 300_000;

/// A job that is done where its caller stands.
struct Here<J> {
    at: usize,
    kind: Kind,
    ask: Ask,
    job: J,
}

/// Jobs for crypto threads.
struct There {
    /// The place of each in the group.
    places: Vec<usize>,
    pools: [Vec<Newcomer>; PoolId::ALL.len()],
}

/// A group under way.
struct Begun<'l, J: LaneJob> {
    here: Vec<Here<J>>,
    /// Who awaits the others, and their places in the group.
    away: Option<(Caller<'l, J::Answer>, Vec<usize>)>,
}

/// Does all of them, each for its own ask; answers in their order.
pub(super) async fn all<J: LaneJob>(
    shared: &Shared,
    jobs: Vec<(Ask, J)>,
) -> Vec<Result<J::Answer, LaneError>> {
    let _one_more = shared.crowd.enter();
    let mut answers = lost(jobs.len());
    let Begun { here, away } = begin(shared, jobs);
    do_here(shared, here, &mut answers).await;
    if let Some((caller, places)) = away {
        for (at, answer) in places.into_iter().zip(caller.answers().await) {
            if let Some(place) = answers.get_mut(at) {
                *place = answer;
            }
        }
    }
    answers
}

fn lost<T>(len: usize) -> Vec<Result<T, LaneError>> {
    std::iter::repeat_with(|| Err(LaneError::Lost))
        .take(len)
        .collect()
}

/// Hands over what is for crypto threads.
fn begin<J: LaneJob>(shared: &Shared, jobs: Vec<(Ask, J)>) -> Begun<'_, J> {
    let stays = stays(shared, &jobs);
    let is_here = |kind: Kind| stays && !kind.class().is_slow();
    let away = jobs.iter().filter(|(_, job)| !is_here(job.kind())).count();
    let (mut here, mut there) = (Vec::with_capacity(jobs.len() - away), There::new(away));
    let call = (away > 0).then(|| Call::many(away));
    for (at, (ask, job)) in jobs.into_iter().enumerate() {
        let kind = job.kind();
        match &call {
            Some(call) if !is_here(kind) => {
                let job = job.queued(call.ticket(there.places.len()));
                there.add(at, kind, ask, job);
            }
            _ => here.push(Here { at, kind, ask, job }),
        }
    }
    let (line, stats) = (None, &shared.compute.stats);
    let away = call.map(|call| (Caller { call, stats, line }, there.hand_over(shared)));
    Begun { here, away }
}

/// Whether the cheap jobs of a group are cheap together.
fn stays<J: LaneJob>(shared: &Shared, jobs: &[(Ask, J)]) -> bool {
    let kinds = jobs.iter().map(|(_, job)| job.kind());
    let cheap = kinds.filter(|kind| !kind.class().is_slow());
    let costs = cheap.map(|kind| shared.compute.stats.book(kind).cost());
    costs.sum::<u64>() <= HERE
}

impl There {
    fn new(len: usize) -> Self {
        Self {
            places: Vec::with_capacity(len),
            pools: Default::default(),
        }
    }

    fn add(&mut self, at: usize, kind: Kind, ask: Ask, job: super::job::Job) {
        let room = self.places.capacity();
        self.places.push(at);
        let Ask { tenant, deadline } = ask;
        let entry = Entry { job, deadline };
        if let Some(pool) = self.pools.get_mut(kind.pool().index()) {
            if pool.is_empty() {
                pool.reserve(room);
            }
            pool.push(Newcomer {
                tenant,
                kind,
                entry,
            });
        }
    }

    fn hand_over(self, shared: &Shared) -> Vec<usize> {
        for (id, many) in PoolId::ALL.into_iter().zip(self.pools) {
            if !many.is_empty() {
                shared.pool(id).push_all(&shared.compute.stats, many);
            }
        }
        self.places
    }
}

/// Up to eight of a kind at a time, with a turn for others in between.
async fn do_here<J: LaneJob>(
    shared: &Shared,
    mut jobs: Vec<Here<J>>,
    answers: &mut [Result<J::Answer, LaneError>],
) {
    jobs.sort_by_key(|job| job.kind.index());
    let mut jobs = jobs.into_iter().peekable();
    let mut batch = Vec::with_capacity(LANES);
    while let Some(Here { at, kind, ask, job }) = jobs.next() {
        if ask.is_late() {
            let error = LaneError::DeadlineExceeded;
            shared.compute.stats.refused(error);
            if let Some(answer) = answers.get_mut(at) {
                *answer = Err(error);
            }
        } else {
            batch.push((at, job));
        }
        let same = jobs.peek().is_some_and(|next| next.kind == kind);
        if same && batch.len() < LANES {
            continue;
        }
        compute(shared, kind, &mut batch, answers);
        if jobs.peek().is_some() && shared.crowd.is_crowded() {
            tokio::task::yield_now().await;
        }
    }
}

fn compute<J: LaneJob>(
    shared: &Shared,
    kind: Kind,
    batch: &mut Vec<(usize, J)>,
    answers: &mut [Result<J::Answer, LaneError>],
) {
    let (fill, begin) = (batch.len(), tokio::time::Instant::now());
    let done = |at, answer| {
        if let Some(place) = answers.get_mut(at) {
            *place = answer;
        }
    };
    // A panic leaves the answers of its batch lost, as they began.
    if caught(|| J::together(&shared.compute, kind, batch, done)).is_err() {
        batch.clear();
    }
    shared.compute.stats.book(kind).took(fill, begin.elapsed());
}
