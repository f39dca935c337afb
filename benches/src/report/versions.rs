//! What was measured, by version.

use std::process::Command;

/// Names and versions, in the order in which the report shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions(Vec<(String, String)>);

/// Those of `Cargo.lock` that figures depend on.
const LOCKED: [&str; 7] = [
    "tonic",
    "aws-lc-rs",
    "ring",
    "rustls",
    "jsonwebtoken",
    "josekit",
    "mimalloc",
];

impl Versions {
    /// The compiler and the libraries that this program is built from.
    #[must_use]
    pub fn of_the_build() -> Self {
        let lock = include_str!("../../../Cargo.lock");
        let mut versions = vec![("rustc".to_owned(), compiler())];
        for name in LOCKED {
            let version = locked(lock, name).unwrap_or("unknown");
            versions.push((name.to_owned(), version.to_owned()));
        }
        let multibuffer = include_str!("../../../tools/requirements-multibuffer.txt");
        let crypto_mb = pinned(multibuffer, "ipp-crypto-static").unwrap_or("unknown");
        versions.push(("crypto_mb".to_owned(), crypto_mb.to_owned()));
        Self(versions)
    }

    /// Adds what only a running peer tells.
    pub fn add(&mut self, name: &str, version: impl Into<String>) {
        if self.0.iter().all(|(there, _)| there != name) {
            self.0.push((name.to_owned(), version.into()));
        }
    }

    /// Name and version.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, version)| (name.as_str(), version.as_str()))
    }
}

fn compiler() -> String {
    let said = said_by("rustc", &["--version"]).unwrap_or_default();
    said.trim_start_matches("rustc ").to_owned()
}

/// What a program prints, without the line's end; `None` where it is not there or fails.
#[must_use]
pub fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim_end().to_owned())
}

/// The commit that stands here, `-dirty` where the tree has changes, `unknown` where git cannot say.
#[must_use]
pub fn commit() -> String {
    let Some(commit) = said_by("git", &["rev-parse", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // what an earlier run wrote is no change of what is measured
    let changes = [
        "status",
        "--porcelain",
        "--",
        ":/",
        ":(exclude,top)benches/results",
    ];
    match said_by("git", &changes) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}-dirty"),
    }
}

fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let wanted = format!("name = \"{name}\"\n");
    let entry = lock
        .split("[[package]]")
        .find(|entry| entry.contains(&wanted))?;
    entry.split("version = \"").nth(1)?.split('"').next()
}

/// The version that a requirements file pins.
fn pinned<'a>(requirements: &'a str, name: &str) -> Option<&'a str> {
    let line = requirements
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix("=="))?;
    line.split_ascii_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_the_build_is_known() {
        let versions = Versions::of_the_build();
        for (name, version) in versions.iter() {
            let digits = version.starts_with(|first: char| first.is_ascii_digit());
            assert!(digits, "{name} {version}");
        }
        assert_eq!(versions.iter().count(), LOCKED.len() + 2);
    }

    #[test]
    fn versions_are_read_from_locks_and_pins() {
        let lock = "[[package]]\nname = \"tonic-web\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"tonic\"\nversion = \"0.14.9\"\n";
        assert_eq!(locked(lock, "tonic"), Some("0.14.9"));
        assert_eq!(locked(lock, "ring"), None);
        let pins = "# comment\nipp-crypto-static==2026.2.0 \\\n    --hash=sha256:0\n";
        assert_eq!(pinned(pins, "ipp-crypto-static"), Some("2026.2.0"));
        assert_eq!(pinned(pins, "ipp-crypto"), None);
    }

    #[test]
    fn a_peer_is_added_once() {
        let mut versions = Versions(Vec::new());
        versions.add("node", "20.1.0");
        versions.add("node", "21.0.0");
        assert_eq!(versions.iter().collect::<Vec<_>>(), [("node", "20.1.0")]);
    }

    #[test]
    fn a_program_that_is_not_there_says_nothing() {
        assert_eq!(said_by("no-such-program", &[]), None);
        assert_eq!(said_by("false", &[]), None);
        assert!(!commit().is_empty());
    }
}
