//! The sample configuration, against the reader of configurations.

use std::collections::BTreeSet;
use std::path::Path;

use certhook::config::{Config, Mistakes};

use super::root;
use crate::SAMPLE;
use crate::sample::{Line, Note, Sample};

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse(Path::new("/etc/certhook/certhook.toml"), text)
}

fn lines() -> Vec<Line> {
    Sample::parse(SAMPLE).entries.into_iter().flat_map(|entry| entry.lines).collect()
}

fn joined<'l>(lines: impl IntoIterator<Item = &'l Line>) -> String {
    lines.into_iter().map(|line| format!("{}\n", line.text)).collect()
}

impl Line {
    fn key(&self) -> &str {
        self.text.split(' ').next().unwrap()
    }
}

/// The keys of each table, those of the top first. One that is shown twice is one.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    let mut tables: Vec<(String, BTreeSet<String>)> = vec![(String::new(), BTreeSet::new())];
    let mut here = 0;
    for line in lines() {
        if line.is_table() {
            here = tables.iter().position(|(table, _)| *table == line.text).unwrap_or(tables.len());
            if here == tables.len() {
                tables.push((line.text, BTreeSet::new()));
            }
        } else {
            tables[here].1.insert(line.key().to_owned());
        }
    }
    tables
}

#[test]
fn as_it_is_shipped_it_configures_nothing() {
    assert!(parse(SAMPLE).unwrap_err().say_nothing_is_configured());
    for line in SAMPLE.lines() {
        assert!(line.is_empty() || line.starts_with('#'), "{line}");
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_steps_at_its_beginning_lead_to_a_good_configuration() {
    let steps = ["[server.nginx]", "discover = true", "[portal]", "tenant_id", "client_id"];
    for step in steps {
        assert!(SAMPLE.split("\n\n").next().unwrap().contains(step), "{step}");
    }
    let chosen = |line: &str| {
        steps.iter().any(|step| line == format!("#{step}") || line.starts_with(&format!("#{step} ")))
    };
    let done = SAMPLE.lines().map(|line| if chosen(line) { &line[1..] } else { line });
    let config = parse(&done.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(config.servers[0].discovers());
    assert_eq!(config.portal.unwrap().secret.path, Path::new("/etc/certhook/client_secret"));
}

#[test]
fn every_line_of_it_can_be_used() {
    let lines = lines();
    let usual: Vec<&Line> = lines.iter().filter(|line| line.note != Note::Or).collect();
    parse(&joined(usual.iter().copied())).unwrap();
    let mut others = 0;
    for (index, other) in lines.iter().enumerate().filter(|(_, line)| line.note == Note::Or) {
        let above = lines[..index].iter().rfind(|line| line.note != Note::Or).unwrap();
        let with = usual.iter().map(|line| if std::ptr::eq(*line, above) { other } else { line });
        parse(&joined(with)).unwrap_or_else(|mistakes| panic!("{other:?}: {mistakes}"));
        others += 1;
    }
    assert!(others >= 3, "{others}");
}

#[test]
fn the_defaults_are_what_it_says() {
    let lines = lines();
    let needed = |line: &&Line| line.is_table() || line.note == Note::Example;
    let silent = parse(&joined(lines.iter().filter(needed))).unwrap();
    let said = lines.iter().filter(|line| line.note != Note::Or).map(|line| match &line.note {
        Note::Differs(default) => format!("{} = {default}\n", line.key()),
        _ => format!("{}\n", line.text),
    });
    let said = parse(&said.collect::<String>()).unwrap();
    // All but on which line it stands.
    let shown = |config: &Config| {
        let text = format!("{config:#?}");
        text.lines().filter(|line| !line.trim().starts_with("line: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown(&silent), shown(&said));
    assert!(lines.iter().filter(|line| line.note == Note::Default && !line.is_table()).count() > 15);
}

/// The keys that the reader knows in a table: it names them to whoever writes an unlikely one.
fn known(table: &str, before: &str) -> BTreeSet<String> {
    let unlikely = "z".repeat(60);
    let found = parse(&format!("{table}\n{before}\n{unlikely} = 1")).unwrap_err();
    let told = found.0.iter().find(|mistake| mistake.problem.message.contains(&unlikely[..40])).unwrap();
    let told = told.problem.remedy.strip_prefix("known are: ").unwrap_or_else(|| panic!("{told}"));
    told.split(", ").map(str::to_owned).collect()
}

/// Of those the keys that this version can do something with.
fn usable(table: &str) -> BTreeSet<String> {
    let refused = |key: &String| {
        let mistakes = parse(&format!("{table}\n{key} = 1")).map_or_else(|found| found.0, |_| Vec::new());
        mistakes.iter().any(|mistake| mistake.problem.code == "not_yet")
    };
    known(table, "").into_iter().filter(|key| !refused(key)).collect()
}

#[test]
fn every_key_that_the_reader_knows_is_in_it_and_no_other() {
    let documented = documented();
    let heads = documented.iter().filter_map(|(table, _)| table.trim_matches(['[', ']']).split('.').next());
    let heads = heads.filter(|head| !head.is_empty()).map(str::to_owned);
    let top: BTreeSet<String> = documented[0].1.iter().cloned().chain(heads).collect();
    assert_eq!(usable(""), top);
    for (table, keys) in &documented[1..] {
        // They show what servers of other kinds need; the first one shows the others' too.
        let kind = match table.as_str() {
            "[server.haproxy]" => Some("command"),
            "[server.iis]" => Some("iis"),
            _ => None,
        };
        if let Some(kind) = kind {
            let of_nginx = &documented.iter().find(|(table, _)| table == "[server.nginx]").unwrap().1;
            let known = known(table, &format!("kind = \"{kind}\""));
            assert!(keys.is_subset(&known), "{table}");
            assert!(known.is_subset(&of_nginx.union(keys).cloned().collect()), "{table}");
        } else {
            assert_eq!(usable(table), *keys, "{table}");
        }
    }
    // A table within a value.
    let verify = lines().into_iter().filter(|line| line.key() == "verify").map(|line| line.text);
    let verify = verify.collect::<String>();
    let unlikely = "z".repeat(60);
    let found = parse(&format!("[[site]]\nverify = [{{ {unlikely} = 1 }}]")).unwrap_err().to_string();
    let (_, told) = found.split_once("known are: ").unwrap();
    for key in told.lines().next().unwrap().split(", ") {
        let key = key.split(|c: char| !c.is_alphanumeric()).next().unwrap();
        assert!(verify.contains(&format!("{key} = ")), "{key} of verify");
    }
}

/// By table: what stands in backquotes in the first column, a table's name before its keys.
fn in_the_readme() -> BTreeSet<(String, String)> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let rows = readme.split("| key | default | |\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut table = String::new();
    let mut told = BTreeSet::new();
    for word in rows
        .lines()
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
    {
        if word.starts_with('[') {
            word.clone_into(&mut table);
        } else {
            told.insert((table.clone(), word.to_owned()));
        }
    }
    told
}

#[test]
fn the_readme_s_table_has_the_same_keys() {
    let mut keys = BTreeSet::new();
    for (table, of_table) in documented() {
        let table = if table.starts_with("[server.") { "[server.NAME]".to_owned() } else { table };
        keys.extend(of_table.into_iter().map(|key| (table.clone(), key)));
    }
    let told = in_the_readme();
    let lacking: Vec<_> = keys.difference(&told).collect();
    let unknown: Vec<_> = told.difference(&keys).collect();
    assert!(lacking.is_empty() && unknown.is_empty(), "lacking: {lacking:?}, unknown: {unknown:?}");
}
