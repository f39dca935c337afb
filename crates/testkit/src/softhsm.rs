//! A token of SoftHSM, for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The variable by which SoftHSM finds its settings. A process that has none of its own cannot be given one later, so
/// tests that load the module run again in a process that was started with it.
const SETTINGS: &str = "SOFTHSM2_CONF";
/// The variable by which such a process finds the folder.
const FOLDER: &str = "SOFTHSM2_FOLDER";

/// A folder with tokens; it ends with this value.
///
/// The programs are in `.tools/softhsm`; `scripts/softhsm` brings them, and `make test` runs that first.
#[derive(Debug)]
pub struct SoftHsm {
    folder: TempDir,
}

impl SoftHsm {
    /// The user PIN of every token.
    pub const PIN: &'static str = "hush-4711";

    /// No token yet.
    pub fn new() -> Self {
        let hsm = Self {
            folder: TempDir::new().expect("make a temporary folder"),
        };
        fs::create_dir(hsm.tokens()).expect("make the folder of tokens");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            hsm.tokens().display()
        );
        fs::write(hsm.settings(), text).expect("write the settings of SoftHSM");
        hsm
    }

    /// The module.
    pub fn module() -> PathBuf {
        tool("lib/libsofthsm2.so")
    }

    /// What a process that loads the module has in its environment.
    pub fn environment(&self) -> (&'static str, String) {
        (SETTINGS, self.settings().display().to_string())
    }

    /// Makes a token.
    pub fn add_token(&self, label: &str) {
        let done = Command::new(tool("bin/softhsm2-util"))
            .args(["--init-token", "--free", "--label", label])
            .args(["--so-pin", "officer-4711", "--pin", Self::PIN])
            .arg("--module")
            .arg(Self::module())
            .env(SETTINGS, self.settings())
            .output()
            .expect("start softhsm2-util");
        assert!(
            done.status.success(),
            "softhsm2-util: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// The folder of the tokens, to take them away.
    pub fn folder(&self) -> TokenFolder {
        TokenFolder(self.folder.path().to_owned())
    }

    /// Whether this process was started by [`run_again`](Self::run_again).
    #[expect(
        clippy::disallowed_methods,
        reason = "it is asked for what this module has set"
    )]
    pub fn is_given() -> bool {
        std::env::var_os(SETTINGS).is_some()
    }

    /// Runs the calling test, by its whole name, once more in a process whose environment names these tokens.
    pub fn run_again(&self, test: &str, more: &[(&str, String)]) {
        let this = std::env::current_exe().expect("the program of the test");
        let done = Command::new(this)
            .args([test, "--exact", "--nocapture"])
            .env(SETTINGS, self.settings())
            .env(FOLDER, self.folder.path())
            .envs(more.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("start the test again");
        let (out, err) = (
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
        );
        assert!(done.status.success(), "{out}\n{err}");
        assert!(out.contains("1 passed"), "no such test: {test}\n{out}");
    }

    /// In the process of [`run_again`](Self::run_again): the folder that the tokens are in.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is asked for what this module has set"
    )]
    pub fn given() -> TokenFolder {
        let folder = std::env::var_os(FOLDER).expect("a process that was started for it");
        TokenFolder(PathBuf::from(folder))
    }

    fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }
}

impl Default for SoftHsm {
    fn default() -> Self {
        Self::new()
    }
}

/// The folder in which the tokens are.
#[derive(Clone, Debug)]
pub struct TokenFolder(PathBuf);

impl TokenFolder {
    /// Takes all tokens away, as pulling them out would.
    pub fn take_away(&self) {
        let tokens = self.0.join("tokens");
        fs::rename(&tokens, self.0.join("away")).expect("take the tokens away");
        fs::create_dir(tokens).expect("make an empty folder of tokens");
    }

    /// Puts them back.
    pub fn put_back(&self) {
        let tokens = self.0.join("tokens");
        fs::remove_dir_all(&tokens).expect("remove what is in their place");
        fs::rename(self.0.join("away"), tokens).expect("put the tokens back");
    }
}

fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.tools/softhsm")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make softhsm`",
        path.display()
    );
    path
}
