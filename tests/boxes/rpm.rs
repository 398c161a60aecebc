//! The rpm with its real scriptlets, in a box whose systemd they speak to. Its dependencies are names of another
//! distribution's, hence `--nodeps`.

use crate::host::Host;

#[test]
fn an_rpm_is_installed_upgraded_and_erased() {
    let mut host = Host::boot("bookworm");
    let master = host.master();
    host.ok("rpm -i --nodeps /root/old.rpm");
    let modes = host.ok("stat -c '%a %U:%G' /etc/certhook /etc/certhook/certhook.toml /var/lib/certhook");
    assert_eq!(modes, "751 root:certhook\n640 root:certhook\n700 certhook:certhook");
    assert_eq!(host.ok("getent passwd certhook | cut -d : -f 6,7"), "/nonexistent:/sbin/nologin");
    // By the presets of the distribution, which are Debian's here.
    assert_eq!(host.ok("systemctl is-enabled certhook"), "enabled");
    assert_eq!(host.run("systemctl is-enabled certhook-renew.timer").stdout, b"disabled\n");
    assert!(!host.is("systemctl is-active certhook"), "an rpm starts nothing");
    host.ok("rpm -V --nodeps certhook");

    host.start();
    let before = host.agent();
    host.ok("rpm -U --nodeps /root/new.rpm");
    host.wait_until("the new one runs", |_| {
        host.agent() != before && host.is("systemctl is-active --quiet certhook")
    });
    assert!(host.read("/etc/certhook/certhook.toml").contains("discover = true\n"), "what was written stays");
    host.renew();
    host.wait_until_reported();

    // A disabled service stays so, and one that was stopped too.
    host.ok("systemctl disable --now certhook && rpm -U --nodeps --oldpackage /root/old.rpm");
    assert_eq!(host.run("systemctl is-enabled certhook").stdout, b"disabled\n");
    assert!(!host.is("systemctl is-active --quiet certhook"));

    // One that failed is not one that was stopped.
    host.ok("mkdir -p /run/systemd/system/certhook.service.d && \
             printf '[Service]\\nRestart=no\\n' >/run/systemd/system/certhook.service.d/no.conf && systemctl daemon-reload");
    host.ok("systemctl enable --now certhook && systemctl kill --signal=KILL certhook");
    host.wait_until("it failed", |host| host.is("systemctl is-failed --quiet certhook"));
    host.ok("rpm -U --nodeps /root/new.rpm");
    host.wait_until("it runs again", |host| host.is("systemctl is-active --quiet certhook"));

    host.ok("rpm -e --nodeps certhook");
    for hook in ["acme.sh", "certbot", "dehydrated", "lego", "rcl"] {
        assert_eq!(host.ok(&format!("/etc/certhook/hooks/{hook} deploy_cert 2>&1")), "", "{hook}");
    }
    assert!(!host.is("test -e /usr/bin/certhook || systemctl is-active --quiet certhook"));
    assert!(host.is("test -e /etc/certhook/certhook.toml.rpmsave && test -e /var/lib/certhook/ledger.db"));
    assert!(!host.ok("find /etc/systemd/system").contains("certhook"));
    assert_eq!(host.master(), master);
}
