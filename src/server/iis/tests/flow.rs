use std::time::Duration;

use certhook_test_support::ca::{Authority, Order, Pair, Validity};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::super::central::Shelf;
use super::super::host_config;
use super::super::install::{Installed, Scene, Tools};
use super::*;
use crate::certificate::{Fingerprint, Material};

const DAY: Duration = Duration::from_secs(86_400);

/// A host with one certificate, and the next one on its way.
struct World {
    fake: Fake,
    tools: Tools,
    old: Pair,
    new: Pair,
    bound: Vec<Bound>,
    shelf: Option<Shelf>,
}

fn days_ago(days: i64) -> Validity {
    Validity { from: SignedDuration::from_hours(-24 * days), to: SignedDuration::from_hours(24 * 60) }
}

fn material(pair: &Pair) -> Material {
    Material::of_pem(pair.fullchain_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap()
}

fn of(pair: &Pair) -> Thumbprint {
    Thumbprint::of(&pair.leaf_der)
}

impl World {
    fn new() -> Self {
        let authority = Authority::new();
        let issue = |days| {
            authority.issue(Order {
                hosts: &["contoso.com", "www.contoso.com"],
                valid: days_ago(days),
                ..Order::default()
            })
        };
        let (old, new) = (issue(60), issue(1));
        let fake = Fake::with(&[
            record(sni("contoso.com"), of(&old)),
            record(sni("www.contoso.com"), of(&old)),
            record(ip("0.0.0.0:443"), hash(3)),
        ]);
        let kept = Kept::of_der(&old.leaf_der, None).unwrap();
        fake.0.borrow_mut().kept.insert(kept.hash, kept);
        let tools = Tools {
            store: Box::new(fake.clone()),
            records: Box::new(fake.clone()),
            commands: Box::new(fake.clone()),
        };
        Self { fake, tools, old, new, bound: Vec::new(), shelf: None }
    }

    fn install(&mut self, bindings: &[&str]) -> Result<Installed, Problem> {
        let bindings: Vec<Binding> = bindings.iter().map(|text| binding(text)).collect();
        let scene = Scene { store: "My", bound: &self.bound, shelf: self.shelf.as_ref() };
        self.tools.install(&scene, &material(&self.new), &bindings)
    }

    fn retire(&mut self, proved: &Pair, now: Timestamp) -> usize {
        let proved: Fingerprint = proved.fingerprint.parse().unwrap();
        self.tools.retire(&proved, 30 * DAY, now).unwrap().len()
    }

    fn showing(&self, pair: &Pair) -> usize {
        self.fake.records().iter().filter(|record| record.hash == Some(of(pair))).count()
    }

    fn mark(&self) -> Option<Mark> {
        self.fake.0.borrow().kept[&of(&self.old)].mark
    }
}

#[test]
fn a_renewed_certificate_is_imported_proved_and_then_bound() {
    let mut world = World::new();
    assert_eq!(world.install(&[]).unwrap().changed, 2);
    assert_eq!(world.fake.log(), ["import", "prove", "update contoso.com:443", "update www.contoso.com:443"]);
    assert_eq!((world.showing(&world.new), world.showing(&world.old)), (2, 0));
    assert_eq!(world.mark(), Some(Mark::Replaced));
    // Once more: it is proved, and nothing is changed.
    world.fake.0.borrow_mut().log.clear();
    assert_eq!(world.install(&[]).unwrap(), Installed::default());
    assert_eq!(world.fake.log(), ["import", "prove"]);
}

#[test]
fn a_key_that_cannot_be_used_is_bound_nowhere() {
    let mut world = World::new();
    world.fake.0.borrow_mut().unusable = true;
    assert_eq!(world.install(&[]).unwrap_err().code, "key_unusable");
    assert_eq!((world.showing(&world.new), world.showing(&world.old)), (0, 2));
    assert_eq!(world.mark(), None);
}

#[test]
fn an_older_certificate_never_takes_the_place_of_a_newer_one() {
    let mut world = World::new();
    world.install(&[]).unwrap();
    std::mem::swap(&mut world.old, &mut world.new);
    let problem = world.install(&[]).unwrap_err();
    assert_eq!(problem.code, "newer_in_store");
    // Unless it is told to.
    world.bound = vec![bound("Home/*:443:contoso.com", 1)];
    world.install(&["Home/*:443:contoso.com"]).unwrap();
    assert_eq!((world.showing(&world.new), world.showing(&world.old)), (1, 1));
}

#[test]
fn what_nobody_uses_is_not_imported() {
    let mut world = World::new();
    world.fake.0.borrow_mut().records.clear();
    assert_eq!(world.install(&[]).unwrap_err().code, "no_binding");
    assert_eq!(world.install(&["*:443:contoso.com"]).unwrap_err().code, "no_binding");
    assert_eq!(world.fake.log(), [""; 0]);
}

#[test]
fn a_binding_that_is_refused_keeps_the_others_not_back_and_is_told() {
    let mut world = World::new();
    let problem = world.install(&["Home/*:443:fabrikam.com"]).unwrap_err();
    assert_eq!(problem.code, "not_covered");
    assert_eq!(world.showing(&world.new), 2);
}

#[test]
fn a_new_binding_is_made_and_taken_away_again_where_its_record_fails() {
    const BIND: &str = "appcmd set site \"/site.name:My Home\" \
        /+bindings.[protocol='https',bindingInformation='*:8443:www.contoso.com',sslFlags='1']";
    const UNBIND: &str = "appcmd set site \"/site.name:My Home\" \
        /-bindings.[protocol='https',bindingInformation='*:8443:www.contoso.com']";
    let mut world = World::new();
    // Listed twice, then the first change.
    world.fake.0.borrow_mut().failing.insert(3, false);
    world.install(&["My Home/*:8443:www.contoso.com"]).unwrap_err();
    assert_eq!(world.fake.log(), ["import", "prove", BIND, UNBIND]);
    world.fake.0.borrow_mut().log.clear();
    world.fake.0.borrow_mut().failing.clear();
    world.install(&["My Home/*:8443:www.contoso.com"]).unwrap();
    assert_eq!(world.fake.log()[2..4], [BIND, "update contoso.com:443"]);
    assert_eq!(world.showing(&world.new), 3);
}

#[test]
fn without_http_sys_s_calls_iis_s_program_renews() {
    let mut world = World::new();
    world.fake.0.borrow_mut().not_there = true;
    world.install(&[]).unwrap();
    let line = format!("appcmd renew binding /oldcert:{} /newcert:{}", of(&world.old), of(&world.new));
    assert_eq!(world.fake.log(), ["import", "prove", line.as_str()]);
}

#[test]
fn where_records_can_be_seen_and_not_changed_appcmd_goes_first_and_netsh_after_it() {
    let mut world = World::new();
    {
        let mut windows = world.fake.0.borrow_mut();
        (windows.read_only, windows.obedient) = (true, true);
    }
    world.install(&[]).unwrap();
    assert_eq!((world.fake.log().len(), world.showing(&world.new)), (3, 2));
    // appcmd fails: each record by netsh, which must have words for all of it.
    let world = |more: &[u8]| {
        let world = World::new();
        {
            let mut windows = world.fake.0.borrow_mut();
            (windows.read_only, windows.obedient) = (true, true);
            windows.failing_lines.insert("appcmd".to_owned());
            for record in windows.records.values_mut() {
                record.parameters = Parameters { flags: 2, more: more.to_vec(), ..Parameters::default() };
            }
        }
        world
    };
    let mut plain = world(&[]);
    plain.install(&[]).unwrap();
    assert!(plain.fake.log()[3].starts_with("netsh http update sslcert hostnameport=contoso.com:443 "));
    assert!(plain.fake.log()[3].ends_with(" clientcertnegotiation=enable"));
    assert_eq!(plain.showing(&plain.new), 2);
    let mut odd = world(&[1]);
    assert_eq!(odd.install(&[]).unwrap_err().code, "not_changed");
    assert!(!odd.fake.log().iter().any(|line| line.starts_with("netsh")));
    // An older netsh has no update.
    let mut older = world(&[]);
    older.fake.0.borrow_mut().failing_lines.insert("update".to_owned());
    older.install(&[]).unwrap();
    let verbs: Vec<_> =
        older.fake.log()[3..6].iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect();
    assert_eq!(verbs, ["update", "delete", "add"]);
    // What ends well and does nothing is no success.
    let mut liar = world(&[]);
    liar.fake.0.borrow_mut().obedient = false;
    assert_eq!(liar.install(&[]).unwrap_err().code, "not_changed");
}

#[test]
fn the_central_store_s_certificates_are_not_imported() {
    let mut world = World::new();
    let folder = tempfile::tempdir().unwrap();
    world.fake.0.borrow_mut().records.clear();
    world.bound = vec![bound("Home/*:443:www.contoso.com", 3)];
    world.shelf = Some(Shelf { folder: folder.path().to_owned(), password: Zeroizing::default() });
    let installed = world.install(&[]).unwrap();
    assert_eq!((installed.written, installed.changed), (1, 0));
    assert!(
        folder.path().join("www.contoso.com.pfx").exists() && !folder.path().join("contoso.com.pfx").exists()
    );
    assert_eq!(world.fake.log(), [""; 0]);
}

#[test]
fn what_was_replaced_goes_when_its_time_after_the_proof_is_over_and_nobody_uses_it() {
    let mut world = World::new();
    let (old, new) = (world.old.clone(), world.new.clone());
    world.install(&[]).unwrap();
    let start: Timestamp = "2026-11-21T20:00:00Z".parse().unwrap();
    let after = |days: i64| start + SignedDuration::from_hours(24 * days);
    assert_eq!(world.retire(&old, after(90)), 0, "another is proved, not the one that replaced it");
    assert_eq!(world.retire(&new, start), 0);
    assert_eq!(world.mark(), Some(Mark::Proved(start)));
    assert_eq!(world.retire(&new, after(29)), 0);
    let back = record(ip("0.0.0.0:8443"), of(&old));
    world.fake.0.borrow_mut().records.insert(back.key.clone(), back);
    assert_eq!(world.retire(&new, after(31)), 0, "somebody went back to it");
    assert_eq!(world.mark(), None);
    world.install(&[]).unwrap();
    assert_eq!(world.retire(&new, after(40)), 0, "its time begins anew");
    assert_eq!(world.retire(&new, after(69)), 0);
    assert_eq!(world.retire(&new, after(70)), 1);
    assert!(!world.fake.0.borrow().kept.contains_key(&of(&old)));
    assert!(world.fake.0.borrow().kept.contains_key(&of(&new)));
}

#[test]
fn what_certhook_did_not_replace_it_does_not_remove() {
    let mut world = World::new();
    world.fake.0.borrow_mut().records.retain(|_, record| record.hash == Some(hash(3)));
    world.bound = vec![bound("Home/*:443:", 0)];
    world.install(&["Home/*:443:"]).unwrap();
    let now = Timestamp::now();
    let new = world.new.clone();
    for days in [0, 31, 62] {
        assert_eq!(world.retire(&new, now + SignedDuration::from_hours(24 * days)), 0);
    }
}

#[test]
fn a_note_at_a_certificate_is_read_as_it_was_written() {
    let at: Timestamp = "2026-11-21T20:31:07Z".parse().unwrap();
    for mark in [Mark::Replaced, Mark::Proved(at)] {
        assert_eq!(mark.to_string().parse(), Ok(mark));
    }
    assert_eq!(Mark::Proved(at).to_string(), "replaced 2026-11-21T20:31:07Z");
    for other in ["", "Home", "replaced yesterday"] {
        assert_eq!(other.parse::<Mark>(), Err(()));
    }
}

#[test]
fn another_system_says_that_it_is_none() {
    let config = "[server.iis]\nkind = \"iis\"\ndiscover = true\n";
    let config = crate::config::Config::parse(Path::new("certhook.toml"), config).unwrap();
    let server = crate::server::Server::new(&config.servers[0]);
    if cfg!(windows) {
        return;
    }
    assert!(server.takes_certificates());
    assert_eq!(server.discover().unwrap_err().code, "not_windows");
    let world = World::new();
    let site = || crate::server::Installing {
        label: "contoso.com".to_owned(),
        material: material(&world.new),
        bindings: Vec::new(),
    };
    let outcomes = server.install(&[site(), site()]);
    assert!(
        outcomes.len() == 2 && outcomes.iter().all(|one| one.as_ref().unwrap_err().code == "not_windows")
    );
    assert_eq!(
        server.retire(&world.new.fingerprint.parse().unwrap(), Timestamp::now()).unwrap_err().code,
        "not_windows"
    );
    let codes: Vec<_> = server.obstacles().into_iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["not_windows"]);
}

#[test]
fn the_central_store_s_bindings_are_left_out_where_nobody_may_write_it() {
    let usual = include_bytes!("applicationHost.config");
    let path = Path::new("C:/applicationHost.config");
    let config = || host_config::parse(path, usual).unwrap();
    let with = super::super::found(path.to_owned(), config(), true);
    let without = super::super::found(path.to_owned(), config(), false);
    assert_eq!((with.bindings.len(), with.left_out.len()), (5, 3));
    assert_eq!((without.bindings.len(), without.left_out.len()), (4, 4));
    assert_eq!(with.files, [path]);
}
