//! Regular expressions of `server_name`: host names that one matches. Of PCRE what is used for host names; an
//! expression with anything else is not understood.

use super::glob::is_of_class;
use super::names::STAR;

/// What one expression may cost: host names are short.
const MAX_STEPS: usize = 20_000;
/// Samples of one part, and of a whole expression.
const MAX_SAMPLES: usize = 16;
const MAX_REPEATS: usize = 64;
const MAX_DEPTH: usize = 20;

/// One expression.
pub(super) struct Regex {
    alternatives: Vec<Vec<Node>>,
}

enum Node {
    /// One byte.
    Set(Box<[bool; 256]>),
    Start,
    End,
    Group(Vec<Vec<Node>>),
    Repeat(Box<Node>, usize, usize),
}

impl Regex {
    /// Parses a `server_name` that begins with `~`; `None` where it is not understood. With a capital letter in it nginx
    /// takes letters of both cases.
    pub fn parse(name: &str) -> Option<Self> {
        let text = name.strip_prefix('~')?;
        let mut parser =
            Parser { rest: text.as_bytes(), caseless: text.bytes().any(|byte| byte.is_ascii_uppercase()) };
        if let Some(rest) = parser.rest.strip_prefix(b"(?i)") {
            (parser.rest, parser.caseless) = (rest, true);
        }
        let alternatives = parser.alternatives(0)?;
        parser.rest.is_empty().then_some(Self { alternatives })
    }

    /// Whether it matches a part of the host; `false` also where that costs too much.
    pub fn matches(&self, host: &str) -> bool {
        let mut steps = MAX_STEPS;
        let host = host.as_bytes();
        (0..=host.len()).any(|at| any(&self.alternatives, host, at, &mut steps, &mut |_, _| true))
    }

    /// Host names that it matches, as far as some are found.
    pub fn samples(&self) -> Vec<String> {
        let mut hosts = Vec::new();
        for sample in of_all(&self.alternatives) {
            // Without anchors it takes what stands around it.
            for host in [
                sample.clone(),
                format!("{STAR}{sample}"),
                format!("{sample}{STAR}"),
                format!("{STAR}.{sample}"),
                format!("{sample}.{STAR}"),
                format!("{STAR}{sample}{STAR}"),
            ] {
                if !hosts.contains(&host) && self.matches(&host) {
                    hosts.push(host);
                }
            }
        }
        hosts
    }
}

struct Parser<'t> {
    rest: &'t [u8],
    caseless: bool,
}

impl Parser<'_> {
    fn alternatives(&mut self, depth: usize) -> Option<Vec<Vec<Node>>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut all = vec![Vec::new()];
        while let Some(&byte) = self.rest.first() {
            if byte == b')' {
                break;
            }
            self.rest = &self.rest[1..];
            let node = match byte {
                b'|' => {
                    all.push(Vec::new());
                    continue;
                }
                b'^' => Node::Start,
                b'$' => Node::End,
                b'(' => self.group(depth)?,
                b'[' => self.set()?,
                b'.' => self.of(|byte| byte != b'\n'),
                b'\\' => self.escaped()?,
                b'*' | b'+' | b'?' => return None,
                literal => self.of(|byte| byte == literal),
            };
            let node = self.repeated(node)?;
            all.last_mut()?.push(node);
        }
        Some(all)
    }

    fn group(&mut self, depth: usize) -> Option<Node> {
        if let Some(rest) = self.rest.strip_prefix(b"?") {
            let named = [(&b"<"[..], b'>'), (b"P<", b'>'), (b"'", b'\'')];
            let name = |(mark, end): (&[u8], u8)| {
                let rest = rest.strip_prefix(mark)?;
                let length = rest.iter().position(|byte| *byte == end)?;
                // `(?<=` and `(?<!` look behind.
                let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                rest[..length].iter().all(is_name).then(|| &rest[length + 1..])
            };
            self.rest = rest.strip_prefix(b":").or_else(|| named.into_iter().find_map(name))?;
        }
        let inner = self.alternatives(depth + 1)?;
        self.rest = self.rest.strip_prefix(b")")?;
        Some(Node::Group(inner))
    }

    fn repeated(&mut self, node: Node) -> Option<Node> {
        let (min, max) = match self.rest.first() {
            Some(b'*') => (0, usize::MAX),
            Some(b'+') => (1, usize::MAX),
            Some(b'?') => (0, 1),
            Some(b'{') => {
                let end = self.rest.iter().position(|byte| *byte == b'}')?;
                let text = std::str::from_utf8(&self.rest[1..end]).ok()?;
                self.rest = &self.rest[end..];
                match text.split_once(',') {
                    None => (text.parse().ok()?, text.parse().ok()?),
                    Some((min, "")) => (min.parse().ok()?, usize::MAX),
                    Some((min, max)) => (min.parse().ok()?, max.parse().ok()?),
                }
            }
            _ => return Some(node),
        };
        self.rest = &self.rest[1..];
        // Whether it takes much or little, the same hosts match; one that gives nothing back is another matter.
        self.rest = self.rest.strip_prefix(b"?").unwrap_or(self.rest);
        let is_sound =
            min <= MAX_REPEATS && min <= max && !matches!(self.rest.first(), Some(b'+' | b'*' | b'{'));
        is_sound.then(|| Node::Repeat(Box::new(node), min, max))
    }

    fn escaped(&mut self) -> Option<Node> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        match byte {
            b'A' => Some(Node::Start),
            b'z' | b'Z' => Some(Node::End),
            _ => class(byte)
                .map(|is_in| self.of(is_in))
                .or_else(|| (!byte.is_ascii_alphanumeric()).then(|| self.of(|other| other == byte))),
        }
    }

    fn set(&mut self) -> Option<Node> {
        let negated = self.rest.first() == Some(&b'^');
        self.rest = &self.rest[usize::from(negated)..];
        let mut set = [false; 256];
        let mut first = true;
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let mut low = byte;
            match byte {
                b']' if !first => break,
                b'[' if rest.first() == Some(&b':') => {
                    let end = rest.windows(2).position(|pair| pair == b":]")?;
                    for (byte, is_in) in (0..=u8::MAX).zip(&mut set) {
                        *is_in |= is_of_class(&rest[1..end], byte)?;
                    }
                    self.rest = &rest[end + 2..];
                    first = false;
                    continue;
                }
                b'\\' => {
                    let (&escaped, rest) = rest.split_first()?;
                    self.rest = rest;
                    if let Some(is_in) = class(escaped) {
                        (0..=u8::MAX).zip(&mut set).for_each(|(byte, place)| *place |= is_in(byte));
                        first = false;
                        continue;
                    }
                    low = escaped;
                    if escaped.is_ascii_alphanumeric() {
                        return None;
                    }
                }
                _ => {}
            }
            first = false;
            let high = match self.rest {
                [b'-', high, rest @ ..] if !matches!(high, b']' | b'\\' | b'[') => {
                    self.rest = rest;
                    *high
                }
                _ => low,
            };
            for byte in low..=high {
                set[usize::from(byte)] = true;
            }
        }
        let node = self.of(|byte| set[usize::from(byte)]);
        let Node::Set(set) = node else { return None };
        Some(if negated { Node::Set(Box::new(set.map(|is_in| !is_in))) } else { Node::Set(set) })
    }

    fn of(&self, is_in: impl Fn(u8) -> bool) -> Node {
        let folded = |byte: u8| {
            let other =
                if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            is_in(byte) || self.caseless && is_in(other)
        };
        Node::Set(Box::new(std::array::from_fn(|byte| u8::try_from(byte).is_ok_and(folded))))
    }
}

fn class(letter: u8) -> Option<fn(u8) -> bool> {
    Some(match letter {
        b'd' => |byte| byte.is_ascii_digit(),
        b'D' => |byte| !byte.is_ascii_digit(),
        b'w' => |byte| byte.is_ascii_alphanumeric() || byte == b'_',
        b'W' => |byte| !byte.is_ascii_alphanumeric() && byte != b'_',
        b's' => |byte| byte.is_ascii_whitespace(),
        b'S' => |byte| !byte.is_ascii_whitespace(),
        _ => return None,
    })
}

type Then<'a> = &'a mut dyn FnMut(usize, &mut usize) -> bool;

fn any(alternatives: &[Vec<Node>], host: &[u8], at: usize, steps: &mut usize, then: Then<'_>) -> bool {
    alternatives.iter().any(|nodes| sequence(nodes, host, at, steps, then))
}

fn sequence(nodes: &[Node], host: &[u8], at: usize, steps: &mut usize, then: Then<'_>) -> bool {
    let Some(left) = steps.checked_sub(1) else { return false };
    *steps = left;
    let Some((node, rest)) = nodes.split_first() else { return then(at, steps) };
    let mut next = |at: usize, steps: &mut usize| sequence(rest, host, at, steps, then);
    match node {
        Node::Set(set) => host.get(at).is_some_and(|byte| set[usize::from(*byte)]) && next(at + 1, steps),
        Node::Start => at == 0 && next(at, steps),
        Node::End => at == host.len() && next(at, steps),
        Node::Group(alternatives) => any(alternatives, host, at, steps, &mut next),
        Node::Repeat(node, min, max) => repeat(node, (*min, *max), host, at, steps, &mut next),
    }
}

fn repeat(
    node: &Node,
    (min, max): (usize, usize),
    host: &[u8],
    at: usize,
    steps: &mut usize,
    then: Then<'_>,
) -> bool {
    let once = std::slice::from_ref(node);
    let mut again = |after: usize, steps: &mut usize| {
        // What takes nothing would be taken for ever.
        (after > at || min > 0) && repeat(node, (min.saturating_sub(1), max - 1), host, after, steps, then)
    };
    if max > 0 && sequence(once, host, at, steps, &mut again) {
        return true;
    }
    min == 0 && then(at, steps)
}

fn of_all(alternatives: &[Vec<Node>]) -> Vec<String> {
    let mut all = Vec::new();
    for nodes in alternatives {
        let mut samples = vec![String::new()];
        for node in nodes {
            let parts = of(node);
            let joined =
                samples.iter().flat_map(|sample| parts.iter().map(move |part| format!("{sample}{part}")));
            samples = joined.take(MAX_SAMPLES).collect();
        }
        all.extend(samples);
    }
    all.truncate(MAX_SAMPLES);
    all
}

fn of(node: &Node) -> Vec<String> {
    match node {
        Node::Start | Node::End => vec![String::new()],
        Node::Group(alternatives) => of_all(alternatives),
        Node::Set(set) => {
            let liked = (b'a'..=b'z').chain(b'0'..=b'9').chain(*b"-._");
            let byte = liked.into_iter().find(|byte| set[usize::from(*byte)]);
            byte.map(|byte| char::from(byte).to_string()).into_iter().collect()
        }
        Node::Repeat(node, min, max) => {
            let mut all = Vec::new();
            if let Node::Set(set) = &**node
                && STAR.bytes().all(|byte| set[usize::from(byte)])
                && (*min..=*max).contains(&STAR.len())
            {
                all.push(STAR.to_owned());
            }
            if *max > 0 {
                all.extend(of(node).into_iter().map(|sample| sample.repeat((*min).max(1))));
            }
            if *min == 0 {
                all.push(String::new());
            }
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Regex;

    /// Each with a host that it matches and one that it does not.
    #[test]
    fn hosts_are_matched_as_pcre_does() {
        for (regex, fits, other) in [
            ("~^(?<sub>.+)\\.example\\.com$", "a.example.com", "example.com"),
            ("~^www\\d{1,3}\\.a\\.test$", "www12.a.test", "www1234.a.test"),
            ("~^(www\\.)?(a|b)\\.test$", "b.test", "c.test"),
            ("~^(?P<x>[a-z0-9-]+)\\.(?:test|example)$", "x-1.example", "x_1.test"),
            ("~\\.(?!x)", "", ""),
            ("~^[^.]+\\.a\\.test$", "b.a.test", "c.b.a.test"),
            ("~^[[:alpha:]]+$", "abc", "a1"),
            ("~example", "www.example.org", "exampel"),
            ("~^WWW\\.A\\.test$", "www.a.test", "ww.a.test"),
            ("~^(a*)*b$", "aaab", "aaaa"),
        ] {
            let Some(parsed) = Regex::parse(regex) else {
                assert!(fits.is_empty(), "{regex}");
                continue;
            };
            assert!(parsed.matches(fits) && !parsed.matches(other), "{regex}");
            assert!(!parsed.samples().is_empty(), "{regex}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for regex in
            ["~a(?=b)", "~(?<!a)b", "~\\bwww", "~(a)\\1", "~a++", "~(", "~[a", "~*a", "~a{2", "~(?i:a)"]
        {
            assert!(Regex::parse(regex).is_none(), "{regex}");
        }
    }

    #[test]
    fn a_costly_expression_ends() {
        let regex = Regex::parse("~^(a|a|aa)*(a|a|aa)*(a|a|aa)*$").unwrap();
        assert!(!regex.matches(&format!("{}b", "a".repeat(200))));
    }
}
