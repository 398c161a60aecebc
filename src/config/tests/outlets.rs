use super::super::portal::default_secret;
use super::*;

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn metrics_and_alerts_are_read() {
    let nothing = parse(SITE).unwrap();
    assert_eq!((nothing.metrics, nothing.alert), (None, None));
    let metrics = |line: &str| parse(&format!("[metrics]\n{line}\n{SITE}")).unwrap().metrics.unwrap();
    let file = metrics("file = \"/var/lib/prometheus/node-exporter/certhook.prom\"");
    let wanted = MetricsTo::File("/var/lib/prometheus/node-exporter/certhook.prom".into());
    assert_eq!(file, Metrics { line: 1, to: wanted });
    for address in ["127.0.0.1:9321", "127.9.9.9:1", "[::1]:9321"] {
        let found = metrics(&format!("listen = {address:?}"));
        assert_eq!(found.to, MetricsTo::Listen(address.parse().unwrap()));
    }
    let socket = metrics("listen = \"unix:/run/certhook/metrics.sock\"");
    assert_eq!(socket.to, MetricsTo::Socket("/run/certhook/metrics.sock".into()));
    let alert = |lines: &str| parse(&format!("[alert]\n{lines}\n{SITE}")).unwrap().alert.unwrap();
    let found = alert("command = [\"/usr/bin/mail\", \"root\"]");
    let words = ["/usr/bin/mail", "root"].map(str::to_owned).to_vec();
    assert_eq!(found, Alert { line: 1, command: words, after: seconds(900), min_interval: seconds(60) });
    let found = alert("command = \"/bin/a b\"\nafter = \"1h\"\nmin_interval = \"5s\"");
    assert_eq!(
        (found.command, found.after, found.min_interval),
        (vec!["/bin/a b".into()], seconds(3600), seconds(5))
    );
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn mistakes_of_metrics_and_alerts() {
    let table: &[(&str, &[(usize, &str)])] = &[
        ("[metrics]", &[(1, "missing_key")]),
        ("metrics = 5", &[(1, "wrong_type")]),
        ("[metrics]\nfile = \"/a\"\nlisten = \"127.0.0.1:1\"", &[(1, "bad_value")]),
        ("[metrics]\nfile = \"a.prom\"", &[(2, "relative_path")]),
        ("[metrics]\nfile = \"/a/*.prom\"", &[(2, "bad_pattern")]),
        ("[metrics]\nfile = 5", &[(2, "wrong_type")]),
        ("[metrics]\nlisten = 9321", &[(2, "wrong_type")]),
        ("[metrics]\nlisten = \"0.0.0.0:9321\"", &[(2, "bad_value")]),
        ("[metrics]\nlisten = \"[::]:9321\"", &[(2, "bad_value")]),
        ("[metrics]\nlisten = \"10.0.0.1:9321\"", &[(2, "bad_value")]),
        ("[metrics]\nlisten = \"localhost:9321\"", &[(2, "bad_value")]),
        ("[metrics]\nlisten = \"127.0.0.1\"", &[(2, "bad_value")]),
        ("[metrics]\nlisten = \"127.0.0.1:0\"", &[(2, "bad_value")]),
        ("[metrics]\nlisten = \"[::ffff:10.0.0.1]:9321\"", &[(2, "bad_value")]),
        ("[metrics]\nlisten = \"unix:\"", &[(2, "relative_path")]),
        ("[metrics]\nlisten = \"unix:metrics.sock\"", &[(2, "relative_path")]),
        ("[metrics]\nlisten = \"unix:/run/*.sock\"", &[(2, "bad_pattern")]),
        ("[metrics]\nlissen = \"127.0.0.1:1\"", &[(1, "missing_key"), (2, "unknown_key")]),
        ("[alert]", &[(1, "missing_key")]),
        ("[alert]\ncommand = []", &[(2, "empty_value")]),
        ("[alert]\ncommand = \"mail\"", &[(2, "bad_value")]),
        ("[alert]\ncommand = [\"mail\", \"root\"]", &[(2, "bad_value")]),
        ("[alert]\ncommand = [\"/m\", \"a\\u0000b\"]", &[(2, "bad_value")]),
        ("[alert]\ncommand = [\"/m\", 5]", &[(2, "wrong_type")]),
        ("[alert]\ncommand = \"/m\"\nafter = \"0s\"\nx = 1", &[(3, "bad_duration"), (4, "unknown_key")]),
    ];
    for (text, wanted) in table {
        assert_codes(&format!("{text}\n{SITE}"), wanted);
    }
    let found = mistakes(&format!("[metrics]\nlisten = \"0.0.0.0:1\"\n{SITE}")).remove(0).problem;
    assert!(found.remedy.contains("127.0.0.1:9321"), "{found}");
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn the_secret_is_the_credential_where_there_is_one_and_else_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let beside = Path::new("/etc/certhook/client_secret");
    let found = |credentials: Option<&Path>| {
        default_secret(credentials.map(Into::into), Path::new("/etc/certhook/certhook.toml"))
    };
    assert_eq!(found(None), beside);
    assert_eq!(found(Some(folder.path())), beside, "no such credential");
    let credential = folder.path().join("client_secret");
    std::fs::write(&credential, "").unwrap();
    assert_eq!(found(Some(folder.path())), beside, "an empty one");
    std::fs::write(&credential, "hunter2").unwrap();
    assert_eq!(found(Some(folder.path())), credential);
    let portal =
        parse(&format!("[portal]\ntenant_id = \"t\"\nclient_id = \"c\"\n{SITE}")).unwrap().portal.unwrap();
    assert_eq!(portal.secret.line, 0);
}
