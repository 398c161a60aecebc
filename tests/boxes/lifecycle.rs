//! The life of the Debian package: installed, upgraded, downgraded, disabled, removed, installed again, purged.

use crate::host::{Host, Version};

/// certbot's own folder, where a link has it call certhook.
const LINK: &str = "/etc/letsencrypt/renewal-hooks/deploy/certhook";

fn a_package_comes_and_goes(suite: &str) {
    let host = Host::boot(suite);
    let (master, files, people) = (host.master(), files(&host), people(&host));
    let nginx_lives = || assert_eq!(host.master(), master, "nginx is another");

    // Installed: enabled, and inactive for want of a configuration.
    host.install(Version::Old);
    assert_eq!(host.ok("systemctl is-enabled certhook"), "enabled");
    assert_eq!(host.property("certhook", "ActiveState"), "inactive");
    assert!(host.ok("systemctl --failed --no-legend").is_empty());
    assert!(host.journal("certhook").contains("not_configured"));
    let modes = host.ok("stat -c '%a %U:%G' /etc/certhook /etc/certhook/certhook.toml /var/lib/certhook");
    assert_eq!(modes, "751 root:certhook\n640 root:certhook\n700 certhook:certhook");
    let user = host.ok("getent passwd certhook | cut -d : -f 6,7; id -Gn certhook");
    assert_eq!(user, "/nonexistent:/usr/sbin/nologin\ncerthook", "no home, no shell, no other group");
    assert!(!host.is("getent shadow certhook | grep -q ':\\$'"), "no password");

    // certbot comes: its renewals are told of from now on.
    assert!(!host.is(&format!("test -L {LINK}")));
    install_certbot(&host);
    assert_eq!(host.ok(&format!("readlink {LINK}")), "/usr/lib/certhook/hooks/certbot");

    // Upgraded: another process, the same ledger and configuration.
    host.start();
    host.ok("chmod 600 /etc/certhook/certhook.toml");
    let (agent, ledger) = (host.agent(), host.ok("stat -c %i /var/lib/certhook/ledger.db"));
    host.install(Version::New);
    host.wait_until_current();
    assert_ne!(host.agent(), agent, "the old program runs on");
    assert_eq!(host.ok("stat -c %i /var/lib/certhook/ledger.db"), ledger);
    assert!(host.read("/etc/certhook/certhook.toml").contains("discover = true\n"), "what was written stays");
    assert_eq!(host.ok("stat -c %a /etc/certhook/certhook.toml"), "600", "and so does a mode");
    nginx_lives();

    // Downgraded. What an administrator has taken away stays away.
    host.ok(&format!("rm {LINK}"));
    host.install(Version::Old);
    host.wait_until_current();
    install_certbot(&host);
    assert!(!host.is(&format!("test -L {LINK}")), "the link is back");

    // Disabled and stopped, it stays so.
    host.ok("systemctl disable --now certhook");
    host.install(Version::New);
    assert_eq!(host.run("systemctl is-enabled certhook").stdout, b"disabled\n");
    assert_eq!(host.property("certhook", "ActiveState"), "inactive");
    // Stopped for the moment, too.
    host.ok("systemctl enable certhook");
    host.install(Version::Old);
    assert_eq!(host.property("certhook", "ActiveState"), "inactive");
    // One that failed is given another chance with the new program.
    host.ok("mkdir -p /run/systemd/system/certhook.service.d && \
             printf '[Service]\\nRestart=no\\n' >/run/systemd/system/certhook.service.d/no.conf && systemctl daemon-reload");
    host.ok("systemctl restart certhook && systemctl kill --signal=KILL certhook");
    host.wait_until("it failed", |host| host.is("systemctl is-failed --quiet certhook"));
    host.install(Version::New);
    assert_eq!(host.property("certhook", "ActiveState"), "active");
    host.ok("rm -r /run/systemd/system/certhook.service.d; systemctl daemon-reload");
    host.ok("systemctl disable --now certhook; systemctl enable certhook-renew.timer");

    // Removed: configuration and ledger stay. What other tools were told to call does nothing.
    host.ok("dpkg -r certhook");
    for hook in ["acme.sh", "certbot", "dehydrated", "lego", "rcl"] {
        assert_eq!(host.ok(&format!("/etc/certhook/hooks/{hook} deploy_cert 2>&1")), "", "{hook}");
    }
    assert!(!host.is("test -e /usr/bin/certhook"));
    assert!(host.is("test -s /etc/certhook/client_secret && test -s /var/lib/certhook/ledger.db"));
    assert!(host.read("/etc/certhook/certhook.toml").contains("discover = true\n"));
    nginx_lives();

    // Installed again: disabled as it was, with all it had; the link is offered once more.
    host.install(Version::New);
    assert_eq!(host.run("systemctl is-enabled certhook").stdout, b"disabled\n");
    assert_eq!(host.ok("systemctl is-enabled certhook-renew.timer"), "enabled");
    assert!(host.is(&format!("test -L {LINK}")));
    host.ok("systemctl enable --now certhook");
    host.wait_until_current();
    assert_eq!(host.ok("stat -c %i /var/lib/certhook/ledger.db"), ledger);
    // Removed while it runs, it runs again; the timer too.
    host.ok("dpkg -r certhook");
    host.install(Version::New);
    host.wait_until_current();
    assert_eq!(host.ok("systemctl is-active certhook certhook-renew.timer"), "active\nactive");
    // Where certbot's folder cannot be written, no package fails: it is said.
    let hooks = "/etc/letsencrypt/renewal-hooks";
    host.ok(&format!("mount --bind {hooks} {hooks} && mount -o remount,bind,ro {hooks}"));
    let said = host.ok("dpkg -r certhook 2>&1");
    assert!(said.contains("its link for certbot stays"), "{said}");
    host.ok(&format!(
        "umount {hooks} && rm {LINK} && mount --bind {hooks} {hooks} && mount -o remount,bind,ro {hooks}"
    ));
    let said = host.ok("dpkg -i /root/new.deb 2>&1");
    assert!(said.contains("certbot does not call its hook"), "{said}");
    let said = host.ok("dpkg -i /tmp/certbot.deb 2>&1");
    assert!(said.contains("certbot does not call its hook"), "{said}");
    host.ok(&format!("umount {hooks}"));
    install_certbot(&host);
    assert!(host.is(&format!("test -L {LINK}")), "another time it can be");
    // Its own link goes with it; another's does not.
    host.ok(&format!("rm {LINK}; ln -s /bin/true {LINK}; dpkg -r certhook"));
    assert!(host.is(&format!("test -L {LINK}")));
    host.ok(&format!("rm {LINK}"));
    host.install(Version::New);
    assert_eq!(host.ok("systemctl is-enabled certhook"), "enabled");
    assert!(host.is(&format!("test -L {LINK}")));
    host.ok("systemctl start certhook");
    host.wait_until_current();

    // Purged: as if it had never been there.
    host.ok("dpkg -P fake-certbot");
    host.ok("dpkg -P certhook");
    nginx_lives();
    assert_eq!(difference(&files, &self::files(&host)), Vec::<String>::new());
    assert_eq!(difference(&people, &self::people(&host)), Vec::<String>::new());
    assert!(host.ok("systemctl --failed --no-legend").is_empty());
    host.ok("systemctl reload nginx");
    host.wait_until_served();

    // A key of its own elsewhere must not be the next user's of that number.
    host.install(Version::New);
    host.ok("echo 'fetch_into = \"/srv/keys\"  # /srv' >>/etc/certhook/certhook.toml && \
             install -d -o certhook /srv/keys/a && dpkg -r certhook");
    let said = host.ok("dpkg -P certhook 2>&1");
    assert!(said.contains("/srv/keys has files of its own"), "{said}");
    assert!(host.is("getent passwd certhook && ! test -e /etc/certhook"));
}

#[test]
fn a_package_comes_and_goes_on_debian_11() {
    a_package_comes_and_goes("bullseye");
}

#[test]
fn a_package_comes_and_goes_on_debian_12() {
    a_package_comes_and_goes("bookworm");
}

#[test]
fn a_package_comes_and_goes_on_debian_13() {
    a_package_comes_and_goes("trixie");
}

/// A package that has certbot's program, which is all that is looked at.
fn install_certbot(host: &Host) {
    host.ok("mkdir -p /tmp/certbot/DEBIAN /tmp/certbot/usr/bin && cp /bin/true /tmp/certbot/usr/bin/certbot && \
             printf 'Package: fake-certbot\\nVersion: 1\\nArchitecture: all\\nMaintainer: none\\nDescription: certbot\\n' \
             >/tmp/certbot/DEBIAN/control && dpkg-deb --build /tmp/certbot /tmp/certbot.deb && dpkg -i /tmp/certbot.deb");
}

/// Every file and folder of the system's own, with owner and mode; not what dpkg, logs and caches have of their own.
fn files(host: &Host) -> String {
    host.ok("find / -xdev \\( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /root \
             -o -name '[gu]*shadow-' -o -name 'shadow-' -o -name 'passwd-' -o -name 'group-' -o -name 'sub[ug]id-' \\) -prune \
             -o -printf '%p %u:%g %m %l\\n' | sort")
}

/// Users and groups.
fn people(host: &Host) -> String {
    host.ok("cat /etc/passwd /etc/group /etc/shadow /etc/gshadow | sort")
}

/// The lines that only one of two has.
fn difference(before: &str, after: &str) -> Vec<String> {
    let only = |these: &str, those: &str, mark: &str| {
        let lines = these.lines().filter(|line| !those.lines().any(|other| other == *line));
        lines.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    [only(before, after, "-"), only(after, before, "+")].concat()
}
