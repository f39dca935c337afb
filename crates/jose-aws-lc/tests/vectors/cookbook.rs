//! The JOSE cookbook (RFC 7520, RFC 8037, RFC 7797) as JSON files in the folder that `JOSE_VECTORS` names.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// One file of the cookbook.
pub(crate) struct Example {
    /// Path below the cookbook, for messages.
    pub(crate) name: String,
    pub(crate) json: Value,
}

/// The cookbook, or `None` where `JOSE_VECTORS` is unset. Set and not an absolute, existing folder is a failure.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var("JOSE_VECTORS").ok()?);
    assert!(
        folder.is_absolute(),
        "JOSE_VECTORS must be an absolute path, not {}",
        folder.display()
    );
    let cookbook = folder.join("rfc7520");
    assert!(
        cookbook.is_dir(),
        "JOSE_VECTORS is set, but {} is no folder",
        cookbook.display()
    );
    Some(cookbook)
}

/// Every example in `part` of the cookbook, by name; never none.
pub(crate) fn examples(cookbook: &Path, part: &str) -> Vec<Example> {
    let mut examples: Vec<_> = std::fs::read_dir(cookbook.join(part))
        .unwrap_or_else(|error| panic!("{part}: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| example(cookbook, &path))
        .collect();
    examples.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!examples.is_empty(), "no example in {part}");
    examples
}

fn example(cookbook: &Path, path: &Path) -> Example {
    let name = path.strip_prefix(cookbook).unwrap().display().to_string();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    Example { name, json }
}
