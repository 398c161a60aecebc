//! IIS, as it is written on Windows and read on any system.

use super::*;

const SAMPLE: &str = r#"state_dir = "/var/lib/certhook"
[server.iis]
kind = "iis"
discover = true
store = "WebHosting"
central_store = '\\files\certificates'
central_store_password_file = 'C:\ProgramData\certhook\central'
retire_after = "14d"
config = "C:/Windows/System32/inetsrv/config/applicationHost.config"
create_bindings = true
reload_timeout = "2m"
min_interval = "1s"

[[site]]
pfx = 'C:\ssl\contoso-com\certificate.pfx'
pfx_password_file = "C:/ProgramData/certhook/password"
bindings = ["Home/*:443:Contoso.com", "*:443:", "My Site/[::1]:443:", "192.0.2.7:8443:*.contoso.com"]

[[site]]
certificate = 'D:\ssl\fabrikam\fullchain.pem'
key = 'D:/ssl/fabrikam/privkey.pem'

[[site]]
pfx = 'C:\ssl\*\certificate.pfx'
pfx_password_file = 'C:\ssl\*\password'
"#;

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn the_sample_is_read_to_the_last_key() {
    let config = parse(SAMPLE).unwrap();
    let server = &config.servers[0];
    let Kind::Iis(iis) = &server.kind else { panic!("{server:?}") };
    assert_eq!(
        *iis,
        Iis {
            discover: true,
            store: Store::WebHosting,
            central: Some(Central {
                folder: r"\\files\certificates".into(),
                password_file: Some(r"C:\ProgramData\certhook\central".into()),
            }),
            retire_after: Some(seconds(14 * 86_400)),
            config: Some("C:/Windows/System32/inetsrv/config/applicationHost.config".into()),
            create_bindings: true,
            journal: "/var/lib/certhook/records-iis.json".into(),
        }
    );
    assert!(server.discovers());
    assert_eq!((server.reload_timeout, server.min_interval), (seconds(120), seconds(1)));
    assert_eq!(server.verify_timeout, seconds(300), "the central store is slow");
    let [pfx, pem, pattern] = &config.sites[..] else { panic!("{:?}", config.sites) };
    assert_eq!(pfx.certificate, Path::new(r"C:\ssl\contoso-com\certificate.pfx"));
    assert_eq!(pfx.key, KeyAt::Pfx(Some("C:/ProgramData/certhook/password".into())));
    let bindings: Vec<String> = pfx.bindings.iter().map(ToString::to_string).collect();
    assert_eq!(
        bindings,
        ["Home/*:443:contoso.com", "*:443:", "My Site/[::1]:443:", "192.0.2.7:8443:*.contoso.com"]
    );
    assert_eq!(pem.key, KeyAt::File("D:/ssl/fabrikam/privkey.pem".into()));
    assert!(pattern.is_pattern() && pattern.bindings.is_empty());
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse("[server.a]\nkind = \"iis\"\n[[site]]\npfx = \"C:/x.pfx\"\nbindings = [\"*:443:\"]\n");
    let config = config.unwrap();
    let server = &config.servers[0];
    let Kind::Iis(iis) = &server.kind else { panic!("{server:?}") };
    let retire_after = Some(seconds(30 * 86_400));
    let journal = config.state_dir.join("records-a.json");
    assert_eq!(*iis, Iis { retire_after, journal, ..Iis::default() });
    assert!(!iis.discover && !iis.create_bindings && iis.store == Store::My);
    assert_eq!((server.verify_timeout, server.reload_timeout), (seconds(10), seconds(60)));
    assert_eq!(config.sites[0].key, KeyAt::Pfx(None), "the password is empty");
    let never = parse("[server.a]\nkind = \"iis\"\ndiscover = true\nretire_after = \"never\"\n").unwrap();
    let Kind::Iis(iis) = &never.servers[0].kind else { panic!("{never:?}") };
    assert_eq!(iis.retire_after, None);
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn mistakes_of_the_server() {
    let table: &[(&str, &[(usize, &str)])] = &[
        ("store = \"my\"", &[(3, "bad_value")]),
        ("store = 5", &[(3, "wrong_type")]),
        ("central_store = \"certificates\"", &[(3, "relative_path")]),
        ("central_store = 'C:certificates'", &[(3, "relative_path")]),
        ("central_store = '\\\\files'", &[(3, "relative_path")]),
        ("central_store = '\\\\files\\'", &[(3, "relative_path")]),
        ("central_store = 'C:\\a\\*'", &[(3, "bad_pattern")]),
        ("central_store_password_file = 'C:\\a'", &[(3, "missing_key")]),
        ("retire_after = \"soon\"", &[(3, "bad_duration")]),
        ("retire_after = 30", &[(3, "wrong_type")]),
        ("config = \"applicationHost.config\"", &[(3, "relative_path")]),
        ("reload = \"signal\"", &[(3, "unknown_key")]),
        ("stage = \"/live\"", &[(3, "unknown_key")]),
        ("max_draining = 5", &[(3, "unknown_key")]),
        ("pre_check = true", &[(3, "unknown_key")]),
    ];
    for (text, wanted) in table {
        assert_codes(&format!("[server.a]\nkind = \"iis\"\n{text}\n{SITE}"), wanted);
    }
    // On another server such a path is none.
    assert_codes(&format!("[server.a]\npid_file = 'C:\\nginx\\nginx.pid'\n{SITE}"), &[(2, "relative_path")]);
    assert_codes("[[site]]\nverify = [\"h:1\"]\ncertificate = 'C:\\c.pem'\n", &[(3, "relative_path")]);
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn mistakes_of_its_sites() {
    let table: &[(&str, &[(usize, &str)])] = &[
        ("pfx = \"C:/x.pfx\"", &[(3, "no_verify")]),
        ("pfx = \"x.pfx\"\nbindings = [\"*:443:\"]", &[(4, "relative_path")]),
        ("pfx = \"C:/x.pfx\"\nverify = [\"h:1\"]\nkey = \"C:/k\"", &[(6, "bad_value")]),
        (
            "pfx = \"C:/x.pfx\"\nverify = [\"h:1\"]\ncertificate = \"C:/c\"\nkey = \"C:/k\"",
            &[(6, "bad_value"), (7, "bad_value")],
        ),
        ("pfx = \"C:/x.pfx\"\nverify = [\"h:1\"]\npfx_password_file = \"p\"", &[(6, "relative_path")]),
        ("certificate = \"C:/x\"\nverify = [\"h:1\"]\npfx_password_file = \"C:/p\"", &[(6, "missing_key")]),
        ("certificate = \"C:/x\"\nverify = [\"h:1\"]\nkey = \"engine:pkcs11\"", &[(6, "bad_value")]),
        (
            "pfx = \"C:/x.pfx\"\nbindings = [\"*:443:a\", \"443\", \"A/*:0:\"]",
            &[(5, "bad_value"), (5, "bad_value")],
        ),
        ("pfx = \"C:/x.pfx\"\nbindings = \"*:443:\"", &[(5, "wrong_type")]),
        ("pfx = 'C:\\ssl\\**\\x.pfx'\nverify = [\"h:1\"]", &[(4, "bad_pattern")]),
        ("pfx = 'C:\\ssl\\*\\x.pfx'\nbindings = [\"*:443:\"]", &[(3, "bad_pattern")]),
        (
            "pfx = 'C:\\*\\x.pfx'\nverify = [\"h:1\"]\npfx_password_file = 'C:\\*\\*\\p'",
            &[(3, "bad_pattern")],
        ),
        ("verify = [\"h:1\"]", &[(3, "missing_key")]),
    ];
    for (text, wanted) in table {
        assert_codes(&format!("[server.a]\nkind = \"iis\"\n[[site]]\n{text}\n"), wanted);
    }
    // One of its bindings for two sites, also where only one says of which site of IIS.
    let site =
        |file: &str, bindings: &str| format!("[[site]]\npfx = \"C:/{file}\"\nbindings = [{bindings}]\n");
    for (second, wanted) in [
        ("\"*:443:A.test\", \"*:443:b.test\"", &[(6, "same_binding")][..]),
        ("\"*:443:b.test\", \"*:444:a.test\"", &[(0, "")][..0]),
    ] {
        let two = site("a.pfx", "\"Home/*:443:a.test\"") + &site("b.pfx", second);
        let text = format!("[server.a]\nkind = \"iis\"\n{two}");
        match wanted {
            [] => drop(parse(&text).unwrap()),
            wanted => assert_codes(&text, wanted),
        }
    }
    for (text, wanted) in [
        ("certificate = \"/c\"\nbindings = [\"*:443:\"]", &[(4, "bad_value")][..]),
        ("pfx = \"/c.pfx\"", &[(3, "bad_value")]),
    ] {
        assert_codes(&format!("[[site]]\nverify = [\"h:1\"]\n{text}\n"), wanted);
    }
}

#[test]
fn a_binding_is_what_iis_would_take() {
    for (text, expected) in [
        ("*:443:", "*:443:"),
        (":443:", "*:443:"),
        ("0.0.0.0:443:", "*:443:"),
        ("[::]:443:", "[::]:443:"),
        ("[2001:DB8::1]:443:A.test.", "[2001:db8::1]:443:a.test"),
        ("My Site/192.0.2.7:443:*.contoso.com", "My Site/192.0.2.7:443:*.contoso.com"),
    ] {
        assert_eq!(Binding::parse(text).unwrap().to_string(), expected, "{text}");
    }
    for text in [
        "",
        "443",
        "*:443",
        "*:0:",
        "*:65536:",
        "*:+443:",
        "contoso.com:443:",
        "[::1:443:",
        "::1:443:",
        "*:443:a b",
        "*:443:a..b",
        "*:443:**.a",
        "*:443:a.*",
        "/*:443:",
        "a/b/*:443:",
        "a\\b/*:443:",
        "*:443:a/",
        "*:443:'",
    ] {
        assert_eq!(Binding::parse(text), None, "{text}");
    }
    let same = |a: &str, b: &str| Binding::parse(a).unwrap().is_same(&Binding::parse(b).unwrap());
    assert!(
        same("home/*:443:", "HOME/*:443:")
            && same("*:443:", "Home/:443:")
            && same("Été/*:443:", "ÉTÉ/*:443:")
    );
    assert!(!same("a/*:443:", "b/*:443:") && !same("*:443:", "[::]:443:") && !same("*:443:", "*:443:a"));
}

fn asked(bindings: &[&str], bound: &[(&str, Shows)], origin: &Origin) -> String {
    let config =
        parse("[server.a]\nkind = \"iis\"\ndiscover = true\n[[site]]\npfx = \"C:/x.pfx\"\n").unwrap();
    let binding = |text: &str| Binding::parse(text).unwrap();
    let bound = bound.iter().map(|(text, shows)| Bound { binding: binding(text), shows: shows.clone() });
    let bindings = bindings.iter().map(|text| binding(text)).collect();
    let site = Site { bindings, bound: bound.collect(), ..Site::clone(&config.sites[0]) };
    let one = |ask: &Ask| format!("{}={}", ask.endpoint, ask.hosts.join(","));
    site.asks(origin, |host| host.ends_with("contoso.com")).iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_site_is_asked_for_where_its_bindings_are() {
    let origin = Origin::new(&"contoso.com, *.contoso.com", &"O=Us");
    let asked = |bindings: &[&str], bound: &[&str]| {
        let bound: Vec<_> = bound.iter().map(|text| (*text, Shows::Unknown)).collect();
        asked(bindings, &bound, &origin)
    };
    let bound =
        ["A/*:443:contoso.com", "A/*:443:www.contoso.com", "B/*:443:other.test", "B/*:8443:", "B/*:443:"];
    // Nobody can tell what the last one has.
    assert_eq!(asked(&[], &bound), "127.0.0.1:443=contoso.com,www.contoso.com 127.0.0.1:8443=");
    assert_eq!(asked(&["A/[::1]:443:*.contoso.com"], &[]), "[::1]:443=certhook-probe.contoso.com");
    assert_eq!(asked(&["[::]:443:", "192.0.2.7:444:"], &bound), "[::1]:443= 192.0.2.7:444=");
    let twice = ["A/*:443:contoso.com", "B/*:443:contoso.com"];
    assert_eq!(asked(&twice, &[]), "127.0.0.1:443=contoso.com");
    // A host's own record would answer for the other one.
    assert_eq!(asked(&["A/*:443:contoso.com", "A/*:443:"], &[]), "127.0.0.1:443=contoso.com,127.0.0.1");
    let config = parse(
        "[server.a]\nkind = \"iis\"\n[[site]]\npfx = \"C:/x.pfx\"\nbindings = [\"*:443:\"]\nverify = [\"h:1\"]\n",
    );
    let asks = config.unwrap().sites[0].asks(&origin, |_| true);
    assert_eq!(asks.iter().map(|ask| ask.endpoint.to_string()).collect::<Vec<_>>(), ["h:1"]);
}

#[test]
fn a_binding_without_a_host_is_asked_where_its_record_is_the_site_s() {
    let origin = |names: &str, issuer: &str| Origin::new(&names, &issuer);
    let (leaf, other) = (origin("contoso.com", "O=Us"), origin("other.test", "O=Us"));
    let inside = origin("contoso.com", "CN=Inside");
    let shows = |origin: &Origin, ours| Shows::Certificate { origin: origin.clone(), ours };
    let table = [
        ("it, or an earlier one", shows(&leaf, false), "127.0.0.1:443="),
        ("another site's", shows(&other, true), ""),
        ("nothing", Shows::Nothing, ""),
        ("the same names by another issuer", shows(&inside, false), ""),
        ("which certhook imported", shows(&inside, true), "127.0.0.1:443="),
        ("who knows", Shows::Unknown, "127.0.0.1:443="),
    ];
    for (what, shows, expected) in table {
        assert_eq!(asked(&[], &[("A/*:443:", shows.clone())], &leaf), expected, "{what}");
        assert_eq!(
            asked(&["*:443:"], &[("A/*:443:", shows.clone())], &leaf),
            "127.0.0.1:443=",
            "{what}, named"
        );
        let beside = [("A/*:443:contoso.com", Shows::Nothing), ("A/*:443:", shows.clone())];
        let both = match expected {
            "" => "127.0.0.1:443=contoso.com",
            _ if shows == Shows::Unknown => "127.0.0.1:443=contoso.com",
            _ => "127.0.0.1:443=contoso.com,127.0.0.1",
        };
        assert_eq!(asked(&[], &beside, &leaf), both, "{what}, beside a host");
    }
}

#[test]
fn the_sample_of_the_zip_configures_nothing_until_its_ids_are_replaced() {
    let sample = include_str!("../../../packaging/windows/zip/certhook.toml");
    let mistakes = parse(sample).unwrap_err();
    assert!(mistakes.say_nothing_is_configured() && mistakes.0.len() == 2, "{mistakes}");
}

#[test]
fn without_a_configuration_the_host_s_own_server_is_asked() {
    let config = Config::of_any_iis();
    let [server] = &config.servers[..] else { panic!("{config:?}") };
    assert!(server.discovers() && matches!(&server.kind, Kind::Iis(_)) && server.name == "iis");
    let config = Config::of_any_nginx();
    let [server] = &config.servers[..] else { panic!("{config:?}") };
    assert!(server.discovers() && matches!(&server.kind, Kind::Nginx(_)) && server.name == "nginx");
    let asked = Config::of_this_host();
    assert_eq!(matches!(asked.servers[0].kind, Kind::Iis(_)), cfg!(windows));
}
