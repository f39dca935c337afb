//! The head of all revocations of tokens.

use jose::revocation::{Entry, encode};

use super::SetName;
use crate::seal::{DataKey, RecordBinding};

/// How many revocations there are, and the sum of a keyed digest of each: adding or forgetting one costs one digest, whatever their
/// number. The digests are under a key of the store and stand nowhere in it, so nobody can look for others that sum up alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenHead {
    count: u64,
    /// 256 bits, the lowest word first.
    sum: [u64; 4],
}

impl TokenHead {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, root: &DataKey, name: &SetName, entry: &Entry) {
        self.count = self.count.wrapping_add(1);
        let mut carry = false;
        for (word, more) in self.sum.iter_mut().zip(words(root, name, entry)) {
            let (sum, over) = word.overflowing_add(more);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, over || again);
        }
    }

    pub(super) fn subtract(&mut self, root: &DataKey, name: &SetName, entry: &Entry) {
        self.count = self.count.wrapping_sub(1);
        let mut borrow = false;
        for (word, less) in self.sum.iter_mut().zip(words(root, name, entry)) {
            let (rest, under) = word.overflowing_sub(less);
            let (rest, again) = rest.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (rest, under || again);
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let sum = self.sum.iter().flat_map(|word| word.to_be_bytes());
        self.count.to_be_bytes().into_iter().chain(sum).collect()
    }
}

fn words(root: &DataKey, name: &SetName, entry: &Entry) -> [u64; 4] {
    let place = RecordBinding {
        kind: "token-head",
        tenant: &name.tenant,
        name: &name.name,
        revision: 0,
    };
    let tag = root.tag(place, &encode([*entry]));
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(tag.as_chunks().0) {
        *word = u64::from_be_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use jose::revocation::Id;
    use jose_aws_lc::AwsLc;

    use super::*;

    #[test]
    fn the_head_is_that_of_the_revocations_in_any_order() {
        let root = DataKey::new(&[3; 32]).unwrap();
        let names = [
            SetName::new("default", "op/a"),
            SetName::new("default", "op/b"),
        ];
        let entry = |number: u32| Entry {
            id: Id::of_jti(&number.to_string(), &AwsLc),
            issued_before: 0,
            forget_at: number,
        };
        let (mut up, mut down, mut more) = (
            TokenHead::default(),
            TokenHead::default(),
            TokenHead::default(),
        );
        for number in 0..100 {
            up.add(&root, &names[0], &entry(number));
            down.add(&root, &names[0], &entry(99 - number));
            more.add(&root, &names[0], &entry(99 - number));
        }
        assert_eq!(up, down);
        more.add(&root, &names[1], &entry(7));
        assert_ne!(more.bytes(), up.bytes());
        more.subtract(&root, &names[0], &entry(7));
        assert_ne!(more, up, "the same of another set is another one");
        more.add(&root, &names[0], &entry(7));
        more.subtract(&root, &names[1], &entry(7));
        assert_eq!(more, up);
        (0..100).for_each(|number| up.subtract(&root, &names[0], &entry(number)));
        assert_eq!(up, TokenHead::default());
    }
}
