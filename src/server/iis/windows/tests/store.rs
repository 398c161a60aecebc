use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use zeroize::Zeroizing;

use super::super::super::seal::seal;
use super::super::super::store::{Kept, Mark, Sealed, Store as _};
use super::*;
use crate::config::Store;

fn by_aes(material: &Material, password: &str) -> Zeroizing<Vec<u8>> {
    let key = PrivateKey::from_der(&material.key).unwrap();
    let certificates = material.certificates.iter().map(|der| Certificate::from_der(der).unwrap());
    let mut all = KeyStore::new();
    let chain = PrivateKeyChain::new(material.thumbprint.0.to_vec(), key, certificates);
    all.add_entry("certhook", KeyStoreEntry::PrivateKeyChain(chain));
    let writer = all.writer(password).encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256);
    Zeroizing::new(writer.mac_algorithm(MacAlgorithm::HmacSha256).write().unwrap())
}

fn sealed(pfx: Zeroizing<Vec<u8>>, hash: Thumbprint) -> Sealed {
    Sealed { pfx, password: Zeroizing::new("a \"word\"".to_owned()), hash }
}

fn kept(store: &mut MachineStore, hash: Thumbprint) -> Option<Kept> {
    store.list().unwrap().into_iter().find(|kept| kept.hash == hash)
}

#[test]
fn a_pfx_is_imported_found_by_its_thumbprint_marked_and_removed() {
    let authority = Authority::new();
    for name in [Store::My, Store::WebHosting] {
        for aes in [false, true] {
            let pair = issue(&authority, &["store.test"], 1);
            let (material, hash) = (material(&pair), hash_of(&pair));
            let mut store = machine_store(name);
            assert!(kept(&mut store, hash).is_none());
            let word = "a \"word\"";
            let pfx = if aes { by_aes(&material, word) } else { seal(&material, word).unwrap() };
            let sealed = sealed(pfx, hash);
            let is_new = store.import(&sealed);
            assert!(is_new.unwrap_or_else(|error| panic!("{name:?}, AES {aes}: {error:?}")));
            let there = kept(&mut store, hash).unwrap();
            assert_eq!((there.leaf, there.mark), (material.leaf.clone(), None));
            // It is there already: no failure, and no second one.
            assert!(!store.import(&sealed).unwrap());
            assert_eq!(store.list().unwrap().iter().filter(|kept| kept.hash == hash).count(), 1);
            assert_eq!(there.store, name.name());
            for _ in 0..2 {
                material.authorities().for_each(|der| store.add_authority(der).unwrap());
            }
            let authorities = super::super::store::Opened::system("CA", 0).unwrap();
            assert!(authorities.find(Thumbprint::of(&material.certificates[1])).is_some());
            let proved = Mark::Proved("2026-01-02T03:04:05Z".parse().unwrap());
            for mark in [Mark::Imported, Mark::Replaced, proved, Mark::Left] {
                let noted = store.mark(name.name(), hash, mark);
                let told = kept(&mut store, hash).unwrap().mark;
                assert!(noted.is_ok() && told == Some(mark) || wine::cannot_prove(PROPERTIES), "{told:?}");
            }
            store.remove(name.name(), hash).unwrap();
            assert!(kept(&mut store, hash).is_none());
            assert!(store.remove(name.name(), hash).is_err() && store.prove(hash).is_err());
        }
    }
}

#[test]
fn a_wrong_password_is_told_as_one() {
    let pair = issue(&Authority::new(), &["password.test"], 1);
    let pfx = seal(&material(&pair), "another").unwrap();
    let failure = machine_store(Store::My).import(&sealed(pfx, hash_of(&pair))).unwrap_err();
    if wine::cannot_prove("a PFX with a wrong password is refused, but without a number that says why") {
        return;
    }
    assert_eq!(failure.number(), 86);
}

#[test]
fn the_machines_key_signs() {
    if wine::cannot_prove("it has no keys of the machine that a certificate finds again") {
        return;
    }
    let authority = Authority::new();
    for key in [KeyType::Rsa2048, KeyType::EcdsaP256] {
        let pair = authority.issue(Order { hosts: &["key.test"], key, ..Order::default() });
        let mut store = machine_store(Store::My);
        let pfx = seal(&material(&pair), "a \"word\"").unwrap();
        store.import(&sealed(pfx, hash_of(&pair))).unwrap();
        let proved = store.prove(hash_of(&pair));
        store.remove("My", hash_of(&pair)).unwrap();
        proved.unwrap();
    }
}
