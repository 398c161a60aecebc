//! What may have happened to a PEM text.

use super::BOM;
use super::tools::{lines, rewrapped, utf16};

/// Changes that any PEM text may have undergone.
pub(super) fn changed(text: &str) -> Vec<(String, Vec<u8>)> {
    let label = text.lines().next().unwrap().trim_matches('-').strip_prefix("BEGIN ").unwrap().to_owned();
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let last = text.lines().count() - 1;
    let one_line = rewrapped(text, 100_000);
    let mut rows: Vec<(&str, Vec<u8>)> = vec![
        ("as it is", text.into()),
        ("CR LF", text.replace('\n', "\r\n").into()),
        ("CR alone", text.replace('\n', "\r").into()),
        ("no final newline", text.trim_end().into()),
        ("byte order mark", format!("{BOM}{text}").into()),
        ("byte order mark, CR LF", format!("{BOM}{text}").replace('\n', "\r\n").into()),
        ("two byte order marks", format!("{BOM}{BOM}{text}").into()),
        ("blank line, then byte order mark", format!("\n{BOM}{text}").into()),
        ("byte order mark, then blank line", format!("{BOM}\n{text}").into()),
        ("byte order mark, then text", format!("{BOM}text\n{text}").into()),
        ("text, then byte order mark", format!("text\n{BOM}{text}").into()),
        ("byte order mark at the end", format!("{text}{BOM}").into()),
        ("text before", format!("Bag Attributes\n    localKeyID: 01\n{text}").into()),
        ("text after", format!("{text}subject=CN = x\n").into()),
        ("text with dashes", format!("-----\n----- BEGIN\n{text}-----END\n").into()),
        ("text of other letters", format!("Zürich\n{text}\u{2026}\n").into()),
        ("blank lines around", format!("\n\r\n  \n{text}\n\n").into()),
        ("blank before BEGIN", format!(" {text}").into()),
        ("indented", lines(text, |_, line| format!("    {line}")).into()),
        (
            "content indented",
            lines(
                text,
                |at, line| if at == 0 || line.starts_with("--") { line.into() } else { format!("\t {line}") },
            )
            .into(),
        ),
        ("END indented", text.replace(&end, &format!("  {end}")).into()),
        ("trailing blanks", lines(text, |_, line| format!("{line} \t")).into()),
        ("trailing no-break space", lines(text, |_, line| format!("{line}\u{a0}")).into()),
        ("one line", one_line.clone().into()),
        ("lines of 76", rewrapped(text, 76).into()),
        ("lines of 63", rewrapped(text, 63).into()),
        ("lines of 254", rewrapped(text, 254).into()),
        ("lines of 255", rewrapped(text, 255).into()),
        ("blank line after BEGIN", text.replacen(&begin, &format!("{begin}\n"), 1).into()),
        ("blank line after BEGIN, one line", one_line.replacen(&begin, &format!("{begin}\n"), 1).into()),
        ("two blank lines after BEGIN", text.replacen(&begin, &format!("{begin}\n\n"), 1).into()),
        (
            "blank line inside",
            lines(text, |at, line| if at == 1 { format!("{line}\n") } else { line.into() }).into(),
        ),
        ("blank line before END", text.replacen(&end, &format!("\n{end}"), 1).into()),
        ("blanks for a line", text.replacen(&begin, &format!("{begin}\n   "), 1).into()),
        ("header inside", text.replacen(&begin, &format!("{begin}\nComment: x\n"), 1).into()),
        ("header without its blank line", text.replacen(&begin, &format!("{begin}\nComment: x"), 1).into()),
        ("BEGIN of four dashes", text.replacen(&begin, &begin[..begin.len() - 1], 1).into()),
        ("BEGIN of six dashes", text.replacen(&begin, &format!("{begin}-"), 1).into()),
        ("BEGIN in small letters", text.replacen("BEGIN", "Begin", 1).into()),
        ("BEGIN, then text", text.replacen(&begin, &format!("{begin} x"), 1).into()),
        ("END of four dashes", text.replacen(&end, &end[..end.len() - 1], 1).into()),
        ("END of six dashes", text.replacen(&end, &format!("{end}-"), 1).into()),
        ("END of another label", text.replacen("END ", "END X", 1).into()),
        ("END, then text", text.replacen(&end, &format!("{end} x"), 1).into()),
        ("no END", text.replacen(&end, "", 1).into()),
        ("END twice", text.replacen(&end, &format!("{end}\n{end}"), 1).into()),
        ("BEGIN twice", text.replacen(&begin, &format!("{begin}\n{begin}"), 1).into()),
        ("BEGIN once more at the end", format!("{text}{begin}\n").into()),
        ("no padding", text.replace('=', "").into()),
        (
            "a dash inside",
            lines(text, |at, line| if at == 1 { format!("{line}-") } else { line.into() }).into(),
        ),
        (
            "a star inside",
            lines(text, |at, line| if at == 1 { format!("{line}*") } else { line.into() }).into(),
        ),
        (
            "a NUL inside",
            lines(text, |at, line| if at == 1 { format!("{line}\0") } else { line.into() }).into(),
        ),
        ("NULs at the end", [text.as_bytes(), &[0; 100]].concat()),
        ("NULs at the beginning", [&[0; 100], text.as_bytes()].concat()),
        ("a long line before", format!("{}\n{text}", "x".repeat(300)).into()),
        ("a long line that ends in BEGIN", format!("{}{text}", "x".repeat(254)).into()),
        ("an empty block before", format!("-----BEGIN X-----\n-----END X-----\n{text}").into()),
        ("an empty block after", format!("{text}-----BEGIN X-----\n-----END X-----\n").into()),
        ("an unknown block before", format!("-----BEGIN X-----\nQUJD\n-----END X-----\n{text}").into()),
        ("a broken block before", format!("-----BEGIN X-----\n****\n-----END X-----\n{text}").into()),
        ("a broken block after", format!("{text}-----BEGIN X-----\n****\n-----END X-----\n").into()),
        ("UTF-16", utf16(text)),
        ("a web page", b"<!doctype html>\n<html></html>\n".to_vec()),
        ("nothing", Vec::new()),
        ("blanks", b" \r\n\t\n".to_vec()),
    ];
    let stray = lines(text, |at, line| if at == last - 1 { format!("{line}=") } else { line.into() });
    rows.push(("one padding too many", stray.into()));
    rows.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}
