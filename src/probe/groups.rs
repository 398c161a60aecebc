//! Groups for key exchange that ring does not have. They are used where a listener of TLS 1.3 wants one of them.

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::ml_kem_768::DecapsulationKey;
use p521::SecretKey;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup, ring as usual};
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// All of them.
pub(super) const OWN_GROUPS: [&dyn SupportedKxGroup; 2] = [&P521, &X25519MlKem768];

/// The NIST curve P-521.
#[derive(Debug)]
struct P521;

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        loop {
            let mut bytes: [u8; 66] = random()?;
            bytes[0] &= 1;
            // One in 2^260 is beyond the order.
            if let Ok(secret) = SecretKey::from_slice(&bytes) {
                let share = secret.public_key().to_sec1_bytes().into();
                return Ok(Box::new(P521Exchange { secret, share }));
            }
        }
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

struct P521Exchange {
    secret: SecretKey,
    share: Vec<u8>,
}

impl ActiveKeyExchange for P521Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = p521::PublicKey::from_sec1_bytes(peer).map_err(|_| invalid())?;
        let shared = self.secret.diffie_hellman(&peer);
        Ok(SharedSecret::from(&shared.raw_secret_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

/// ML-KEM-768 (FIPS 203) and X25519 side by side, as draft-ietf-tls-ecdhe-mlkem has it.
#[derive(Debug)]
struct X25519MlKem768;

/// Bytes of an ML-KEM-768 ciphertext; X25519's share follows it.
const CIPHERTEXT: usize = 1088;

impl SupportedKxGroup for X25519MlKem768 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = DecapsulationKey::from_seed(random::<64>()?.into());
        let x25519 = usual::kx_group::X25519.start()?;
        let share = [&secret.encapsulation_key().to_bytes()[..], x25519.pub_key()].concat();
        Ok(Box::new(X25519MlKem768Exchange { secret, x25519, share }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

struct X25519MlKem768Exchange {
    secret: DecapsulationKey,
    x25519: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for X25519MlKem768Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, peer) = peer.split_at_checked(CIPHERTEXT).ok_or_else(invalid)?;
        let ml_kem = self.secret.decapsulate_slice(ciphertext).map_err(|_| invalid())?;
        let x25519 = self.x25519.complete(peer)?;
        Ok(SharedSecret::from([&ml_kem[..], x25519.secret_bytes()].concat()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

fn random<const COUNT: usize>() -> Result<[u8; COUNT], Error> {
    let mut bytes = [0; COUNT];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::from(GetRandomFailed))?;
    Ok(bytes)
}

fn invalid() -> Error {
    PeerMisbehaved::InvalidKeyShare.into()
}
