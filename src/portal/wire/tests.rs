//! Answers as they are documented, as they come, and as nobody should send them.

use super::*;

const REPORT: Report<'_> =
    Report { id: 158, name: "contoso.com,www.contoso.com", remote_create_date: "2021-01-30T01:04:32" };

#[test]
fn a_report_is_the_documented_json() {
    let json = serde_json::to_string(&REPORT).unwrap();
    assert_eq!(
        json,
        r#"{"id":158,"name":"contoso.com,www.contoso.com","remoteCreateDate":"2021-01-30T01:04:32"}"#
    );
}

#[test]
fn echoes_come_as_an_object_or_an_array() {
    let echo = r#"{"id":158,"name":"contoso.com, www.contoso.com","remoteCreateDate":"2021-01-30T01:04:32.0000000","x":[1]}"#;
    assert!(echoes(echo.as_bytes(), &REPORT).is_ok());
    assert!(echoes(format!("[{echo}]").as_bytes(), &REPORT).is_ok());
}

#[test]
fn other_answers_are_no_echo() {
    for answer in [
        "",
        "<html>",
        "[]",
        "{}",
        "null",
        "158",
        r#"[158,"contoso.com,www.contoso.com",null,"2021-01-30T01:04:32"]"#,
        r#"[[158,"contoso.com,www.contoso.com",null,"2021-01-30T01:04:32"]]"#,
        r#"[{"id":158}] []"#,
        r#"{"id":159,"name":"contoso.com,www.contoso.com","remoteCreateDate":"2021-01-30T01:04:32"}"#,
        r#"{"id":158,"name":"contoso.com","remoteCreateDate":"2021-01-30T01:04:32"}"#,
        r#"{"id":158,"name":"contoso.com,www.contoso.com","remoteCreateDate":"2021-01-30T01:04:33"}"#,
        r#"{"id":158,"name":"contoso.com,www.contoso.com","remoteCreateDate":""}"#,
        r#"{"id":158,"name":"contoso.com,www.contoso.com"}"#,
    ] {
        assert!(echoes(answer.as_bytes(), &REPORT).is_err(), "{answer}");
    }
}

#[test]
fn one_odd_entry_does_not_spoil_the_list() {
    let answer = r#"[{"id":1,"name":"a","remoteCreateDate":null,"expiryDate":"2021-04-30T01:04:32.1430019"},{"id":"x"},{"id":2,"name":"b"}]"#;
    let found = list(answer.as_bytes()).unwrap();
    assert_eq!(found.iter().map(|certificate| certificate.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(found[0].expiry_date, Some("2021-04-30T01:04:32.1430019".parse().unwrap()));
    assert_eq!(found[0].remote_create_date, None);
}

#[test]
fn waits_are_seconds_or_dates_and_bounded() {
    let now = "2015-10-21T07:27:00Z".parse().unwrap();
    assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
    assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(60)));
    assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
    assert_eq!(retry_after("99999999999", now), Some(LONGEST_WAIT));
    assert_eq!(retry_after("soon", now), None);
}

#[test]
fn a_certificate_is_read_as_it_is_documented() {
    let answer = r#"[{"id":158,"name":"contoso.com","issueDate":"2021-01-30T01:04:32.1430009","expiryDate":
        "2021-04-30T01:04:32.1430019","remoteCreateDate":"","target":"Azure DNS","renewal":"Automatic",
        "pemUri":"https://f/pem","pfxUri":"https://f/pfx?sig=1","crtUri":"","cerUri":"",
        "privateKeyUri":"https://f/key","certificateUri":" https://f/leaf ",
        "intermediateCertificateUri":"https://f/chain","fullChainCertificateUri":"https://f/full",
        "pfxpwd":" p\u00e4ss ","novelty":{"a":[1]}}]"#;
    let [found] = &list(answer.as_bytes()).unwrap()[..] else { panic!("{answer}") };
    assert_eq!((found.id, found.name.as_str()), (158, "contoso.com"));
    assert_eq!(found.issue_date, "2021-01-30T01:04:32.1430009");
    assert_eq!((found.target.as_str(), found.renewal.as_str()), ("Azure DNS", "Automatic"));
    assert_eq!(found.expires(), Some("2021-04-30T01:04:32.1430019Z".parse().unwrap()));
    let link = |name: &str| Some(format!("https://f/{name}"));
    let links = Links {
        pfx: link("pfx?sig=1"),
        private_key: link("key"),
        leaf: link("leaf"),
        intermediates: link("chain"),
        full_chain: link("full"),
        pem: link("pem"),
    };
    assert_eq!(found.links, links);
    assert_eq!(found.pfx_password.as_ref().map(|password| password.expose_secret()), Some(" p\u{e4}ss "));
    // Neither the password nor where a signed link leads.
    let shown = format!("{found:?}");
    assert!(!shown.contains("ss ") && !shown.contains("https") && shown.contains("full_chain"), "{shown}");
}

#[test]
fn any_field_but_id_and_name_may_be_missing_null_empty_or_odd() {
    const FIELDS: [&str; 15] = [
        "issueDate",
        "expiryDate",
        "remoteCreateDate",
        "target",
        "renewal",
        "pemUri",
        "pfxUri",
        "crtUri",
        "cerUri",
        "privateKeyUri",
        "certificateUri",
        "intermediateCertificateUri",
        "fullChainCertificateUri",
        "pfxpwd",
        "remoteCreate",
    ];
    for odd in ["null", "\"\"", "\"  \"", "5", "true", "[]", "[\"x\"]", "{\"a\":{}}", "1e999", "\"\\ud800\""]
    {
        let fields: String = FIELDS.iter().map(|field| format!(r#","{field}":{odd}"#)).collect();
        let answer = format!(r#"[{{"id":1,"name":"a"{fields}}}, {{"id":2,"name":"b"}}]"#);
        let found = list(answer.as_bytes()).unwrap_or_else(|error| panic!("{answer}: {error}"));
        assert_eq!(found.len(), 2, "{answer}");
        assert_eq!(found[0].links, Links::default(), "{answer}");
        assert_eq!(format!("{}{}", found[0].target, found[0].issue_date), "", "{answer}");
        assert!(found[0].expiry_date.is_none() && found[1].pfx_password.is_none(), "{answer}");
    }
}

#[test]
fn a_hostile_list_is_bounded() {
    let many = |count: usize| {
        let entries: Vec<_> = (0..count).map(|id| format!(r#"{{"id":{id},"name":"a"}}"#)).collect();
        format!("[{}]", entries.join(","))
    };
    assert_eq!(list(many(MOST_CERTIFICATES).as_bytes()).unwrap().len(), MOST_CERTIFICATES);
    assert!(matches!(list(many(MOST_CERTIFICATES + 1).as_bytes()), Err(Unusable::TooMany)));
    // What makes entries large is bounded by the answer's own size.
    assert!(std::mem::size_of::<Certificate>() < 512);
}
