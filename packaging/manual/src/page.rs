//! A page's text, and how it becomes roff.
//!
//! The first line is the page's title. Then: `# HEADING`, `## Heading`, paragraphs, a line with indented lines
//! right below it (a term and what it is), and indented lines on their own (as they are, in a terminal's letters).
//! Words in backquotes are bold. `{name}` stands for a part that is made from elsewhere.

use roff::{Inline, Roff, bold, roman};

/// Lines of the source are broken after so many bytes, for whoever reads a change.
const WIDTH: usize = 78;

/// Makes the page; `part` writes what stands for `{name}`.
pub fn render(text: &str, version: &str, mut part: impl FnMut(&str, &mut Roff)) -> String {
    let (title, body) = text.split_once('\n').expect("a title");
    let [name, section, date, book] = title.splitn(4, ' ').collect::<Vec<_>>()[..] else {
        panic!("a title is: name section date book; not {title}");
    };
    let mut roff = Roff::new();
    // Left-aligned, no word cut, one space between sentences: names of keys and options stay whole.
    roff.control("TH", [&name.to_uppercase(), section, date, &format!("certhook {version}"), book]);
    roff.control("ad", ["l"]).control("nr", ["HY", "0"]).control("ss", ["12", "0"]);
    for block in body.split("\n\n") {
        match block.trim_matches('\n').strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => part(name, &mut roff),
            None => blocks(block, &mut roff),
        }
    }
    roff.render()
}

/// Blocks of a text, without parts.
pub fn blocks(text: &str, roff: &mut Roff) {
    for block in text.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty()) {
        let mut rest = block;
        let mut headed = false;
        while let Some(heading) = rest.strip_prefix('#') {
            let (line, below) = heading.split_once('\n').unwrap_or((heading, ""));
            match line.strip_prefix('#') {
                Some(minor) => roff.control("SS", [minor.trim()]),
                None => roff.control("SH", [line.trim()]),
            };
            (rest, headed) = (below, true);
        }
        let lines: Vec<&str> = rest.lines().collect();
        let indented = |line: &&str| line.starts_with(' ');
        match &lines[..] {
            [] => {}
            lines if lines.iter().all(indented) => literal(lines, roff),
            lines if lines.iter().any(indented) => terms(lines, roff),
            lines => {
                // A heading begins a paragraph itself.
                if !headed {
                    roff.control("PP", []);
                }
                words(&lines.join(" "), roff);
            }
        }
    }
}

/// Terms and what they are, one after the other.
fn terms(lines: &[&str], roff: &mut Roff) {
    for group in lines.chunk_by(|_, next| next.starts_with(' ')) {
        roff.control("TP", []);
        words(group[0], roff);
        words(&group[1..].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "), roff);
    }
}

/// Lines as they are.
fn literal(lines: &[&str], roff: &mut Roff) {
    roff.control("PP", []).control("RS", ["4"]).control("EX", []);
    let margin = lines.iter().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    for line in lines {
        roff.text([roman(&line[margin..])]);
    }
    roff.control("EE", []).control("RE", []);
}

/// Running words; those in backquotes are bold.
pub fn words(text: &str, roff: &mut Roff) {
    // What stands between two spaces, piece by piece: a bold word may have a comma after it.
    let mut all: Vec<Vec<(bool, &str)>> = vec![Vec::new()];
    for (index, part) in text.split('`').enumerate() {
        for (place, piece) in part.split(' ').enumerate() {
            if place > 0 {
                all.push(Vec::new());
            }
            all.last_mut().expect("a word").push((index % 2 == 1, piece));
        }
    }
    let mut line: Vec<Inline> = Vec::new();
    let mut length = 0;
    for word in all {
        let size: usize = word.iter().map(|(is_bold, piece)| written(*is_bold, piece)).sum();
        if size == 0 {
            continue;
        }
        if length > 0 && length + 1 + size > WIDTH {
            roff.text(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(roman(" "));
            length += 1;
        }
        let pieces = word.into_iter().filter(|(_, piece)| !piece.is_empty());
        line.extend(pieces.map(|(is_bold, piece)| if is_bold { bold(piece) } else { roman(piece) }));
        length += size;
    }
    if !line.is_empty() {
        roff.text(line);
    }
}

/// How many bytes a piece has in roff.
fn written(is_bold: bool, piece: &str) -> usize {
    let fonts = if is_bold && !piece.is_empty() { r"\fB\fR".len() } else { 0 };
    piece.len() + piece.matches('-').count() + piece.matches('\'').count() * r"\*(A".len() + fonts
}
