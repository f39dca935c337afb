//! Modules: each is loaded and started once in this process, whatever keys stand in its tokens.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
};

use super::Pkcs11Error;

/// PKCS#11 has one state for each module and process, so this mirrors it.
static MODULES: LazyLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = LazyLock::new(Mutex::default);

/// A module that was loaded.
#[derive(Debug)]
pub(super) struct Module {
    path: PathBuf,
    running: RwLock<Running>,
}

/// A module between its start and its next start.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) context: Pkcs11,
    /// Sessions and objects of an older number are void, and their numbers may be those of others by now.
    pub(super) generation: u64,
}

impl Module {
    /// The module of that path, loaded where it is not yet.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>, Pkcs11Error> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(path) {
            return Ok(Arc::clone(module));
        }
        let module = Arc::new(Self {
            path: path.to_owned(),
            running: RwLock::new(Running {
                context: start(path)?,
                generation: 0,
            }),
        });
        modules.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    /// Holds off a new start while it is used.
    pub(super) fn running(&self) -> RwLockReadGuard<'_, Running> {
        self.running.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the module anew, which makes it look for its tokens again. All sessions are void then, those of other keys too.
    pub(super) fn restart(&self) -> Result<(), Pkcs11Error> {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        // One that had lost its state is as ended as wanted.
        let _ended = running.context.clone().finalize();
        running.generation += 1;
        running.context = start(&self.path)?;
        Ok(())
    }
}

fn start(path: &Path) -> Result<Pkcs11, Pkcs11Error> {
    let refused = |error: Error| Pkcs11Error::Module {
        module: path.display().to_string(),
        problem: match error {
            Error::LibraryLoading(error) => error.to_string(),
            Error::Pkcs11(code, function) => format!("{code:?} from {function:?}"),
            other => other.to_string(),
        },
    };
    let context = Pkcs11::new(path).map_err(refused)?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(context),
        Err(error) => Err(refused(error)),
    }
}
