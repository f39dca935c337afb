//! Whether 32 bytes are a point of Ed25519 (RFC 8032 section 5.1.3): the engine decodes points only while it verifies.
//!
//! The point is public, so nothing here runs in constant time.

/// d of the curve -x^2 + y^2 = 1 + d x^2 y^2, little-endian words.
const D: Element = [
    0x75eb_4dca_1359_78a3,
    0x0070_0a4d_4141_d8ab,
    0x8cc7_4079_7779_e898,
    0x5203_6cee_2b6f_fe73,
];
const ONE: Element = [1, 0, 0, 0];
/// -1, which is 2^255 - 20.
const MINUS_ONE: Element = [!0 - 19, !0, !0, !0 >> 1];

/// A number modulo 2^255 - 19, not always the least; little-endian words.
type Element = [u64; 4];

/// Whether some x belongs to the y that is encoded: (y^2 - 1) / (d y^2 + 1) must be a square.
/// `encoded` is canonical and of no small order; [`jose::key::OkpPublicKey`] has seen to that.
pub(crate) fn is_on_curve(encoded: &[u8; 32]) -> bool {
    let mut y = [0; 4];
    for (word, bytes) in y.iter_mut().zip(encoded.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    if let Some(top) = y.last_mut() {
        *top &= !0 >> 1;
    }
    let square = multiply(y, y);
    let numerator = add(square, MINUS_ONE);
    let denominator = add(multiply(D, square), ONE);
    // the product is a square exactly where the quotient is
    is_square(multiply(numerator, denominator))
}

/// Euler's criterion: a square to the power (p - 1) / 2 = 2^254 - 10 is one.
fn is_square(value: Element) -> bool {
    // 2^254 - 10 = 0b11..110110: 250 ones, then 0110
    let mut power = ONE;
    for bit in [true; 250].into_iter().chain([false, true, true, false]) {
        power = multiply(power, power);
        if bit {
            power = multiply(power, value);
        }
    }
    least(power) == ONE
}

fn add(a: Element, b: Element) -> Element {
    let mut out = [0; 8];
    let mut carry = 0;
    for (out, (a, b)) in out.iter_mut().zip(a.into_iter().zip(b)) {
        (*out, carry) = split(u128::from(a) + u128::from(b) + carry);
    }
    set(&mut out, 4, carry);
    reduce(out)
}

fn multiply(a: Element, b: Element) -> Element {
    let mut out = [0; 8];
    for (at, a) in a.into_iter().enumerate() {
        let mut carry = 0;
        for (out, b) in out.iter_mut().skip(at).zip(b) {
            (*out, carry) = split(u128::from(a) * u128::from(b) + u128::from(*out) + carry);
        }
        set(&mut out, at + 4, carry);
    }
    reduce(out)
}

/// 2^256 is 38 here; what is carried out of the sum goes in again, twice at most.
fn reduce(wide: [u64; 8]) -> Element {
    let [a, b, c, d, e, f, g, h] = wide;
    let (mut low, mut high) = ([a, b, c, d], [e, f, g, h]);
    while high != [0; 4] {
        let mut carry = 0;
        for (low, high) in low.iter_mut().zip(high) {
            (*low, carry) = split(u128::from(high) * 38 + u128::from(*low) + carry);
        }
        high = [split(carry).0, 0, 0, 0];
    }
    low
}

/// The one representative below p. An element is below 2p + 38.
fn least(mut value: Element) -> Element {
    const P: Element = [!0 - 18, !0, !0, !0 >> 1];
    while value.iter().rev().ge(P.iter().rev()) {
        let mut borrow = false;
        for (out, p) in value.iter_mut().zip(P) {
            let (once, under) = out.overflowing_sub(p);
            let (twice, again) = once.overflowing_sub(u64::from(borrow));
            (*out, borrow) = (twice, under || again);
        }
    }
    value
}

/// The low word, and the rest.
fn split(sum: u128) -> (u64, u128) {
    let low = u64::try_from(sum & u128::from(u64::MAX)).unwrap_or_default();
    (low, sum >> 64)
}

fn set(out: &mut [u64; 8], at: usize, carry: u128) {
    if let Some(word) = out.get_mut(at) {
        *word = split(carry).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_coordinates_are_judged_as_computed_elsewhere() {
        const ON_THE_CURVE: [u8; 25] = [
            3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 19, 21, 23, 24, 25, 26, 27, 28, 29, 30, 32, 33, 35,
            37, 39,
        ];
        for y in 2..40 {
            for sign in [0, 0x80] {
                let mut encoded = [0; 32];
                (encoded[0], encoded[31]) = (y, sign);
                assert_eq!(
                    is_on_curve(&encoded),
                    ON_THE_CURVE.contains(&y),
                    "{y} {sign}"
                );
            }
        }
    }

    #[test]
    fn elements_wrap_around_the_prime() {
        assert_eq!(least(add(MINUS_ONE, ONE)), [0; 4]);
        assert_eq!(least(multiply(MINUS_ONE, MINUS_ONE)), ONE);
        assert_eq!(least([!0; 4]), [37, 0, 0, 0]);
        assert_eq!(least(multiply([!0; 4], [!0; 4])), [37 * 37, 0, 0, 0]);
        assert_eq!(least(add([!0; 4], [!0; 4])), [74, 0, 0, 0]);
    }
}
