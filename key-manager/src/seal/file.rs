//! A key-encryption key from a file that only its owner may read.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use zeroize::Zeroizing;

use super::{KekError, LocalKek, parse_key};

/// Reads the key: 32 bytes, or 64 hexadecimal digits. The mode must be 0600 or less.
///
/// # Errors
/// [`KekError::File`].
pub fn read(path: &Path) -> Result<LocalKek, KekError> {
    let refused = |problem: String| KekError::File {
        path: path.display().to_string(),
        problem,
    };
    let bytes = read_private(path, 256).map_err(|error| refused(error.to_string()))?;
    let key = parse_key(&bytes)
        .ok_or_else(|| refused("must hold 32 bytes, or 64 hexadecimal digits".to_owned()))?;
    LocalKek::new(&key).map_err(|error| refused(error.to_string()))
}

/// A file that only its owner may read, of at most so many bytes.
pub(crate) fn read_private(path: &Path, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o177 != 0 {
        return Err(io::Error::other(format!(
            "the mode is {mode:03o}, others may read it: chmod 600"
        )));
    }
    // as large as it gets, so that growing leaves no copy behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    #[test]
    fn the_file_is_private_and_holds_a_key() {
        let folder = tempfile::tempdir().unwrap();
        for (what, mode, content, says) in [
            ("good", 0o600, "ab".repeat(32), None),
            ("read only", 0o400, "ab".repeat(32), None),
            (
                "readable by the group",
                0o640,
                "ab".repeat(32),
                Some("chmod 600"),
            ),
            ("readable by all", 0o604, "ab".repeat(32), Some("chmod 600")),
            (
                "too short",
                0o600,
                "ab".repeat(31),
                Some("64 hexadecimal digits"),
            ),
            (
                "too long",
                0o600,
                "ab".repeat(500),
                Some("64 hexadecimal digits"),
            ),
        ] {
            let path = folder.path().join(what);
            write(&path, &content).unwrap();
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = read(&path).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), says.is_some(), "{what}: {refused:?}");
            if let (Some(refused), Some(says)) = (refused, says) {
                assert!(
                    refused.contains(says) && refused.contains(what) && !refused.contains("abab"),
                    "{what}: {refused}"
                );
            }
        }
        let missing = read(&folder.path().join("missing"))
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("kek.file") && missing.contains("missing"),
            "{missing}"
        );
    }
}
