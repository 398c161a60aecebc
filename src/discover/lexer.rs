//! Words, blocks and lines, read as nginx's `ngx_conf_read_token` reads them.

use std::rc::Rc;

/// nginx reads through a buffer of this size, and no word (nor comment) may be longer.
const MOST_WORD: usize = 4096;

/// What ends a run of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `words;`
    Simple(Vec<String>),
    /// `words {`
    Open(Vec<String>),
    /// `}`
    Close,
    /// The file's end, between directives.
    End,
}

/// Why nginx would not go on, in its words, and the line that it would name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub line: usize,
    pub what: String,
}

/// One text, read token by token.
pub(super) struct Lexer {
    bytes: Rc<[u8]>,
    at: usize,
    /// Of the byte read last, from 1: after a token the line of its end, which is the one that nginx names.
    pub line: usize,
    /// Where the first word of the last token stood.
    pub first_line: usize,
}

/// A word being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// None: blanks, or a directive's beginning.
    None,
    Plain,
    Quoted(u8),
    /// A quoted one has ended: only a blank or the directive's end may follow.
    Closed,
}

impl Lexer {
    pub fn new(bytes: Rc<[u8]>) -> Self {
        Self { bytes, at: 0, line: 1, first_line: 1 }
    }

    /// The next token. After a fault there is no sense in asking again.
    pub fn next(&mut self) -> Result<Token, Fault> {
        let mut words = Vec::new();
        let mut start = self.at;
        let mut start_line = self.line;
        let mut word = Word::None;
        let (mut comment, mut escaped, mut variable) = (false, false, false);
        loop {
            let Some(&byte) = self.bytes.get(self.at) else {
                // A word, also one that has not ended, or words without their end.
                return match words.is_empty() && word == Word::None {
                    true => Ok(Token::End),
                    false => Err(self.fault("unexpected end of file, expecting \";\" or \"}\"")),
                };
            };
            if self.at - start == MOST_WORD {
                let what = match word {
                    Word::Quoted(quote) => format!(
                        "too long parameter, probably missing terminating \"{}\" character",
                        char::from(quote)
                    ),
                    _ => "too long parameter".to_owned(),
                };
                return Err(Fault { line: start_line, what });
            }
            self.at += 1;
            if byte == b'\n' {
                self.line += 1;
                comment = false;
            }
            if comment {
                continue;
            }
            if escaped {
                escaped = false;
                continue;
            }
            if word == Word::Closed {
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => {
                        word = Word::None;
                        continue;
                    }
                    b';' => return Ok(Token::Simple(words)),
                    b'{' => return Ok(Token::Open(words)),
                    // So that `if ($a = "b")` may be written.
                    b')' => word = Word::None,
                    other => return Err(self.unexpected(other)),
                }
            }
            if word == Word::None {
                start = self.at - 1;
                start_line = self.line;
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' => continue,
                    b';' | b'{' if words.is_empty() => return Err(self.unexpected(byte)),
                    b';' => return Ok(Token::Simple(words)),
                    b'{' => return Ok(Token::Open(words)),
                    b'}' if words.is_empty() => return Ok(Token::Close),
                    b'}' => return Err(self.unexpected(byte)),
                    b'#' => {
                        comment = true;
                        continue;
                    }
                    b'"' | b'\'' => {
                        start += 1;
                        word = Word::Quoted(byte);
                    }
                    _ => word = Word::Plain,
                }
                escaped = byte == b'\\';
                variable = byte == b'$';
                if words.is_empty() {
                    self.first_line = self.line;
                }
                continue;
            }
            if byte == b'{' && variable {
                continue;
            }
            variable = byte == b'$';
            escaped = byte == b'\\';
            let ended = match word {
                Word::Quoted(quote) => byte == quote,
                _ => matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{'),
            };
            if !ended {
                continue;
            }
            words.push(unescape(&self.bytes[start..self.at - 1]));
            word = if word == Word::Plain { Word::None } else { Word::Closed };
            match byte {
                b';' => return Ok(Token::Simple(words)),
                b'{' => return Ok(Token::Open(words)),
                _ => {}
            }
        }
    }

    /// Passes over the Lua program of a `…_by_lua_block`, its closing brace included.
    pub fn skip_lua(&mut self) -> Result<(), Fault> {
        let mut depth = 1_usize;
        while let Some(byte) = self.take() {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 1 => return Ok(()),
                b'}' => depth -= 1,
                b'"' | b'\'' => self.skip_lua_string(byte),
                b'[' => {
                    self.skip_long_bracket();
                }
                b'-' if self.peek() == Some(b'-') => {
                    self.at += 1;
                    if self.peek() == Some(b'[') {
                        self.at += 1;
                        if self.skip_long_bracket() {
                            continue;
                        }
                    }
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                _ => {}
            }
        }
        Err(self.fault("unexpected end of file, expecting \"}\""))
    }

    fn skip_lua_string(&mut self, quote: u8) {
        while let Some(byte) = self.take() {
            match byte {
                b'\\' => {
                    self.take();
                }
                byte if byte == quote => return,
                _ => {}
            }
        }
    }

    /// After a `[`: passes over `[[ … ]]` or `[==[ … ]==]`; tells whether it was one.
    fn skip_long_bracket(&mut self) -> bool {
        let rest = &self.bytes[self.at..];
        let level = rest.iter().take_while(|byte| **byte == b'=').count();
        if rest.get(level) != Some(&b'[') {
            return false;
        }
        self.at += level + 1;
        while let Some(byte) = self.take() {
            let rest = &self.bytes[self.at..];
            let signs = || rest.iter().take(level).take_while(|byte| **byte == b'=').count();
            if byte == b']' && rest.get(level) == Some(&b']') && signs() == level {
                self.at += level + 1;
                break;
            }
        }
        true
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == b'\n' {
            self.line += 1;
        }
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub fn fault(&self, what: impl Into<String>) -> Fault {
        Fault { line: self.line, what: what.into() }
    }

    fn unexpected(&self, byte: u8) -> Fault {
        self.fault(format!("unexpected \"{}\"", char::from(byte)))
    }
}

/// A word without its escapes. Bytes that are no UTF-8 become U+FFFD: no path is made of such a word.
fn unescape(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let meant = match (byte, bytes.peek()) {
            (b'\\', Some(&next @ (b'"' | b'\'' | b'\\'))) => Some(next),
            (b'\\', Some(b't')) => Some(b'\t'),
            (b'\\', Some(b'r')) => Some(b'\r'),
            (b'\\', Some(b'n')) => Some(b'\n'),
            _ => None,
        };
        if meant.is_some() {
            bytes.next();
        }
        out.push(meant.unwrap_or(byte));
    }
    String::from_utf8_lossy(&out).into_owned()
}
