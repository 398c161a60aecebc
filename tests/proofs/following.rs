//! nginx's configuration says which sites there are, and goes on saying it while it changes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use certhook::config::Config;
use certhook_test_support::ca::{KeyType, Order, Pair};
use certhook_test_support::portal::{Record, What};
use certhook_test_support::wire::{Accepts, Client};
use certhook_test_support::writers::Writer;
use serde_json::Value;

use crate::host::{Extra, Host, as_the_portal_wants, codes, states};

/// Until what was changed before was read and acted on.
const A_WHILE: Duration = Duration::from_millis(700);

fn discovering(writers: &[Writer]) -> Host {
    Host::with(writers, Extra { discovered: true, ..Extra::default() })
}

fn names(status: &Value) -> Vec<&str> {
    status["sites"].as_array().unwrap().iter().map(|site| site["name"].as_str().unwrap()).collect()
}

#[test]
fn a_renewal_of_what_only_nginx_names_is_served_and_reported() {
    let mut host = discovering(&[Writer::VendorClient, Writer::Certbot]);
    host.start_agent_and_settle();
    assert_eq!(names(&host.agent_status().unwrap()), ["site0.test", "site1.test"]);
    let written = host.renew(1, Duration::from_millis(20));
    host.wait_until_done(1);
    let reports = host.portal.reports();
    assert_eq!((reports.len(), reports[0].id), (1, 159));
    assert_eq!(reports[0].remote_create_date, as_the_portal_wants(written));
    assert_eq!(host.nginx.log().hups, 1);
    host.stop_agent();
}

#[test]
fn a_new_vhost_is_watched_from_its_reload_on_and_a_removed_one_is_gone() {
    let mut host = discovering(&[Writer::Lego]);
    host.start_agent_and_settle();
    // What the portal issues from here on is not in it.
    host.wait_until("the first list", || host.portal.journal().iter().any(|entry| entry.what == What::List));
    let new = host.add_site(Writer::AcmeSh);
    host.set_vhost("new", Some(&host.block(new)));
    // nginx has not loaded it: it is not certhook's to have it loaded.
    let status = host.wait_for("the new site", |status| states(status) == ["current", "pending"]);
    assert!(status["sites"][1]["pending"].as_str().unwrap().contains("not loaded"), "{status}");
    assert_eq!((codes(&status), host.nginx.log().hups), (vec![], 0));
    host.nginx.hup();
    host.wait_for("both current", |status| states(status) == ["current", "current"]);
    // The portal did not know that it is installed; now it does.
    host.wait_until_done(new);
    // Its first renewal.
    let written = host.renew(new, Duration::from_millis(20));
    host.wait_until_done(new);
    let reports = host.portal.reports();
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert_eq!((reports[1].id, &reports[1].remote_create_date), (159, &as_the_portal_wants(written)));
    assert_eq!(host.nginx.log().hups, 2, "by hand, and for the renewal");
    host.set_vhost("new", None);
    let status = host.wait_for("it is gone", |status| names(status) == ["site0.test"]);
    assert_eq!(codes(&status), [] as [&str; 0]);
    host.nginx.hup();
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    assert_eq!(host.nginx.log().hups, 4);
    host.stop_agent();
}

#[test]
fn a_broken_vhost_blocks_and_one_reload_makes_all_good() {
    let mut host = discovering(&[Writer::Lego, Writer::Certbot, Writer::VendorClient]);
    host.start_agent_and_settle();
    host.set_vhost("shop", Some("server {\n    listen 127.0.0.1:1;\n    sevrer_name shop.test;\n}\n"));
    let shop = host.nginx.prefix().join("sites-enabled/shop");
    host.renew(0, Duration::ZERO);
    host.renew(2, Duration::ZERO);
    let status =
        host.wait_for("both blocked", |status| codes(status) == ["blocked", "blocked", "nginx_refused"]);
    let of_server = &status["servers"][0]["problem"];
    for problem in [of_server, &status["sites"][0]["problem"], &status["sites"][2]["problem"]] {
        let words = problem["message"].as_str().unwrap();
        assert!(words.contains("unknown directive \"sevrer_name\""), "{words}");
        assert!(words.contains(&format!("{}:3", shop.display())), "{words}");
    }
    assert_eq!(status["sites"][1]["problem"], Value::Null);
    assert_eq!(states(&status)[1], "current");
    let loads = host.nginx.log().reloads;
    let failed = host.nginx.log().emergencies.len();
    host.set_vhost("shop", Some("server {\n    listen 127.0.0.1:1;\n    server_name shop.test;\n}\n"));
    // Binding port 1 is fine for root; else nginx says so, and this test would show it.
    host.wait_until_done(0);
    host.wait_until_done(2);
    let status = host.wait_for("all well", |status| codes(status).is_empty());
    assert_eq!(states(&status), ["current", "current", "current"]);
    let log = host.nginx.log();
    // Tries while it was broken may have come between; the one that made it good is the last.
    assert_eq!(log.reloads - loads, 1 + (log.emergencies.len() - failed), "{log:?}");
    host.stop_agent();
}

#[test]
fn while_its_configuration_cannot_be_read_sites_stay() {
    let mut host = discovering(&[Writer::Lego, Writer::Lego]);
    host.start_agent_and_settle();
    let text = std::fs::read_to_string(host.nginx.config_path()).unwrap();
    let half = &text[..text.find("site1.test").unwrap()];
    std::fs::write(host.nginx.config_path(), half).unwrap();
    let status = host.wait_for("the problem", |status| codes(status) == ["nginx_config"]);
    assert_eq!(names(&status), ["site0.test", "site1.test"]);
    std::fs::write(host.nginx.config_path(), text).unwrap();
    host.wait_for("all well", |status| codes(status).is_empty());
    host.renew(1, Duration::ZERO);
    host.wait_until_done(1);
    host.stop_agent();
}

#[test]
fn what_is_discovered_is_printed_as_the_same_configuration() {
    let host = discovering(&[Writer::Lego, Writer::Certbot]);
    host.set_vhost(
        "more",
        Some(&format!(
            "server {{ listen 127.0.0.1:1 ssl; server_name ~^(?<x>.+)$; ssl_certificate $x.pem; \
             ssl_certificate_key $x.key; }}\nserver {{ listen unix:{0}/x.sock ssl; server_name a.test b.test; \
             ssl_certificate {1:?}; ssl_certificate_key {2:?}; }}\n",
            host.path().display(),
            host.sites[0].layout.certificate,
            host.sites[0].layout.key,
        )),
    );
    let output = host.certhook(&["discover"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let config =
        Config::parse(Path::new("certhook.toml"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let told: Vec<(PathBuf, Vec<String>)> = config
        .sites
        .iter()
        .map(|site| {
            let asks = site.verify.iter().map(|ask| format!("{} {}", ask.endpoint, ask.hosts.join(" ")));
            (site.certificate.clone(), asks.collect())
        })
        .collect();
    let socket = format!("unix:{}/x.sock a.test b.test", host.path().display());
    let tcp = |site: usize| format!("{} {}", host.nginx.endpoint(), host.sites[site].name);
    let expected = [
        (host.sites[0].layout.certificate.clone(), vec![socket, tcp(0)]),
        (host.sites[1].layout.certificate.clone(), vec![tcp(1)]),
    ];
    let sorted = |mut told: Vec<(PathBuf, Vec<String>)>| {
        told.iter_mut().for_each(|(_, asks)| asks.sort());
        told.sort();
        told
    };
    assert_eq!(sorted(told), sorted(expected.to_vec()), "{text}");
    assert!(text.contains("# left out: ") && text.contains("$x.pem"), "{text}");
}

/// A server with an RSA and an ECDSA certificate for one name; only the second is renewed.
#[test]
fn of_two_certificates_the_renewed_one_is_noticed_verified_and_reported() {
    let mut host = discovering(&[Writer::Lego]);
    let folder = host.path().join("ssl/dual");
    std::fs::create_dir(&folder).unwrap();
    let at = |kind: &str, what: &str| folder.join(format!("{kind}.{what}"));
    let issue =
        |host: &Host, key: KeyType| host.ca.issue(Order { hosts: &["dual.test"], key, ..Order::default() });
    let write = |kind: &str, pair: &Pair| {
        std::fs::write(at(kind, "key"), &pair.key_pem).unwrap();
        std::fs::write(at(kind, "pem"), &pair.fullchain_pem).unwrap();
    };
    let (rsa, ecdsa) = (issue(&host, KeyType::Rsa2048), issue(&host, KeyType::EcdsaP256));
    write("rsa", &rsa);
    write("ecdsa", &ecdsa);
    let mut block = format!("server {{ listen {} ssl; server_name dual.test;\n", host.nginx.endpoint());
    for kind in ["rsa", "ecdsa"] {
        let lines =
            format!("ssl_certificate {:?};\nssl_certificate_key {:?};\n", at(kind, "pem"), at(kind, "key"));
        block.push_str(&lines);
    }
    host.set_vhost("dual", Some(&format!("{block}}}\n")));
    host.nginx.hup();
    // The portal has a record for each; which is whose only an administrator knows.
    let installed = Some("2026-01-01T00:00:00".to_owned());
    for (id, kind) in [(200, "rsa"), (201, "ecdsa")] {
        let record = Record { remote_create_date: installed.clone(), ..Record::new(id, "dual.test") };
        host.portal.add_certificate(record);
        let mut text = std::fs::read_to_string(host.config_path()).unwrap();
        text.push_str(&format!(
            "[[site]]\nid = {id}\ncertificate = {:?}\nkey = {:?}\n",
            at(kind, "pem"),
            at(kind, "key")
        ));
        std::fs::write(host.config_path(), text).unwrap();
    }
    host.start_agent();
    host.wait_for("three sites", |status| states(status) == ["current"; 3]);
    let renewed = issue(&host, KeyType::EcdsaP256);
    write("ecdsa", &renewed);
    let written = std::fs::metadata(at("ecdsa", "pem")).unwrap().modified().unwrap();
    let status = host.wait_for("the report", |status| {
        let reports = status["sites"].as_array().unwrap().iter().map(|site| &site["report"]["state"]);
        reports.filter(|state| **state == "delivered").count() == 1
    });
    let reports = host.portal.reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!((reports[0].id, &reports[0].remote_create_date), (201, &as_the_portal_wants(written)));
    let served = |accepts| {
        let client = Client { accepts, ..Client::default() };
        client.served(&host.nginx.endpoint(), "dual.test").unwrap().fingerprint
    };
    assert_eq!(served(Accepts::Ecdsa), renewed.fingerprint);
    assert_eq!(served(Accepts::Rsa), rsa.fingerprint);
    let told = |kind: &str| {
        let path = at(kind, "pem").display().to_string();
        let sites = status["sites"].as_array().unwrap();
        sites.iter().find(|site| site["certificate"]["path"] == *path).unwrap().clone()
    };
    assert_eq!(told("ecdsa")["served"]["fingerprint"], renewed.fingerprint);
    assert_eq!(told("rsa")["served"]["fingerprint"], rsa.fingerprint);
    assert_eq!(told("rsa")["report"]["state"], "none");
    assert_eq!(host.nginx.log().hups, 2, "by hand, and for the renewal");
    host.stop_agent();
}

/// What another authority issued is none of the portal's business, and no problem either.
#[test]
fn a_certificate_that_the_portal_does_not_have_is_served_and_not_reported() {
    let mut host = discovering(&[Writer::Lego]);
    host.portal.remove_certificate(158);
    host.start_agent_and_settle();
    host.renew(0, Duration::ZERO);
    host.wait_until_served(0);
    let (status, code) = host.json(&["sync", "--json"]);
    assert_eq!((code, &status["sites"][0]["report"]["state"]), (0, &"none".into()), "{status}");
    assert!(host.portal.reports().is_empty());
    host.stop_agent();
}

/// As a user that may do nothing but read every file and signal every process.
#[test]
fn two_capabilities_are_enough_to_discover_reload_verify_and_explain() {
    let mut host = discovering(&[Writer::Lego, Writer::Certbot]);
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let all_private = |path: &Path| {
        let files = Command::new("chmod").args(["-R", "go-rwx"]).arg(path).status().unwrap();
        assert!(files.success());
    };
    std::fs::create_dir(host.state_dir()).unwrap();
    std::os::unix::fs::chown(host.state_dir(), Some(65534), Some(65534)).unwrap();
    all_private(&host.path().join("ssl"));
    std::fs::set_permissions(host.nginx.config_path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(host.nginx.error_log_path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let caps = "-all,+kill,+dac_read_search";
    host.set_wrapper(&[
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps",
        caps,
        "--ambient-caps",
        caps,
        "--bounding-set",
        caps,
        "--",
    ]);
    host.start_agent_and_settle();
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.agent_pid())).unwrap();
    let caps = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
    // CAP_DAC_READ_SEARCH is 2, CAP_KILL is 5.
    assert_eq!(caps.split_whitespace().last(), Some("0000000000000024"), "{status}");
    assert_eq!(names(&host.agent_status().unwrap()), ["site0.test", "site1.test"]);
    host.renew(0, Duration::ZERO);
    all_private(&host.path().join("ssl"));
    host.wait_until_done(0);
    let (verdicts, code) = host.json(&["verify", "--json"]);
    assert_eq!(code, 0, "{verdicts}");
    assert_eq!(host.certhook(&["discover"]).status.code(), Some(0));
    host.set_vhost("shop", Some("server {\n  sevrer_name shop.test;\n}\n"));
    host.renew(1, Duration::ZERO);
    let status = host.wait_for("the explanation", |status| codes(status).contains(&"blocked".to_owned()));
    let words = status["servers"][0]["problem"]["message"].as_str().unwrap();
    assert!(words.contains("sevrer_name") && words.contains("sites-enabled/shop:2"), "{words}");
    host.set_vhost("shop", None);
    host.wait_until_done(1);
    host.stop_agent();
}

/// Deploy tools point links elsewhere and make folders anew; what is changed there later is noticed as before.
#[test]
fn links_that_lead_elsewhere_and_folders_made_anew_are_followed() {
    let mut host = discovering(&[Writer::Lego]);
    let (first, second) = (host.add_site(Writer::Lego), host.add_site(Writer::Lego));
    let at = |host: &Host, name: &str| host.nginx.prefix().join(name);
    for release in ["releases/1", "releases/2"] {
        std::fs::create_dir_all(at(&host, release)).unwrap();
        std::fs::write(at(&host, release).join("shop"), "# nothing yet\n").unwrap();
    }
    std::fs::create_dir(at(&host, "sites-enabled")).unwrap();
    std::os::unix::fs::symlink("../releases/1/shop", at(&host, "sites-enabled/shop")).unwrap();
    host.start_agent_and_settle();
    std::os::unix::fs::symlink("../releases/2/shop", at(&host, "shop.new")).unwrap();
    std::fs::rename(at(&host, "shop.new"), at(&host, "sites-enabled/shop")).unwrap();
    std::thread::sleep(A_WHILE);
    std::fs::write(at(&host, "releases/2/shop"), host.block(first)).unwrap();
    host.wait_for("the first", |status| states(status) == ["current", "pending"]);
    std::fs::remove_dir_all(at(&host, "sites-enabled")).unwrap();
    host.wait_for("it is gone", |status| states(status) == ["current"]);
    std::fs::create_dir(at(&host, "sites-enabled")).unwrap();
    std::thread::sleep(A_WHILE);
    host.set_vhost("more", Some(&host.block(second)));
    host.wait_for("the second", |status| states(status) == ["current", "pending"]);
    host.stop_agent();
}

/// The folder comes first and its files later, as with most tools.
#[test]
fn what_comes_to_match_a_pattern_is_noticed() {
    let mut host = Host::new(&[Writer::Lego]);
    let [path, other] = ["live/*/fullchain.pem", "live/*/privkey.pem"].map(|name| host.path().join(name));
    let site = format!(
        "[[site]]\ncertificate = {path:?}\nkey = {other:?}\nverify = [{:?}]\nreport = false\n",
        host.nginx.endpoint()
    );
    std::fs::create_dir(host.path().join("live")).unwrap();
    let text = format!("{}{site}", host.config_text());
    std::fs::write(host.config_path(), text).unwrap();
    host.start_agent_and_settle();
    let folder = host.path().join("live/site0.test");
    std::fs::create_dir(&folder).unwrap();
    std::thread::sleep(A_WHILE);
    let layout = &host.sites[0].layout;
    std::fs::copy(&layout.key, folder.join("privkey.pem")).unwrap();
    std::fs::copy(&layout.certificate, folder.join("fullchain.pem")).unwrap();
    host.wait_for("both", |status| states(status) == ["current", "current"]);
    host.stop_agent();
}

/// While nginx is stopped its command line cannot be seen; it will be started as it was.
#[test]
fn while_nginx_is_stopped_its_sites_stay() {
    let mut host = discovering(&[Writer::Lego]);
    host.start_agent_and_settle();
    host.nginx.stop();
    let (status, _) = host.json(&["sync", "--json", "--wait", "20s"]);
    assert_eq!(names(&status), ["site0.test"]);
    host.nginx.start_again();
    host.wait_for("well again", |status| states(status) == ["current"] && codes(status).is_empty());
    host.renew(0, Duration::ZERO);
    host.wait_until_done(0);
    host.stop_agent();
}

/// nginx comes after certhook, as at a boot: with a command line that nobody could know.
#[test]
fn an_nginx_that_comes_later_is_found() {
    let mut host = discovering(&[Writer::Lego]);
    host.nginx.stop();
    let text = std::fs::read_to_string(host.config_path()).unwrap();
    std::fs::write(host.config_path(), text.replace("[watch]", "[watch]\npoll = \"1s\"")).unwrap();
    host.start_agent();
    host.wait_for("an agent", |status| names(status) != ["site0.test"]);
    std::thread::sleep(A_WHILE);
    host.nginx.start_again();
    host.wait_for("its site", |status| names(status) == ["site0.test"] && states(status) == ["current"]);
    host.stop_agent();
}

/// Which nginx is meant cannot be told: that is said at once, and not waited for.
#[test]
fn a_pass_ends_where_a_configuration_cannot_be_found() {
    let host = discovering(&[Writer::Lego]);
    let _another = discovering(&[]);
    let text = std::fs::read_to_string(host.config_path()).unwrap();
    let without = text.lines().filter(|line| !line.starts_with("pid_file"));
    std::fs::write(host.config_path(), without.collect::<Vec<_>>().join("\n")).unwrap();
    let begun = std::time::Instant::now();
    let (status, code) = host.json(&["sync", "--json", "--wait", "40s"]);
    assert_eq!((codes(&status), code), (vec!["several_masters".to_owned()], 1), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// A site whose report waits for the portal, and an agent that ended.
fn with_a_pending_report() -> Host {
    let mut host = discovering(&[Writer::Lego, Writer::Lego]);
    host.start_agent_and_settle();
    host.portal.stop();
    host.renew(1, Duration::ZERO);
    host.wait_until_served(1);
    host.stop_agent();
    host
}

#[test]
fn no_report_is_lost_when_its_site_gets_another_key() {
    let mut host = with_a_pending_report();
    let mut text = std::fs::read_to_string(host.config_path()).unwrap();
    text.push_str("[server.other]\nkind = \"command\"\nreload = [\"/bin/true\"]\n");
    std::fs::write(host.config_path(), text).unwrap();
    host.start_agent_and_settle();
    // What was tried just before is over.
    std::thread::sleep(A_WHILE);
    host.portal.restart();
    host.wait_until_done(1);
    assert_eq!(host.portal.reports().len(), 1);
    host.stop_agent();
}

/// What cannot be seen at a start is not known to be gone.
#[test]
fn no_report_is_put_aside_while_a_configuration_is_broken() {
    let mut host = with_a_pending_report();
    let whole = std::fs::read_to_string(host.nginx.config_path()).unwrap();
    let before = &whole[..whole.find("site1.test").unwrap()];
    std::fs::write(host.nginx.config_path(), &before[..before.rfind("server {").unwrap()]).unwrap();
    host.start_agent();
    // The status lists what the broken configuration does not name now.
    host.wait_for("one site", |status| {
        codes(status) == ["vanished", "nginx_config"] && names(status) == ["site0.test", "site1.test"]
    });
    host.portal.restart();
    host.portal.wait_for_reports(1, crate::host::PATIENCE).unwrap();
    std::fs::write(host.nginx.config_path(), whole).unwrap();
    host.wait_until_done(1);
    assert_eq!(host.portal.reports().len(), 1);
    host.stop_agent();
}
