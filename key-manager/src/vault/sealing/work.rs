//! Every kind of entry, and what it stands under: the one place where a new kind is added.

use super::super::{
    VaultError, audit, envelope, issued, replica, request, subscriber, token_record,
};
use crate::{
    seal::{Ring, generation_of},
    store::Entry,
};

/// The entry under the present generation of the root's data key; `None` where it stands under it.
type Reseal = fn(&Ring, &Entry) -> Result<Option<Vec<u8>>, VaultError>;

/// What a kind of entry stands under.
#[derive(Clone, Copy)]
pub(super) enum Keyed {
    /// Nothing: an index, which is proved by what it points to, or a mark that says nothing.
    Nothing,
    /// The key-encryption key.
    Kek,
    /// The root's data key, and a rotation writes it anew itself.
    AtOnce,
    /// The root's data key, as an authenticated record.
    RootRecord(Reseal),
    /// The root's data key, as a sealed key.
    RootKey(Reseal),
    /// Its tenant's data key; once it was re-sealed, the root's too.
    Set,
    /// Its tenant's data key. It is re-sealed with the record of its set, which holds its digest.
    KeyOfSet,
}

/// A kind of entry: its name, or the prefix of its names.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) keyed: Keyed,
}

const fn kind(name: &'static str, keyed: Keyed) -> Kind {
    Kind { name, keyed }
}

/// All of them. A name that ends with a slash is a prefix.
pub(super) const KINDS: [Kind; 19] = [
    kind("root", Keyed::Kek),
    kind("data-key/", Keyed::Kek),
    kind("epoch", Keyed::AtOnce),
    kind("set/", Keyed::Set),
    kind("key/", Keyed::KeyOfSet),
    // the digests are made with the material key, which does not rotate
    kind("material/", Keyed::Nothing),
    kind("changed/", Keyed::Nothing),
    kind("request-at/", Keyed::Nothing),
    kind("moved", Keyed::Nothing),
    kind("restored", Keyed::Nothing),
    kind("arriving", Keyed::Nothing),
    kind("revoked/", Keyed::RootRecord(token_record::reseal)),
    kind(
        "revoked-until",
        Keyed::RootRecord(token_record::reseal_until),
    ),
    kind("request/", Keyed::RootRecord(request::reseal)),
    kind("subscriber/", Keyed::RootRecord(subscriber::reseal)),
    kind("replica/", Keyed::RootRecord(replica::reseal)),
    kind("audit/", Keyed::RootRecord(audit::reseal)),
    kind("audit-key", Keyed::RootKey(audit::reseal_key)),
    kind("issued-key", Keyed::RootKey(issued::reseal_key)),
];

impl Kind {
    pub(super) fn covers(&self, key: &str) -> bool {
        match self.name.ends_with('/') {
            true => key.starts_with(self.name),
            false => key == self.name,
        }
    }
}

/// The kinds that stand under the root's data key, apart from records of sets.
pub(super) fn of_the_root() -> impl Iterator<Item = &'static Kind> {
    let is_roots = |kind: &&Kind| matches!(kind.keyed, Keyed::RootRecord(_) | Keyed::RootKey(_));
    KINDS.iter().filter(is_roots)
}

/// The generation that an entry of such a kind says; `None` for what says none.
pub(super) fn generation(kind: &Kind, entry: &Entry) -> Option<u32> {
    match kind.keyed {
        Keyed::RootKey(_) => generation_of(&entry.value).ok(),
        _ => envelope::generation_of(&entry.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_is_of_two_kinds() {
        for kind in &KINDS {
            let name = format!("{}x", kind.name);
            let key = if kind.name.ends_with('/') {
                &name
            } else {
                kind.name
            };
            let of = KINDS.iter().filter(|kind| kind.covers(key)).count();
            assert_eq!(of, 1, "{key}");
        }
    }
}
