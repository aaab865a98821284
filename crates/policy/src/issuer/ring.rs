//! The keys of an identity provider at one moment.

use std::time::{Duration, Instant};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of a list that are kept: a provider has one or two, and a few more while it changes them.
const KEYS_MAX: usize = 64;

/// The keys by which tokens are verified.
#[derive(Debug, Default)]
pub(super) struct Ring {
    keys: Vec<Key>,
    /// `None`: never.
    fetched: Option<Instant>,
    /// It is the operator's own, and never old.
    is_fixed: bool,
}

#[derive(Debug)]
struct Key {
    /// As it was listed, to tell lists apart.
    listed: Option<Jwk>,
    verifies: DecodingKey,
    algorithms: Vec<Algorithm>,
}

#[derive(Deserialize)]
struct List {
    keys: Vec<Value>,
}

impl Ring {
    /// The operator's shared secret; never old.
    pub(super) fn shared(key: DecodingKey) -> Self {
        let algorithms = AlgorithmFamily::Hmac.algorithms().to_vec();
        Self { keys: vec![Key { listed: None, verifies: key, algorithms }], fetched: Some(Instant::now()), is_fixed: true }
    }

    /// The usable keys of a list as providers publish it; `None` where there are none. A key that is meant for something else, secret or of
    /// an unknown kind is left out, whatever it says of its algorithm.
    pub(super) fn read(list: &[u8]) -> Option<Self> {
        let list: List = serde_json::from_slice(list).ok()?;
        let keys: Vec<Key> =
            list.keys.into_iter().filter_map(|listed| Key::new(serde_json::from_value(listed).ok()?)).take(KEYS_MAX).collect();
        (!keys.is_empty()).then(|| Self { keys, fetched: Some(Instant::now()), is_fixed: false })
    }

    /// Whether there is anything to verify by.
    pub(super) fn is_known(&self) -> bool {
        self.fetched.is_some()
    }

    /// How long ago it was fetched.
    pub(super) fn age(&self) -> Option<Duration> {
        self.fetched.map(|at| if self.is_fixed { Duration::ZERO } else { at.elapsed() })
    }

    /// The keys that may have made a signature of this algorithm; `kid` picks one where both sides name theirs.
    pub(super) fn candidates(&self, algorithm: Algorithm, kid: Option<&str>) -> impl Iterator<Item = &DecodingKey> {
        let fits = move |key: &&Key| {
            let own = key.listed.as_ref().and_then(|listed| listed.common.key_id.as_deref());
            key.algorithms.contains(&algorithm) && (kid.is_none() || own.is_none() || own == kid)
        };
        self.keys.iter().filter(fits).map(|key| &key.verifies)
    }

    /// Whether another list has the same keys.
    pub(super) fn same_keys(&self, other: &Self) -> bool {
        self.keys.iter().map(|key| &key.listed).eq(other.keys.iter().map(|key| &key.listed))
    }
}

impl Key {
    fn new(listed: Jwk) -> Option<Self> {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let possible: &[Algorithm] = match &listed.algorithm {
            AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => &[ES256],
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => &[ES384],
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[EdDSA],
            // A secret in a public list would let everybody sign.
            _ => return None,
        };
        let common = &listed.common;
        let is_for_signatures = common.public_key_use.as_ref().is_none_or(|meant| *meant == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        let named = common.key_algorithm.map(|algorithm| Algorithm::try_from(algorithm).ok());
        let algorithms: Vec<Algorithm> = match named {
            None => possible.to_vec(),
            Some(named) => possible.iter().copied().filter(|one| Some(*one) == named).collect(),
        };
        if !is_for_signatures || algorithms.is_empty() {
            return None;
        }
        Some(Self { verifies: DecodingKey::from_jwk(&listed).ok()?, algorithms, listed: Some(listed) })
    }
}
