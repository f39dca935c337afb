//! Over the linked archive. Signatures as in `include/crypto_mb/*.h` of interface version 13.3.

use std::cell::RefCell;
use std::ptr;
use std::sync::OnceLock;

use zeroize::Zeroize;

use super::{Block, CrtKey, Lanes, Status};
use crate::{Class, LANES, Unavailable};

/// The CPU was asked, and has what the library wants.
#[derive(Clone, Copy)]
pub(crate) struct Proof(());

/// Opaque: only ever handled by address.
#[repr(C)]
struct Method {
    _opaque: [u8; 0],
}

type Bytes = [*const u8; LANES];
type Words = [*const u64; LANES];
type BytesOut = [*mut u8; LANES];
type WordsOut = [*mut u64; LANES];

// SAFETY: the declarations say what the headers say. `Option<&T>` is a pointer that may be null, and a reference to
// an array is the pointer to its first element. `int` is i32 and `long long` is 64 bits on x86-64 Linux.
unsafe extern "C" {
    fn mbx_is_crypto_mb_applicable(features: u64) -> i32;
    fn mbx_get_algo_info(algorithm: u32) -> u64;

    fn mbx_RSA_private_crt_Method(bits: i32) -> *const Method;
    fn mbx_RSA_pub65537_Method(bits: i32) -> *const Method;
    fn mbx_RSA_Method_BufSize(method: *const Method) -> i32;
    fn mbx_rsa_private_crt_mb8(
        from: &Bytes,
        to: &BytesOut,
        p: &Words,
        q: &Words,
        dp: &Words,
        dq: &Words,
        qi: &Words,
        bits: i32,
        method: *const Method,
        scratch: *mut u8,
    ) -> u32;
    fn mbx_rsa_public_mb8(
        from: &Bytes,
        to: &BytesOut,
        n: &Words,
        bits: i32,
        method: *const Method,
        scratch: *mut u8,
    ) -> u32;

    fn mbx_nistp256_ecpublic_key_mb8(
        x: &WordsOut,
        y: &WordsOut,
        z: *const WordsOut,
        keys: &Lanes<'_, [u64; 4]>,
        scratch: *mut u8,
    ) -> u32;
    fn mbx_nistp256_ecdh_mb8(
        shared: &BytesOut,
        keys: &Lanes<'_, [u64; 4]>,
        x: &Lanes<'_, [u64; 4]>,
        y: &Lanes<'_, [u64; 4]>,
        z: *const Words,
        scratch: *mut u8,
    ) -> u32;
    fn mbx_nistp256_ecdsa_sign_mb8(
        r: &BytesOut,
        s: &BytesOut,
        digests: &Lanes<'_, [u8; 32]>,
        nonces: &Lanes<'_, [u64; 4]>,
        keys: &Lanes<'_, [u64; 4]>,
        scratch: *mut u8,
    ) -> u32;
    fn mbx_nistp256_ecdsa_verify_mb8(
        r: &Lanes<'_, [u8; 32]>,
        s: &Lanes<'_, [u8; 32]>,
        digests: &Lanes<'_, [u8; 32]>,
        x: &Lanes<'_, [u64; 4]>,
        y: &Lanes<'_, [u64; 4]>,
        z: *const Words,
        scratch: *mut u8,
    ) -> u32;

    fn mbx_ed25519_public_key_mb8(public: &BytesOut, seeds: &Lanes<'_, [u8; 32]>) -> u32;
    fn mbx_ed25519_sign_mb8(
        r: &BytesOut,
        s: &BytesOut,
        messages: &Bytes,
        lengths: &[u32; LANES],
        seeds: &Lanes<'_, [u8; 32]>,
        public: &Lanes<'_, [u8; 32]>,
    ) -> u32;
    fn mbx_ed25519_verify_mb8(
        r: &Lanes<'_, [u8; 32]>,
        s: &Lanes<'_, [u8; 32]>,
        messages: &Bytes,
        lengths: &[u32; LANES],
        public: &Lanes<'_, [u8; 32]>,
    ) -> u32;

}

/// The names that `scripts/multibuffer` gives to the four symbols of libcrypto. Only the archive's `_ssl_` functions
/// call them, and nothing here calls those.
mod absent_libcrypto {
    macro_rules! abort {
        ($($name:ident)*) => { $(
            // SAFETY: the name is of our own making; no other library has it.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> ! {
                std::process::abort()
            }
        )* };
    }

    abort! {
        multibuffer_absent_BN_bin2bn
        multibuffer_absent_BN_bn2lebinpad
        multibuffer_absent_BN_num_bits
        multibuffer_absent_ECDSA_SIG_get0
    }
}

/// `enum MBX_ALGO`: RSA 2K, 3K and 4K, P-256, Ed25519.
const ALGORITHMS: [u32; 5] = [1, 2, 3, 5, 14];

pub(crate) fn detect() -> Result<Proof, Unavailable> {
    static APPLICABLE: OnceLock<bool> = OnceLock::new();
    let applicable = *APPLICABLE.get_or_init(|| {
        // SAFETY: takes a number, reads the CPU's features.
        let applicable = unsafe { mbx_is_crypto_mb_applicable(0) } != 0;
        applicable
            && ALGORITHMS.iter().all(|algorithm| {
                // SAFETY: takes a value of `enum MBX_ALGO`; the answer is a mask of widths.
                unsafe { mbx_get_algo_info(*algorithm) & 8 != 0 }
            })
    });
    if applicable {
        Ok(Proof(()))
    } else {
        Err(Unavailable::Cpu)
    }
}

/// Bits, bytes and words of a modulus.
fn sizes(class: Class) -> Option<(i32, usize, usize)> {
    match class {
        Class::Rsa2048 => Some((2048, 256, 32)),
        Class::Rsa3072 => Some((3072, 384, 48)),
        Class::Rsa4096 => Some((4096, 512, 64)),
        Class::P256 | Class::Ed25519 => None,
    }
}

thread_local! {
    /// What the RSA functions compute in: 55 to 110 KB, too much for the stack of an async thread. Made once per
    /// thread, in words so that it is zeroised eight bytes at a time.
    static SCRATCH: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The status when nothing was computed.
const NOTHING: Status = Status(u32::MAX);

/// Runs `body` on scratch of the size that `method` asks for, and zeroises it after private operations.
fn with_scratch(
    method: *const Method,
    is_secret: bool,
    body: impl FnOnce(*mut u8) -> u32,
) -> Status {
    if method.is_null() {
        return NOTHING;
    }
    // SAFETY: not null, so it is one of the library's methods, which live as long as the process.
    let size = unsafe { mbx_RSA_Method_BufSize(method) };
    let Ok(words) = usize::try_from(size).map(|size| size.div_ceil(8)) else {
        return NOTHING;
    };
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < words {
            scratch.resize(words, 0);
        }
        let status = body(scratch.as_mut_ptr().cast());
        if is_secret && let Some(used) = scratch.get_mut(..words) {
            used.zeroize();
        }
        Status(status)
    })
}

/// The RSA private operation by CRT; every number of a lane has the class's length.
pub(crate) fn rsa_private(
    _: Proof,
    class: Class,
    from: &[Block; LANES],
    to: &mut [Block; LANES],
    keys: &[Option<CrtKey<'_>>; LANES],
) -> Status {
    let Some((bits, bytes, words)) = sizes(class) else {
        return NOTHING;
    };
    debug_assert!(bytes <= size_of::<Block>(), "a block holds every class");
    let keys = keys.map(|key| key.filter(|key| key.has_words(words / 2)));
    let part = |part: fn(CrtKey<'_>) -> *const u64| keys.map(|key| key.map_or(ptr::null(), part));
    let (p, q) = (part(|key| key.p.as_ptr()), part(|key| key.q.as_ptr()));
    let (dp, dq) = (part(|key| key.dp.as_ptr()), part(|key| key.dq.as_ptr()));
    let qi = part(|key| key.qi.as_ptr());
    let from = from.each_ref().map(|block| block.as_ptr());
    let to = to.each_mut().map(|block| block.as_mut_ptr());
    // SAFETY: `bits` is one of the three sizes that the library has methods for.
    let method = unsafe { mbx_RSA_private_crt_Method(bits) };
    with_scratch(method, true, |scratch| {
        // SAFETY: `from` and `to` are 512 bytes each, of which the library uses bits / 8; the parts of a key are
        // bits / 128 words, or null, which the library reports and skips; `scratch` is of the size asked for.
        unsafe { mbx_rsa_private_crt_mb8(&from, &to, &p, &q, &dp, &dq, &qi, bits, method, scratch) }
    })
}

/// The RSA public operation with the exponent 65537.
pub(crate) fn rsa_public(
    _: Proof,
    class: Class,
    from: &[Block; LANES],
    to: &mut [Block; LANES],
    moduli: &[Option<&[u64]>; LANES],
) -> Status {
    let Some((bits, _, words)) = sizes(class) else {
        return NOTHING;
    };
    let n = moduli.map(|n| {
        n.filter(|n| n.len() == words)
            .map_or(ptr::null(), <[u64]>::as_ptr)
    });
    let from = from.each_ref().map(|block| block.as_ptr());
    let to = to.each_mut().map(|block| block.as_mut_ptr());
    // SAFETY: `bits` is one of the three sizes that the library has methods for.
    let method = unsafe { mbx_RSA_pub65537_Method(bits) };
    with_scratch(method, false, |scratch| {
        // SAFETY: `from` and `to` are 512 bytes each, of which the library uses bits / 8; a modulus is bits / 64
        // words, or null, which the library reports and skips; `scratch` is of the size asked for.
        unsafe { mbx_rsa_public_mb8(&from, &to, &n, bits, method, scratch) }
    })
}

fn bytes_out(out: &mut [[u8; 32]; LANES]) -> BytesOut {
    out.each_mut().map(|out| out.as_mut_ptr())
}

fn words_out(out: &mut [[u64; 4]; LANES]) -> WordsOut {
    out.each_mut().map(|out| out.as_mut_ptr())
}

/// Points of private scalars, affine.
pub(crate) fn p256_public(
    _: Proof,
    x: &mut [[u64; 4]; LANES],
    y: &mut [[u64; 4]; LANES],
    scalars: &Lanes<'_, [u64; 4]>,
) -> Status {
    let (x, y) = (words_out(x), words_out(y));
    // SAFETY: eight pointers each to four words, null in unused lanes of `scalars`, which the library reports and
    // skips; a null `z` asks for affine coordinates; the scratch is not used by this version.
    Status(unsafe { mbx_nistp256_ecpublic_key_mb8(&x, &y, ptr::null(), scalars, ptr::null_mut()) })
}

/// The x coordinate, big-endian, of scalar times point; the library refuses a point off the curve.
pub(crate) fn p256_agree(
    _: Proof,
    shared: &mut [[u8; 32]; LANES],
    scalars: &Lanes<'_, [u64; 4]>,
    x: &Lanes<'_, [u64; 4]>,
    y: &Lanes<'_, [u64; 4]>,
) -> Status {
    let shared = bytes_out(shared);
    // SAFETY: as in `p256_public`; `shared` is eight pointers to 32 bytes.
    Status(unsafe { mbx_nistp256_ecdh_mb8(&shared, scalars, x, y, ptr::null(), ptr::null_mut()) })
}

/// r and s, big-endian; the nonces are from 1 to n - 1.
pub(crate) fn p256_sign(
    _: Proof,
    r: &mut [[u8; 32]; LANES],
    s: &mut [[u8; 32]; LANES],
    digests: &Lanes<'_, [u8; 32]>,
    nonces: &Lanes<'_, [u64; 4]>,
    scalars: &Lanes<'_, [u64; 4]>,
) -> Status {
    let (r, s) = (bytes_out(r), bytes_out(s));
    // SAFETY: as in `p256_public`; r, s and the digests are 32 bytes each.
    Status(unsafe {
        mbx_nistp256_ecdsa_sign_mb8(&r, &s, digests, nonces, scalars, ptr::null_mut())
    })
}

/// Whether r and s, big-endian, sign the digest.
pub(crate) fn p256_verify(
    _: Proof,
    r: &Lanes<'_, [u8; 32]>,
    s: &Lanes<'_, [u8; 32]>,
    digests: &Lanes<'_, [u8; 32]>,
    x: &Lanes<'_, [u64; 4]>,
    y: &Lanes<'_, [u64; 4]>,
) -> Status {
    // SAFETY: as in `p256_public`; nothing is written.
    Status(unsafe {
        mbx_nistp256_ecdsa_verify_mb8(r, s, digests, x, y, ptr::null(), ptr::null_mut())
    })
}

/// Pointers and lengths of messages; one that is too long for the library has no lane.
fn messages(messages: &[Option<&[u8]>; LANES]) -> (Bytes, [u32; LANES]) {
    let fitting = messages.map(|message| {
        message.and_then(|message| Some((message.as_ptr(), u32::try_from(message.len()).ok()?)))
    });
    (
        fitting.map(|message| message.map_or(ptr::null(), |(start, _)| start)),
        fitting.map(|message| message.map_or(0, |(_, length)| length)),
    )
}

/// Public keys of seeds.
pub(crate) fn ed25519_public(
    _: Proof,
    public: &mut [[u8; 32]; LANES],
    seeds: &Lanes<'_, [u8; 32]>,
) -> Status {
    let public = bytes_out(public);
    // SAFETY: eight pointers each to 32 bytes; unused lanes of `seeds` are null, which the library reports and skips.
    Status(unsafe { mbx_ed25519_public_key_mb8(&public, seeds) })
}

/// R and S; `public` must be the keys of the seeds.
pub(crate) fn ed25519_sign(
    _: Proof,
    r: &mut [[u8; 32]; LANES],
    s: &mut [[u8; 32]; LANES],
    texts: &[Option<&[u8]>; LANES],
    seeds: &Lanes<'_, [u8; 32]>,
    public: &Lanes<'_, [u8; 32]>,
) -> Status {
    let (r, s) = (bytes_out(r), bytes_out(s));
    let (texts, lengths) = messages(texts);
    // SAFETY: as in `ed25519_public`; a text is as long as its length says, or null with a length of zero.
    Status(unsafe { mbx_ed25519_sign_mb8(&r, &s, &texts, &lengths, seeds, public) })
}

/// Whether R and S sign the text; the library does not ask whether S is below L.
pub(crate) fn ed25519_verify(
    _: Proof,
    r: &Lanes<'_, [u8; 32]>,
    s: &Lanes<'_, [u8; 32]>,
    texts: &[Option<&[u8]>; LANES],
    public: &Lanes<'_, [u8; 32]>,
) -> Status {
    let (texts, lengths) = messages(texts);
    // SAFETY: as in `ed25519_sign`; nothing is written.
    Status(unsafe { mbx_ed25519_verify_mb8(r, s, &texts, &lengths, public) })
}
