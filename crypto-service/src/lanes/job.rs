//! What stands in a line: a job with the right to answer it.

use multibuffer::LANES;
use tokio::time::Instant;

use super::agree::{AgreedSecret, Agreement};
use super::call::{Appointment, Ticket, Waiting};
use super::class::{Class, Kind};
use super::compute::{self, Compute, Verdict, caught};
use super::fair::Fair;
use super::stats::{Lines, Stats};
use super::{LaneError, SignJob, VerifyJob};

/// Whatever can wait.
pub(super) trait LaneJob: Sized + Send + 'static {
    type Answer: Send + 'static;

    fn kind(&self) -> Kind;

    fn queued(self, ticket: Ticket<Self::Answer>) -> Job;

    /// Does it here and now.
    fn alone(self) -> Result<Self::Answer, LaneError>;

    /// Does up to eight of one kind here and now.
    fn together<I>(
        compute: &Compute,
        kind: Kind,
        items: &mut Vec<(I, Self)>,
        done: impl FnMut(I, Result<Self::Answer, LaneError>),
    );
}

impl LaneJob for SignJob {
    type Answer = String;

    fn kind(&self) -> Kind {
        self.key.kind()
    }

    fn queued(self, ticket: Ticket<String>) -> Job {
        Job::Sign(ticket, self)
    }

    fn alone(self) -> Result<String, LaneError> {
        compute::token(self)
    }

    fn together<I>(
        compute: &Compute,
        kind: Kind,
        items: &mut Vec<(I, Self)>,
        mut done: impl FnMut(I, Result<String, LaneError>),
    ) {
        compute.sign(
            kind,
            items,
            |(_, job)| job,
            |(to, job), signature| done(to, signature.map(|signature| job.token.finish(signature))),
        );
    }
}

impl LaneJob for VerifyJob {
    type Answer = Verdict;

    fn kind(&self) -> Kind {
        self.key.kind()
    }

    fn queued(self, ticket: Ticket<Verdict>) -> Job {
        Job::Verify(ticket, self)
    }

    fn alone(self) -> Result<Verdict, LaneError> {
        Ok(compute::verdict(&self))
    }

    fn together<I>(
        compute: &Compute,
        kind: Kind,
        items: &mut Vec<(I, Self)>,
        mut done: impl FnMut(I, Result<Verdict, LaneError>),
    ) {
        compute.verify(
            kind,
            items,
            |(_, job)| job,
            |(to, _), verdict| done(to, Ok(verdict)),
        );
    }
}

/// Anything else, one at a time, or with its key agreement made together with others.
pub(super) struct Other<F> {
    pub(super) class: Class,
    pub(super) agreement: Option<Agreement>,
    pub(super) work: F,
}

impl<T, F> Other<F>
where
    F: FnOnce(Option<AgreedSecret>) -> T,
{
    fn run(self) -> T {
        (self.work)(self.agreement.and_then(Agreement::into_shared))
    }
}

impl<T, F> LaneJob for Other<F>
where
    T: Send + 'static,
    F: FnOnce(Option<AgreedSecret>) -> T + Send + 'static,
{
    type Answer = T;

    fn kind(&self) -> Kind {
        match self.agreement {
            Some(_) => Kind::Agree,
            None => Kind::One(self.class),
        }
    }

    fn queued(self, ticket: Ticket<T>) -> Job {
        Job::Other(Box::new(Ticketed {
            ticket,
            other: self,
        }))
    }

    fn alone(self) -> Result<T, LaneError> {
        Ok(self.run())
    }

    fn together<I>(
        compute: &Compute,
        _kind: Kind,
        items: &mut Vec<(I, Self)>,
        mut done: impl FnMut(I, Result<T, LaneError>),
    ) {
        compute.agree(
            items
                .iter_mut()
                .filter_map(|(_, other)| other.agreement.as_mut()),
        );
        for (to, other) in items.drain(..) {
            done(to, caught(|| other.run()));
        }
    }
}

/// A job in a line.
pub(super) enum Job {
    Sign(Ticket<String>, SignJob),
    Verify(Ticket<Verdict>, VerifyJob),
    Other(Box<dyn Work>),
}

/// Work of whatever type, with the right to answer it.
pub(super) trait Work: Send {
    fn waits(&self, waiting: Waiting, stats: &Stats);
    fn leaves(&self, stats: &Stats) -> bool;
    fn appoint(&self) -> Appointment;
    fn is_wanted(&self) -> bool;
    /// The key agreement that it begins with.
    fn agreement(&mut self) -> Option<&mut Agreement>;
    fn refuse(self: Box<Self>, error: LaneError);
    /// What is left is to answer.
    fn run(self: Box<Self>) -> Box<dyn Done>;
}

/// Work that is done, of whatever type.
pub(super) trait Done: Send {
    fn answer(self: Box<Self>);
}

/// What a job has come to.
type Answer<T> = (Ticket<T>, Result<T, LaneError>);

impl<T: Send> Done for Answer<T> {
    fn answer(self: Box<Self>) {
        let (ticket, result) = *self;
        ticket.answer(result);
    }
}

struct Ticketed<T, F> {
    ticket: Ticket<T>,
    other: Other<F>,
}

impl<T, F> Work for Ticketed<T, F>
where
    T: Send + 'static,
    F: FnOnce(Option<AgreedSecret>) -> T + Send + 'static,
{
    fn waits(&self, waiting: Waiting, stats: &Stats) {
        self.ticket.waits(waiting, stats);
    }

    fn leaves(&self, stats: &Stats) -> bool {
        self.ticket.leaves(stats)
    }

    fn appoint(&self) -> Appointment {
        self.ticket.appoint()
    }

    fn is_wanted(&self) -> bool {
        self.ticket.is_wanted()
    }

    fn agreement(&mut self) -> Option<&mut Agreement> {
        self.other.agreement.as_mut()
    }

    fn refuse(self: Box<Self>, error: LaneError) {
        self.ticket.answer(Err(error));
    }

    fn run(self: Box<Self>) -> Box<dyn Done> {
        let Self { ticket, other } = *self;
        Box::new((ticket, caught(|| other.run())))
    }
}

impl Job {
    pub(super) fn waits(&self, waiting: Waiting, stats: &Stats) {
        match self {
            Self::Sign(ticket, _) => ticket.waits(waiting, stats),
            Self::Verify(ticket, _) => ticket.waits(waiting, stats),
            Self::Other(work) => work.waits(waiting, stats),
        }
    }

    pub(super) fn leaves(&self, stats: &Stats) -> bool {
        match self {
            Self::Sign(ticket, _) => ticket.leaves(stats),
            Self::Verify(ticket, _) => ticket.leaves(stats),
            Self::Other(work) => work.leaves(stats),
        }
    }

    /// See [`Ticket::appoint`].
    pub(super) fn appoint(&self) -> Appointment {
        match self {
            Self::Sign(ticket, _) => ticket.appoint(),
            Self::Verify(ticket, _) => ticket.appoint(),
            Self::Other(work) => work.appoint(),
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        match self {
            Self::Sign(ticket, _) => ticket.is_wanted(),
            Self::Verify(ticket, _) => ticket.is_wanted(),
            Self::Other(work) => work.is_wanted(),
        }
    }

    pub(super) fn refuse(self, error: LaneError) {
        match self {
            Self::Sign(ticket, _) => ticket.answer(Err(error)),
            Self::Verify(ticket, _) => ticket.answer(Err(error)),
            Self::Other(work) => work.refuse(error),
        }
    }
}

/// A job in a line, and until when.
pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) deadline: Option<Instant>,
}

impl Entry {
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// Which line something is taken from.
#[derive(Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) stats: &'s Stats,
    pub(super) lines: Lines,
    pub(super) kind: Kind,
}

/// What a thread has taken, and what it has come to. Its memory serves batch after batch.
///
/// It is turned away, computed and answered in three steps, because a thread that computes at the lowest priority must hold no lock
/// that others wait for: see [`pool`](super::pool).
#[derive(Default)]
pub(super) struct Batch {
    signs: Vec<(Ticket<String>, SignJob)>,
    signed: Vec<Answer<String>>,
    verifies: Vec<(Ticket<Verdict>, VerifyJob)>,
    verified: Vec<Answer<Verdict>>,
    others: Vec<Box<dyn Work>>,
    done: Vec<Box<dyn Done>>,
    late: Vec<Job>,
    unwanted: Vec<Job>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.signs.len() + self.verifies.len() + self.others.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.late.is_empty() && self.unwanted.is_empty()
    }

    /// Takes up to `most` out of a line. What nobody wants any more, or not in time, is sorted out; it is dropped and
    /// answered only when the line's lock is free again. Returns the cost of the rest.
    pub(super) fn fill(&mut self, line: &mut Fair<Entry>, most: usize, from: Source<'_>) -> u64 {
        let Source { stats, lines, kind } = from;
        let (turn, now, mut spent) = (stats.book(kind).cost(), Instant::now(), 0_u64);
        while self.len() < most {
            let Some((cost, entry)) = line.pop(turn) else {
                break;
            };
            if !entry.job.leaves(stats) {
                stats.dropped(kind, lines);
                self.unwanted.push(entry.job);
            } else if entry.is_late(now) {
                self.late.push(entry.job);
            } else {
                spent = spent.saturating_add(cost);
                self.add(entry.job);
            }
        }
        spent
    }

    fn add(&mut self, job: Job) {
        match job {
            Job::Sign(ticket, job) => self.signs.push((ticket, job)),
            Job::Verify(ticket, job) => self.verifies.push((ticket, job)),
            Job::Other(work) => self.others.push(work),
        }
    }

    /// Turns away, computes and answers.
    pub(super) fn run(&mut self, compute: &Compute, kind: Kind) {
        self.turn_away(&compute.stats);
        self.compute(compute, kind);
        self.answer();
    }

    /// Answers what came too late, and drops what nobody wants.
    pub(super) fn turn_away(&mut self, stats: &Stats) {
        self.unwanted.clear();
        for job in self.late.drain(..) {
            stats.refused(LaneError::DeadlineExceeded);
            job.refuse(LaneError::DeadlineExceeded);
        }
    }

    /// A panic loses what was taken, and nothing else.
    pub(super) fn compute(&mut self, compute: &Compute, kind: Kind) {
        if caught(|| self.compute_all(compute, kind)).is_err() {
            // What was taken is dropped, and so says that its answer is lost.
            self.signs.clear();
            self.verifies.clear();
            self.others.clear();
        }
    }

    fn compute_all(&mut self, compute: &Compute, kind: Kind) {
        by_filling(compute, kind, &mut self.signs, &mut self.signed);
        by_filling(compute, kind, &mut self.verifies, &mut self.verified);
        let (begin, fill) = (Instant::now(), self.others.len());
        compute.agree(self.others.iter_mut().filter_map(|work| work.agreement()));
        self.done.extend(self.others.drain(..).map(Work::run));
        compute.stats.book(kind).took(fill, begin.elapsed());
    }

    /// Gives everyone their answer.
    pub(super) fn answer(&mut self) {
        for (ticket, answer) in self.signed.drain(..) {
            ticket.answer(answer);
        }
        for (ticket, answer) in self.verified.drain(..) {
            ticket.answer(answer);
        }
        for done in self.done.drain(..) {
            done.answer();
        }
    }
}

fn by_filling<J: LaneJob>(
    compute: &Compute,
    kind: Kind,
    jobs: &mut Vec<(Ticket<J::Answer>, J)>,
    answers: &mut Vec<Answer<J::Answer>>,
) {
    while !jobs.is_empty() {
        let rest = jobs.split_off(jobs.len().min(LANES));
        let (begin, fill) = (Instant::now(), jobs.len());
        J::together(compute, kind, jobs, |to, answer| answers.push((to, answer)));
        compute.stats.book(kind).took(fill, begin.elapsed());
        // The usual batch is one filling: its memory is kept.
        if !rest.is_empty() {
            *jobs = rest;
        }
    }
}
