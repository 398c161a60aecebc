use std::time::Duration;

use certhook_test_support::ca::{Authority, Order, Pair, Validity};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::super::central::Shelf;
use super::super::host_config;
use super::super::install::{Installed, Scene, Site, Tools};
use super::super::retire::Retired;
use super::*;
use crate::certificate::{Fingerprint, Material};

const DAY: Duration = Duration::from_secs(86_400);

/// A host with one certificate, and the next one on its way.
pub(super) struct World {
    pub(super) fake: Fake,
    tools: Tools,
    pub(super) old: Pair,
    pub(super) new: Pair,
    pub(super) bound: Vec<Bound>,
    shelf: Option<Shelf>,
    create: bool,
    pub(super) recorded: Option<Fingerprint>,
    taken: BTreeSet<Key>,
    pub(super) ftp: BTreeSet<Thumbprint>,
}

pub(super) fn days_ago(days: i64) -> Validity {
    Validity { from: SignedDuration::from_hours(-24 * days), to: SignedDuration::from_hours(24 * 60) }
}

fn material(pair: &Pair) -> Material {
    Material::of_pem(pair.fullchain_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap()
}

pub(super) fn of(pair: &Pair) -> Thumbprint {
    Thumbprint::of(&pair.leaf_der)
}

pub(super) fn start() -> Timestamp {
    "2026-11-21T20:00:00Z".parse().unwrap()
}

pub(super) fn after(days: i64) -> Timestamp {
    start() + SignedDuration::from_hours(24 * days)
}

/// With a key of its own.
pub(super) fn kept(pair: &Pair, store: &'static str, mark: Option<Mark>) -> Kept {
    Kept::of_der(&pair.leaf_der, store, format!("of {}", of(pair)), mark).unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        let authority = Authority::new();
        let issue = |days| {
            authority.issue(Order {
                hosts: &["contoso.com", "www.contoso.com"],
                valid: days_ago(days),
                ..Order::default()
            })
        };
        Self::of(issue(60), issue(1))
    }

    /// The same certificates, and nothing done yet.
    pub(super) fn again(&self) -> Self {
        Self::of(self.old.clone(), self.new.clone())
    }

    fn of(old: Pair, new: Pair) -> Self {
        let fake = Fake::with(&[
            record(sni("contoso.com"), of(&old)),
            record(sni("www.contoso.com"), of(&old)),
            record(ip("0.0.0.0:443"), hash(3)),
        ]);
        // Certhook imported it.
        fake.0.borrow_mut().kept.push(kept(&old, "My", Some(Mark::Imported)));
        let tools = Tools {
            store: Box::new(fake.clone()),
            records: Box::new(fake.clone()),
            commands: Box::new(fake.clone()),
            journal: Box::new(fake.clone()),
        };
        Self {
            fake,
            tools,
            old,
            new,
            bound: Vec::new(),
            shelf: None,
            create: false,
            recorded: None,
            taken: BTreeSet::new(),
            ftp: BTreeSet::new(),
        }
    }

    pub(super) fn install(&mut self, bindings: &[&str]) -> Result<Installed, Problem> {
        let bindings: Vec<Binding> = bindings.iter().map(|text| binding(text)).collect();
        let (bound, shelf, create) = (&self.bound[..], self.shelf.as_ref(), self.create);
        let scene = Scene { store: "My", bound, shelf, create };
        let (recorded, taken) = (self.recorded, &self.taken);
        let site = Site { material: &material(&self.new), bindings: &bindings, recorded, taken };
        self.tools.install(&scene, &site)
    }

    pub(super) fn retire(&mut self, proved: &Pair, now: Timestamp) -> usize {
        self.retired(proved, now).removed.len()
    }

    pub(super) fn retired(&mut self, proved: &Pair, now: Timestamp) -> Retired {
        let proved: Fingerprint = proved.fingerprint.parse().unwrap();
        self.tools.retire(&proved, &self.ftp, 30 * DAY, now).unwrap()
    }

    pub(super) fn showing(&self, pair: &Pair) -> usize {
        self.fake.records().iter().filter(|record| record.hash == Some(of(pair))).count()
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        self.fake.0.borrow().kept(of(&self.old)).unwrap().mark
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
    assert_eq!(world.mark(), Some(Mark::Imported));
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
    world.create = true;
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
    // Neither the new one nor the old one comes back: it is kept for the next start.
    let mut interrupted = world(&[]);
    interrupted.fake.0.borrow_mut().failing_lines.extend(["update".to_owned(), "http add".to_owned()]);
    assert_eq!(interrupted.install(&[]).unwrap_err().code, "not_restored");
    assert_eq!(interrupted.fake.0.borrow().journal[0].key, sni("contoso.com"));
    // What ends well and does nothing is no success.
    let mut liar = world(&[]);
    liar.fake.0.borrow_mut().obedient = false;
    assert_eq!(liar.install(&[]).unwrap_err().code, "not_changed");
}

#[test]
fn appcmd_is_not_run_where_a_record_of_the_certificate_stays() {
    let mut world = World::new();
    {
        let mut windows = world.fake.0.borrow_mut();
        (windows.read_only, windows.obedient) = (true, true);
        for record in windows.records.values_mut() {
            record.parameters = Parameters::default();
        }
    }
    world.taken = [sni("www.contoso.com")].into();
    world.install(&[]).unwrap();
    assert!(world.fake.log()[2].starts_with("netsh http update sslcert hostnameport=contoso.com:443 "));
    assert_eq!((world.showing(&world.new), world.showing(&world.old)), (1, 1));
}

#[test]
fn a_file_of_the_central_store_that_is_another_s_is_told_and_kept() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    world.fake.0.borrow_mut().records.clear();
    world.bound = vec![bound("Home/*:443:www.contoso.com", 3)];
    let shelf = Shelf { folder: folder.path().to_owned(), password: Zeroizing::default() };
    let own = authority.issue(Order { hosts: &["www.contoso.com"], ..Order::default() });
    let file = BTreeSet::from(["www.contoso.com.pfx".to_owned()]);
    shelf.put(&material(&own), &file, &BTreeSet::new()).unwrap();
    world.shelf = Some(shelf);
    assert_eq!(world.install(&[]).unwrap_err().code, "other_file");
    assert_eq!(world.install(&["*:443:www.contoso.com"]).unwrap().written, 1);
}

#[test]
fn a_large_configuration_is_read_and_one_without_end_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applicationHost.config");
    let many = "<add name=\"an application pool like any other\" />\n".repeat(40_000);
    let text =
        format!("<configuration><system.applicationHost>{many}</system.applicationHost></configuration>");
    assert!(text.len() > 1 << 20);
    std::fs::write(&path, text).unwrap();
    super::super::read(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len((64 << 20) + 1).unwrap();
    let problem = super::super::read(&path).unwrap_err();
    assert!(problem.code == "iis_config" && problem.message.ends_with("larger than 64 MB"), "{problem}");
    assert_eq!(super::super::read(folder.path()).unwrap_err().code, "iis_config");
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
    let start = start();
    assert_eq!(world.retire(&old, after(90)), 0, "another is proved, not the one that replaced it");
    assert_eq!(world.retire(&new, start), 0);
    assert_eq!(world.mark(), Some(Mark::Proved(start)));
    assert_eq!(world.retire(&new, after(29)), 0);
    let back = record(ip("0.0.0.0:8443"), of(&old));
    world.fake.0.borrow_mut().records.insert(back.key.clone(), back);
    assert_eq!(world.retire(&new, after(31)), 0, "somebody went back to it");
    assert_eq!(world.mark(), Some(Mark::Imported));
    world.install(&[]).unwrap();
    assert_eq!(world.retire(&new, after(40)), 0, "its time begins anew");
    assert_eq!(world.retire(&new, after(69)), 0);
    assert_eq!(world.retire(&new, after(70)), 1);
    assert!(world.fake.0.borrow().kept(of(&old)).is_none());
    assert!(world.fake.0.borrow().kept(of(&new)).is_some());
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
    for mark in [Mark::Imported, Mark::Replaced, Mark::Proved(at), Mark::Left] {
        assert_eq!(mark.to_string().parse(), Ok(mark));
    }
    assert_eq!(Mark::Proved(at).to_string(), "imported by certhook, replaced 2026-11-21T20:31:07Z");
    for other in ["", "Home", "replaced", "imported by certhook!", "imported by certhook, replaced yesterday"]
    {
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
        recorded: None,
        others: Vec::new(),
    };
    let outcomes = server.install(&[site(), site()], &[]);
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
    let with = super::super::found(vec![path.to_owned()], config(), true, None);
    let without = super::super::found(vec![path.to_owned()], config(), false, None);
    assert_eq!((with.bindings.len(), with.left_out.len()), (5, 3));
    assert_eq!((without.bindings.len(), without.left_out.len()), (4, 4));
    assert_eq!(with.files, [path]);
}

#[test]
fn a_shared_configuration_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (usual, redirection) =
        (folder.path().join("applicationHost.config"), folder.path().join("redirection.config"));
    let follow = || super::super::follow(&usual, |_| None);
    let own = "<configuration><system.applicationHost><sites /></system.applicationHost></configuration>";
    std::fs::write(&usual, own).unwrap();
    let (files, config) = follow().unwrap();
    assert_eq!((files, config.bound.len()), (vec![usual.clone(), redirection.clone()], 0), "it may come");
    let say = |enabled: bool, path: &Path| {
        let path = path.display();
        let text = format!(
            "<configuration><configurationRedirection enabled=\"{enabled}\" path=\"{path}\" /></configuration>"
        );
        std::fs::write(&redirection, text).unwrap();
    };
    let shared = folder.path().join("shared");
    say(false, &shared);
    assert_eq!(follow().unwrap().1.bound.len(), 0);
    say(true, &shared);
    let problem = follow().unwrap_err();
    assert_eq!(problem.code, "iis_config");
    assert!(
        problem.message.contains("shared configuration") && problem.remedy.contains("shared"),
        "{problem}"
    );
    // Elsewhere than on Windows this is a file's whole name.
    let there = std::path::PathBuf::from(format!(r"{}\applicationHost.config", shared.display()));
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(&there, include_bytes!("applicationHost.config")).unwrap();
    let (files, config) = follow().unwrap();
    assert_eq!((files, config.bound.len()), (vec![there, redirection.clone()], 5));
    std::fs::write(&redirection, "<configuration>").unwrap();
    assert_eq!(follow().unwrap_err().code, "iis_config", "what cannot be understood is not passed over");
}

#[test]
fn a_binding_has_the_certificate_of_its_record() {
    let world = World::new();
    let (records, kept) = (world.fake.records(), world.fake.0.borrow().kept.clone());
    let all = [
        bound("Home/*:443:contoso.com", 1),
        bound("Home/*:443:contoso.com", 2),
        bound("Home/*:443:", 0),
        bound("Home/*:444:contoso.com", 1),
    ];
    let shown = super::super::shown(&all, &super::super::Showing { records, kept });
    let told: Vec<(String, bool)> =
        shown.iter().map(|(binding, leaf)| (binding.to_string(), leaf.is_some())).collect();
    // Another's certificate is not in the store, and the last has no record.
    let expected =
        [("Home/*:443:contoso.com", true), ("Home/*:443:", false), ("Home/*:444:contoso.com", false)];
    assert_eq!(told, expected.map(|(binding, has)| (binding.to_owned(), has)));
}
