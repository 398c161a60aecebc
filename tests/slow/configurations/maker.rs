//! Makes one configuration from a seed: files, certificates, words.

use std::collections::{BTreeMap, BTreeSet};

use certhook_test_support::nginx::free_port;
use fastrand::Rng;

use super::made::Theme::*;
use super::made::{Dial, Made, THEMES, Theme};
use super::pool::{Kind, PASSWORD, pool, trusted};

pub(super) struct Maker {
    pub rng: Rng,
    pub root: String,
    pub made: Made,
    theme: Theme,
    unused: Vec<usize>,
    /// Certificate and key of each leaf, as the configuration names them.
    places: BTreeMap<usize, (String, String)>,
}

impl Maker {
    /// Makes the configuration of a seed for the folder `root`.
    pub fn make(seed: u64, root: &str) -> Made {
        let mut rng = Rng::with_seed(seed);
        let mut unused: Vec<usize> = (0..pool().len()).collect();
        rng.shuffle(&mut unused);
        let made = Made {
            seed,
            files: Vec::new(),
            dials: Vec::new(),
            hosts: Vec::new(),
            themes: BTreeSet::new(),
            leaves: BTreeMap::new(),
            without_file: BTreeSet::new(),
            renewed: Vec::new(),
        };
        let theme = THEMES[usize::try_from(seed).unwrap() % THEMES.len()];
        let mut maker = Self { rng, root: root.to_owned(), made, theme, unused, places: BTreeMap::new() };
        let main = maker.main();
        maker.add_file("conf/nginx.conf", main);
        maker.add_file("conf/password", format!("wrong\n{PASSWORD}\n"));
        maker.renew();
        maker.made
    }

    fn main(&mut self) -> String {
        let (stream, preread, mail) = (self.wants(Stream, 10), self.wants(Preread, 4), self.wants(Mail, 6));
        // Another build of nginx has its modules elsewhere.
        let has_modules = std::env::var_os("CERTHOOK_TEST_NGINX").is_none();
        let mut text = String::new();
        for (module, wanted) in [("stream", stream || preread), ("mail", mail)] {
            if wanted && has_modules {
                text += &format!("load_module /usr/lib/nginx/modules/ngx_{module}_module.so;\n");
            }
        }
        text += "user root;\npid nginx.pid;\nerror_log error.log;\nworker_processes 1;\n";
        text += "events { worker_connections 128; }\n";
        let port = free_port();
        text += &self.http(port);
        if (stream || preread) && has_modules {
            text += &self.stream(stream, preread.then_some(port));
        }
        if mail && has_modules {
            text += &self.mail();
        }
        text
    }

    /// Some certificates are renewed after nginx has loaded them.
    fn renew(&mut self) {
        if !self.wants(Stale, 8) {
            return;
        }
        let mut leaves: Vec<(String, usize)> =
            self.made.leaves.iter().map(|(path, index)| (path.clone(), *index)).collect();
        leaves.retain(|(_, index)| !self.made.without_file.contains(index));
        self.rng.shuffle(&mut leaves);
        leaves.truncate(2);
        for (path, index) in leaves {
            let stem = path.trim_end_matches("crt").trim_end_matches("pem");
            let (certificate, key) = pool()[index].newer.clone();
            self.made.renewed.push((format!("{stem}key"), key.clone()));
            self.made.renewed.push((path, certificate + &key));
        }
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    /// Decides on a theme, and notes it.
    pub fn wants(&mut self, theme: Theme, percent: u32) -> bool {
        let wanted = self.chance(percent) || self.theme == theme;
        if wanted {
            self.made.themes.insert(theme);
        }
        wanted
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(..of.len())]
    }

    pub fn add_file(&mut self, name: &str, text: String) {
        self.made.files.push((name.to_owned(), text));
    }

    pub fn add_dial(&mut self, endpoint: String) {
        self.made.dials.push(Dial { endpoint, is_wild: false, passes_on: false, starttls: None });
    }

    /// Returns a word as nginx reads it: bare, or in quotes of either kind.
    pub fn word(&mut self, word: &str) -> String {
        let needs_quotes = word.is_empty() || word.contains([' ', ';', '{', '}', '"', '\'', '\\', '#']);
        let (single, double) = (word.contains('\''), word.contains('"'));
        let escaped = |quote: char| {
            let text = word.replace('\\', "\\\\").replace(quote, &format!("\\{quote}"));
            format!("{quote}{text}{quote}")
        };
        match self.rng.u32(..8) {
            0 if !single || double => escaped('\''),
            1 => escaped('"'),
            // Outside of quotes nginx drops a backslash before a quote or another backslash alone.
            2 if !word.is_empty() && !word.contains([' ', ';', '{', '}', '#']) => {
                word.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "\\'")
            }
            3 if word.contains("k\\x") && !word.contains(' ') => word.to_owned(),
            _ if needs_quotes => escaped('"'),
            _ => word.to_owned(),
        }
    }

    /// Returns a directive in one of the ways to write it.
    pub fn line(&mut self, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| self.word(word)).collect();
        let between = self.pick(&[" ", " ", "  ", "\t", "\n    ", " # not; this }\n  "]);
        format!("{}{};\n", words.join(between), self.pick(&["", "", " ", "\n"]))
    }

    /// Returns a leaf that is in no other use.
    pub fn leaf(&mut self, wanted: Option<Kind>) -> usize {
        let kind = wanted.or_else(|| {
            let any = self.wants(KeyTypes, 10);
            (!any).then(|| if self.chance(60) { Kind::P256 } else { Kind::Rsa })
        });
        let fits = |index: &usize| kind.is_none_or(|kind| pool()[*index].kind == kind);
        let at = self.unused.iter().rposition(fits).unwrap_or(self.unused.len() - 1);
        self.unused.remove(at)
    }

    /// Returns the paths of a leaf's certificate and key, and writes them the first time.
    pub fn place(&mut self, index: usize) -> (String, String) {
        if let Some(place) = self.places.get(&index) {
            return place.clone();
        }
        let odd = self.wants(Quoting, 10);
        let stem = match odd {
            true => {
                let stem = self.pick(&[
                    "my pool/",
                    "quo'te",
                    "dou\"ble",
                    "semi;",
                    "br{ace}",
                    "zertifikät",
                    "ha#sh",
                    "back\\x",
                ]);
                format!("pool/{stem}{index}")
            }
            false => format!("pool/{index}"),
        };
        let leaf = &pool()[index];
        let pem_form = self.wants(PemForms, 10);
        let certificate = match self.rng.u32(..5) {
            0 if pem_form => trusted(index),
            1 if pem_form => format!("\u{feff}{}{}", leaf.certificate, leaf.chain),
            2 if pem_form => format!("a word before\n{}between\n{}", leaf.certificate, leaf.chain),
            3 if pem_form => format!("{}{}", leaf.certificate, leaf.chain).replace('\n', "\r\n"),
            4 if pem_form => leaf.certificate.clone(),
            _ => format!("{}{}", leaf.certificate, leaf.chain),
        };
        let key = match (&leaf.encrypted, self.wants(PasswordFile, 5)) {
            (Some(encrypted), true) => encrypted.clone(),
            _ => leaf.key.clone(),
        };
        let place = if self.chance(10) {
            let path = format!("{stem}.pem");
            self.add_file(&format!("conf/{path}"), format!("{certificate}{key}"));
            (path.clone(), path)
        } else {
            self.add_file(&format!("conf/{stem}.crt"), certificate);
            self.add_file(&format!("conf/{stem}.key"), key);
            (format!("{stem}.crt"), format!("{stem}.key"))
        };
        let place = match self.chance(25) {
            true => (format!("{}conf/{}", self.root, place.0), format!("{}conf/{}", self.root, place.1)),
            false => place,
        };
        let path = place.0.strip_prefix(&self.root).map_or(format!("conf/{}", place.0), str::to_owned);
        self.made.leaves.insert(path, index);
        self.places.insert(index, place.clone());
        place
    }

    /// Returns the directives of some leaves, certificates first.
    pub fn pairs(&mut self, leaves: &[usize]) -> String {
        let mut lines = [String::new(), String::new()];
        for index in leaves {
            let (certificate, key) = self.place(*index);
            lines[0] += &self.line(&["ssl_certificate", &certificate]);
            lines[1] += &self.line(&["ssl_certificate_key", &key]);
        }
        lines.concat()
    }

    /// Returns the leaves of one server: one, or several of different types or of one.
    pub fn leaves(&mut self) -> Vec<usize> {
        if !self.wants(TwoCertificates, 8) {
            return vec![self.leaf(None)];
        }
        let kinds: &[Kind] = match self.rng.u32(..6) {
            0 => &[Kind::P256, Kind::P384],
            1 => &[Kind::Rsa, Kind::P384, Kind::Ed25519],
            2 => &[Kind::Rsa, Kind::Rsa],
            3 => &[Kind::P256, Kind::Rsa],
            _ => &[Kind::Rsa, Kind::P256],
        };
        kinds.iter().map(|kind| self.leaf(Some(*kind))).collect()
    }
}
