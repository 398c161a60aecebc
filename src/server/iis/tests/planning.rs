use super::super::plan::{Plan, Wanted, plan};
use super::super::store::Earlier;
use super::*;

const NEW: u8 = 9;
const OLD: u8 = 1;
/// Of the same names, by another issuer.
const DOUBTFUL: u8 = 4;

/// One case: what there is and what is wanted.
struct Case<'a> {
    records: Vec<Record>,
    bound: &'a [(&'a str, u8)],
    bindings: &'a [&'a str],
    names: &'a str,
    central: bool,
    create: bool,
    taken: &'a [Key],
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            bound: &[],
            bindings: &[],
            names: "contoso.com",
            central: false,
            create: false,
            taken: &[],
        }
    }
}

impl Case<'_> {
    fn plan(&self) -> Plan {
        let bound: Vec<Bound> = self.bound.iter().map(|(text, flags)| bound(text, *flags)).collect();
        let bindings: Vec<Binding> = self.bindings.iter().map(|text| binding(text)).collect();
        let names = names(self.names);
        let (previous, doubtful) = ([hash(OLD), hash(OLD + 1)].into(), [hash(DOUBTFUL)].into());
        let earlier = Earlier { previous, doubtful };
        let wanted = Wanted {
            bindings: &bindings,
            names: &names,
            hash: hash(NEW),
            store: "My",
            earlier: &earlier,
            taken: &self.taken.iter().cloned().collect(),
            create: self.create,
            central: self.central,
        };
        let plan = plan(&self.records, &bound, &wanted);
        for change in &plan.changes {
            let expected = Record { hash: Some(hash(NEW)), store: "My".to_owned(), ..change.from.clone() };
            assert_eq!(change.to, expected, "a change changes certificate and store alone");
            assert!(self.records.contains(&change.from));
        }
        plan
    }

    /// In short: `~` changed, `+` added, `=` right already, `!` refused, `@` bound, `*` in the central store, `?` noted.
    fn told(&self) -> Vec<String> {
        let plan = self.plan();
        let mut told: Vec<String> = plan.changes.iter().map(|change| format!("~{}", change.to.key)).collect();
        told.extend(plan.additions.iter().map(|record| format!("+{}", record.key)));
        told.extend(plan.satisfied.iter().map(|key| format!("={key}")));
        told.extend(plan.refused.iter().map(|(key, problem)| format!("!{key} {}", problem.code)));
        told.extend(plan.bindings.iter().map(|(binding, sni)| format!("@{binding} {sni}")));
        told.extend(plan.central.iter().map(|host| format!("*{host}")));
        told.extend(plan.notes.iter().map(|problem| format!("?{}", problem.code)));
        told
    }
}

#[test]
fn what_is_done_to_which_record() {
    let any = || ip("0.0.0.0:443");
    let taken = [any()];
    let of = |hash_of: u8, key: Key| record(key, hash(hash_of));
    let foreign = |hash_of: u8, key: Key| Record { app: AppId([7; 16]), ..of(hash_of, key) };
    let table: Vec<(&str, Case<'_>, &[&str])> = vec![
        ("nothing is there and nothing wanted", Case::default(), &[]),
        (
            "a host's record",
            Case { records: vec![of(OLD, sni("contoso.com")), of(5, sni("other.test"))], ..Case::default() },
            &["~contoso.com:443"],
        ),
        (
            "every record of the old certificates, of all kinds",
            Case {
                records: vec![
                    of(OLD, any()),
                    of(OLD, ip("[::1]:8443")),
                    of(OLD + 1, sni("contoso.com")),
                    of(OLD, sni("www.contoso.com")),
                ],
                ..Case::default()
            },
            &["~0.0.0.0:443", "~[::1]:8443", "~contoso.com:443", "~www.contoso.com:443"],
        ),
        ("it is there already", Case { records: vec![of(NEW, any())], ..Case::default() }, &["=0.0.0.0:443"]),
        (
            "it is there already, and configured",
            Case {
                records: vec![of(NEW, any())],
                bound: &[("A/*:443:", 0)],
                bindings: &["*:443:"],
                ..Case::default()
            },
            &["=0.0.0.0:443"],
        ),
        (
            "it is there, of another store",
            Case {
                records: vec![Record { store: "WebHosting".into(), ..of(NEW, any()) }],
                ..Case::default()
            },
            &["~0.0.0.0:443"],
        ),
        (
            "the store is called otherwise",
            Case { records: vec![Record { store: "MY".into(), ..of(NEW, any()) }], ..Case::default() },
            &["=0.0.0.0:443"],
        ),
        (
            "a configured binding with another certificate",
            Case {
                records: vec![of(5, sni("contoso.com"))],
                bound: &[("Home/*:443:contoso.com", 1)],
                bindings: &["home/*:443:CONTOSO.com"],
                ..Case::default()
            },
            &["~contoso.com:443"],
        ),
        (
            "a configured address that serves another's host too",
            Case {
                records: vec![of(5, any())],
                bound: &[("A/*:443:", 0), ("B/*:443:fabrikam.com", 0)],
                bindings: &["A/*:443:"],
                ..Case::default()
            },
            &["!0.0.0.0:443 shared_record"],
        ),
        (
            "another's host has a record of its own",
            Case {
                records: vec![of(5, any()), of(6, sni("fabrikam.com"))],
                bound: &[("A/*:443:", 0), ("B/*:443:fabrikam.com", 1)],
                bindings: &["A/*:443:"],
                ..Case::default()
            },
            &["~0.0.0.0:443"],
        ),
        (
            "a shared address of the earlier certificate, which did not cover the other either",
            Case {
                records: vec![of(OLD, any())],
                bound: &[("A/*:443:", 0), ("B/*:443:fabrikam.com", 0)],
                ..Case::default()
            },
            &["~0.0.0.0:443"],
        ),
        (
            "a wildcard's record, and a certificate of one of its hosts",
            Case {
                records: vec![of(5, sni("*.contoso.com"))],
                bound: &[("A/*:443:*.contoso.com", 1)],
                bindings: &["A/*:443:*.contoso.com"],
                names: "www.contoso.com",
                ..Case::default()
            },
            &["!*.contoso.com:443 not_covered"],
        ),
        (
            "a wildcard certificate for several hosts",
            Case {
                bound: &[("A/*:443:a.contoso.com", 1), ("A/*:443:b.contoso.com", 1)],
                bindings: &["A/*:443:a.contoso.com", "A/*:443:b.contoso.com", "A/*:443:x.b.contoso.com"],
                names: "*.contoso.com",
                ..Case::default()
            },
            &["+a.contoso.com:443", "+b.contoso.com:443", "!x.b.contoso.com:443 not_covered"],
        ),
        (
            "another program's record",
            Case {
                records: vec![foreign(5, ip("0.0.0.0:8443"))],
                bound: &[("A/*:8443:", 0)],
                bindings: &["A/*:8443:"],
                ..Case::default()
            },
            &["!0.0.0.0:8443 foreign_record"],
        ),
        (
            "another program's record of the earlier certificate",
            Case {
                records: vec![foreign(OLD, ip("0.0.0.0:8443"))],
                bindings: &["A/*:8443:"],
                bound: &[("A/*:8443:", 0)],
                ..Case::default()
            },
            &["~0.0.0.0:8443"],
        ),
        (
            "a binding that IIS has, without a record",
            Case {
                bound: &[("A/*:443:contoso.com", 1)],
                bindings: &["*:443:contoso.com"],
                ..Case::default()
            },
            &["+contoso.com:443"],
        ),
        (
            "a binding that IIS does not have",
            Case { bindings: &["A/*:443:contoso.com", "A/192.0.2.7:443:"], ..Case::default() },
            &["!contoso.com:443 no_binding", "!192.0.2.7:443 no_binding"],
        ),
        (
            "a binding that IIS does not have, and that is to be made",
            Case {
                bindings: &["A/*:443:contoso.com", "A/192.0.2.7:443:", "A/*:443:contoso.com"],
                create: true,
                ..Case::default()
            },
            &["+contoso.com:443", "+192.0.2.7:443", "@A/*:443:contoso.com true", "@A/192.0.2.7:443: false"],
        ),
        (
            "a binding that IIS does not have, whose record is left",
            Case {
                records: vec![of(5, sni("contoso.com"))],
                bindings: &["A/*:443:contoso.com"],
                ..Case::default()
            },
            &["!contoso.com:443 no_binding"],
        ),
        (
            "the same names by another issuer, inside",
            Case {
                records: vec![of(DOUBTFUL, ip("10.0.0.1:443")), of(OLD, sni("contoso.com"))],
                bound: &[("A/10.0.0.1:443:", 0), ("A/*:443:contoso.com", 1)],
                ..Case::default()
            },
            &["~contoso.com:443", "?other_issuer", "?hidden_record"],
        ),
        (
            "the same names by another issuer, named",
            Case {
                records: vec![of(DOUBTFUL, sni("contoso.com"))],
                bound: &[("A/*:443:contoso.com", 1)],
                bindings: &["A/*:443:contoso.com"],
                ..Case::default()
            },
            &["~contoso.com:443"],
        ),
        (
            "another program's record of the earlier certificate, not named",
            Case {
                records: vec![foreign(OLD, sni("contoso.com")), of(OLD, any())],
                bound: &[("A/*:443:", 0)],
                ..Case::default()
            },
            &["~0.0.0.0:443", "?foreign_record"],
        ),
        (
            "a record that another site names",
            Case {
                records: vec![of(OLD, sni("contoso.com")), of(OLD, any())],
                taken: &taken,
                ..Case::default()
            },
            &["~contoso.com:443"],
        ),
        (
            "the central store's binding without a host",
            Case { bound: &[("A/*:443:", 2)], bindings: &["A/*:443:"], central: true, ..Case::default() },
            &["!0.0.0.0:443 no_host"],
        ),
        (
            "a binding that IIS does not have, of no site",
            Case { bindings: &["*:443:contoso.com"], create: true, ..Case::default() },
            &["!contoso.com:443 no_binding"],
        ),
        (
            "the central store's bindings",
            Case {
                bound: &[("A/*:443:contoso.com", 3), ("A/*:443:fabrikam.com", 3)],
                records: vec![Record { hash: None, ..of(5, Key::Ccs(443)) }],
                central: true,
                ..Case::default()
            },
            &["*contoso.com"],
        ),
        (
            "the central store's binding, and no central store",
            Case {
                bound: &[("A/*:443:contoso.com", 3)],
                bindings: &["A/*:443:contoso.com"],
                ..Case::default()
            },
            &["!contoso.com:443 no_central_store"],
        ),
        (
            "an address goes before the host",
            Case {
                records: vec![of(OLD, sni("contoso.com")), of(5, ip("192.0.2.7:443"))],
                ..Case::default()
            },
            &["~contoso.com:443", "?hidden_record"],
        ),
        (
            "any address does not, nor another port, nor one that is changed too",
            Case {
                records: vec![
                    of(OLD, sni("contoso.com")),
                    of(5, any()),
                    of(5, ip("192.0.2.7:444")),
                    of(OLD, ip("192.0.2.8:443")),
                ],
                ..Case::default()
            },
            &["~contoso.com:443", "~192.0.2.8:443"],
        ),
        (
            "one binding named twice",
            Case {
                records: vec![of(OLD, sni("contoso.com"))],
                bound: &[("A/*:443:contoso.com", 1)],
                bindings: &["A/*:443:contoso.com", "*:443:contoso.com"],
                ..Case::default()
            },
            &["~contoso.com:443"],
        ),
    ];
    for (what, case, expected) in table {
        assert_eq!(case.told(), expected, "{what}");
    }
}

#[test]
fn a_refusal_names_the_host_and_a_foreign_record_keeps_its_maker() {
    let case = Case {
        records: vec![record(ip("0.0.0.0:443"), hash(5))],
        bound: &[("A/*:443:", 0), ("B/*:443:fabrikam.com", 0)],
        bindings: &["A/*:443:"],
        ..Case::default()
    };
    let (_, problem) = &case.plan().refused[0];
    assert!(problem.message.contains("fabrikam.com"), "{problem}");
    let foreign = Record { app: AppId([7; 16]), ..record(ip("0.0.0.0:443"), hash(OLD)) };
    let plan =
        Case { records: vec![foreign], bindings: &["*:443:"], bound: &[("A/*:443:", 0)], ..Case::default() }
            .plan();
    assert_eq!(plan.changes[0].to.app, AppId([7; 16]));
    assert!(!plan.nothing_to_do() && Case::default().plan().has_no_use());
}

#[test]
fn a_new_record_has_the_flags_of_its_binding() {
    // SNI, no HTTP/2, no OCSP stapling, no QUIC, no TLS 1.3, no old TLS: as `http.h` has them.
    let table = [
        (1, 0),
        (1 | 4, 0x10),
        (1 | 8, 0x80),
        (1 | 16, 0x20),
        (1 | 32, 0x40),
        (1 | 64, 0x400),
        (0xfd, 0x4f2),
    ];
    for (ssl_flags, flags) in table {
        let bound = [("A/*:443:contoso.com", ssl_flags)];
        let case = Case { bound: &bound, bindings: &["*:443:contoso.com"], ..Case::default() };
        let [new] = &case.plan().additions[..] else { panic!("{ssl_flags}") };
        assert_eq!(new.parameters.flags, flags, "{ssl_flags}");
    }
}
