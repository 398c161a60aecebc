use super::*;

mod iis;
mod outlets;

/// A site without a mistake, to go after the lines under test.
const SITE: &str = "[[site]]\ncertificate = \"/c.pem\"\nverify = [\"127.0.0.1:443\"]\n";

/// The sample of the packages, without what this version does not do yet.
const SAMPLE: &str = r#"state_dir = "/var/lib/certhook"

[portal]
endpoint  = "https://letsencryptapi.azure-api.net/"
login     = "https://login.microsoftonline.com"
tenant_id = "contoso.com"
client_id = "625bc9f6-3bf6-4b6d-94ba-e97cf07a22de"
client_secret_file = "/etc/certhook/client_secret"
requests_per_week = 40
timeout = "20s"
retry = "250ms"

[watch]
settle = "31s"
rescan = "2h"
poll   = "11s"

[server.nginx]
kind = "nginx"
reload = "signal"
verify_timeout = "12s"
reload_timeout = "1m"
pre_check = true
binary = "/usr/sbin/nginx"
config = "/etc/nginx/nginx.conf"
prefix = "/usr/share/nginx"
pid_file = "/run/nginx.pid"
user = "deploy"

[server.haproxy]
kind = "command"
reload = ["/usr/bin/systemctl", "reload", "haproxy"]

[[site]]
name = "contoso.com"
id = 158
server = "nginx"
certificate = "/etc/ssl/rclcertbot/contoso-com/fullChainCertificate.crt"
key = "/etc/ssl/rclcertbot/contoso-com/privateKey.key"
verify = ["127.0.0.1:443", "[::1]:8443", "web-1.contoso.com:443"]
report = false

[[site]]
server = "haproxy"
certificate = "/etc/haproxy/contoso.pem"
verify = ["localhost:443"]
"#;

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse(Path::new("/etc/certhook/certhook.toml"), text)
}

fn mistakes(text: &str) -> Vec<Mistake> {
    parse(text).map_or_else(|mistakes| mistakes.0, |_| Vec::new())
}

fn codes(text: &str) -> Vec<(usize, String)> {
    mistakes(text).into_iter().map(|mistake| (mistake.line, mistake.problem.code)).collect()
}

fn assert_codes(text: &str, wanted: &[(usize, &str)]) {
    let wanted = wanted.iter().map(|(line, code)| (*line, (*code).to_owned())).collect::<Vec<_>>();
    assert_eq!(codes(text), wanted, "{text}");
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn the_sample_is_read_to_the_last_key() {
    let config = parse(SAMPLE).unwrap();
    assert_eq!(config.path, Path::new("/etc/certhook/certhook.toml"));
    assert_eq!(config.state_dir, Path::new("/var/lib/certhook"));
    let portal = config.portal.as_ref().unwrap();
    assert_eq!(portal.endpoint.as_str(), "https://letsencryptapi.azure-api.net");
    assert_eq!(portal.login.as_str(), "https://login.microsoftonline.com");
    assert_eq!(
        (portal.tenant_id.as_str(), portal.client_id.as_str()),
        ("contoso.com", "625bc9f6-3bf6-4b6d-94ba-e97cf07a22de")
    );
    assert_eq!(portal.secret, SecretSource { path: "/etc/certhook/client_secret".into(), line: 8 });
    assert_eq!((portal.requests_per_week, portal.timeout), (40, seconds(20)));
    assert_eq!(portal.retry, Duration::from_millis(250));
    let Watch { settle, rescan, poll } = config.watch;
    assert_eq!([settle, rescan, poll], [seconds(31), seconds(7200), seconds(11)]);

    let [nginx, haproxy] = &config.servers[..] else { panic!("{:?}", config.servers) };
    assert_eq!((nginx.name.as_str(), nginx.line, &nginx.reload), ("nginx", 18, &Reload::Signal));
    assert_eq!((nginx.verify_timeout, nginx.reload_timeout), (seconds(12), seconds(60)));
    let Kind::Nginx(found) = &nginx.kind else { panic!("{nginx:?}") };
    assert!(found.pre_check);
    assert_eq!(found.user.as_deref(), Some("deploy"));
    let paths = [&found.binary, &found.config, &found.prefix, &found.pid_file];
    let wanted = ["/usr/sbin/nginx", "/etc/nginx/nginx.conf", "/usr/share/nginx", "/run/nginx.pid"];
    assert_eq!(paths.map(|path| path.as_deref()), wanted.map(|path| Some(Path::new(path))));
    let words = ["/usr/bin/systemctl", "reload", "haproxy"].map(str::to_owned);
    assert_eq!((haproxy.name.as_str(), &haproxy.reload), ("haproxy", &Reload::Command(words.to_vec())));
    assert!(matches!(haproxy.kind, Kind::Command));

    let [first, second] = &config.sites[..] else { panic!("{:?}", config.sites) };
    assert_eq!((first.line, first.name.as_deref(), first.id), (34, Some("contoso.com"), Some(158)));
    assert_eq!((first.server, first.report), (0, false));
    assert_eq!(first.key, KeyAt::File("/etc/ssl/rclcertbot/contoso-com/privateKey.key".into()));
    let verify = first.verify.iter().map(|ask| ask.endpoint.to_string()).collect::<Vec<_>>();
    assert_eq!(verify, ["127.0.0.1:443", "[::1]:8443", "web-1.contoso.com:443"]);
    assert_eq!((second.name.as_deref(), second.id, second.server, second.report), (None, None, 1, true));
    assert_eq!(second.key, KeyAt::File("/etc/haproxy/contoso.pem".into()), "the key stands beside its leaf");
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn what_is_left_out_has_its_default() {
    let config = parse(SITE).unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/certhook"));
    assert!(config.portal.is_none());
    let Watch { settle, rescan, poll } = config.watch;
    assert_eq!([settle, rescan, poll], [seconds(30), seconds(3600), seconds(10)]);
    assert_eq!(config.limits, limits(""));
    assert_eq!((config.limits.changes_free, config.limits.reports_per_day), (6, 4));
    assert_eq!(config.limits.share.of(50), Some(12));
    assert_eq!(config.ledger.keep, seconds(365 * 86_400));
    for (keep, days) in [("1d", 1), ("24h", 1), ("730d", 730), ("3653d", 3653)] {
        let config = parse(&format!("[ledger]\nkeep = {keep:?}\n{SITE}")).unwrap();
        assert_eq!(config.ledger.keep, seconds(days * 86_400));
    }
    let [server] = &config.servers[..] else { panic!("{:?}", config.servers) };
    assert_eq!((server.name.as_str(), &server.reload), ("nginx", &Reload::Signal));
    assert_eq!((server.verify_timeout, server.reload_timeout), (seconds(10), seconds(60)));
    assert!(matches!(&server.kind, Kind::Nginx(Nginx { binary: None, pre_check: false, .. })));
    assert!(config.sites[0].report);
    let portal = "[portal]\ntenant_id = \"t\"\nclient_id = \"c\"\nclient_secret_file = \"/s\"\n";
    let portal = parse(&format!("{portal}{SITE}")).unwrap().portal.unwrap();
    assert_eq!(portal.endpoint.as_str(), "https://letsencryptapi.azure-api.net");
    assert_eq!(portal.login.as_str(), "https://login.microsoftonline.com");
    assert_eq!((portal.requests_per_week, portal.timeout, portal.retry), (50, seconds(30), seconds(5)));
    assert!(portal.report_unproved);
}

fn limits(lines: &str) -> Limits {
    parse(&format!("[limits]\n{lines}\n{SITE}")).unwrap().limits
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn limits_zero_switches_each_off() {
    let given = limits("changes_free = 8\nreports_per_day = 3\nshare = \"1/2\"");
    assert_eq!((given.changes_free, given.reports_per_day, given.share.of(50)), (8, 3, Some(25)));
    for share in ["0", "\"0\""] {
        let off = format!("changes_free = 0\nreports_per_day = 0\nshare = {share}");
        assert_eq!(limits(&off), Limits::NONE, "{share}");
    }
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn mistakes_before_the_sites() {
    let table: &[(&str, &[(usize, &str)])] = &[
        ("\nstate_dri = \"/x\"", &[(2, "unknown_key")]),
        ("[prtal]\nx = 1", &[(1, "unknown_key")]),
        ("[watch]\n\nsetle = \"1s\"", &[(3, "unknown_key")]),
        ("[server.a]\nkind = \"command\"\nreload = [\"/r\"]\npre_check = true", &[(4, "unknown_key")]),
        ("state_dir = 5", &[(1, "wrong_type")]),
        ("state_dir = \"\"", &[(1, "empty_value")]),
        ("state_dir = \" \\t\"", &[(1, "empty_value")]),
        ("state_dir = \"var/lib\"", &[(1, "relative_path")]),
        ("state_dir = \"/a\\u0000b\"", &[(1, "relative_path")]),
        ("portal = 5", &[(1, "wrong_type")]),
        ("[[portal]]", &[(1, "wrong_type")]),
        ("server = 5", &[(1, "wrong_type")]),
        ("[server]\nnginx = 5", &[(2, "wrong_type")]),
        ("[watch]\nsettle = 30", &[(2, "wrong_type")]),
        ("[watch]\nsettle = \"30\"", &[(2, "bad_duration")]),
        ("[watch]\nsettle = \"1.5s\"", &[(2, "bad_duration")]),
        ("[watch]\nsettle = \"-1s\"", &[(2, "bad_duration")]),
        ("[watch]\npoll = \"0s\"", &[(2, "bad_duration")]),
        ("[watch]\nrescan = \"1w\"", &[(2, "bad_duration")]),
        ("[watch]\nrescan = \"367d\"", &[(2, "bad_duration")]),
        ("[ledger]\nkeep = 365", &[(2, "wrong_type")]),
        ("[ledger]\nkeep = \"\"", &[(2, "empty_value")]),
        ("[ledger]\nkeep = \"1y\"", &[(2, "bad_duration")]),
        ("[ledger]\nkeep = \"0d\"", &[(2, "out_of_range")]),
        ("[ledger]\nkeep = \"23h\"", &[(2, "out_of_range")]),
        ("[ledger]\nkeep = \"3654d\"", &[(2, "out_of_range")]),
        ("[ledger]\nkep = \"1d\"", &[(2, "unknown_key")]),
        ("ledger = 1", &[(1, "wrong_type")]),
        ("[watch]\nrescan = \"99999999999999999999s\"", &[(2, "bad_duration")]),
        ("[limits]\nchanges = 6", &[(2, "unknown_key")]),
        ("limits = 5", &[(1, "wrong_type")]),
        ("[limits]\nchanges_free = -1", &[(2, "out_of_range")]),
        ("[limits]\nchanges_free = 1001", &[(2, "out_of_range")]),
        ("[limits]\nchanges_free = \"6\"", &[(2, "wrong_type")]),
        ("[limits]\nreports_per_day = -1", &[(2, "out_of_range")]),
        ("[limits]\nreports_per_day = \"4\"", &[(2, "wrong_type")]),
        ("[limits]\nshare = \"a quarter\"", &[(2, "bad_value")]),
        ("[limits]\nshare = \"5/4\"", &[(2, "bad_value")]),
        ("[limits]\nshare = 1", &[(2, "wrong_type")]),
        ("[limits]\nshare = 0.25", &[(2, "wrong_type")]),
        ("[server.a]\nkind = \"apache\"\npre_chek = true", &[(2, "bad_value"), (3, "unknown_key")]),
        ("[server.a]\nkind = \"nginx\"\npre_check = \"yes\"", &[(3, "wrong_type")]),
        ("[server.a]\nkind = \"nginx\"\nuser = 5", &[(3, "wrong_type")]),
        ("[server.a]\nkind = \"nginx\"\nuser = \"\"", &[(3, "empty_value")]),
        ("[server.a]\nkind = \"nginx\"\nuser = \"root:root\"", &[(3, "bad_value")]),
        ("[server.a]\nkind = \"command\"\nreload = [\"/r\"]\nuser = \"root\"", &[(4, "unknown_key")]),
        ("[server.a]\nconfig = \"nginx.conf\"", &[(2, "relative_path")]),
        ("[server.a]\nreload = \"restart\"", &[(2, "bad_value")]),
        ("[server.a]\nreload = [\"nginx\", \"-s\", \"reload\"]", &[(2, "bad_value")]),
        ("[server.a]\nreload = [\"/r\", 1]", &[(2, "wrong_type")]),
        ("[server.a]\nkind = \"command\"\nreload = \"systemd\"", &[(3, "bad_value")]),
        ("[server.a]\nunit = \"-u\"", &[(2, "bad_value")]),
        ("[server.a]\nkind = \"command\"\nreload = \"signal\"", &[(3, "bad_value")]),
        ("[server.a]\nkind = \"command\"", &[(1, "missing_key")]),
        ("[server.a]\nkind = \"command\"\nreload = []", &[(3, "empty_value")]),
        ("[server.a]\nkind = \"command\"\nreload = 5", &[(3, "wrong_type")]),
        ("[server.a]\ndiscover = 1\nstage = \"s\"", &[(2, "wrong_type"), (3, "relative_path")]),
        ("[server.a]\nmin_interval = \"x\"\nmax_draining = 0", &[(2, "bad_duration"), (3, "out_of_range")]),
        ("[renewal]\nevery = \"4d\"", &[(1, "no_portal")]),
        (
            "[renewal]\nevery = \"1m\"\nwait = \"1h\"\nfetch_into = \"x\"",
            &[(1, "no_portal"), (1, "out_of_range"), (4, "relative_path")],
        ),
        ("[server.a]\n[server.b]", &[(3, "missing_key")]),
        ("[server.a]\nkind = \"x\"\n[server.b]", &[(2, "bad_value"), (4, "missing_key")]),
        ("state_dir = /x", &[(1, "toml")]),
        ("\n\n[watch", &[(3, "toml")]),
        ("[watch]\npoll = \"1s\"\npoll = \"2s\"", &[(3, "toml")]),
    ];
    for (text, wanted) in table {
        assert_codes(&format!("{text}\n{SITE}"), wanted);
    }
    assert_codes(
        "[server.a]\ndiscover = false\nreload = \"/usr/local/bin/reload\"\n[[site]]\n",
        &[(4, "missing_key"), (4, "no_verify")],
    );
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn mistakes_of_sites() {
    let server = "[server.one]\n[server.two]\nkind = \"apache\"\n";
    let table: &[(&str, &[(usize, &str)])] = &[
        ("", &[(0, "not_configured")]),
        ("# state_dir = \"/x\"\n", &[(0, "not_configured")]),
        ("state_dir = \"/x\"", &[(0, "no_site")]),
        ("site = []", &[(0, "no_site")]),
        ("site = 5", &[(1, "wrong_type")]),
        ("[site]\ncertificate = \"/c\"", &[(1, "wrong_type")]),
        ("site = [5]", &[(1, "wrong_type")]),
        ("[[site]]\ncertificate = \"/c\"", &[(1, "no_verify")]),
        ("[[site]]\nverify = [\"h:1\"]", &[(1, "missing_key")]),
        ("[[site]]\nverify = [\"h:1\"]\ncertificate = 1", &[(3, "wrong_type")]),
        ("[[site]]\nverify = [\"h:1\"]\ncertificate = \"c.pem\"", &[(3, "relative_path")]),
        ("[[site]]\nverify = [\"h:1\"]\ncertificate = \"/ssl/?.pem\"", &[(3, "bad_pattern")]),
        ("[[site]]\nverify = [\"h:1\"]\ncertificate = \"/ssl/**/x\"", &[(3, "bad_pattern")]),
        ("[[site]]\nverify = [\"h:1\"]\ncertificate = \"/ssl/*.pem\"\nkey = \"/k\"", &[(1, "bad_pattern")]),
        ("[[site]]\nverify = [\"h:1\"]\ncertificate = \"/ssl/*.pem\"\nid = 5", &[(1, "bad_pattern")]),
        (
            "state_dir = \"/*\"\n[[site]]\nverify = [\"h:1\"]\ncertificate = \"/ssl/*.pem\"",
            &[(1, "bad_pattern")],
        ),
        ("[[site]]\ncertificate = \"/c\"\nverify = []", &[(3, "empty_value")]),
        ("[[site]]\ncertificate = \"/c\"\nverify = \"h:1\"", &[(3, "wrong_type")]),
        ("[[site]]\ncertificate = \"/c\"\nverify = [1]", &[(3, "wrong_type")]),
        (
            "[[site]]\ncertificate = \"/c\"\nverify = [\"h:1\", \"h\", \":2\"]",
            &[(3, "bad_value"), (3, "bad_value")],
        ),
        ("[[site]]\ncertificate = \"/c\"\nverify = [\"h:1\"]\nserver = \"two\"", &[(4, "unknown_server")]),
        ("[[site]]\ncertificate = \"/c\"\nverify = [\"h:1\"]\nserver = 2", &[(4, "wrong_type")]),
        ("[[site]]\ncertificate = \"/c\"\nverify = [\"h:1\"]\nid = 0", &[(4, "out_of_range")]),
        (
            "[[site]]\ncertificate = \"/c\"\nverify = [\"h:1\"]\nid = 99999999999999999999",
            &[(4, "out_of_range")],
        ),
        ("[[site]]\ncertificate = \"/c\"\nverify = [\"h:1\"]\nid = \"158\"", &[(4, "wrong_type")]),
        ("[[site]]\ncertificate = \"/c\"\nverify = [\"h:1\"]\nkey = \"k.pem\"", &[(4, "relative_path")]),
        ("[[site]]\ncertificate = \"/c\"\nverify = [\"h:1\"]\nreport = 1", &[(4, "wrong_type")]),
        (
            "[[site]]\ncertificate = \"/c\"\nverify = [\"h:1\"]\npfx = \"/p\"\nbindings = []",
            &[(2, "bad_value"), (4, "bad_value"), (5, "empty_value")],
        ),
        (
            "[[site]]\nname = \"a\"\ncertificate = \"/c\"\nverify = [\"h:1\"]\n[[site]]\nname = \"a\"\ncertificate = \"/d\"\nverify = [\"h:1\"]",
            &[(5, "same_site")],
        ),
        (
            "[[site]]\ncertificate = \"/c\"\nverify = [{ hosts = [\"a\"] }, 5]\nstage_as = \"../x\"",
            &[(3, "missing_key"), (3, "wrong_type"), (4, "bad_value")],
        ),
        (
            "[[site]]\ncertificate = \"/c\"\nverify = [{ at = \"x\", host = 1 }]",
            &[(3, "unknown_key"), (3, "bad_value")],
        ),
        (
            "[server.a]\nstage = \"/s\"\n[[site]]\ncertificate = \"/x/a/cert.pem\"\nverify = [\"h:1\"]\n\
             [[site]]\ncertificate = \"/y/a/fullchain.pem\"\nverify = [\"h:1\"]",
            &[(6, "same_site")],
        ),
    ];
    for (text, wanted) in table {
        assert_codes(text, wanted);
    }
    assert_codes(&format!("{SITE}{SITE}"), &[(4, "same_site")]);
    let servers = "[server.a]\n[server.b]\n";
    let [one, two, like] = ["/c.pem", "/c.pem", "/c.pem@a"].map(|path| SITE.replace("/c.pem", path));
    assert_codes(
        &format!("{servers}{one}server = \"a\"\n{two}server = \"b\"\n{like}server = \"b\"\n"),
        &[(11, "same_site")],
    );
    assert_codes(
        &format!("{SITE}{SITE}bad = 1\n[[site]]\n"),
        &[(4, "same_site"), (7, "unknown_key"), (8, "missing_key"), (8, "no_verify")],
    );
    for (named, wanted) in [
        ("one", &[(3, "bad_value")][..]),
        ("two", &[(3, "bad_value")]),
        ("three", &[(3, "bad_value"), (7, "unknown_server")]),
    ] {
        assert_codes(&format!("{server}{SITE}server = \"{named}\""), wanted);
    }
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn mistakes_of_the_portal() {
    let good = ["tenant_id = \"t\"", "client_id = \"c\"", "client_secret_file = \"/s\""];
    let table: &[(usize, &str, &str)] = &[
        (0, "tenant_id = \"a/b\"", "bad_value"),
        (0, "tenant_id = \"..\"", "bad_value"),
        (0, "tenant_id = \"a?b\"", "bad_value"),
        (0, "client_id = \"c\"\ntenant_id = \"\"", "empty_value"),
        (1, "client_id = 5", "wrong_type"),
        (2, "client_secret_file = \"s\"", "relative_path"),
        (2, "client_secret_file = 5", "wrong_type"),
    ];
    for (replaced, line, code) in table {
        let mut lines = good;
        lines[*replaced] = line;
        let twice = line.contains('\n');
        let text =
            format!("[portal]\n{}\n{SITE}", if twice { [line, good[2], ""] } else { lines }.join("\n"));
        assert_codes(&text, &[(if twice { 3 } else { replaced + 2 }, code)]);
    }
    let with = |line: &str| format!("[portal]\n{}\n{line}\n{SITE}", good.join("\n"));
    for requests in ["0", "-5", "1_000_000"] {
        assert_codes(&with(&format!("requests_per_week = {requests}")), &[(5, "out_of_range")]);
    }
    assert_eq!(parse(&with("requests_per_week = 0x32")).unwrap().portal.unwrap().requests_per_week, 50);
    for value in ["\"yes\"", "1"] {
        assert_codes(&with(&format!("report_unproved = {value}")), &[(5, "wrong_type")]);
    }
    assert!(!parse(&with("report_unproved = false")).unwrap().portal.unwrap().report_unproved);
    assert_codes(&with("secret = \"hunter2\""), &[(5, "unknown_key")]);
    // As a sample has them.
    let nobody = with("").replace("\"t\"", "\"00000000-0000-0000-0000-000000000000\"");
    let mistakes = parse(&nobody).unwrap_err();
    assert!(mistakes.say_nothing_is_configured(), "{mistakes}");
    assert_codes(&nobody.replace("\"c\"", "\"0\""), &[(2, "not_configured"), (3, "not_configured")]);
    assert_codes(&format!("[portal]\n{SITE}"), &[(1, "missing_key"); 2]);
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn web_addresses_do_not_send_secrets_in_the_clear() {
    let with = |key: &str, url: &str| {
        let needed = "tenant_id = \"t\"\nclient_id = \"c\"\nclient_secret_file = \"/s\"";
        format!("[portal]\n{needed}\n{key} = '{url}'\n{SITE}")
    };
    let good = [
        ("https://a.example", "https://a.example"),
        ("https://a.example:8443/base//", "https://a.example:8443/base"),
        (" https://a.example/ ", "https://a.example"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        ("HTTP://LOCALHOST:81", "http://localhost:81"),
    ];
    for (url, wanted) in good {
        let portal = parse(&with("endpoint", url)).expect(url).portal.unwrap();
        assert_eq!(portal.endpoint.as_str(), wanted);
    }
    let bad = [
        "http://a.example",
        "http://127.0.0.1.a.example",
        "http://localhost.a.example",
        "http://10.0.0.1",
        "http://[::2]",
        "http://0.0.0.0",
        "ftp://a.example",
        "file:///etc/passwd",
        "a.example",
        "//a.example",
        "https://",
        "https://me@a.example",
        "https://me:word@a.example",
        "https://:word@a.example",
        "https://a.example?x=1",
        "https://a.example/#x",
        "http://localhost@a.example",
    ];
    for url in bad {
        for key in ["endpoint", "login"] {
            assert_codes(&with(key, url), &[(5, "bad_url")]);
        }
    }
}

#[test]
fn endpoints_are_a_host_and_a_port() {
    for good in
        ["127.0.0.1:443", "[::1]:443", "[fe80::1%2]:443", "web-1.a_b.example:1", "h:65535", "büro.de:443"]
    {
        assert_eq!(Endpoint::parse(good).map(|endpoint| endpoint.to_string()).as_deref(), Some(good));
    }
    let bad = "443 :443 h h: h:0 h:65536 h:+443 h:-1 ::1:443 [::1] [::1:443 ::1]:443 [x]:443 []:443 *:443 \
               https://h:443 h/x:443 u@h:443 h:443/x";
    for bad in
        bad.split(' ').chain(["", "h h:443", "h\n:443", "h\t:443", "h\u{1b}[31m:443", " h:443", "h:443 "])
    {
        assert_eq!(Endpoint::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn durations_are_a_number_and_a_unit() {
    let table =
        [("250ms", 250), ("10s", 10_000), ("30m", 1_800_000), ("6h", 21_600_000), ("4d", 345_600_000)];
    for (text, milliseconds) in table {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)));
    }
    assert_eq!(parse_duration("366d"), Some(seconds(366 * 86_400)));
    for bad in
        ["", "s", "10", "10 s", " 10s", "10S", "1h30m", "+1s", "1e3s", "367d", "18446744073709551615d", "٣s"]
    {
        assert_eq!(parse_duration(bad), None, "{bad:?}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let table = [
        ("state_dri = 1", "unknown key \"state_dri\" at the top of the file", "did you mean state_dir?"),
        ("[watch]\nresacn = 1", "unknown key \"resacn\" in [watch]", "did you mean rescan?"),
        ("[watch]\nzzz = 1", "unknown key \"zzz\" in [watch]", "known are: poll, rescan, settle"),
        ("[server.a]\nrelaod = 1", "unknown key \"relaod\" in [server.a]", "did you mean reload?"),
        ("[[site]]\ncertificat = 1", "unknown key \"certificat\" in [[site]]", "did you mean certificate?"),
    ];
    for (text, message, remedy) in table {
        let mistakes = mistakes(&format!("{text}\n{SITE}"));
        let found = mistakes.iter().find(|mistake| mistake.problem.code == "unknown_key").unwrap();
        assert_eq!((found.problem.message.as_str(), found.problem.remedy.as_str()), (message, remedy));
    }
    let shown = parse(&format!("x = 1\n{SITE}")).unwrap_err().to_string();
    assert!(shown.starts_with("/etc/certhook/certhook.toml:1: unknown key \"x\" at the top"), "{shown}");
}

/// A configuration is shown on terminals and in logs, whoever wrote it.
#[test]
fn messages_repeat_no_control_characters() {
    let evil = "\\u001b[31m\\u0007\\u202e\\r\\n";
    let long = "x".repeat(5000);
    let texts = [
        format!("\"a{evil}b\" = 1"),
        format!("\"a{long}\" = 1"),
        format!("state_dir = \"/a{evil}*\""),
        format!("state_dir = \"a{evil}\""),
        format!("state_dir = \"a{long}\""),
        format!("[server.\"a{evil}\"]\nbad = 1\nkind = \"{evil}x\"\nreload = \"{evil}x\""),
        format!("[server]\n\"a{evil}\" = 1"),
        format!("[server.\"a{evil}\"]\n[server.b]\n[[site]]\nserver = \"x{evil}\""),
        format!("[watch]\npoll = \"x{evil}\""),
        format!("[portal]\ntenant_id = \"x{evil}\"\nendpoint = \"x{evil}\"\nlogin = \"x{evil}://x\""),
        format!("[[site]]\nverify = [\"{evil}x\"]\npfx = \"{evil}x\""),
        format!("[[site]]\nname = \"a{evil}b\"\n{}[[site]]\nname = \"a{evil}b\"\n{}", &SITE[9..], &SITE[9..]),
        "\"\u{1b}[31m\" = 1".to_owned(),
        "\u{1b}[31m = 1".to_owned(),
        "a = \u{202e}x".to_owned(),
    ];
    for text in texts {
        let found = mistakes(&format!("{text}\n{SITE}"));
        assert!(!found.is_empty(), "{text}");
        for Mistake { problem, .. } in found {
            let raw = |c: char| c.is_control() || c == '\u{202e}';
            assert!(!problem.message.contains(raw) && !problem.remedy.contains(raw), "{text}: {problem:?}");
            assert!(problem.message.chars().count() < 500 && problem.remedy.chars().count() < 500, "{text}");
        }
    }
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn one_certificate_on_two_servers_is_two_sites() {
    let keys =
        |config: &Config| config.sites.iter().map(|site| site.ledger_key().into_owned()).collect::<Vec<_>>();
    let servers = "[server.a]\n[server.b]\n";
    let config = parse(&format!("{servers}{SITE}server = \"a\"\n{SITE}server = \"b\"\n")).unwrap();
    assert_eq!(keys(&config), ["/c.pem@a", "/c.pem@b"]);
    let config = parse(&format!("{SITE}key = \"engine:pkcs11:x\"\n")).unwrap();
    assert_eq!(keys(&config), ["/c.pem"]);
    assert_eq!(config.sites[0].key, KeyAt::Elsewhere("engine:pkcs11:x".to_owned()));
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("certhook.toml");
    let code = |path: &Path| Config::load(path).unwrap_err().0[0].problem.code.clone();
    assert_eq!(code(&file), "no_configuration");
    assert_eq!(code(folder.path()), "no_configuration");
    assert_eq!(code(Path::new("/dev/zero")), "no_configuration");
    std::fs::write(&file, b"\xff\xfe").unwrap();
    assert_eq!(code(&file), "no_configuration");
    std::fs::write(&file, SAMPLE.replace('\n', "\r\n")).unwrap();
    assert_eq!(
        Config::load(&file).unwrap().sites[1].line,
        43,
        "a line feed ends a line, with or without more"
    );
}

#[test]
#[cfg_attr(windows, ignore = "its paths are Unix's")]
fn where_to_ask_can_be_said_for_each_listener() {
    let text = "[[site]]\ncertificate = \"/c\"\nhosts = [\"a.test\"]\n\
                verify = [\"127.0.0.1:443\", { at = \"unix:/run/x.sock proxy_protocol\", hosts = [\"\", \"b.test\"] }]";
    let config = parse(text).unwrap();
    let told: Vec<_> = config.sites[0]
        .verify
        .iter()
        .map(|ask| (ask.endpoint.to_string(), ask.hosts.join("|"), ask.endpoint.proxy_protocol))
        .collect();
    assert_eq!(
        told,
        [
            ("127.0.0.1:443".to_owned(), "a.test".to_owned(), false),
            ("unix:/run/x.sock proxy_protocol".to_owned(), "|b.test".to_owned(), true),
        ]
    );
    // What the server's own configuration tells need not be said.
    let config = parse("[server.nginx]\ndiscover = true\n[[site]]\ncertificate = \"/c\"").unwrap();
    assert!(config.sites[0].verify.is_empty());
}
