//! One configuration: what it is about, its files, and how a client reaches it.

use std::collections::{BTreeMap, BTreeSet};

macro_rules! themes {
    ($($theme:ident),+ $(,)?) => {
        /// What nginx's own tests are about; each configuration has one of these for certain, and others by chance.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Theme {
            $($theme),+
        }

        pub const THEMES: &[Theme] = &[$(Theme::$theme),+];
    };
}

themes! {
    Names,
    Listens,
    Inheritance,
    TwoCertificates,
    KeyTypes,
    PasswordFile,
    Variables,
    ConfCommand,
    RejectHandshake,
    ClientCertificates,
    Stapling,
    Protocols,
    Sessions,
    ProxyProtocol,
    UpstreamTls,
    Stream,
    Preread,
    Mail,
    Includes,
    Quoting,
    PemForms,
    Stale,
    BeyondTheProbe,
}

/// A socket as a client reaches it.
#[derive(Clone, Debug)]
pub struct Dial {
    pub endpoint: String,
    /// It listens on all addresses: certhook may ask at another one.
    pub is_wild: bool,
    /// Its connections go on to other listeners.
    pub passes_on: bool,
    pub starttls: Option<&'static str>,
}

/// One configuration.
pub struct Made {
    pub seed: u64,
    pub files: Vec<(String, String)>,
    pub dials: Vec<Dial>,
    pub hosts: Vec<String>,
    pub themes: BTreeSet<Theme>,
    /// The leaves by their path below the root.
    pub leaves: BTreeMap<String, usize>,
    /// Leaves that nginx loads for each handshake, or that stand in the configuration itself.
    pub without_file: BTreeSet<usize>,
    /// What is written after the start, and not loaded.
    pub renewed: Vec<(String, String)>,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {} {:?}", self.seed, self.themes)?;
        let texts = self.files.iter().filter(|(_, text)| !text.contains("-----BEGIN"));
        texts.into_iter().try_for_each(|(name, text)| writeln!(f, "==> {name}\n{text}"))
    }
}
