//! The client for TLS 1.2 and older, against servers and against bytes of any kind.

use proptest::prelude::*;

use super::*;

async fn shown_by_legacy(
    endpoint: &Endpoint,
    only: Option<KeyType>,
) -> (Result<(), Failure>, Option<Vec<u8>>) {
    let witness = Witness::new(only);
    let result =
        timeout(PATIENCE, legacy::shake_hands(endpoint, "contoso.com", only, &witness)).await.unwrap();
    (result, witness.take().map(|ders| ders[0].clone()))
}

#[tokio::test]
async fn the_older_client_sees_each_kind_and_asks_for_one_alone() {
    let authority = Authority::new();
    let kinds = [
        (Make::EcdsaP256, KeyType::Ecdsa),
        (Make::EcdsaP384, KeyType::Ecdsa),
        (Make::Rsa2048, KeyType::Rsa),
        (Make::Ed25519, KeyType::Other),
    ];
    for (make, kind) in kinds {
        let pair = of_kind(&authority, make);
        let shop = Arc::new(Shop::selling(&[&pair]));
        let endpoint = serve(&shop, EACH[0]).await;
        for only in [None, Some(kind)] {
            let (result, leaf) = shown_by_legacy(&endpoint, only).await;
            assert!(result.is_ok() && leaf.as_ref() == Some(&pair.leaf_der), "{make:?} {only:?}");
            assert_eq!(shop.asked.lock().unwrap().pop().flatten().as_deref(), Some("contoso.com"));
        }
        let other = if kind == KeyType::Rsa { KeyType::Ecdsa } else { KeyType::Rsa };
        let (result, leaf) = shown_by_legacy(&endpoint, Some(other)).await;
        assert!(matches!(result, Err(Failure::Alert(_))) && leaf.is_none(), "{make:?}");
    }
}

#[tokio::test]
async fn the_older_client_sees_no_certificate_without_its_key() {
    let authority = Authority::new();
    for kind in [Make::EcdsaP256, Make::EcdsaP384, Make::Rsa2048, Make::Ed25519] {
        let (shown, other) = (of_kind(&authority, kind), of_kind(&authority, kind));
        let shelf = vec![(None, certified(&shown, &other))];
        let endpoint = serve(&Arc::new(Shop { shelf, asked: Mutex::default() }), EACH[0]).await;
        let (result, leaf) = shown_by_legacy(&endpoint, None).await;
        let is_forged = matches!(
            result,
            Err(Failure::Other(rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature)))
        );
        assert!(is_forged && leaf.is_none(), "{kind:?}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_left() {
    let mut endless = vec![22, 3, 3, 0x40, 0];
    endless.resize(5 + 0x4000, 2);
    // A message of 130 KB, that goes on and on.
    endless[5..9].copy_from_slice(&[11, 0xff, 0xff, 0xff]);
    let endpoint = listen("127.0.0.1:0", move |mut stream| {
        let endless = endless.clone();
        async move { while stream.write_all(&endless).await.is_ok() {} }
    });
    let (result, leaf) = shown_by_legacy(&endpoint.await.unwrap(), None).await;
    assert!(matches!(result, Err(Failure::Other(_))) && leaf.is_none());
}

/// Messages of a server as one flight, a record of at most so many bytes each.
fn flight(messages: &[(u8, Vec<u8>)], record: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, body) in messages {
        bytes.push(*kind);
        bytes.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        bytes.extend(body);
    }
    let records = bytes.chunks(record);
    records.flat_map(|part| [&[22, 3, 1, (part.len() >> 8) as u8, part.len() as u8], part].concat()).collect()
}

/// A server of TLS 1.0 with RSA key exchange: there is no signature.
fn unsigned(der: &[u8], suite: [u8; 2]) -> Vec<(u8, Vec<u8>)> {
    let hello = [&[3, 1][..], &[7; 32], &[0], &suite, &[0]].concat();
    let length = |count: usize| u32::try_from(count).unwrap().to_be_bytes()[1..].to_vec();
    let certificate = [length(der.len() + 3), length(der.len()), der.to_vec()].concat();
    vec![(2, hello), (11, certificate), (14, Vec::new())]
}

async fn shown_of(answer: Vec<u8>) -> (Result<(), Failure>, Option<Vec<u8>>) {
    let endpoint = listen("127.0.0.1:0", move |mut stream| {
        let answer = answer.clone();
        async move {
            let _ = stream.write_all(&answer).await;
        }
    });
    shown_by_legacy(&endpoint.await.unwrap(), None).await
}

#[tokio::test]
async fn messages_are_put_together_of_any_records() {
    let pair = Authority::new().issue(Order::default());
    let whole = unsigned(&pair.leaf_der, [0, 0x2f]);
    for record in [1, 7, 100, 16_000] {
        let mut bytes = flight(&whole, record);
        // A warning comes first: the name is not known, and the certificate follows.
        bytes.splice(0..0, [21, 3, 1, 0, 2, 1, 112]);
        let (result, leaf) = shown_of(bytes).await;
        assert!(result.is_ok() && leaf.as_ref() == Some(&pair.leaf_der), "{record}");
    }
    // ECDHE without a signature: it is left out to hide that there is no key.
    let (result, leaf) = shown_of(flight(&unsigned(&pair.leaf_der, [0xc0, 0x13]), 100)).await;
    assert!(result.is_err() && leaf.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_bytes_are_an_answer_or_a_failure(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        start in 0..4usize,
    ) {
        // Nearer to TLS than chance comes.
        let starts: [&[u8]; 4] = [b"", &[22, 3, 3, 0, 40, 2, 0, 0], &[21, 3, 3, 0], &[22, 3, 3, 0, 80, 11, 0, 0, 76]];
        bytes.splice(0..0, starts[start].iter().copied());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (result, leaf) = runtime.block_on(shown_of(bytes));
        prop_assert_eq!(result.is_ok(), leaf.is_some());
    }
}
