//! What is sent with the leaf.

use super::*;

async fn chain_of(pair: &Pair, sent: Vec<Vec<u8>>) -> Arc<ServedChain> {
    let key = Arc::clone(&certified(pair, pair).key);
    let ders = sent.iter().cloned().map(CertificateDer::from).collect();
    let shelf = vec![(None, Arc::new(CertifiedKey::new(ders, key)))];
    let endpoint = serve(&Arc::new(Shop { shelf, asked: Mutex::default() }), BOTH).await;
    let ask = Ask { endpoint, hosts: Vec::new() };
    let shown = look(&[ask], &leaf(pair), PATIENCE).await.remove(0);
    assert_eq!((shown.sighting.outcome, shown.asked), (Ok(leaf(pair)), leaf(pair).key_type));
    let chain = shown.chain.unwrap();
    assert_eq!(chain.certificates(), sent.len());
    chain
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[tokio::test]
async fn whether_a_chain_is_complete() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.issue(Order::default());
    let alone = certhook_test_support::ca::self_signed(Order::default());
    let [leaf, intermediate, root] =
        [pair.leaf_der.clone(), der(&pair.chain_pem), authority.root_der().to_vec()];
    let foreign = der(other.intermediate_pem());
    let known = Roots::new([b"no certificate".to_vec(), other.root_der().to_vec(), root.clone()]);
    let of_intermediate = Roots::new([intermediate.clone()]);
    let unknown = Roots::default();
    let of_other = Roots::new([other.root_der().to_vec()]);
    type Row<'a> = (&'a str, &'a Pair, Vec<&'a Vec<u8>>, &'a Roots, Option<bool>);
    let table: [Row<'_>; 11] = [
        ("up to a root's child", &pair, vec![&leaf, &intermediate], &known, Some(true)),
        ("with the root", &pair, vec![&leaf, &intermediate, &root], &unknown, Some(true)),
        ("the leaf alone", &pair, vec![&leaf], &known, Some(false)),
        ("the leaf alone, of a root", &pair, vec![&leaf], &of_intermediate, Some(true)),
        ("a private authority", &pair, vec![&leaf, &intermediate], &unknown, None),
        ("another root", &pair, vec![&leaf, &intermediate], &of_other, None),
        ("another's intermediate", &pair, vec![&leaf, &foreign], &known, Some(false)),
        ("a gap", &pair, vec![&leaf, &root], &known, Some(false)),
        ("the wrong order", &pair, vec![&leaf, &root, &intermediate], &known, Some(false)),
        ("more than is needed", &pair, vec![&leaf, &intermediate, &foreign], &known, Some(true)),
        ("self-signed", &alone, vec![&alone.leaf_der], &unknown, Some(true)),
    ];
    for (what, pair, sent, roots, wanted) in table {
        let chain = chain_of(pair, sent.into_iter().cloned().collect()).await;
        assert_eq!(chain.judge(roots, jiff::Timestamp::now()).is_complete(), wanted, "{what}");
    }
}

#[tokio::test]
async fn equal_chains_are_kept_once() {
    let pair = Authority::new().issue(Order::default());
    let mut asks = Vec::new();
    for _ in 0..3 {
        let endpoint = serve(&Arc::new(Shop::selling(&[&pair])), BOTH).await;
        asks.push(Ask { endpoint, hosts: vec!["contoso.com".into(), String::new()] });
    }
    let found = look(&asks, &leaf(&pair), PATIENCE).await;
    let chains: Vec<_> = found.iter().map(|shown| shown.chain.as_ref().unwrap()).collect();
    assert_eq!(chains.len(), 6);
    assert!(chains.iter().all(|chain| Arc::ptr_eq(chain, chains[0])));
}
