//! Big-endian numbers of fixed width, as far as the attacks need them.

/// Out of hexadecimal digits.
pub(crate) fn number(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// a - b of big-endian numbers of one length, modulo their width.
pub(crate) fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = a.to_vec();
    let mut borrow = false;
    for (digit, less) in out.iter_mut().zip(b).rev() {
        let (rest, first) = digit.overflowing_sub(*less);
        let (rest, second) = rest.overflowing_sub(u8::from(borrow));
        (*digit, borrow) = (rest, first | second);
    }
    out
}

/// a + b of big-endian numbers of one length; `None` where the sum is wider.
pub(crate) fn plus(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let mut out = a.to_vec();
    let mut carry = false;
    for (digit, more) in out.iter_mut().zip(b).rev() {
        let (sum, first) = digit.overflowing_add(*more);
        let (sum, second) = sum.overflowing_add(u8::from(carry));
        (*digit, carry) = (sum, first | second);
    }
    (!carry).then_some(out)
}

/// A small number, `len` bytes wide.
pub(crate) fn small(len: usize, value: u8) -> Vec<u8> {
    let mut out = vec![0; len];
    out[len - 1] = value;
    out
}

/// From or to little-endian.
pub(crate) fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}
