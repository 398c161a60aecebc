//! The sandbox: how tight it is, and that the whole main job works in it.

use crate::host::{CERTIFICATE, Host, SITE, Version};

/// What systemd itself may say of a unit, in tenths.
const MOST_EXPOSED: u32 = 19;
const UNITS: [&str; 3] = ["certhook.service", "certhook-renew.service", "certhook-sync.service"];

fn the_main_job_works_in_the_sandbox(suite: &str) {
    let mut host = Host::boot(suite);
    host.install(Version::New);
    for unit in UNITS {
        exposure_is_low(&host, unit);
    }
    let master = host.master();
    host.start();
    rights_are_two(&host);

    host.renew();
    host.wait_until_served();
    host.wait_until_reported();
    let reported = host.portal().certificate(158).unwrap().remote_create_date;
    assert_ne!(reported.as_deref(), Some("2026-01-01T00:00:00"), "the portal knows of it");

    // Who calls the hook is root, who answers is the agent.
    host.ok("RENEWED_LINEAGE=/etc/letsencrypt/live/shop.test /etc/certhook/hooks/certbot");

    // Somebody's mistake keeps nginx from loading anything: its own words, with file and line.
    host.write("/etc/nginx/sites-enabled/zz", 0o644, "sevrer on;\n");
    host.renew();
    host.wait_for("the refusal is explained", |site| {
        let message = site["problem"]["message"].as_str().unwrap_or_default();
        message.contains("unknown directive \"sevrer\" in /etc/nginx/sites-enabled/zz:1")
    });
    host.ok("rm /etc/nginx/sites-enabled/zz");
    host.wait_until_reported();
    assert_eq!(host.master(), master, "nginx was reloaded, never restarted");

    // nginx's own test before each reload, in the sandbox too.
    host.ok("sed -i 's/^discover = true/&\\npre_check = true/' /etc/certhook/certhook.toml; systemctl reload certhook");
    host.renew();
    host.wait_until_reported();
    host.wait_until_served();
    assert!(host.ok("certhook check").contains("all is well"), "{}", host.ok("certhook check"));
    let names = host.ok("certhook discover");
    assert!(names.contains(SITE), "{names}");
}

#[test]
fn the_main_job_works_in_the_sandbox_of_debian_11() {
    the_main_job_works_in_the_sandbox("bullseye");
}

#[test]
fn the_main_job_works_in_the_sandbox_of_debian_12() {
    the_main_job_works_in_the_sandbox("bookworm");
}

#[test]
fn the_main_job_works_in_the_sandbox_of_debian_13() {
    the_main_job_works_in_the_sandbox("trixie");
}

/// `→ Overall exposure level for certhook.service: 1.9 OK`. What is compared is the unit's file, where systemd can
/// do that, and what it has loaded where it is older.
fn exposure_is_low(host: &Host, unit: &str) {
    let offline = host.is("systemd-analyze --help | grep -q -- --offline");
    let line = match offline {
        true => format!(
            "systemd-analyze security --no-pager --offline=true --threshold={MOST_EXPOSED} /usr/lib/systemd/system/{unit}"
        ),
        false => format!("systemd-analyze security --no-pager {unit}"),
    };
    let told = host.ok(&line);
    let level = told.lines().last().and_then(|line| line.split(": ").nth(1)?.split(' ').next());
    let level: f64 = level.and_then(|level| level.parse().ok()).unwrap_or_else(|| panic!("{told}"));
    assert!(level * 10.0 <= f64::from(MOST_EXPOSED), "{unit}: {told}");
}

/// The agent has CAP_KILL (5) and CAP_DAC_READ_SEARCH (2), its process that speaks to the network has nothing, and a
/// child inherits nothing from either.
fn rights_are_two(host: &Host) {
    let agent = host.agent();
    let network = host.ok(&format!("pgrep -P {agent} -f '^certhook network'"));
    let user = host.ok("id -u certhook");
    assert_ne!(user, "0");
    for (pid, held) in [(agent.clone(), 1 << 5 | 1 << 2), (network.clone(), 0)] {
        let status = host.ok(&format!("cat /proc/{pid}/status"));
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        let set = |name: &str| u64::from_str_radix(&field(name), 16).unwrap();
        for (name, expected) in [("CapPrm", held), ("CapEff", held), ("CapInh", 0), ("CapAmb", 0)] {
            assert_eq!(set(name), expected, "{name} of {pid}");
        }
        assert_eq!(set("CapBnd") & !(1 << 5 | 1 << 2), 0);
        assert_eq!(field("NoNewPrivs"), "1");
        assert_eq!(field("Seccomp"), "2", "system calls are filtered");
        assert!(field("Uid").split_whitespace().all(|id| id == user), "{status}");
    }
    // What a shell in its place could read: its mounts, its user, its capabilities.
    let shell = format!(
        "nsenter --mount --target {network} setpriv --reuid={user} --regid={user} --clear-groups --bounding-set=-all \
         --inh-caps=-all --no-new-privs /bin/sh -c"
    );
    assert!(host.is(&format!("{shell} 'cat /etc/passwd' >/dev/null")), "there is no such shell");
    for file in [
        "/etc/shadow",
        &CERTIFICATE.replace("fullchain", "privkey"),
        "/etc/certhook/client_secret",
        &format!("/proc/{agent}/environ"),
    ] {
        assert!(host.is(&format!("test -e {file}")), "{file}");
        assert!(!host.is(&format!("{shell} 'cat {file}' >/dev/null 2>&1")), "{file} is read");
    }
}
