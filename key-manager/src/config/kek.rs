//! `[kek]`: where the key-encryption key is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use service_kit::config::Mistake;

/// `[kek]`: exactly one kind of source. The key itself never stands here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KekSource {
    /// A file of mode 0600 with 32 bytes or 64 hexadecimal digits.
    pub file: PathBuf,
    /// The name of an environment variable with 64 hexadecimal digits.
    pub env: String,
    /// `[kek.previous]`: the key that this one takes the place of, until nothing is wrapped by it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Box<KekSource>>,
}

impl KekSource {
    pub(super) fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes_at("kek");
        if let Some(previous) = &self.previous {
            mistakes.extend(previous.mistakes_at("kek.previous"));
            if previous.previous.is_some() {
                mistakes.push(Mistake::new(
                    "kek.previous.previous",
                    "one key is before another: wait until GetSealing says that kek.previous may be removed",
                ));
            }
        }
        mistakes
    }

    fn mistakes_at(&self, place: &str) -> Vec<Mistake> {
        let one = self.file.as_os_str().is_empty() != self.env.is_empty();
        let problem = format!(
            "give either {place}.file or {place}.env, to say where the key-encryption key is"
        );
        (!one)
            .then(|| Mistake::new(place, problem))
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> KekSource {
        KekSource {
            file: name.into(),
            ..KekSource::default()
        }
    }

    fn after(previous: KekSource) -> KekSource {
        KekSource {
            previous: Some(Box::new(previous)),
            ..file("kek")
        }
    }

    #[test]
    fn each_of_the_two_keys_has_exactly_one_source() {
        let both = KekSource {
            env: "KEK".to_owned(),
            ..file("kek")
        };
        for (what, source, places) in [
            ("one", file("kek"), &[][..]),
            ("none", KekSource::default(), &["kek"]),
            ("two", both.clone(), &["kek"]),
            ("one before", after(file("old")), &[]),
            (
                "no source of the one before",
                after(KekSource::default()),
                &["kek.previous"],
            ),
            (
                "two sources of the one before",
                after(both),
                &["kek.previous"],
            ),
            (
                "two before",
                after(after(file("older"))),
                &["kek.previous.previous"],
            ),
        ] {
            let found = source.mistakes();
            let found: Vec<_> = found.iter().map(|mistake| mistake.place.as_str()).collect();
            assert_eq!(found, places, "{what}");
        }
    }
}
