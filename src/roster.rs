//! The sites that there are: those that the configuration names, and those that the servers' own configurations
//! have. A [[site]] says what only an administrator can know of a certificate; where to ask for it, and which
//! others there are, the servers tell.

mod pattern;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Config};
use crate::discover::{Found, Pair, Place};
use crate::stage::Stage;

/// One site.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// What is known of it; `verify` is what its server's configuration says where the administrator says nothing.
    pub settings: Arc<config::Site>,
    /// Where its server's configuration names it.
    pub places: Vec<Place>,
    /// Where a copy of it is published, if its server reads copies.
    pub stage: Option<Box<Stage>>,
    /// It is there because its server's configuration has it.
    pub discovered: bool,
}

impl Site {
    /// What tells it from all others in the ledger, whatever it is called.
    pub fn key(&self) -> Cow<'_, str> {
        self.settings.ledger_key()
    }
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Roster {
    /// The sites, those of the configuration first.
    pub sites: Vec<Site>,
    /// The folders that were listed for patterns in the configuration: more may come there.
    pub folders: Vec<PathBuf>,
}

/// Draws up the list. `found` has an entry for each server that was asked.
pub fn draw(config: &Config, found: &[Option<Found>]) -> Roster {
    let mut pairs: Vec<Pairs<'_>> =
        found.iter().map(|found| Pairs::new(found.as_ref().map_or(&[], |found| &found.pairs))).collect();
    let mut folders = Vec::new();
    let mut sites = Vec::new();
    // Who is named by a path of its own is no match of a pattern.
    let (patterns, plain): (Vec<_>, Vec<_>) = config.sites.iter().partition(|site| site.is_pattern());
    for site in plain {
        sites.push(named(config, site, &mut pairs));
    }
    for site in patterns {
        for one in pattern::expand(site, &mut folders) {
            let known_as = known_as(config, &one.certificate, one.server);
            sites.push(named(config, &Arc::new(config::Site { known_as, ..one }), &mut pairs));
        }
    }
    for (server, pairs) in pairs.into_iter().enumerate() {
        let taken = pairs.taken;
        let left = pairs.all.iter().enumerate().filter(|(index, _)| !taken.contains(index));
        sites.extend(left.map(|(_, pair)| discovered(config, server, pair)));
    }
    for site in &mut sites {
        let bound = found.get(site.settings.server).and_then(Option::as_ref).map(|found| &found.bindings);
        if let Some(bound) = bound.filter(|bound| !bound.is_empty()) {
            Arc::make_mut(&mut site.settings).bound.clone_from(bound);
        }
    }
    let mut keys = HashSet::new();
    sites.retain(|site| keys.insert(site.key().into_owned()));
    let mut copies = HashSet::new();
    for site in &mut sites {
        // Of two that would replace each other's copies one has none.
        site.stage.take_if(|stage| !copies.insert(stage.certificate()));
    }
    Roster { sites, folders }
}

/// As the ledger has a [[site]] with that path: what is written into the configuration later keeps its history.
fn known_as(config: &Config, certificate: &Path, server: usize) -> Option<Box<str>> {
    let several = config.servers.len() > 1;
    several.then(|| format!("{}@{}", certificate.display(), config.servers[server].name).into())
}

/// One server's pairs, and which of them a [[site]] speaks of.
struct Pairs<'f> {
    all: &'f [Pair],
    by_path: HashMap<&'f Path, usize>,
    /// By the files that the paths lead to; not all hosts need it.
    by_file: OnceCell<HashMap<PathBuf, usize>>,
    taken: HashSet<usize>,
}

impl<'f> Pairs<'f> {
    fn new(all: &'f [Pair]) -> Self {
        let by_path =
            all.iter().enumerate().map(|(index, pair)| (pair.certificate.as_path(), index)).collect();
        Self { all, by_path, by_file: OnceCell::new(), taken: HashSet::new() }
    }

    fn take(&mut self, path: &Path) -> Option<&'f Pair> {
        let index = *self.by_path.get(path)?;
        self.taken.insert(index);
        Some(&self.all[index])
    }

    /// The pair whose file another path leads to.
    fn take_same_file(&mut self, path: &Path) -> Option<&'f Pair> {
        let by_file = self.by_file.get_or_init(|| {
            // Of several the first counts, which is put in last.
            let all = self.all.iter().enumerate().rev();
            all.filter_map(|(index, pair)| Some((pair.certificate.canonicalize().ok()?, index))).collect()
        });
        let index = *by_file.get(&path.canonicalize().ok()?)?;
        self.taken.insert(index);
        Some(&self.all[index])
    }
}

fn named(config: &Config, site: &Arc<config::Site>, pairs: &mut [Pairs<'_>]) -> Site {
    let server = &config.servers[site.server];
    let stage = server.stage.as_deref().map(|folder| Box::new(Stage::of(folder, site)));
    let mut places = Vec::new();
    let mut settings = Arc::clone(site);
    if let Some(pairs) = pairs.get_mut(site.server) {
        // Published copies and their source may both be in use.
        let staged = stage.as_ref().and_then(|stage| pairs.take(&stage.certificate()));
        let direct = pairs.take(&site.certificate);
        let is_short = site.verify.is_empty() || !site.key_is_given;
        let same = match (staged, direct) {
            (None, None) if is_short => pairs.take_same_file(&site.certificate),
            _ => None,
        };
        // A published copy's key is a copy too.
        if let Some(pair) = direct.or(same).filter(|_| !site.key_is_given) {
            Arc::make_mut(&mut settings).key.clone_from(&pair.key);
        }
        let found: Vec<&Pair> = [staged, direct, same].into_iter().flatten().collect();
        places.extend(found.iter().flat_map(|pair| pair.places.iter().cloned()));
        if settings.verify.is_empty() && !found.is_empty() {
            let settings = Arc::make_mut(&mut settings);
            settings.verify = found.iter().flat_map(|pair| pair.asks.iter().cloned()).collect();
            settings.verify_is_found = true;
        }
    }
    Site { settings, places, stage, discovered: false }
}

fn discovered(config: &Config, server: usize, pair: &Pair) -> Site {
    let known_as = known_as(config, &pair.certificate, server);
    let found = as_found(server, config.servers[server].line, pair);
    let settings = Arc::new(config::Site { known_as, ..found });
    Site { settings, places: pair.places.clone(), stage: None, discovered: true }
}

/// What a [[site]] would say of a certificate that a server's configuration names; `line` is the server's.
pub fn as_found(server: usize, line: usize, pair: &Pair) -> config::Site {
    config::Site {
        line,
        known_as: None,
        name: None,
        id: None,
        server,
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
        key_is_given: false,
        bindings: Vec::new(),
        bound: Vec::new(),
        verify: pair.asks.clone().into(),
        verify_is_found: true,
        stage_as: None,
        report: true,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Ask, Endpoint, KeyAt, Origin};

    fn pair(path: &str, port: u16) -> Pair {
        let endpoint = Endpoint::parse(&format!("127.0.0.1:{port}")).unwrap();
        Pair {
            certificate: path.into(),
            key: KeyAt::File(PathBuf::from(format!("{path}.key"))),
            asks: vec![Ask { endpoint, hosts: vec!["a.test".into()] }],
            places: vec![Place { file: "/etc/nginx/nginx.conf".into(), line: usize::from(port) }],
        }
    }

    fn found(pairs: Vec<Pair>) -> Option<Found> {
        Some(Found { pairs, ..Found::default() })
    }

    fn config(text: &str) -> Config {
        Config::parse(Path::new("certhook.toml"), text).unwrap()
    }

    #[test]
    #[cfg_attr(windows, ignore = "its paths are Unix's")]
    fn what_the_server_has_is_added_to_what_is_named() {
        let config = config(
            "[server.nginx]\ndiscover = true\n\
             [[site]]\nname = \"b\"\nid = 7\ncertificate = \"/b.pem\"\nkey = \"/b.key\"\n\
             [[site]]\ncertificate = \"/c.pem\"\nverify = [\"127.0.0.1:9\"]\nreport = false\n\
             [[site]]\ncertificate = \"/gone.pem\"\n",
        );
        let found = found(vec![pair("/a.pem", 1), pair("/b.pem", 2), pair("/c.pem", 3)]);
        let sites = draw(&config, &[found]).sites;
        let told = |site: &Site| {
            let asks: Vec<String> = site.settings.verify.iter().map(|ask| ask.endpoint.to_string()).collect();
            (site.key().into_owned(), site.settings.id, asks.join(","), site.places.len(), site.discovered)
        };
        let told: Vec<_> = sites.iter().map(told).collect();
        let expect = |key: &str, id, ask: &str, places, discovered| {
            (key.to_owned(), id, ask.to_owned(), places, discovered)
        };
        assert_eq!(
            told,
            [
                expect("/b.pem", Some(7), "127.0.0.1:2", 1, false),
                expect("/c.pem", None, "127.0.0.1:9", 1, false),
                expect("/gone.pem", None, "", 0, false),
                expect("/a.pem", None, "127.0.0.1:1", 1, true),
            ]
        );
        assert!(!sites[1].settings.report && sites[3].settings.report);
    }

    #[test]
    #[cfg_attr(windows, ignore = "its paths are Unix's")]
    fn a_site_of_iis_knows_what_iis_binds() {
        let config = config(
            "[server.iis]\nkind = \"iis\"\ndiscover = true\n[server.other]\ndiscover = true\n\
             [[site]]\nserver = \"iis\"\npfx = \"C:/a.pfx\"\n[[site]]\nserver = \"other\"\ncertificate = \"/b.pem\"\n",
        );
        let binding = config::Binding::parse("Home/*:443:a.test").unwrap();
        let bound = config::Bound { binding, shows: config::Shows::Unknown };
        let found = Found { bindings: vec![bound.clone()], ..Found::default() };
        let sites = draw(&config, &[Some(found), None]).sites;
        assert_eq!((&sites[0].settings.bound, sites[1].settings.bound.len()), (&vec![bound], 0));
        let ask = &sites[0].settings.asks(&Origin::new(&"a.test", &""), |host| host == "a.test")[0];
        assert_eq!(
            (ask.endpoint.to_string(), ask.hosts.join(",")),
            ("127.0.0.1:443".into(), "a.test".into())
        );
    }

    #[test]
    fn a_certificate_of_two_servers_is_two_sites() {
        let config = config("[server.a]\ndiscover = true\n[server.b]\ndiscover = true\n");
        let both = || found(vec![pair("/x.pem", 1)]);
        let sites = draw(&config, &[both(), both()]).sites;
        let keys: Vec<_> = sites.iter().map(Site::key).collect();
        assert_eq!(keys, ["/x.pem@a", "/x.pem@b"]);
        assert_eq!(draw(&config, &[None, both()]).sites.len(), 1);
    }

    #[test]
    #[cfg_attr(windows, ignore = "its paths are Unix's")]
    fn a_site_without_key_takes_it_from_discovery() {
        let config = config(
            "[server.nginx]\ndiscover = true\nstage = \"/live\"\n\
             [[site]]\nid = 7\ncertificate = \"/a.pem\"\n\
             [[site]]\ncertificate = \"/b.pem\"\nkey = \"/own.key\"\n\
             [[site]]\ncertificate = \"/c.pem\"\nverify = [\"h:1\"]\n\
             [[site]]\ncertificate = \"/src/d.pem\"\nstage_as = \"d\"\n\
             [[site]]\ncertificate = \"/unknown.pem\"\n",
        );
        let elsewhere = Pair { key: KeyAt::Elsewhere("engine:pkcs11:c".to_owned()), ..pair("/c.pem", 3) };
        let all = vec![pair("/a.pem", 1), pair("/b.pem", 2), elsewhere, pair("/live/d/fullchain.pem", 4)];
        let sites = draw(&config, &[found(all)]).sites;
        let keys: Vec<KeyAt> = sites.into_iter().map(|site| site.settings.key.clone()).collect();
        let file = |path: &str| KeyAt::File(path.into());
        let engine = KeyAt::Elsewhere("engine:pkcs11:c".to_owned());
        let expected =
            [file("/a.pem.key"), file("/own.key"), engine, file("/src/d.pem"), file("/unknown.pem")];
        assert_eq!(keys, expected);
    }

    #[test]
    #[cfg_attr(windows, ignore = "its paths are Unix's")]
    fn a_published_copy_leads_back_to_its_site() {
        let config = config(
            "[server.nginx]\ndiscover = true\nstage = \"/live\"\n\
             [[site]]\nname = \"a.test\"\ncertificate = \"/src/a.pem\"\nkey = \"/src/a.key\"\n",
        );
        let sites = draw(&config, &[found(vec![pair("/live/a.test/fullchain.pem", 5)])]).sites;
        assert_eq!(sites.len(), 1);
        assert_eq!(sites[0].settings.certificate, Path::new("/src/a.pem"));
        assert_eq!(sites[0].settings.verify[0].endpoint.to_string(), "127.0.0.1:5");
    }

    #[cfg(unix)] // links
    #[test]
    fn another_path_to_the_same_file_is_the_same_site() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.pem"), folder.path().join("link.pem"));
        std::fs::write(&real, "x").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let config = config(&format!("[server.nginx]\ndiscover = true\n[[site]]\ncertificate = {real:?}\n"));
        let sites = draw(&config, &[found(vec![pair(link.to_str().unwrap(), 5)])]).sites;
        assert_eq!((sites.len(), sites[0].settings.verify.len()), (1, 1));
        assert_eq!(sites[0].settings.key, KeyAt::File(format!("{}.key", link.display()).into()));
    }

    /// A look at every path for each of the others would take minutes.
    #[test]
    #[cfg_attr(windows, ignore = "wine asks the whole folder for each of its files")]
    fn thousands_that_the_server_does_not_name_cost_little() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: String| folder.path().join(name).display().to_string();
        let text = |n| {
            let path = path(format!("mail{n}"));
            std::fs::write(&path, "x").unwrap();
            format!("[[site]]\ncertificate = {path:?}\n")
        };
        let sites: String = (0..2000).map(text).collect();
        let config = config(&format!("[server.nginx]\ndiscover = true\n{sites}"));
        let web = |n| {
            let path = path(format!("web{n}"));
            std::fs::write(&path, "x").unwrap();
            pair(&path, 1)
        };
        let found = found((0..4000).map(web).collect());
        let begun = std::time::Instant::now();
        assert_eq!(draw(&config, &[found]).sites.len(), 6000);
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    }

    #[test]
    #[cfg_attr(windows, ignore = "its paths are Unix's")]
    fn each_pfx_of_a_pattern_has_its_password_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for name in ["a.test", "b.test"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("x.pfx"), "x").unwrap();
        }
        let config = config(&format!(
            "[server.iis]\nkind = \"iis\"\n[[site]]\npfx = {:?}\npfx_password_file = {:?}\nverify = [\"h:1\"]\n",
            at("*/x.pfx"),
            at("*/password"),
        ));
        let sites = draw(&config, &[None]).sites;
        let keys: Vec<_> = sites.into_iter().map(|site| site.settings.key.clone()).collect();
        assert_eq!(keys, ["a.test", "b.test"].map(|name| KeyAt::Pfx(Some(at(name).join("password")))));
    }

    #[test]
    #[cfg_attr(windows, ignore = "its paths are Unix's")]
    fn a_pattern_stands_for_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.test", "b.test", "c.test"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("fullchain.pem"), "x").unwrap();
        }
        std::fs::remove_file(folder.path().join("c.test/fullchain.pem")).unwrap();
        let at = |path: &str| folder.path().join(path);
        let config = config(&format!(
            "[server.nginx]\nstage = \"/live\"\n[[site]]\ncertificate = {:?}\nkey = {:?}\nverify = [\"h:1\"]\n\
             [[site]]\nid = 5\ncertificate = {:?}\nkey = \"/b.key\"\nverify = [\"h:2\"]\n",
            at("*/fullchain.pem"),
            at("*/key.pem"),
            at("b.test/fullchain.pem"),
        ));
        let roster = draw(&config, &[None]);
        let told: Vec<_> =
            roster.sites.iter().map(|site| (site.settings.id, site.settings.key.clone())).collect();
        assert_eq!(
            told,
            [(Some(5), KeyAt::File("/b.key".into())), (None, KeyAt::File(at("a.test/key.pem")))]
        );
        assert_eq!(roster.sites[1].key(), at("a.test/fullchain.pem").display().to_string());
        assert!(roster.folders.contains(&folder.path().to_owned()), "{:?}", roster.folders);
        assert_eq!(roster.sites[1].stage.as_ref().unwrap().name(), "a.test");
    }
}
