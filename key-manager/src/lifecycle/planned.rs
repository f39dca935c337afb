//! Planned steps in the audit log: those that change what a key is good for.

use audit_log::{Act, Outcome};
use keyring::Action;

use super::{Lifecycle, LifecycleError};
use crate::vault::SetName;

impl Lifecycle {
    /// Records that a step is about to be done. The rest of the plan (standbys, acks, caps) changes nothing for anybody and stands in the
    /// set's record alone.
    pub(super) async fn record_planned(
        &self,
        name: &SetName,
        action: &Action,
    ) -> Result<Option<Act>, LifecycleError> {
        let (act, kid) = match action {
            Action::Promote { kid } => ("Promote", kid),
            Action::Retire { kid } => ("Retire", kid),
            Action::Destroy { kid } => ("Destroy", kid),
            Action::NoteCap { .. }
            | Action::GenerateStandby { .. }
            | Action::MarkPublished { .. } => return Ok(None),
        };
        let Some(audit) = &self.audit else {
            return Ok(None);
        };
        let act = Act {
            caller: "key-manager".to_owned(),
            act: act.to_owned(),
            tenant: name.tenant.clone(),
            key_set: name.name.clone(),
            subject: kid.clone(),
            ..Act::default()
        };
        let of = audit.append(act.clone()).await?;
        Ok(Some(Act { of, ..act }))
    }

    /// Records what came of it. A step that another replica did first counts as failed here.
    pub(super) async fn record_done(&self, begun: Option<Act>, done: bool) {
        let (Some(audit), Some(act)) = (&self.audit, begun) else {
            return;
        };
        let outcome = if done { Outcome::Done } else { Outcome::Failed };
        if let Err(error) = audit.append(Act { outcome, ..act }).await {
            tracing::error!(%error, "the end of a planned step is not recorded");
        }
    }
}
