//! From one snapshot to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{KeySet, KeySetSpec, PublicHalf, Version, VersionSpec};
use super::revoked::TokensSpec;
use super::snapshot::{Snapshot, Tenant, is_public};
use super::usage::{Usage, UsageBook};

/// Tenant and name.
pub(crate) type SetName = (Arc<str>, Arc<str>);

/// A snapshot under construction; what did not change is taken over from the one before.
pub(super) struct Edit<'a> {
    pub(super) usage: &'a UsageBook,
    pub(super) before: &'a Snapshot,
    pub(super) next: &'a mut Snapshot,
}

impl Edit<'_> {
    pub(super) fn put_all(&mut self, sets: Vec<KeySetSpec>) -> Vec<SetName> {
        let mut names = Vec::with_capacity(sets.len());
        for (tenant, sets) in by_tenant(sets) {
            let mut edited = self.tenant(&tenant);
            let mut publication_changed = false;
            for spec in sets {
                let set = Arc::new(self.build(Arc::clone(&tenant), spec));
                names.push((Arc::clone(&tenant), Arc::clone(&set.name)));
                let before = edited.put(&set);
                publication_changed |= is_public(&set) || before.is_some_and(|set| is_public(&set));
            }
            self.put_tenant(tenant, edited, publication_changed);
        }
        names
    }

    pub(super) fn remove_all(&mut self, removed: &[(String, String)]) -> Vec<SetName> {
        let mut names = Vec::with_capacity(removed.len());
        for (tenant, name) in removed {
            let mut edited = self.tenant(tenant);
            let Some(set) = edited.take(name) else {
                continue;
            };
            names.push((Arc::clone(&set.tenant), Arc::clone(&set.name)));
            self.put_tenant(Arc::clone(&set.tenant), edited, is_public(&set));
        }
        names
    }

    pub(super) fn revoke_all(&mut self, tokens: &[TokensSpec]) {
        let mut by_tenant = BTreeMap::<&str, Vec<&TokensSpec>>::new();
        for spec in tokens {
            by_tenant.entry(&spec.tenant).or_default().push(spec);
        }
        for (tenant, specs) in by_tenant {
            let mut edited = self.tenant(tenant);
            for spec in specs {
                edited.revoke(&spec.key_set, &spec.entries);
            }
            self.put_tenant(tenant.into(), edited, false);
        }
    }

    pub(super) fn forget_revoked(&mut self, until: u32) {
        let tenants = self.next.tenants.entries();
        let names: Vec<_> = tenants.map(|(name, _)| Arc::clone(name)).collect();
        for name in names {
            let mut edited = self.tenant(&name);
            if edited.forget_revoked(until) {
                self.put_tenant(name, edited, false);
            }
        }
    }

    fn tenant(&self, name: &str) -> Tenant {
        self.next
            .tenant(name)
            .map(|tenant| Tenant::clone(tenant))
            .unwrap_or_default()
    }

    fn put_tenant(&mut self, name: Arc<str>, mut tenant: Tenant, publication_changed: bool) {
        if publication_changed {
            tenant.publish();
        }
        self.next.tenants.insert(name, Arc::new(tenant));
    }

    fn build(&self, tenant: Arc<str>, spec: KeySetSpec) -> KeySet {
        let known = self.before.set(&tenant, &spec.name);
        let build = |version: VersionSpec| {
            let known = known.and_then(|set| set.version(&version.kid));
            Arc::new(self.build_version(&tenant, version, known))
        };
        let versions = spec.versions.into_iter().map(build).collect();
        KeySet {
            name: spec.name.into(),
            key_use: spec.key_use,
            issuer: spec.issuer.into(),
            publish: spec.publish,
            verifier_profile: spec.profile.for_verifier(),
            profile: spec.profile,
            enc: spec.enc,
            versions,
            next_change: spec.next_change,
            ready_at: spec.ready_at,
            tenant,
        }
    }

    fn build_version(
        &self,
        tenant: &Arc<str>,
        spec: VersionSpec,
        known: Option<&Arc<Version>>,
    ) -> Version {
        let kid: Arc<str> =
            known.map_or_else(|| spec.kid.as_str().into(), |known| Arc::clone(&known.kid));
        let usage = known
            .map(|known| Arc::clone(&known.usage))
            .or_else(|| self.usage.known(tenant, &kid));
        let usage = usage.unwrap_or_else(|| Usage::new(Arc::clone(tenant), Arc::clone(&kid)));
        let public = spec
            .public_jwk
            .as_deref()
            .and_then(|text| public_half(text, &spec, known));
        Version::new(kid, spec, public, usage)
    }
}

/// The public half, with what the engine has already made of it. One that cannot be read verifies nothing, and is said.
fn public_half(
    text: &str,
    spec: &VersionSpec,
    known: Option<&Arc<Version>>,
) -> Option<Arc<PublicHalf>> {
    let known = known.and_then(|known| known.public.as_ref());
    if let Some(same) = known.filter(|public| public.is_of(text, spec.algorithm)) {
        return Some(Arc::clone(same));
    }
    let parsed = PublicHalf::parse(text, spec.algorithm);
    parsed
        .inspect_err(
            |error| tracing::error!(kid = spec.kid, %error, "a fed public key is unusable"),
        )
        .ok()
}

fn by_tenant(sets: Vec<KeySetSpec>) -> Vec<(Arc<str>, Vec<KeySetSpec>)> {
    let mut grouped = BTreeMap::<String, Vec<KeySetSpec>>::new();
    for set in sets {
        grouped.entry(set.tenant.clone()).or_default().push(set);
    }
    grouped
        .into_iter()
        .map(|(tenant, sets)| (tenant.into(), sets))
        .collect()
}
