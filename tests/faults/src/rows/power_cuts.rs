//! The power is cut under the key-manager's store: what it acknowledged is there when it is on again.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use futures::FutureExt as _;
use key_manager::vault::SetEntry;
use keyring::State;

use super::Group;
use crate::{
    Fault, count,
    dice::Dice,
    disk::Disk,
    figure::{Figure, Measured},
    manager::{Key, Keys, Manager, named},
    number, progress,
    settings::Run,
    vfs,
};

const LOST: Figure = Figure::at_most("power_cut_key_lost", 0.0);

pub(super) const GROUP: Group = Group {
    name: "power-cuts",
    about: "writes that were not synced are forgotten, at every step of create, rotate, import and revoke, in recovery, and at random",
    figures: &[LOST],
    run: |run| measure(run).boxed_local(),
};

/// A store of its own for so many cuts, so that cuts also hit a store that is being made.
const CUTS_OF_A_STORE: usize = 25;
/// A random cut comes within so many steps.
const WITHIN: u64 = 120;

async fn measure(run: Run) -> Result<Vec<Measured>, Fault> {
    let cuts = run.of(400, 2_000);
    let disk = Disk::new();
    vfs::watch(disk.clone())?;
    let counted = cut_all(&run, &disk, cuts).await;
    vfs::unwatch();
    let lost = counted?;
    Ok(vec![LOST.measured(number(lost), count(cuts))])
}

async fn cut_all(run: &Run, disk: &Arc<Disk>, cuts: usize) -> Result<usize, Fault> {
    let folder = run.folder()?;
    let (mut lost, mut done, mut steps) = (0, 0, Steps::default());
    while done < cuts {
        let path = folder.path().join(format!("keys-{done}.db"));
        let mut world = World::new(Arc::clone(disk), path, run.dice(&format!("store {done}")));
        for _ in 0..CUTS_OF_A_STORE.min(cuts - done) {
            lost += world.one_cut(&mut steps).await?;
            done += 1;
        }
        progress(&format!(
            "power-cuts: {done} of {cuts}, {lost} keys lost, {} keys acknowledged in this store",
            world
                .acknowledged
                .values()
                .map(|set| set.keys.len())
                .sum::<usize>()
        ));
    }
    steps.walked()?;
    Ok(lost)
}

/// The operation that is walked through step by step, and how far.
#[derive(Debug, Default)]
struct Steps {
    operation: usize,
    step: u64,
    walked: [u64; OPERATIONS.len()],
}

impl Steps {
    /// The operation survived: it has no more steps.
    fn next_operation(&mut self) {
        if let Some(walked) = self.walked.get_mut(self.operation) {
            *walked = self.step.max(*walked);
        }
        (self.operation, self.step) = ((self.operation + 1) % OPERATIONS.len(), 0);
    }

    fn walked(&self) -> Result<(), Fault> {
        progress(&format!(
            "power-cuts: steps walked of {OPERATIONS:?}: {:?}",
            self.walked
        ));
        match self.walked.contains(&0) {
            true => Err("an operation was not walked through to its end".into()),
            false => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Create,
    Rotate,
    Import,
    Revoke,
}

const OPERATIONS: [Operation; 4] = [
    Operation::Create,
    Operation::Rotate,
    Operation::Import,
    Operation::Revoke,
];

/// How often each happens at random.
const OFTEN: [Operation; 8] = [
    Operation::Create,
    Operation::Rotate,
    Operation::Rotate,
    Operation::Rotate,
    Operation::Import,
    Operation::Import,
    Operation::Revoke,
    Operation::Revoke,
];

/// What was acknowledged of a set.
#[derive(Debug, Default)]
struct Acknowledged {
    revision: u64,
    keys: Keys,
}

struct World {
    disk: Arc<Disk>,
    path: PathBuf,
    dice: Dice,
    acknowledged: BTreeMap<String, Acknowledged>,
    names: u64,
}

impl World {
    fn new(disk: Arc<Disk>, path: PathBuf, dice: Dice) -> Self {
        Self {
            disk,
            path,
            dice,
            acknowledged: BTreeMap::new(),
            names: 0,
        }
    }

    /// Works until the power is cut, puts it on again, and counts the keys that are missing.
    async fn one_cut(&mut self, steps: &mut Steps) -> Result<usize, Fault> {
        match self.dice.below(5) {
            0 => {
                let step = self.dice.below(WITHIN);
                self.work_from_the_start(step).await?;
            }
            1 => {
                let step = self.dice.below(WITHIN);
                self.work_at_random(step).await?;
            }
            _ => self.walk(steps).await?,
        }
        self.disk.restore(&mut self.dice)?;
        self.disk.stay_on();
        self.missing().await
    }

    /// The cut may hit the making of the store, or its recovery after the last cut.
    async fn work_from_the_start(&mut self, step: u64) -> Result<(), Fault> {
        self.disk.cut_after(step);
        match Manager::open(&self.path).await {
            Err(fault) if !self.disk.is_dead() => Err(fault),
            Err(_cut) => Ok(()),
            Ok(manager) => {
                self.work(&manager).await;
                Ok(())
            }
        }
    }

    async fn work(&mut self, manager: &Manager) {
        while !self.disk.is_dead() {
            self.any(manager).await;
        }
    }

    async fn work_at_random(&mut self, step: u64) -> Result<(), Fault> {
        let manager = Manager::open(&self.path).await?;
        self.disk.cut_after(step);
        self.work(&manager).await;
        Ok(())
    }

    /// Cuts at the next step of the operation that is walked through.
    async fn walk(&mut self, steps: &mut Steps) -> Result<(), Fault> {
        let manager = Manager::open(&self.path).await?;
        loop {
            let operation = OPERATIONS.get(steps.operation).copied();
            self.disk.cut_after(steps.step);
            self.act(&manager, operation.unwrap_or(Operation::Create))
                .await;
            if self.disk.is_dead() {
                steps.step += 1;
                return Ok(());
            }
            steps.next_operation();
        }
    }

    async fn any(&mut self, manager: &Manager) {
        let operation = match self.acknowledged.is_empty() {
            true => Operation::Create,
            false => self.dice.pick(&OFTEN).copied().unwrap_or(Operation::Create),
        };
        self.act(manager, operation).await;
    }

    /// Does it, and notes what was acknowledged. What fails is not known to have happened.
    async fn act(&mut self, manager: &Manager, operation: Operation) {
        self.names += 1;
        let fresh = format!("op/{}", self.names);
        let sets: Vec<_> = self.acknowledged.keys().cloned().collect();
        let set = self.dice.pick(&sets);
        let done = match (operation, set) {
            (Operation::Create, _) | (_, None) => manager.create(&fresh).await,
            (Operation::Rotate, Some(set)) => manager.rotate(set).await,
            (Operation::Import, Some(set)) => {
                let imported = manager.import(set, &format!("kid-{}", self.names)).await;
                imported.map(|(entry, _)| entry)
            }
            (Operation::Revoke, Some(set)) => self.revoke(manager, set).await,
        };
        let Ok(entry) = done else { return };
        // reading is not watched: the keys are there although the power may be cut by now
        if let Ok(keys) = manager.keys(&entry).await {
            let revision = entry.set.revision;
            let set = Acknowledged { revision, keys };
            self.acknowledged.insert(entry.set.name.clone(), set);
        }
    }

    async fn revoke(&mut self, manager: &Manager, set: &str) -> Result<Arc<SetEntry>, Fault> {
        let entry = manager.vault().get(&named(set)).ok_or("no such set")?;
        let usable = entry.set.versions.iter();
        let usable = usable.filter(|version| version.state != State::Revoked);
        let usable: Vec<_> = usable.map(|version| version.kid.clone()).collect();
        let kid = self.dice.pick(&usable).ok_or("no key")?;
        manager.revoke(set, kid).await
    }

    /// Acknowledged keys that are not there, or not what they were.
    async fn missing(&self) -> Result<usize, Fault> {
        let manager = match Manager::open(&self.path).await {
            Ok(manager) => manager,
            Err(fault) => {
                progress(&format!("power-cuts: the store cannot be opened: {fault}"));
                let keys = self.acknowledged.values().map(|set| set.keys.len());
                return Ok(keys.sum::<usize>().max(1));
            }
        };
        let mut missing = 0;
        for (name, acknowledged) in &self.acknowledged {
            let Some(entry) = manager.vault().get(&named(name)) else {
                progress(&format!("power-cuts: {name} is gone"));
                missing += acknowledged.keys.len();
                continue;
            };
            let keys = manager.keys(&entry).await?;
            let is_there =
                |kid: &String, key: &Key| keys.get(kid).is_some_and(|now| key.is_kept_by(now));
            let kept = acknowledged.keys.iter();
            let kept = kept.filter(|(kid, key)| is_there(kid, key)).count();
            let went_back = entry.set.revision < acknowledged.revision;
            if kept < acknowledged.keys.len() || went_back {
                progress(&format!(
                    "power-cuts: {name} at revision {} has {kept} of the {} keys of revision {}",
                    entry.set.revision,
                    acknowledged.keys.len(),
                    acknowledged.revision
                ));
            }
            missing += (acknowledged.keys.len() - kept).max(usize::from(went_back));
        }
        Ok(missing)
    }
}
