//! Numbers as the library wants them: little-endian words of 64 bits.

/// Fills `words` with the big-endian number in `bytes`; `None` when it does not fit.
pub(crate) fn from_be(bytes: &[u8], words: &mut [u64]) -> Option<()> {
    if bytes.len() > words.len() * 8 {
        return None;
    }
    words.fill(0);
    let (head, tail) = bytes.as_rchunks::<8>();
    let mut lowest_first = words.iter_mut();
    // the bytes come first: a zip that ends takes one more of its left side
    for (bytes, word) in tail.iter().rev().zip(lowest_first.by_ref()) {
        *word = u64::from_be_bytes(*bytes);
    }
    if let Some(word) = lowest_first.next() {
        *word = head
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    Some(())
}

/// The big-endian number in `bytes` as four words.
pub(crate) fn from_be_32(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().rev().zip(bytes.as_chunks().0) {
        *word = u64::from_be_bytes(*bytes);
    }
    words
}

/// The little-endian number in `bytes` as four words.
pub(crate) fn from_le_32(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Whether the big-endian `bytes` are a number below `limit`. Both are public: this stops at the first difference.
pub(crate) fn is_below(bytes: &[u8], limit: &[u64]) -> bool {
    let (head, words) = bytes.as_chunks::<8>();
    words.is_empty()
        && head.len() == limit.len()
        && head
            .iter()
            .map(|bytes| u64::from_be_bytes(*bytes))
            .lt(limit.iter().rev().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_value() {
        let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap() + 1);
        let expected = [
            0x191a_1b1c_1d1e_1f20,
            0x1112_1314_1516_1718,
            0x090a_0b0c_0d0e_0f10,
            0x0102_0304_0506_0708,
        ];
        assert_eq!(from_be_32(&bytes), expected);
        for skipped in 0..=32 {
            let mut words = [7; 4];
            from_be(&bytes[skipped..], &mut words).unwrap();
            let mut padded = bytes;
            padded[..skipped].fill(0);
            assert_eq!(words, from_be_32(&padded), "{skipped}");
        }
        assert_eq!(from_be(&[0; 33], &mut [0; 4]), None);
        let mut reversed = bytes;
        reversed.reverse();
        assert_eq!(from_le_32(&reversed), expected);
    }

    #[test]
    fn below_means_below() {
        let limit = [2, 1];
        let number = |high: u64, low: u64| [high.to_be_bytes(), low.to_be_bytes()].concat();
        for (high, low, below) in [
            (0, 0, true),
            (0, u64::MAX, true),
            (1, 1, true),
            (1, 2, false),
            (1, 3, false),
            (2, 0, false),
        ] {
            assert_eq!(is_below(&number(high, low), &limit), below, "{high} {low}");
        }
        assert!(
            !is_below(&[0; 15], &limit),
            "a number of another length is none"
        );
        assert!(!is_below(&[0; 24], &limit));
    }
}
