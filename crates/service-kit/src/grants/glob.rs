//! Globs over key set names.

use std::fmt;

/// Longest glob, in bytes.
const MAX_GLOB: usize = 256;

/// A pattern for key set names. `*` stands for any run of characters, the empty run and `/` included, so
/// `op/*` covers `op/access-token` and `op/eu/access-token`; everything else stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetGlob(String);

impl KeySetGlob {
    /// A glob, unless it is empty, too long or holds a character that no key set name has.
    pub fn new(pattern: &str) -> Option<Self> {
        let sound = |b: u8| b.is_ascii_alphanumeric() || b"*-_./".contains(&b);
        let fits = !pattern.is_empty() && pattern.len() <= MAX_GLOB;
        (fits && pattern.bytes().all(sound)).then(|| Self(pattern.to_owned()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` matches. Linear in the name: each literal piece is taken at its first place, which is
    /// enough because a `*` follows it, and the last piece at the end.
    pub fn matches(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else {
            return self.0 == name;
        };
        let Some(mut name) = name.strip_prefix(head) else {
            return false;
        };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        for piece in middle.split('*') {
            let Some((_skipped, after)) = name.split_once(piece) else {
                return false;
            };
            name = after;
        }
        name.ends_with(tail)
    }
}

impl fmt::Display for KeySetGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_and_nothing_else_is_special() {
        let rows = [
            ("op/access-token", "op/access-token", true),
            ("op/access-token", "op/access-token2", false),
            ("op/*", "op/", true),
            ("op/*", "op/eu/access-token", true),
            ("op/*", "opx/access-token", false),
            ("*", "", true),
            ("*", "anything/at/all", true),
            ("*token", "op/access-token", true),
            ("*token", "op/access-token-2", false),
            ("op/*/a*b", "op/x/ab", true),
            ("op/*/a*b", "op/x/a/b", true),
            ("op/*/a*b", "op/ab", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a**b", "ab", true),
            ("a*b*b", "ab", false),
            ("a*b*b", "abb", true),
            ("a.c", "abc", false),
        ];
        for (pattern, name, expected) in rows {
            let glob = KeySetGlob::new(pattern).unwrap();
            assert_eq!(glob.matches(name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn patterns_that_no_name_can_match_are_refused() {
        for pattern in [
            "",
            "op/ *",
            "op/?",
            "op/[a]",
            "op\n",
            "ö",
            &"a".repeat(MAX_GLOB + 1),
        ] {
            assert_eq!(KeySetGlob::new(pattern), None, "{pattern}");
        }
    }
}
