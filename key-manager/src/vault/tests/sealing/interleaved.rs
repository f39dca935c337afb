//! Whatever two replicas do, in any order.

use proptest::{collection::vec, prelude::*};
use tokio::runtime::Runtime;

use super::*;
use crate::vault::Pass;

/// What may happen, in any order.
#[derive(Clone, Copy, Debug)]
enum Event {
    RotateSet(usize),
    RevokeToken(usize, u32),
    Forget(usize),
    Rekey(usize, bool),
    Step(usize, bool),
    Restart(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let replica = 0..2_usize;
    prop_oneof![
        2 => replica.clone().prop_map(Event::RotateSet),
        1 => (replica.clone(), 1..50_u32).prop_map(|(one, jti)| Event::RevokeToken(one, jti)),
        1 => replica.clone().prop_map(Event::Forget),
        2 => (replica.clone(), any::<bool>()).prop_map(|(one, root)| Event::Rekey(one, root)),
        6 => (replica.clone(), any::<bool>()).prop_map(|(one, root)| Event::Step(one, root)),
        1 => replica.prop_map(Event::Restart),
    ]
}

/// Two replicas on one store, each with its passes.
struct Two {
    store: Arc<dyn KeyStore>,
    replicas: Vec<Lifecycle>,
    passes: [[Option<Pass>; 2]; 2],
}

impl Two {
    async fn happen(&mut self, event: Event) -> Result<(), String> {
        let none = Mutation::default();
        let shown = |error: &dyn fmt::Display| format!("{event:?}: {error}");
        let owner = |root: bool| if root { Owner::Root } else { tenant() };
        match event {
            Event::RotateSet(one) => {
                let lifecycle = &self.replicas[one];
                lifecycle
                    .vault()
                    .refresh()
                    .await
                    .map_err(|error| shown(&error))?;
                let rotated = lifecycle.rotate(&name(), true, &none).await;
                rotated.map(drop).map_err(|error| shown(&error))
            }
            Event::RevokeToken(one, jti) => {
                let vault = self.replicas[one].vault();
                vault.refresh().await.map_err(|error| shown(&error))?;
                let revoked = revoke_token(vault, &jti.to_string(), 1_000 + jti).await;
                retried(revoked).map_err(|error| shown(&error))
            }
            Event::Forget(one) => {
                let vault = self.replicas[one].vault();
                vault.refresh().await.map_err(|error| shown(&error))?;
                let forgetting = Forgetting { until: 1_010 };
                let forgotten = vault.turn().await.forget_tokens(forgetting).await;
                retried(forgotten).map_err(|error| shown(&error))?;
                let cleared = vault.clear_forgotten().await;
                cleared.map(drop).map_err(|error| shown(&error))
            }
            Event::Rekey(one, root) => {
                match rekey(self.replicas[one].vault(), &owner(root)).await {
                    Err(VaultError::TooManyGenerations { .. }) => Ok(()),
                    done => retried(done).map_err(|error| shown(&error)),
                }
            }
            Event::Step(one, root) => self
                .step(one, usize::from(root), &owner(root))
                .await
                .map_err(|error| shown(&error)),
            Event::Restart(one) => {
                self.passes[one] = [None, None];
                self.replicas[one] = lifecycle(&self.store).await;
                Ok(())
            }
        }
    }

    async fn step(&mut self, one: usize, place: usize, owner: &Owner) -> Result<(), VaultError> {
        let vault = self.replicas[one].vault();
        let Some(mut pass) = self.passes[one][place].take() else {
            self.passes[one][place] = vault.begin_pass(owner, at(0)).await?;
            return Ok(());
        };
        match vault.reseal_some(&mut pass, at(0)).await? {
            Step::More => self.passes[one][place] = Some(pass),
            Step::Done => drop(vault.end_pass(&pass, at(0)).await?),
            Step::Outdated => {}
        }
        Ok(())
    }
}

/// A conflict is another replica that was faster, which callers try again.
fn retried<T>(done: Result<T, VaultError>) -> Result<(), VaultError> {
    match done {
        Err(VaultError::Conflict) => Ok(()),
        done => done.map(drop),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_interleaved_every_key_opens_and_the_store_is_whole(events in vec(event(), 1..40)) {
        let runtime = Runtime::new().unwrap();
        let outcome: Result<(), String> = runtime.block_on(async {
            let (store, first) = whole().await;
            let replicas = vec![first, lifecycle(&store).await];
            let mut two = Two { store: Arc::clone(&store), replicas, passes: Default::default() };
            for event in &events {
                two.happen(*event).await?;
                let opened = open_all(Arc::clone(&store)).await;
                opened.map_err(|error| format!("after {event:?}: {error}"))?;
            }
            let keys = open_all(Arc::clone(&store)).await.map_err(|error| error.to_string())?;
            let next = opened(&store).await;
            settle(&next).await;
            let again = open_all(Arc::clone(&store)).await.map_err(|error| error.to_string())?;
            if keys != again {
                return Err(format!("{keys} keys before, {again} after"));
            }
            for lifecycle in &two.replicas {
                let vault = lifecycle.vault();
                vault.refresh().await.map_err(|error| error.to_string())?;
                for entry in vault.all().1 {
                    for version in &entry.set.versions {
                        let secret = vault.secret(&entry, &version.kid).await;
                        secret.map_err(|error| format!("{}: {error}", version.kid))?;
                    }
                }
            }
            Ok(())
        });
        prop_assert!(outcome.is_ok(), "{outcome:?}");
    }
}
