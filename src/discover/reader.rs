//! The files of a configuration, walked in nginx's order: blocks are kept on a stack, and so are files.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::glob::{Budget, GlobError, Globber, is_pattern};
use super::levels::{Block, Levels};
use super::lexer::{Fault, Lexer, Token};
use super::{Instance, LeftOut, Place};
use crate::platform;
use crate::problem::{Problem, printable};

/// Larger files are no configurations.
const MOST_FILE: u64 = 8 << 20;
/// What all files together may hold, a file counted each time it is included.
const MOST_BYTES: usize = 128 << 20;
/// What a file counts for at least, so that small ones cannot be included for ever.
const LEAST_COUNTED: usize = 512;
/// Blocks, and files, in each other. nginx has no bound but its stack and its descriptors.
const MOST_DEPTH: usize = 200;

const TOO_MUCH: &str = "name the sites in certhook's own configuration";

/// Reads everything that `instance` names.
pub(super) fn read(instance: &Instance) -> Levels {
    read_within(Budget::default(), instance)
}

/// As [`read`], with a budget for the patterns.
pub(super) fn read_within(budget: Budget, instance: &Instance) -> Levels {
    let folder = instance.config.parent().unwrap_or(Path::new("/")).to_owned();
    let mut reader = Reader {
        levels: Levels::new(folder.clone(), instance.prefix.clone()),
        folder,
        files: Vec::new(),
        blocks: vec![Block::Main],
        contents: HashMap::new(),
        globber: Globber::within(budget),
        known: HashSet::new(),
        left: MOST_BYTES,
    };
    if let Some(globals) = &instance.globals {
        reader.push(Path::new("-g"), globals.as_bytes().into());
        reader.walk();
    }
    reader.open(&instance.config, None);
    reader.walk();
    reader.levels.finish();
    reader.levels.found.folders = reader.globber.folders;
    reader.levels
}

/// A directive: its file, the line of its first word, and that of its end, which nginx names.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub file: Rc<Path>,
    pub first: usize,
    pub end: usize,
}

impl At {
    pub fn place(&self) -> Place {
        Place { file: self.file.to_path_buf(), line: self.first }
    }

    pub fn fault(&self, what: impl Into<String>) -> Fault {
        Fault { line: self.end, what: what.into() }
    }
}

struct Reader {
    levels: Levels,
    /// Of the configuration file: paths are relative to it.
    folder: PathBuf,
    files: Vec<Open>,
    blocks: Vec<Block>,
    contents: HashMap<PathBuf, Rc<[u8]>>,
    globber: Globber,
    /// Those in `found.files`.
    known: HashSet<PathBuf>,
    left: usize,
}

/// A file being read.
struct Open {
    path: Rc<Path>,
    lexer: Lexer,
    /// How many blocks were open around it.
    base: usize,
    /// What an `include` of it found: read before it goes on.
    pending: Pending,
}

#[derive(Default)]
struct Pending {
    paths: Rc<Vec<PathBuf>>,
    next: usize,
}

/// How far a fault reaches.
enum Trouble {
    /// The next directive may be read.
    Directive(Fault),
    /// Nothing after it can be trusted; the file that includes this one can.
    File(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Directive(fault)
    }
}

impl Reader {
    fn walk(&mut self) {
        while let Some(file) = self.files.last_mut() {
            let (path, base) = (Rc::clone(&file.path), file.base);
            if let Some(next) = file.pending.paths.get(file.pending.next).cloned() {
                file.pending.next += 1;
                let at = At { file: path, first: file.lexer.first_line, end: file.lexer.line };
                self.open(&next, Some(&at));
                continue;
            }
            let fault = match self.step() {
                Ok(()) => continue,
                Err(Trouble::Directive(fault)) => fault,
                Err(Trouble::File(fault)) => {
                    self.files.pop();
                    self.blocks.truncate(base);
                    fault
                }
            };
            self.levels.problem(|| refused(&fault.what, Some((&path, fault.line))));
        }
    }

    /// One token of the file on top.
    fn step(&mut self) -> Result<(), Trouble> {
        let (Some(file), Some(&block)) = (self.files.last_mut(), self.blocks.last()) else { return Ok(()) };
        let base = file.base;
        let token = file.lexer.next().map_err(Trouble::File)?;
        let at = At { file: Rc::clone(&file.path), first: file.lexer.first_line, end: file.lexer.line };
        match token {
            Token::Simple(words) if words[0] == "include" => self.include(&words, &at)?,
            Token::Simple(words) => {
                self.levels.opens(&words, &at, &self.blocks);
                self.levels.directive(block, &words, &at)?;
            }
            Token::Open(words) if words[0].ends_with("_by_lua_block") && block != Block::Data => {
                self.levels.lua(block, &words[0]);
                file.lexer.skip_lua().map_err(Trouble::File)?;
            }
            Token::Open(words) => {
                if self.blocks.len() >= MOST_DEPTH {
                    return Err(Trouble::File(at.fault("too many blocks in each other")));
                }
                let entered = self.levels.block(block, &words, &at);
                self.blocks.push(*entered.as_ref().unwrap_or(&Block::Other));
                entered?;
            }
            Token::Close if self.blocks.len() > base => {
                self.blocks.pop();
            }
            Token::Close => return Err(Trouble::File(at.fault("unexpected \"}\""))),
            Token::End if self.blocks.len() > base => {
                return Err(Trouble::File(at.fault("unexpected end of file, expecting \"}\"")));
            }
            Token::End => {
                self.files.pop();
            }
        }
        Ok(())
    }

    fn include(&mut self, words: &[String], at: &At) -> Result<(), Fault> {
        let [_, name] = words else {
            return Err(at.fault("invalid number of arguments in \"include\" directive"));
        };
        let path = self.folder.join(name);
        // `geo` takes the name as it is.
        if !is_pattern(&path.to_string_lossy()) || self.blocks.last() == Some(&Block::Geo) {
            self.open(&path, Some(at));
            return Ok(());
        }
        let pattern = path.to_string_lossy();
        match self.globber.find(&pattern) {
            Ok(paths) => {
                if let Some(file) = self.files.last_mut() {
                    file.pending = Pending { paths, next: 0 };
                }
            }
            Err(error @ GlobError::Unlisted(..)) => {
                self.unread(&error.to_string(), Some(at), "let certhook's user list it");
            }
            Err(error @ (GlobError::TooMany | GlobError::TooLong)) => {
                let what = format!("the pattern {}: {error}", printable(&pattern, 500));
                self.unread(&what, Some(at), TOO_MUCH);
            }
        }
        Ok(())
    }

    /// Puts a file on the stack.
    fn open(&mut self, path: &Path, from: Option<&At>) {
        if self.known.insert(path.to_owned()) {
            self.levels.found.files.push(path.to_owned());
        }
        let start = At { file: path.into(), first: 0, end: 0 };
        self.levels.opened.add(path, "include", from.unwrap_or(&start), &self.blocks);
        let endless = if self.files.iter().any(|open| *open.path == *path) {
            Some("includes itself")
        } else if self.files.len() >= MOST_DEPTH {
            Some("is included too deep")
        } else {
            None
        };
        if let Some(endless) = endless {
            let what = format!("{} {endless}", shown(path));
            return self.levels.problem(|| refused(&what, from.map(|at| (&*at.file, at.end))));
        }
        let is_data = matches!(self.blocks.last(), Some(Block::Data | Block::Geo));
        let bytes = match self.contents.get(path) {
            Some(bytes) => Rc::clone(bytes),
            None => {
                self.globber.budget.begin();
                match bytes_of(path) {
                    Ok(bytes) => Rc::clone(self.contents.entry(path.to_owned()).or_insert(bytes)),
                    Err(Unread::Unable(why)) if is_data => return self.data_unread(path, from, &why),
                    Err(why) => return self.not_opened(path, from, why),
                }
            }
        };
        let left = self.left.checked_sub(bytes.len().max(LEAST_COUNTED));
        if is_data && left.is_none() {
            return self.data_unread(path, from, "is more than can be read (128 MB in all)");
        }
        let Some(left) = left else {
            self.files.clear();
            self.blocks.truncate(1);
            return self.unread("it includes more than can be read (128 MB)", from, TOO_MUCH);
        };
        self.left = left;
        self.push(path, bytes);
    }

    /// Notes a file of `geo`, `map` and the like that is not read: its lines are values, and no certificate is lost.
    fn data_unread(&mut self, path: &Path, from: Option<&At>, why: &str) {
        let Some(at) = from else { return };
        let what = format!("include {}", shown(path));
        let why = format!("it {why}; its lines are data and name no certificates");
        let left_out = LeftOut { place: at.place(), what, why };
        if !self.levels.found.left_out.contains(&left_out) {
            self.levels.found.left_out.push(left_out);
        }
    }

    /// Its time counts for the pattern that found it: bytes are counted of files that are read alone.
    fn not_opened(&mut self, path: &Path, from: Option<&At>, why: Unread) {
        match why {
            Unread::Refused(why) => {
                let what = format!("{} {why}", shown(path));
                self.levels.problem(|| refused(&what, from.map(|at| (&*at.file, at.end))));
            }
            Unread::Unable(why) => {
                self.unread(&format!("{} {why}", shown(path)), from, "let certhook's user read it");
            }
        }
        if self.globber.budget.charge().is_err()
            && let Some(file) = self.files.last_mut()
        {
            file.pending = Pending::default();
        }
    }

    fn push(&mut self, path: &Path, bytes: Rc<[u8]>) {
        let base = self.blocks.len();
        self.files.push(Open {
            path: path.into(),
            lexer: Lexer::new(bytes),
            base,
            pending: Pending::default(),
        });
    }

    fn unread(&mut self, what: &str, from: Option<&At>, remedy: &str) {
        let place = from.map_or(String::new(), |at| whence(&at.file, at.end));
        let message = format!("nginx's configuration cannot be read whole: {}{place}", printable(what, 900));
        self.levels.problem(|| Problem::new("nginx_unread", message, remedy));
    }
}

/// What nginx would refuse too, with the line that it would name.
pub(super) fn refused(what: &str, from: Option<(&Path, usize)>) -> Problem {
    let place = from.map_or(String::new(), |(file, line)| whence(file, line));
    let message = format!("nginx would refuse its configuration: {}{place}", printable(what, 900));
    Problem::new("nginx_config", message, "mend it; `nginx -t` tells more")
}

fn whence(file: &Path, line: usize) -> String {
    match file.to_str() {
        Some("-g") => " in its command line (-g)".to_owned(),
        _ => format!(" in {}:{line}", shown(file)),
    }
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string(), 500)
}

enum Unread {
    /// nginx would trip over it too.
    Refused(String),
    /// certhook's user may not, or the file is too large.
    Unable(String),
}

fn bytes_of(path: &Path) -> Result<Rc<[u8]>, Unread> {
    let unable = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Unread::Refused("is not there".to_owned()),
        ErrorKind::PermissionDenied => Unread::Unable("may not be read by this user".to_owned()),
        ErrorKind::InvalidInput => Unread::Refused("is no path".to_owned()),
        _ => Unread::Unable(format!("cannot be read: {error}")),
    };
    let file = platform::open_to_read(path).map_err(unable)?;
    let metadata = file.metadata().map_err(unable)?;
    if !metadata.is_file() {
        // A link to it is how some switch a file off.
        let nothing = path.canonicalize().is_ok_and(|path| path == Path::new("/dev/null"));
        return if nothing {
            Ok([].into())
        } else {
            Err(Unread::Refused("is not a regular file".to_owned()))
        };
    }
    let mut bytes = Vec::new();
    if metadata.len() > MOST_FILE {
        return Err(too_large());
    }
    file.take(MOST_FILE + 1).read_to_end(&mut bytes).map_err(unable)?;
    if bytes.len() as u64 > MOST_FILE {
        return Err(too_large());
    }
    Ok(bytes.into())
}

fn too_large() -> Unread {
    Unread::Unable(format!("is larger than {} MB", MOST_FILE >> 20))
}
