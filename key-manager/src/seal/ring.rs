//! The generations of one owner's data key: the present one makes, every one opens.

use std::{collections::BTreeMap, fmt};

use zeroize::Zeroizing;

use super::{
    DataKey, KEY_LEN, KeyBinding, MaterialKey, RecordBinding, SealError,
    data_key::{FORMAT, TAG_LEN},
};

/// The first generation, and that of whatever does not say its generation.
pub const FIRST: u32 = 1;

/// The form of sealed bytes: this byte, the generation in four, a nonce of 12, the ciphertext and its tag of 16.
const WITH_GENERATION: u8 = 2;

/// Every generation of one owner's data key, and the owner's material key.
pub struct Ring {
    present: u32,
    newest: DataKey,
    older: BTreeMap<u32, DataKey>,
    materials: MaterialKey,
}

impl Ring {
    /// The ring of an owner whose first data key this is.
    ///
    /// # Errors
    /// [`SealError::Engine`].
    pub fn first(key: &[u8; KEY_LEN]) -> Result<Self, SealError> {
        let materials = MaterialKey::of_data_key(key)?;
        Ok(Self::new(
            FIRST,
            DataKey::new(key)?,
            BTreeMap::new(),
            materials,
        ))
    }

    pub(crate) fn new(
        present: u32,
        newest: DataKey,
        older: BTreeMap<u32, DataKey>,
        materials: MaterialKey,
    ) -> Self {
        Self {
            present,
            newest,
            older,
            materials,
        }
    }

    /// The generation that seals.
    #[must_use]
    pub fn present(&self) -> u32 {
        self.present
    }

    /// One generation.
    ///
    /// # Errors
    /// [`SealError::Generation`].
    pub fn key(&self, generation: u32) -> Result<&DataKey, SealError> {
        match generation == self.present {
            true => Ok(&self.newest),
            false => self
                .older
                .get(&generation)
                .ok_or(SealError::Generation(generation)),
        }
    }

    /// Seals private bytes.
    ///
    /// # Errors
    /// [`SealError::Engine`].
    pub fn seal(&self, binding: KeyBinding<'_>, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut header = vec![WITH_GENERATION];
        header.extend_from_slice(&self.present.to_be_bytes());
        self.newest.seal(&header, binding, secret)
    }

    /// Opens what [`Ring::seal`] made for the same binding.
    ///
    /// # Errors
    /// [`SealError::Generation`] where its generation is not there, [`SealError::Refused`] for everything else.
    pub fn open(
        &self,
        binding: KeyBinding<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (generation, rest) = split(sealed)?;
        self.key(generation)?.open(binding, rest)
    }

    /// The tag of a record under the present generation.
    #[must_use]
    pub fn tag(&self, binding: RecordBinding<'_>, record: &[u8]) -> [u8; TAG_LEN] {
        self.newest.tag(binding, record)
    }

    /// Compares a tag under a generation in constant time.
    ///
    /// # Errors
    /// [`SealError::Generation`], [`SealError::Refused`].
    pub fn verify(
        &self,
        generation: u32,
        binding: RecordBinding<'_>,
        record: &[u8],
        tag: &[u8],
    ) -> Result<(), SealError> {
        self.key(generation)?.verify(binding, record, tag)
    }

    /// Equal exactly where the secrets are equal, whatever the generation, and of no use without the material key.
    #[must_use]
    pub fn material(&self, secret: &[u8]) -> String {
        self.materials.material(secret)
    }

    /// A ring of the next generation alone, with the same material key.
    pub(crate) fn successor(
        &self,
        generation: u32,
        key: &[u8; KEY_LEN],
    ) -> Result<Self, SealError> {
        let materials = self.materials.copy();
        Ok(Self::new(
            generation,
            DataKey::new(key)?,
            BTreeMap::new(),
            materials,
        ))
    }

    /// The material key, sealed under the present generation.
    pub(crate) fn seal_materials(&self, owner: &str) -> Result<Vec<u8>, SealError> {
        self.seal(materials_of(owner), self.materials.expose())
    }

    /// The material key that [`Ring::seal_materials`] sealed under this generation.
    pub(crate) fn open_materials(
        key: &DataKey,
        owner: &str,
        sealed: &[u8],
    ) -> Result<MaterialKey, SealError> {
        let (_, rest) = split(sealed)?;
        let opened = key.open(materials_of(owner), rest)?;
        let bytes: [u8; KEY_LEN] = opened
            .as_slice()
            .try_into()
            .map_err(|_long| SealError::Refused)?;
        Ok(MaterialKey::new(Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring(generation {}, redacted)", self.present)
    }
}

fn materials_of(owner: &str) -> KeyBinding<'_> {
    KeyBinding {
        tenant: owner,
        set: "",
        kid: "materials",
        algorithm: "HS256",
        key_use: "material",
    }
}

/// The generation of sealed bytes, and what stands behind it.
fn split(sealed: &[u8]) -> Result<(u32, &[u8]), SealError> {
    let (format, rest) = sealed.split_first().ok_or(SealError::Refused)?;
    match *format {
        FORMAT => Ok((FIRST, rest)),
        WITH_GENERATION => {
            let (generation, rest) = rest.split_first_chunk().ok_or(SealError::Refused)?;
            Ok((u32::from_be_bytes(*generation), rest))
        }
        unknown => Err(SealError::Format(unknown)),
    }
}

/// The generation that sealed bytes say.
pub(crate) fn generation_of(sealed: &[u8]) -> Result<u32, SealError> {
    split(sealed).map(|(generation, _)| generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: KeyBinding<'static> = KeyBinding {
        tenant: "default",
        set: "op/x",
        kid: "k",
        algorithm: "ES256",
        key_use: "sign",
    };
    const RECORD: RecordBinding<'static> = RecordBinding {
        kind: "set",
        tenant: "default",
        name: "op/x",
        revision: 7,
    };

    fn rotated() -> (Ring, Ring) {
        let first = Ring::first(&[1; KEY_LEN]).unwrap();
        let key = |byte| DataKey::new(&[byte; KEY_LEN]).unwrap();
        let materials = MaterialKey::of_data_key(&[1; KEY_LEN]).unwrap();
        let older = BTreeMap::from([(FIRST, key(1))]);
        (first, Ring::new(2, key(2), older, materials))
    }

    #[test]
    fn the_newest_seals_and_every_generation_that_is_kept_opens() {
        let (first, second) = rotated();
        let (old, new) = (
            first.seal(BINDING, b"secret").unwrap(),
            second.seal(BINDING, b"secret").unwrap(),
        );
        assert_eq!((generation_of(&old), generation_of(&new)), (Ok(1), Ok(2)));
        for sealed in [&old, &new] {
            assert_eq!(second.open(BINDING, sealed).unwrap().as_slice(), b"secret");
        }
        assert_eq!(first.open(BINDING, &new), Err(SealError::Generation(2)));
        let tag = first.tag(RECORD, b"{}");
        assert_eq!(second.verify(1, RECORD, b"{}", &tag), Ok(()));
        assert_eq!(
            second.verify(2, RECORD, b"{}", &tag),
            Err(SealError::Refused)
        );
        assert_eq!(
            second.verify(3, RECORD, b"{}", &tag),
            Err(SealError::Generation(3))
        );
    }

    #[test]
    fn the_form_before_generations_is_that_of_the_first() {
        let (_, ring) = rotated();
        let key = DataKey::new(&[1; KEY_LEN]).unwrap();
        let sealed = key.seal(&[FORMAT], BINDING, b"secret").unwrap();
        assert_eq!(ring.open(BINDING, &sealed).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen_in_either_form() {
        let (_, ring) = rotated();
        let key = DataKey::new(&[1; KEY_LEN]).unwrap();
        for sealed in [
            key.seal(&[FORMAT], BINDING, b"secret").unwrap(),
            ring.seal(BINDING, b"secret").unwrap(),
        ] {
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut altered = sealed.clone();
                    altered[at] ^= 1 << bit;
                    assert!(ring.open(BINDING, &altered).is_err(), "byte {at} bit {bit}");
                }
                assert!(ring.open(BINDING, &sealed[..at]).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn digests_of_materials_outlive_a_rotation() {
        let (first, second) = rotated();
        assert_eq!(first.material(b"a"), second.material(b"a"));
        let sealed = second.seal_materials("default").unwrap();
        let kept = Ring::open_materials(second.key(2).unwrap(), "default", &sealed).unwrap();
        assert_eq!(kept.material(b"a"), first.material(b"a"));
        assert!(Ring::open_materials(second.key(2).unwrap(), "other", &sealed).is_err());
    }

    #[test]
    fn no_ring_shows_its_keys() {
        let (_, ring) = rotated();
        assert_eq!(format!("{ring:?}"), "Ring(generation 2, redacted)");
    }
}
