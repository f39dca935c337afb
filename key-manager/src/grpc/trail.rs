//! The trail of a call in the audit log: begun before it takes effect, and what came of it.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use audit_log::{Act, Outcome};
use service_kit::identity::Caller;

use super::status::Failure;
use crate::audit::AuditLog;

/// Names are kept to so many characters: they come from outside, also where they do not fit.
const LONGEST: usize = 512;

/// The trail of one call.
#[derive(Debug)]
pub(super) struct Trail {
    log: Option<AuditLog>,
    act: Act,
    found: OnceLock<String>,
    begun: AtomicU64,
}

impl Trail {
    pub(super) fn new(log: Option<&AuditLog>, caller: &Caller, act: &str) -> Self {
        let act = Act {
            caller: clip(caller.name()),
            act: act.to_owned(),
            ..Act::default()
        };
        Self {
            log: log.cloned(),
            act,
            found: OnceLock::new(),
            begun: AtomicU64::new(0),
        }
    }

    pub(super) fn on(mut self, tenant: &str, key_set: &str) -> Self {
        let tenant = if tenant.is_empty() { "default" } else { tenant };
        (self.act.tenant, self.act.key_set) = (clip(tenant), clip(key_set));
        self
    }

    pub(super) fn about(mut self, subject: &str) -> Self {
        self.act.subject = clip(subject);
        self
    }

    pub(super) fn request(mut self, id: &str) -> Self {
        self.act.request_id = clip(id);
        self
    }

    pub(super) fn force(mut self, force: bool) -> Self {
        self.act.force = force;
        self
    }

    /// What the call turned out to be about.
    pub(super) fn found(&self, subject: &str) {
        self.found.get_or_init(|| clip(subject));
    }

    /// Records that the caller may, and that the act begins. Nothing may be changed before this.
    pub(super) async fn begin(&self) -> Result<(), Failure> {
        if let Some(log) = &self.log {
            let seq = log.append(self.act.clone()).await?;
            self.begun.store(seq, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Records what came of it. What was done stays done where this cannot be written: its beginning is on the disk.
    pub(super) async fn end<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        let Some(log) = &self.log else {
            return result;
        };
        let begun = self.begun.load(Ordering::Relaxed);
        let outcome = match &result {
            Ok(_) if begun == 0 => Outcome::Read,
            Ok(_) => Outcome::Done,
            Err(failure) if failure.is_refusal() => Outcome::Refused,
            Err(_) => Outcome::Failed,
        };
        let (reason, fields) = match &result {
            Ok(_) => ("", Vec::new()),
            Err(failure) => (failure.reason(), failure.fields()),
        };
        let mut act = Act {
            outcome,
            reason: reason.to_owned(),
            fields,
            of: begun,
            ..self.act.clone()
        };
        if let Some(found) = self.found.get() {
            act.subject.clone_from(found);
        }
        if let Err(error) = log.append(act).await {
            tracing::error!(%error, act = self.act.act, "what came of a call is not recorded");
        }
        result
    }
}

fn clip(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { '?' } else { letter };
    text.chars().take(LONGEST).map(shown).collect()
}
