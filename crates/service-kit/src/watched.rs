//! Values read from files that may change while the daemon runs.
//!
//! Polling, once a second, compares contents and not modification times: a rewrite within the clock's
//! granularity, a symlink swung by an orchestrator and a copied-back older file are all seen. A change that does
//! not parse, such as a half-written file or a certificate that does not match its key yet, keeps the old value.

use std::error::Error;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::shutdown::Shutdown;
use crate::telemetry::Metrics;

/// How often files are looked at.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// A file to read, and who may read it.
#[derive(Clone, Debug)]
pub struct WatchedFile {
    path: PathBuf,
    private: bool,
}

impl WatchedFile {
    /// A file that anybody may read.
    pub fn public(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            private: false,
        }
    }

    /// A file with a secret: refused unless it is closed to group and world.
    pub fn private(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            private: true,
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file; the buffer is zeroized on drop.
    pub fn read(&self) -> Result<Zeroizing<Vec<u8>>, ReadError> {
        let failed = |source| ReadError::Io {
            path: self.path.clone(),
            source,
        };
        let file = std::fs::File::open(&self.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mode = metadata.permissions().mode() & 0o777;
        if self.private && mode & 0o077 != 0 {
            return Err(ReadError::TooOpen {
                path: self.path.clone(),
                mode,
            });
        }
        // Sized once: growing would leave copies of a key behind in freed memory.
        let room = usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or_default() + 1;
        let mut content = Zeroizing::new(Vec::with_capacity(room));
        file.take(MAX_FILE + 1)
            .read_to_end(&mut content)
            .map_err(failed)?;
        if u64::try_from(content.len()).is_ok_and(|length| length > MAX_FILE) {
            return Err(ReadError::TooLarge {
                path: self.path.clone(),
            });
        }
        Ok(content)
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file holds a secret and others may read it.
    #[error("{path} holds a secret but has mode {mode:04o}; run: chmod 600 {path}", path = path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is larger than any that is meant here.
    #[error("{path} is larger than 4 MiB", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Any error of a parser, as kept after the first load.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The files' contents, in the order in which the files were named.
pub type Contents = [Zeroizing<Vec<u8>>];

type Parse<T> = Box<dyn Fn(&Contents) -> Result<T, BoxError> + Send + Sync>;

/// What a look at the files found.
#[derive(Debug)]
pub enum Outcome {
    /// The files are as they were.
    Unchanged,
    /// The files changed and the new value is in place.
    Reloaded,
    /// The files changed, the change is unusable, and the old value stays.
    Kept(BoxError),
}

/// A value that follows its files. Clones share it; reading it takes no lock.
pub struct Watched<T>(Arc<Inner<T>>);

struct Inner<T> {
    what: &'static str,
    files: Vec<WatchedFile>,
    parse: Parse<T>,
    current: ArcSwap<T>,
    seen: Mutex<Option<Fingerprint>>,
    generation: watch::Sender<u64>,
    reloads: Counter,
    failures: Counter,
}

type Fingerprint = [u8; 32];

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads `files` and parses them; `what` names the value in logs and begins the names of its metrics.
    pub fn open<E>(
        what: &'static str,
        files: Vec<WatchedFile>,
        parse: impl Fn(&Contents) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E>
    where
        E: From<ReadError> + Error + Send + Sync + 'static,
    {
        let contents = read_all(&files)?;
        let current = parse(&contents)?;
        Ok(Self(Arc::new(Inner {
            what,
            files,
            parse: Box::new(move |contents| parse(contents).map_err(BoxError::from)),
            current: ArcSwap::from_pointee(current),
            seen: Mutex::new(Some(fingerprint(&contents))),
            generation: watch::Sender::new(0),
            reloads: Counter::default(),
            failures: Counter::default(),
        })))
    }

    /// A value without files, which never changes: for tests and embedded use.
    pub fn fixed(what: &'static str, value: T) -> Self {
        Self(Arc::new(Inner {
            what,
            files: Vec::new(),
            parse: Box::new(|_contents| Err("a fixed value has no files".into())),
            current: ArcSwap::from_pointee(value),
            seen: Mutex::new(Some(fingerprint(&[]))),
            generation: watch::Sender::new(0),
            reloads: Counter::default(),
            failures: Counter::default(),
        }))
    }

    /// The present value.
    pub fn current(&self) -> Arc<T> {
        self.0.current.load_full()
    }

    /// A receiver whose value changes with each reload.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Looks at the files once. Blocks on the file system.
    pub fn check(&self) -> Outcome {
        let inner = &*self.0;
        let mut seen = inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = match read_all(&inner.files) {
            Ok(contents) => contents,
            // An unreadable state is remembered as one, so that it is counted once and not each second.
            Err(error) if seen.take().is_some() => return self.kept(error.into()),
            Err(_repeated) => return Outcome::Unchanged,
        };
        let found = fingerprint(&contents);
        if seen.replace(found) == Some(found) {
            return Outcome::Unchanged;
        }
        match (inner.parse)(&contents) {
            Ok(value) => self.replace(value),
            Err(error) => self.kept(error),
        }
    }

    /// Looks at the files at each interval until shutdown.
    pub async fn watch(self, interval: Duration, shutdown: Shutdown) {
        let poll = async {
            loop {
                tokio::time::sleep(interval).await;
                let watched = self.clone();
                // A failed join means that the runtime is going away, and this loop with it.
                let _joined = tokio::task::spawn_blocking(move || watched.check()).await;
            }
        };
        let _stopped: Option<()> = shutdown.guard(poll).await;
    }

    /// Registers `<what>_reloads` and `<what>_reload_failures`.
    pub fn register(&self, metrics: &Metrics) {
        metrics.with(|registry| {
            let registry = registry.sub_registry_with_prefix(self.0.what);
            let (reloads, failures) = (self.0.reloads.clone(), self.0.failures.clone());
            registry.register("reloads", "changed files that were put in place", reloads);
            registry.register(
                "reload_failures",
                "changed files that were refused",
                failures,
            );
        });
    }

    fn replace(&self, value: T) -> Outcome {
        self.0.current.store(Arc::new(value));
        self.0.reloads.inc();
        tracing::info!(what = self.0.what, "reloaded");
        self.0
            .generation
            .send_modify(|generation| *generation = generation.wrapping_add(1));
        Outcome::Reloaded
    }

    fn kept(&self, error: BoxError) -> Outcome {
        self.0.failures.inc();
        tracing::error!(what = self.0.what, %error, "change refused, the old value stays");
        Outcome::Kept(error)
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("what", &self.0.what)
            .finish_non_exhaustive()
    }
}

fn read_all(files: &[WatchedFile]) -> Result<Vec<Zeroizing<Vec<u8>>>, ReadError> {
    files.iter().map(WatchedFile::read).collect()
}

fn fingerprint(contents: &Contents) -> Fingerprint {
    let mut hash = digest::Context::new(&digest::SHA256);
    for content in contents {
        // Length first, so that bytes cannot move from one file to the next unseen.
        hash.update(&content.len().to_be_bytes());
        hash.update(content);
    }
    let mut out = Fingerprint::default();
    out.copy_from_slice(hash.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[derive(Debug, thiserror::Error)]
    enum NumberError {
        #[error(transparent)]
        Read(#[from] ReadError),
        #[error("not a number")]
        NotANumber,
    }

    fn number(contents: &Contents) -> Result<u32, NumberError> {
        let text = std::str::from_utf8(&contents[0]).map_err(|_wrong| NumberError::NotANumber)?;
        text.trim()
            .parse()
            .map_err(|_wrong| NumberError::NotANumber)
    }

    #[test]
    fn a_bad_change_keeps_the_old_value_and_is_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "1").unwrap();
        let watched = Watched::open("number", vec![WatchedFile::public(&path)], number).unwrap();
        let changes = watched.changes();

        assert!(matches!(watched.check(), Outcome::Unchanged));
        fs::write(&path, "x").unwrap();
        assert!(matches!(watched.check(), Outcome::Kept(_)));
        assert!(matches!(watched.check(), Outcome::Unchanged));
        fs::remove_file(&path).unwrap();
        assert!(matches!(watched.check(), Outcome::Kept(_)));
        assert!(matches!(watched.check(), Outcome::Unchanged));
        assert_eq!((*watched.current(), watched.0.failures.get()), (1, 2));

        fs::write(&path, "2").unwrap();
        assert!(matches!(watched.check(), Outcome::Reloaded));
        assert_eq!((*watched.current(), watched.0.reloads.get()), (2, 1));
        assert!(changes.has_changed().unwrap());

        let metrics = Metrics::new("kit", "0");
        watched.register(&metrics);
        let text = metrics.render();
        for line in [
            "kit_number_reloads_total 1",
            "kit_number_reload_failures_total 2",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_secret_open_to_others_is_refused_with_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "1").unwrap();
        for mode in [0o640, 0o604, 0o644, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = WatchedFile::private(&path).read().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{mode:04o}")) && error.contains("chmod 600"),
                "{error}"
            );
        }
        for mode in [0o600, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                *WatchedFile::private(&path).read().unwrap(),
                b"1",
                "{mode:o}"
            );
        }
    }
}
