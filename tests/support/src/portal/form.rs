//! Percent-encoding, as forms and queries use it.

/// The pairs of a form or query; an error is what the portal says about it.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            return Err("The percent-encoding is broken.".to_owned());
        };
        if pairs.iter().any(|(known, _)| *known == name) {
            return Err(format!("The parameter '{name}' is given twice."));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// The value of one pair.
pub(super) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The text behind a percent-encoding; `None` when it is broken or not UTF-8.
fn decode(text: &str) -> Option<String> {
    let (bytes, sound) = decode_bytes(text);
    String::from_utf8(bytes).ok().filter(|_| sound)
}

/// The text behind a percent-encoding as far as it can be made out.
pub(super) fn decode_lossy(text: &str) -> String {
    String::from_utf8_lossy(&decode_bytes(text).0).into_owned()
}

/// The bytes, and whether every `%` was followed by two digits.
fn decode_bytes(text: &str) -> (Vec<u8>, bool) {
    let mut bytes = Vec::with_capacity(text.len());
    let mut sound = true;
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, tail @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                rest = tail;
                digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0)
            }
            (b'%', _) => {
                sound = false;
                b'%'
            }
            (byte, _) => *byte,
        });
    }
    (bytes, sound)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        for (text, wanted) in [
            ("contoso.com%2C%2a.contoso.com", Some("contoso.com,*.contoso.com")),
            ("a+b%20c%2B", Some("a b c+")),
            ("%c3%a9", Some("é")),
            ("", Some("")),
            ("100%", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
        ] {
            assert_eq!(decode(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(decode_lossy("100%&%41%zz"), "100%&A%zz");
    }

    #[test]
    fn reads_pairs_once_each() {
        let read = pairs("name=a%3Db&empty=&bare").unwrap();
        assert_eq!(value(&read, "name"), Some("a=b"));
        assert_eq!(value(&read, "empty"), Some(""));
        assert_eq!(value(&read, "bare"), Some(""));
        assert_eq!(value(&read, "other"), None);
        assert!(pairs("a=1&a=2").unwrap_err().contains("twice"));
        assert!(pairs("a=%").unwrap_err().contains("broken"));
    }
}
