//! SHA-256, as hexadecimal digits, and XXH3 where forgery has no use.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of all that `reader` gives, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_hex_of(reader: &mut impl std::io::Read) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            len => hasher.update(&buffer[..len]),
        }
    }
}

/// XXH3-64: it finds changes, but is no protection against forgery. In JSON it is 16 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Xxh3(u64);

impl Xxh3 {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Xxh3 {
        Xxh3(xxhash_rust::xxh3::xxh3_64(bytes))
    }
}

impl Serialize for Xxh3 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Xxh3 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Xxh3, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        u64::from_str_radix(&text, 16).map(Xxh3).map_err(serde::de::Error::custom)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
