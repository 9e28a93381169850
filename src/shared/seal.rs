//! What is stored can be read and made by us alone: names are keyed digests, values are sealed.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Kind;
use crate::secret::Zeroizing;

/// Of what is sealed and how; a value of another version counts as absent.
const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;

/// A key as it is configured.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey {
    /// Goes with what it sealed, so that an older key still opens.
    pub id: String,
    /// 32 random bytes.
    pub key: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.id)
    }
}

/// The name of a value in the store, and by which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    text: String,
    key: usize,
}

impl Name {
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// All the keys: the first is used for what is new, all are looked for.
pub(crate) struct Sealer(Vec<Keys>);

struct Keys {
    id: String,
    seal: LessSafeKey,
    name: hmac::Key,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// One key for one purpose (RFC 5869).
fn derive(key: &EncryptionKey, purpose: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut derived = Zeroizing::new([0; KEY_BYTES]);
    let secret = Salt::new(HKDF_SHA256, b"qlik-token-broker").extract(key.key.as_ref());
    let purpose = [purpose];
    let material = secret.expand(&purpose, Length).ok()?;
    material.fill(derived.as_mut()).ok()?;
    Some(derived)
}

impl Sealer {
    /// `None` if the library refuses a key, which it has no reason to.
    pub fn new(keys: &[EncryptionKey]) -> Option<Self> {
        let keys = keys.iter().map(|key| {
            let seal = UnboundKey::new(&AES_256_GCM, derive(key, b"seal")?.as_ref()).ok()?;
            Some(Keys {
                id: key.id.clone(),
                seal: LessSafeKey::new(seal),
                name: hmac::Key::new(hmac::HMAC_SHA256, derive(key, b"name")?.as_ref()),
            })
        });
        keys.collect::<Option<_>>().map(Self)
    }

    /// The names of one value, one per key. Where keys are being changed, two replicas may not have
    /// the same first key, but they have one in common.
    pub fn names(&self, kind: Kind, key: &[u8; 32]) -> impl Iterator<Item = Name> {
        self.0.iter().enumerate().map(move |(index, keys)| {
            let mut context = hmac::Context::with_key(&keys.name);
            context.update(&[VERSION, kind.code()]);
            context.update(key);
            let digest = URL_SAFE_NO_PAD.encode(context.sign());
            Name {
                text: format!("qtb:{digest}"),
                key: index,
            }
        })
    }

    /// Seals with the key that named the place. `None` if the machine gives no randomness.
    pub fn seal(&self, kind: Kind, name: &Name, value: &[u8]) -> Option<Vec<u8>> {
        let keys = self.0.get(name.key)?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let id = keys.id.as_bytes();
        let mut sealed = vec![VERSION, u8::try_from(id.len()).ok()?];
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(value);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = keys.seal.seal_in_place_separate_tag(
            nonce,
            associated(kind, name),
            &mut sealed[start..],
        );
        sealed.extend_from_slice(tag.ok()?.as_ref());
        Some(sealed)
    }

    /// What was sealed for this place by one of the keys; `None` for everything else.
    pub fn open(&self, kind: Kind, name: &Name, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (&version, rest) = sealed.split_first()?;
        let (&length, rest) = rest.split_first()?;
        let (id, rest) = rest.split_at_checked(length.into())?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.0.iter().find(|keys| keys.id.as_bytes() == id)?;
        if version != VERSION {
            return None;
        }
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut value = Zeroizing::new(rest.to_vec());
        let opened = keys
            .seal
            .open_in_place(nonce, associated(kind, name), &mut value);
        let length = opened.ok()?.len();
        value.truncate(length);
        Some(value)
    }
}

/// A value that was moved to another place does not open there.
fn associated(kind: Kind, name: &Name) -> Aad<Vec<u8>> {
    let mut data = vec![VERSION, kind.code()];
    data.extend_from_slice(name.text.as_bytes());
    Aad::from(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, byte: u8) -> EncryptionKey {
        EncryptionKey {
            id: id.into(),
            key: Zeroizing::new([byte; 32]),
        }
    }

    fn name(keys: &Sealer, kind: Kind, key: u8) -> Name {
        keys.names(kind, &[key; 32]).next().unwrap()
    }

    #[test]
    fn a_value_opens_in_its_own_place_only() {
        let keys = Sealer::new(&[key("k1", 1)]).unwrap();
        let place = name(&keys, Kind::Token, 7);
        let sealed = keys.seal(Kind::Token, &place, b"canary").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        let opened = |kind, name: &Name| keys.open(kind, name, &sealed).map(|value| value.to_vec());
        assert_eq!(opened(Kind::Token, &place).as_deref(), Some(&b"canary"[..]));
        assert_eq!(opened(Kind::Handle, &place), None);
        assert_eq!(opened(Kind::Token, &name(&keys, Kind::Token, 8)), None);
        for index in 0..sealed.len() {
            let mut other = sealed.clone();
            other[index] ^= 1;
            assert!(keys.open(Kind::Token, &place, &other).is_none(), "{index}");
            assert!(keys.open(Kind::Token, &place, &sealed[..index]).is_none());
        }
    }

    #[test]
    fn keys_are_changed_one_after_the_other() {
        let old = Sealer::new(&[key("k1", 1)]).unwrap();
        let both = Sealer::new(&[key("k2", 2), key("k1", 1)]).unwrap();
        let place = name(&old, Kind::Token, 7);
        let sealed = old.seal(Kind::Token, &place, b"x").unwrap();
        let there = both.names(Kind::Token, &[7; 32]).nth(1).unwrap();
        assert_eq!(there.as_str(), place.as_str());
        assert!(both.open(Kind::Token, &there, &sealed).is_some());
        let again = both.seal(Kind::Token, &there, b"x").unwrap();
        assert!(old.open(Kind::Token, &place, &again).is_some());
        let place = name(&both, Kind::Token, 7);
        let sealed = both.seal(Kind::Token, &place, b"x").unwrap();
        assert!(old.open(Kind::Token, &place, &sealed).is_none());
        let same_id = Sealer::new(&[key("k1", 9)]).unwrap();
        assert!(same_id.open(Kind::Token, &place, &sealed).is_none());
    }

    #[test]
    fn nothing_is_shown() {
        let key = key("k1", 65);
        let shown = format!(
            "{key:?} {:?}",
            Sealer::new(std::slice::from_ref(&key)).unwrap()
        );
        assert!(!shown.contains("65") && !shown.contains("AAAA"));
    }
}
