use super::super::fallback::{add, bind, command_line, delete, renew, unbind, update};
use super::super::plan::Change;
use super::*;

/// As little as IIS says itself.
fn plain(key: Key) -> Record {
    Record::new(key, hash(0xAB), "My")
}

const HASH: &str = "ABABABABABABABABABABABABABABABABABABABAB";
const IIS: &str = "{4dc3e181-e14b-4a21-b022-59fc669b0914}";

fn line(words: Option<Vec<String>>) -> String {
    words.map_or_else(|| "none".to_owned(), |words| command_line(&words))
}

#[test]
fn appcmd_is_called_with_these_words() {
    let new = "CDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCD";
    assert_eq!(
        command_line(&renew(hash(0xAB), hash(0xCD))),
        format!("appcmd renew binding /oldcert:{HASH} /newcert:{new}")
    );
    let site = "My \"first\" site";
    assert_eq!(
        command_line(&bind(site, &binding("*:443:contoso.com"), true)),
        "appcmd set site \"/site.name:My \\\"first\\\" site\" \
         /+bindings.[protocol='https',bindingInformation='*:443:contoso.com',sslFlags='1']"
    );
    assert_eq!(
        command_line(&bind("Home", &binding("[::1]:443:"), false)),
        "appcmd set site /site.name:Home /+bindings.[protocol='https',bindingInformation='[::1]:443:',sslFlags='0']"
    );
    assert_eq!(
        command_line(&unbind("Home", &binding("192.0.2.7:443:"))),
        "appcmd set site /site.name:Home /-bindings.[protocol='https',bindingInformation='192.0.2.7:443:']"
    );
}

#[test]
fn netsh_is_called_with_these_words_for_each_kind_of_record() {
    for (key, place, store) in [
        (ip("0.0.0.0:443"), "ipport=0.0.0.0:443", " certstorename=My"),
        (ip("[::1]:8443"), "ipport=[::1]:8443", " certstorename=My"),
        (sni("*.contoso.com"), "hostnameport=*.contoso.com:443", " certstorename=My"),
    ] {
        let record = plain(key.clone());
        let rest = format!("sslcert {place} certhash={HASH} appid={IIS}{store}");
        assert_eq!(line(add(&record)), format!("netsh http add {rest}"));
        let change = Change { from: record.with(hash(1), "WebHosting"), to: record };
        assert_eq!(line(update(&change)), format!("netsh http update {rest}"));
        assert_eq!(command_line(&delete(&key)), format!("netsh http delete sslcert {place}"));
    }
    let of_store = Record { hash: None, ..plain(Key::Ccs(443)) };
    assert_eq!(line(add(&of_store)), format!("netsh http add sslcert ccs=443 appid={IIS}"));
}

#[test]
fn netsh_is_told_all_that_a_record_says_or_is_not_called() {
    let with = |change: fn(&mut Parameters)| {
        let mut record = plain(sni("a.test"));
        change(&mut record.parameters);
        let line = line(add(&record));
        line.split_once("certstorename=My").map_or(line.clone(), |(_, rest)| rest.trim().to_owned())
    };
    assert_eq!(
        with(|it| it.flags = 1 | 2 | 8 | 0x10),
        "dsmapperusage=enable clientcertnegotiation=enable reject=enable disablehttp2=enable"
    );
    assert_eq!(
        with(|it| it.check_mode = 1 | 2),
        "verifyclientcertrevocation=disable verifyrevocationwithcachedclientcertonly=enable"
    );
    assert_eq!(with(|it| it.check_mode = 0x1_0000), "usagecheck=disable");
    assert_eq!(
        with(|it| {
            it.check_mode = 4;
            (it.revocation_freshness, it.url_timeout) = (60, 5000);
        }),
        "revocationfreshnesstime=60 urlretrievaltimeout=5000"
    );
    assert_eq!(
        with(|it| (it.ctl_identifier, it.ctl_store) = (Some("Our issuers".into()), Some("CA".into()))),
        "\"sslctlidentifier=Our issuers\" sslctlstorename=CA"
    );
    assert_eq!(with(|it| it.flags = 0x20), "none", "it would lose what it has no word for");
    assert_eq!(with(|it| it.check_mode = 8), "none");
    assert_eq!(with(|it| it.more = vec![1]), "none");
}

#[test]
fn words_stand_between_quotes_as_windows_takes_them_apart() {
    let one = |word: &str| command_line(&[word.to_owned()]);
    for (word, expected) in [
        ("plain", "plain"),
        ("", "\"\""),
        ("two words", "\"two words\""),
        ("a\\b", "a\\b"),
        ("a b\\", "\"a b\\\\\""),
        ("a\"b", "\"a\\\"b\""),
        ("a\\\"b", "\"a\\\\\\\"b\""),
        ("C:\\a b\\c", "\"C:\\a b\\c\""),
    ] {
        assert_eq!(one(word), expected, "{word}");
    }
}
