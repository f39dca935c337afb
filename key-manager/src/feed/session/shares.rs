//! Shares of invocation budgets: what an instance may encrypt with keys whose mode bears only so many encryptions.
//!
//! A share is granted in the key's record first, then in the instance's, then sent with the set. Whoever dies in between wastes a share.

use std::sync::Arc;

use keyring::invocations::{SHARE, is_limited, wants_share};

use super::Session;
use crate::{
    feed::{FeedError, Report},
    vault::{Changes, Instance, SetEntry, SetName},
};

impl Session<'_> {
    /// Gives the instance a share of each key among these that it is fed, that has a budget, and of which it has no share yet.
    pub(super) async fn share_out(&self, entries: &[Arc<SetEntry>]) -> Result<(), FeedError> {
        for entry in entries {
            let set = &entry.set;
            if !set.versions.iter().any(is_limited) || !self.scope.covers(&SetName::of(set)) {
                continue;
            }
            for version in &set.versions {
                let has = self.invocations(&set.tenant, &version.kid);
                if wants_share(version, has.granted, has.used) {
                    self.share(&SetName::of(set), &version.kid).await?;
                }
            }
        }
        Ok(())
    }

    /// The same for what was written since the last message.
    pub(super) async fn share_out_changed(&self) -> Result<(), FeedError> {
        let vault = self.feed.lifecycle.vault();
        match vault.changes_since(self.sent, usize::MAX) {
            Changes::Some { entries, .. } => self.share_out(&entries).await,
            Changes::None | Changes::TooOld => Ok(()),
        }
    }

    /// Gives it another share of each reported key of which half is used. The delta that follows says so.
    pub(super) async fn share_more(&self, report: &Report) -> Result<(), FeedError> {
        for (tenant, kid, _) in &report.invocations {
            let has = self.invocations(tenant, kid);
            if has.granted == 0 {
                continue;
            }
            let (_, entries) = self.feed.lifecycle.vault().all();
            let of_key = |entry: &&Arc<SetEntry>| {
                entry.set.tenant == *tenant && entry.set.version(kid).is_some()
            };
            let Some(entry) = entries.iter().find(of_key) else {
                continue;
            };
            let wants = |version| wants_share(version, has.granted, has.used);
            if entry.set.version(kid).is_some_and(wants) {
                self.share(&SetName::of(&entry.set), kid).await?;
            }
        }
        Ok(())
    }

    fn invocations(&self, tenant: &str, kid: &str) -> keyring::Invocations {
        let known = self.feed.lifecycle.vault().instance(&self.name);
        known.map_or_else(Default::default, |instance| {
            instance.subscriber.invocations_of(tenant, kid)
        })
    }

    async fn share(&self, name: &SetName, kid: &str) -> Result<(), FeedError> {
        if !self.feed.lifecycle.grant_share(name, kid).await? {
            return Ok(());
        }
        let tenant = name.tenant.as_str();
        let grant = |present: Option<&Instance>| -> Result<_, FeedError> {
            let mut next = present.cloned().ok_or(FeedError::Broken)?;
            next.subscriber.grant_invocations(tenant, kid, SHARE);
            Ok(Some(next))
        };
        let vault = self.feed.lifecycle.vault();
        vault.update_instance(&self.name, grant).await.map(|_| ())
    }
}
