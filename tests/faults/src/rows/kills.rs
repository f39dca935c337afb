//! kill -9 of a real key-manager, at every step of what it writes and at random: what it acknowledged is there afterwards, and no invariant
//! is broken on the way.

mod witness;

use std::{fs, path::PathBuf, time::Duration};

use blackbox::{Process, Stack};
use client_admin::{
    AdminClient, CreateKeySet, ImportAs, ImportKey, KeySet, KeyState, RevokeKey, RotateDataKey,
    RotateKeySet,
};
use futures::FutureExt as _;

use super::Group;
use crate::{
    Fault, count,
    dice::Dice,
    figure::{Figure, Measured},
    manager::fresh_jwk,
    number, progress,
    settings::Run,
    stack::{Instance, admin, eventually, signing_set},
};

use witness::Witness;

const LOST: Figure = Figure::at_most("kills_key_lost", 0.0);
const BROKEN: Figure = Figure::at_most("kills_invariant_broken", 0.0);

pub(super) const GROUP: Group = Group {
    name: "kills",
    about: "kill -9 of the key-manager at every step of create, rotate, import, revoke and re-seal, and at random",
    figures: &[LOST, BROKEN],
    run: |run| measure(run).boxed_local(),
};

/// Sets at once; the oldest leaves the game when there are more.
const SETS: usize = 4;
/// Keys of a set, after which another takes its place.
const KEYS: usize = 40;
/// Operations that are tried for one kill.
const TRIES: usize = 50;
/// A random kill comes within so many milliseconds of the first call.
const WITHIN_MS: u64 = 60;

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Create,
    Rotate,
    Import,
    Revoke,
    /// A new data key, and everything written once more under it.
    Reseal,
}

const OPERATIONS: [Operation; 5] = [
    Operation::Create,
    Operation::Rotate,
    Operation::Import,
    Operation::Revoke,
    Operation::Reseal,
];

/// Re-sealing of a store of that size ends within it, or the process is killed.
const RESEALED_WITHIN: Duration = Duration::from_secs(10);

/// Kills of one store, after which a new one takes its place: a kill stays cheap, and the making of a store is hit too.
const OF_A_STORE: usize = 100;

async fn measure(run: Run) -> Result<Vec<Measured>, Fault> {
    let kills = run.of(40, 1_000);
    let (mut done, mut totals, mut walk) = (0, Totals::default(), Walk::default());
    while done < kills {
        let mut world = World::start(run.dice(&format!("kills from {done}")), walk).await?;
        let end = kills.min(done + OF_A_STORE);
        while done < end {
            world.kill(done).await?;
            done += 1;
        }
        world.everything_signs().await?;
        walk = world.walk;
        totals.add(&world.witness);
        progress(&format!(
            "kills: {done} of {kills}: {totals:?}; {walk:?} of {OPERATIONS:?}"
        ));
    }
    if totals.acknowledged == 0 || totals.tokens == 0 {
        return Err("nothing was acknowledged between the kills, or nothing signed".into());
    }
    Ok(vec![
        LOST.measured(number(totals.lost), count(kills)),
        BROKEN.measured(number(totals.broken), count(kills)),
    ])
}

#[derive(Debug, Default)]
struct Totals {
    acknowledged: usize,
    tokens: usize,
    lost: usize,
    broken: usize,
}

impl Totals {
    fn add(&mut self, witness: &Witness) {
        self.acknowledged += witness.acknowledged();
        self.tokens += witness.tokens;
        self.lost += witness.lost;
        self.broken += witness.broken;
    }
}

/// The operations in turn, each with the step at which it is killed next, and how many steps it has been found to have.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    operation: usize,
    at: [u64; OPERATIONS.len()],
    steps: [u64; OPERATIONS.len()],
}

impl Walk {
    fn operation(&self) -> Operation {
        let operation = OPERATIONS.get(self.operation).copied();
        operation.unwrap_or(Operation::Create)
    }

    fn step(&self) -> u64 {
        self.at.get(self.operation).copied().unwrap_or_default()
    }

    /// One that survived has no more steps: it begins anew when it is its turn.
    fn next(&mut self, survived: bool) {
        let index = self.operation;
        if let (Some(at), Some(steps)) = (self.at.get_mut(index), self.steps.get_mut(index)) {
            match survived {
                true => (*steps, *at) = ((*at).max(*steps), 0),
                false => *at += 1,
            }
        }
        self.operation = (index + 1) % OPERATIONS.len();
    }
}

struct World {
    stack: Stack,
    arm: PathBuf,
    admin: AdminClient,
    instance: Instance,
    witness: Witness,
    dice: Dice,
    sets: Vec<String>,
    names: usize,
    walk: Walk,
}

impl World {
    async fn start(dice: Dice, walk: Walk) -> Result<Self, Fault> {
        let mut stack = Stack::init();
        let arm = stack.root().join("arm");
        stack.key_manager = Some(mortal(&stack, &arm));
        stack.start_daemons();
        let mut world = Self {
            admin: admin(&stack)?.within(Duration::from_secs(5)),
            instance: Instance::at(&stack, stack.crypto, None)?,
            witness: Witness::default(),
            dice,
            sets: Vec::new(),
            names: 0,
            walk,
            stack,
            arm,
        };
        let made = world.act(Operation::Create).await;
        let promoted = world.act(Operation::Rotate).await;
        match made && promoted {
            true => Ok(world),
            false => Err(format!("no set could be made: {}", world.stack.logs()).into()),
        }
    }

    /// Every second kill walks on, the others come whenever they come.
    async fn kill(&mut self, number: usize) -> Result<(), Fault> {
        match number % 2 {
            0 => self.kill_at_the_next_step().await?,
            _ => self.kill_at_random().await?,
        }
        self.look().await
    }

    /// The store's next step of the operation that is walked through is the last; one that is acknowledged has no more steps.
    async fn kill_at_the_next_step(&mut self) -> Result<(), Fault> {
        for _try in 0..TRIES {
            let part = self.arm.with_extension("part");
            fs::write(&part, self.walk.step().to_string())?;
            fs::rename(&part, &self.arm)?;
            let acknowledged = self.act(self.walk.operation()).await;
            let ended = self.stack.key_manager.as_mut();
            if ended.is_some_and(|process| process.wait(Duration::from_millis(20)).is_some()) {
                self.walk.next(false);
                return Ok(());
            }
            // what was refused has shown nothing: it is asked again
            if acknowledged {
                self.walk.next(true);
            }
            // it is armed with more steps than the operation had, and would die of a later one
            self.restart();
        }
        Err("no operation of many reaches its next step".into())
    }

    /// Operations run until the kill comes, wherever it comes.
    async fn kill_at_random(&mut self) -> Result<(), Fault> {
        let process = self.stack.key_manager.as_ref().ok_or("it does not run")?;
        let (id, after) = (
            process.id(),
            Duration::from_millis(self.dice.below(WITHIN_MS)),
        );
        let killer = std::thread::spawn(move || {
            std::thread::sleep(after);
            kill(id)
        });
        while self
            .stack
            .key_manager
            .as_mut()
            .is_some_and(|process| process.wait(Duration::ZERO).is_none())
        {
            let operation = self.dice.pick(&OPERATIONS).copied();
            let _acknowledged = self.act(operation.unwrap_or(Operation::Rotate)).await;
        }
        killer.join().map_err(|_panicked| "the killer panicked")?
    }

    fn restart(&mut self) {
        // what is there is killed, whether it has died by itself or not
        let _killed = self.stack.key_manager.take().map(Process::kill);
        let _unused = fs::remove_file(&self.arm);
        self.stack.key_manager = Some(mortal(&self.stack, &self.arm));
        self.stack.ready(self.stack.keys.http);
    }

    /// Starts it again, and compares what it holds with what was acknowledged.
    async fn look(&mut self) -> Result<(), Fault> {
        self.restart();
        let sets = self.admin.list("").await?;
        self.witness.check(&sets);
        let playing: Vec<_> = sets
            .iter()
            .filter(|set| self.sets.contains(&set.name))
            .collect();
        self.witness.sign_and_check(&self.instance, &playing).await;
        self.retire_sets(&sets);
        Ok(())
    }

    /// Large sets make way, so that a kill stays cheap; they are still looked at.
    fn retire_sets(&mut self, sets: &[KeySet]) {
        let is_large = |name: &String| {
            let set = sets.iter().find(|set| set.name == *name);
            set.is_none_or(|set| set.versions.len() > KEYS)
        };
        self.sets.retain(|name| !is_large(name));
        while self.sets.len() > SETS {
            self.sets.remove(0);
        }
    }

    /// Does it, notes what was acknowledged, and says whether it was. What fails is not known to have happened.
    async fn act(&mut self, operation: Operation) -> bool {
        self.names += 1;
        let set = self.dice.pick(&self.sets).cloned();
        let done = match (operation, set) {
            (Operation::Create, _) | (_, None) => self.create().await,
            (Operation::Rotate, Some(set)) => {
                let rotated = self.admin.rotate(&RotateKeySet::new(set).force()).await;
                rotated.map(|rotated| rotated.key_set)
            }
            (Operation::Reseal, Some(_)) => return self.reseal().await.is_ok(),
            (Operation::Import, Some(set)) => self.import(&set).await,
            (Operation::Revoke, Some(set)) => self.revoke(&set).await,
        };
        done.is_ok_and(|set| {
            self.witness.note(&set);
            true
        })
    }

    /// Rotates the tenant's data key or the root's, and waits until nothing stands under an older one; ends with the process where that is
    /// killed meanwhile.
    async fn reseal(&mut self) -> Result<(), client_core::Error> {
        let rotate = match self.dice.once_in(2) {
            true => RotateDataKey::of_the_root(),
            false => RotateDataKey::of_tenant(""),
        };
        self.admin.rotate_data_key(&rotate).await?;
        let mut last = Ok(());
        let ended = async || match self.admin.sealing("").await {
            Ok(shown) => shown.is_settled(),
            Err(error) => {
                last = Err(error);
                true
            }
        };
        let within = eventually(RESEALED_WITHIN, ended).await;
        last?;
        match within {
            true => Ok(()),
            false => {
                self.witness.broke("re-sealing does not end");
                Ok(())
            }
        }
    }

    async fn create(&mut self) -> Result<KeySet, client_core::Error> {
        let name = format!("op/set-{}", self.names);
        let create: CreateKeySet = signing_set(&name, "ES256");
        let created = self.admin.create(&create).await?;
        self.sets.push(name);
        Ok(created)
    }

    /// One import in four takes a kid that another key has: it has to be refused, whatever died before.
    async fn import(&mut self, set: &str) -> Result<KeySet, client_core::Error> {
        let taken = self.witness.any_kid(&mut self.dice);
        let stolen = taken.filter(|_| self.dice.once_in(4));
        let kid = stolen
            .clone()
            .unwrap_or_else(|| format!("kid-{}", self.names));
        let Ok(jwk) = fresh_jwk(&kid) else {
            return self.create().await;
        };
        let import = ImportKey::new(set, jwk, ImportAs::Prepared);
        let imported = self.admin.import(&import).await.map(|(set, _)| set)?;
        if let Some(kid) = stolen {
            self.witness
                .broke(&format!("{kid} was imported again with another material"));
        }
        Ok(imported)
    }

    async fn revoke(&mut self, set: &str) -> Result<KeySet, client_core::Error> {
        let shown = self.admin.get("", set).await?.key_set;
        let usable = shown.versions.iter();
        let usable = usable.filter(|version| version.state != KeyState::Revoked);
        let kids: Vec<_> = usable.map(|version| version.kid.clone()).collect();
        let kid = self.dice.pick(&kids).cloned().unwrap_or_default();
        let revoked = self.admin.revoke(&RevokeKey::new(set, kid)).await?;
        Ok(revoked.key_set)
    }

    /// A new instance is fed every key: what was sealed can be opened, and signs.
    async fn everything_signs(&mut self) -> Result<(), Fault> {
        let (process, addresses) = self.stack.another_crypto_service();
        let fresh = Instance::at(&self.stack, addresses, Some(process))?;
        let sets = self.admin.list("").await?;
        self.witness.everything_signs(&fresh, &sets).await;
        Ok(())
    }
}

fn mortal(stack: &Stack, arm: &std::path::Path) -> Process {
    let mut command = stack.command("mortal-key-manager");
    command
        .arg("--config")
        .arg(stack.dev().join("key-manager.toml"))
        .arg("--die-with-parent")
        .arg("--arm")
        .arg(arm)
        .env("KEY_MANAGER_LOG_FILTER", "warn");
    Process::start("mortal-key-manager", command)
}

fn kill(id: u32) -> Result<(), Fault> {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = Pid::from_raw(i32::try_from(id)?).ok_or("no process")?;
    // it may have died of its countdown
    let _gone = kill_process(pid, Signal::KILL);
    Ok(())
}
