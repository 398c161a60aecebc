//! Debian's certbot as it is installed, with an authority beside it: its renewals are served and reported, whatever
//! else its hooks do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::host::{Host, Version};

const NAME: &str = "renewed.test";
const LIVE: &str = "/etc/letsencrypt/live/renewed.test";
const ID: i64 = 159;

#[test]
fn certbot_s_renewals_are_served_and_reported_once() {
    let host = Host::boot("bookworm-certbot");
    host.install(Version::New);
    start_authority(&host);
    certbot(&host, &format!("certonly --webroot --webroot-path /var/www/html --domain {NAME}"));
    host.write(
        "/etc/nginx/sites-enabled/renewed",
        0o644,
        &format!(
            "server {{ listen 127.0.0.1:443 ssl; server_name {NAME};\n    ssl_certificate {LIVE}/fullchain.pem;\n    \
             ssl_certificate_key {LIVE}/privkey.pem; }}\n"
        ),
    );
    host.ok("systemctl reload nginx");
    host.add_installed(ID, NAME);
    host.configure();
    host.ok("systemctl start certhook");
    wait_until_all_is_current(&host);

    // The package has put its hook where certbot looks.
    let before = (serial(&host), reloads(&host));
    let said = certbot(&host, "renew --force-renewal --no-random-sleep-on-renew");
    wait_until_all_is_current(&host);
    let log = host.read("/var/log/letsencrypt/letsencrypt.log");
    assert!(log.contains("/etc/letsencrypt/renewal-hooks/deploy/certhook"), "{said}\n{log}");
    let renewed = (serial(&host), reloads(&host));
    assert_ne!(before.0, renewed.0, "the old certificate is served");
    assert_eq!((reports(&host), renewed.1 - before.1), (1, 1));

    // Beside a hook of the administrator's that reloads nginx too.
    certbot(&host, "renew --force-renewal --no-random-sleep-on-renew --deploy-hook 'systemctl reload nginx'");
    wait_until_all_is_current(&host);
    assert_ne!(serial(&host), renewed.0, "the old certificate is served");
    assert_eq!(reports(&host), 2, "each certificate is reported once");
    assert!(reloads(&host) - renewed.1 <= 1, "certhook reloads once, if it is not too late for that");
    assert!(host.ok("systemctl --failed --no-legend").is_empty());

    // The box has curl: alerts go from the sandbox as the sample and the examples have it.
    let command = include_str!("../../packaging/certhook.toml").lines();
    let command = command.filter_map(|line| line.strip_prefix("#command = ")).next().unwrap();
    let alert = format!(
        "[watch]\nsettle = \"1s\"\n[alert]\nafter = \"1s\"\nmin_interval = \"1s\"\ncommand = {command}\n"
    );
    let config = "/etc/certhook/certhook.toml";
    host.ok(&format!("cat >>{config} <<'EOF'\n{alert}EOF\n"));
    let told = alert_of(&host, "webhook", "https://alerts.example.net/", "http://127.0.0.1:8071/", post);
    assert!(told.contains("application/json"), "{told}");
    let list: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((&list[0]["site"], &list[0]["code"]), (&"webhook".into(), &"missing".into()), "{told}");
    let told = alert_of(&host, "mail", "smtp://127.0.0.1", "smtp://127.0.0.1:8072", mail);
    for expected in ["RCPT TO:<root@localhost>", "Subject: certhook", "\"mail\"", "missing"] {
        assert!(told.replace("=\r\n", "").contains(expected), "{expected}: {told}");
    }
    assert!(!host.journal("certhook").contains("alert_command"), "{}", host.journal("certhook"));
}

/// What a receiver is told by curl with that example, once a site of its name has lost its certificate.
fn alert_of(
    host: &Host,
    example: &str,
    theirs: &str,
    ours: &str,
    receive: fn(TcpStream) -> String,
) -> String {
    let port = ours.trim_end_matches('/').rsplit(':').next().unwrap();
    let listener = host.in_network(|| TcpListener::bind(format!("127.0.0.1:{port}")).unwrap());
    listener.set_nonblocking(true).unwrap();
    let file = "/etc/certhook/alert.curl";
    host.ok(&format!(
        "install -m 640 -g certhook /dev/stdin {file} </usr/share/doc/certhook/examples/alert-{example}.curl && \
         grep -q '{theirs}' {file} && sed -i 's,{theirs},{ours},' {file}"
    ));
    host.ok(&format!(
        "printf '[[site]]\\nname = \"{example}\"\\ncertificate = \"/etc/{example}.pem\"\\nverify = [\"127.0.0.1:443\"]\\n' \
         >>/etc/certhook/certhook.toml && systemctl reload certhook"
    ));
    let mut caller = None;
    host.wait_until("somebody is told", |_| {
        caller = caller.take().or_else(|| listener.accept().ok());
        caller.is_some()
    });
    let (caller, _) = caller.unwrap();
    caller.set_nonblocking(false).unwrap();
    receive(caller)
}

/// One request, headers and body.
fn post(mut caller: TcpStream) -> String {
    let mut reader = BufReader::new(caller.try_clone().unwrap());
    let (mut told, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        told += &std::mem::take(&mut line);
    }
    let length =
        told.to_lowercase().split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap().parse();
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    told + &String::from_utf8(body).unwrap()
}

/// One mail, with the commands that bring it.
fn mail(mut caller: TcpStream) -> String {
    let mut reader = BufReader::new(caller.try_clone().unwrap());
    let mut answer = |text: &str| caller.write_all(format!("{text}\r\n").as_bytes()).unwrap();
    let (mut told, mut body) = (String::new(), false);
    answer("220 here");
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return told;
        }
        told += &line;
        match line.trim_end() {
            "." if body => {
                body = false;
                answer("250 taken");
            }
            _ if body => {}
            "DATA" => {
                body = true;
                answer("354 go on");
            }
            "QUIT" => {
                answer("221 bye");
                return told;
            }
            _ => answer("250 well"),
        }
    }
}

/// Certificates of ninety days, as the portal's records say.
fn start_authority(host: &Host) {
    host.ok("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 \
             -keyout /root/pebble.key -out /root/pebble.crt 2>/dev/null");
    host.write(
        "/root/pebble.json",
        0o644,
        "{\"pebble\":{\"listenAddress\":\"127.0.0.1:14000\",\"certificate\":\"/root/pebble.crt\",\
         \"privateKey\":\"/root/pebble.key\",\"httpPort\":80,\"certificateValidityPeriod\":7776000}}",
    );
    host.ok("systemd-run --quiet --unit=names pebble-challtestsrv -http01 '' -https01 '' -tlsalpn01 '' \
             -defaultIPv6 '' -dns01 127.0.0.1:8053 -management 127.0.0.1:8055");
    host.ok(
        "systemd-run --quiet --unit=pebble --setenv=PEBBLE_VA_NOSLEEP=1 --setenv=PEBBLE_WFE_NONCEREJECT=0 \
             pebble -config /root/pebble.json -dnsserver 127.0.0.1:8053",
    );
    host.wait_until("the authority listens", |host| {
        host.is("curl --silent --insecure https://127.0.0.1:14000/dir")
    });
    // The package's own page answers the challenges.
    host.write(
        "/etc/nginx/sites-enabled/challenges",
        0o644,
        &format!("server {{ listen 80; server_name {NAME}; root /var/www/html; }}\n"),
    );
    host.ok("systemctl reload nginx");
    host.wait_until("nginx answers", |host| {
        host.is(&format!("curl --silent --header 'Host: {NAME}' 127.0.0.1"))
    });
}

fn certbot(host: &Host, arguments: &str) -> String {
    host.ok(&format!(
        "certbot --server https://127.0.0.1:14000/dir --no-verify-ssl --non-interactive --agree-tos \
         --register-unsafely-without-email {arguments} 2>&1"
    ))
}

fn wait_until_all_is_current(host: &Host) {
    host.wait_until("all is current and reported", |_| {
        let status = host.status();
        let sites = status["sites"].as_array().cloned().unwrap_or_default();
        let rests = |site: &serde_json::Value| {
            site["state"] == "current" && site["report"]["state"] != "pending" && site["problem"].is_null()
        };
        sites.len() == 2 && sites.iter().all(rests) && serial(host) == serial_on_disk(host)
    });
}

fn serial(host: &Host) -> String {
    host.ok(&format!(
        "openssl s_client -connect 127.0.0.1:443 -servername {NAME} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    ))
}

fn serial_on_disk(host: &Host) -> String {
    host.ok(&format!("openssl x509 -noout -serial -in {LIVE}/fullchain.pem"))
}

fn reports(host: &Host) -> usize {
    host.portal().reports().iter().filter(|report| report.id == ID).count()
}

/// certhook's own.
fn reloads(host: &Host) -> usize {
    host.journal("certhook").lines().filter(|line| line.starts_with("reloaded ")).count()
}
