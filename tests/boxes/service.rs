//! The unit: when it starts and when not, what a reload does, what becomes of a hang, and what nginx's drop-in does.

use std::time::Duration;

use crate::host::{Host, Version};

const SUITE: &str = "bookworm";

#[test]
fn nothing_to_do_is_a_condition_and_a_mistake_is_a_failure() {
    let host = Host::boot(SUITE);
    host.install(Version::New);
    assert_eq!(host.property("certhook", "Result"), "exec-condition");
    assert_eq!(host.property("certhook", "ActiveState"), "inactive");
    assert!(host.ok("systemctl --failed --no-legend").is_empty());
    let said = host.journal("certhook");
    assert!(said.contains("not_configured") && said.contains("certhook check --online"), "{said}");

    host.ok("echo 'discovr = true' >/etc/certhook/certhook.toml");
    assert!(!host.is("systemctl start certhook"));
    assert_eq!(host.property("certhook", "ActiveState"), "failed");
    assert_eq!(host.property("certhook", "NRestarts"), "0", "what is wrong does not mend itself");
    let said = host.journal("certhook");
    assert!(said.contains("discovr") && said.contains("certhook.toml:1"), "{said}");

    host.ok("systemctl reset-failed certhook");
    host.start();
}

#[test]
fn an_agent_that_hangs_is_started_again() {
    let mut host = Host::boot(SUITE);
    host.install(Version::New);
    host.write(
        "/etc/systemd/system/certhook.service.d/soon.conf",
        0o644,
        "[Service]\nWatchdogSec=2s\nRestartSec=100ms\nTimeoutStopSec=2s\n",
    );
    host.ok("systemctl daemon-reload");
    host.start();
    let hanging = host.agent();
    host.ok(&format!("kill -STOP {hanging}"));
    // What comes while it hangs is not lost.
    host.renew();
    host.wait_until("another agent runs", |_| {
        let agent = host.agent();
        agent != "0" && agent != hanging && host.is("systemctl is-active --quiet certhook")
    });
    let said = host.journal("certhook");
    assert!(said.to_lowercase().contains("watchdog timeout"), "{said}");
    host.wait_until_reported();
    host.wait_until_served();
    assert_eq!(host.property("certhook", "NRestarts"), "1");
}

#[test]
fn reloads_during_renewals_lose_nothing() {
    let mut host = Host::boot(SUITE);
    host.install(Version::New);
    host.start();
    let agent = host.agent();
    for _ in 0..8 {
        host.renew();
        host.ok("systemctl reload certhook");
    }
    host.wait_until_reported();
    host.wait_until_served();
    assert_eq!(host.agent(), agent, "the same process all the time");

    // A mistake is told to whoever reloads, and the agent goes on with what it has.
    host.ok("cp -p /etc/certhook/certhook.toml /root/; echo 'sttate_dir = \"/srv\"' >>/etc/certhook/certhook.toml");
    assert!(!host.is("systemctl reload certhook"));
    assert!(host.journal("certhook").contains("sttate_dir"));
    host.ok("cp -p /root/certhook.toml /etc/certhook/certhook.toml; systemctl reload certhook");
    host.renew();
    host.wait_until_reported();
    assert_eq!(host.agent(), agent);
}

#[test]
fn a_reload_of_nginx_is_noticed_and_never_delayed() {
    let host = Host::boot(SUITE);
    host.install(Version::New);
    // Not configured, or no agent: nobody is told, and nothing fails.
    let reload_is_told = |times: usize| {
        host.ok("systemctl reload nginx");
        let told = "Finished certhook-sync.service";
        host.wait_until("the hint is handed over", |_| {
            host.journal("certhook-sync").matches(told).count() == times
                || host.is("systemctl is-failed --quiet certhook-sync")
        });
        let failed = host.ok("systemctl --failed --no-legend");
        assert!(failed.is_empty(), "{failed}{}", host.journal("certhook-sync"));
    };
    reload_is_told(1);
    host.configure();
    reload_is_told(2);
    host.start();
    reload_is_told(3);
    // What is not well is no failure of the unit's.
    host.ok("printf '[[site]]\\nname = \"gone\"\\ncertificate = \"/etc/gone.pem\"\\nverify = [\"127.0.0.1:443\"]\\n' \
             >>/etc/certhook/certhook.toml && systemctl reload certhook");
    host.wait_until("a site is not well", |host| host.ok("certhook status || true").contains("missing"));
    reload_is_told(4);

    // An agent that hangs, and none at all.
    host.ok(&format!("kill -STOP {}", host.agent()));
    let begun = std::time::Instant::now();
    host.ok("systemctl reload nginx");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    host.ok(&format!("kill -CONT {}", host.agent()));
    host.ok("dpkg -r certhook && systemctl reload nginx");
    host.wait_until_served();
}

#[test]
fn the_timer_is_for_whoever_wants_it() {
    let host = Host::boot(SUITE);
    host.install(Version::New);
    assert_eq!(host.run("systemctl is-enabled certhook-renew.timer").stdout, b"disabled\n");
    host.ok("systemctl start certhook-renew.service");
    assert!(host.journal("certhook-renew").contains("exec-condition"), "nothing is configured");
    host.configure();
    host.ok("systemctl enable --now certhook-renew.timer && systemctl start certhook-renew.service");
    assert!(host.journal("certhook-renew").contains("Finished certhook-renew.service"));
    assert!(host.ok("systemctl list-timers --no-pager").contains("certhook-renew.timer"));
}
