//! How people write, with the commands they have.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use super::Layout;
use super::disk::{PRIVATE, PUBLIC, beside, cut, hours_ago, next_free, point, put, remove, replace};
use crate::ca::Pair;

pub(super) fn copy_keeping_times(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    fs::create_dir_all(&layout.folder)?;
    copy(&layout.key, &pair.key_pem, PRIVATE, hours_ago())?;
    pause();
    copy(&layout.certificate, &pair.fullchain_pem, PUBLIC, hours_ago())
}

/// The write time is set through the descriptor that wrote, so there is no event of its own for the content.
fn copy(path: &Path, data: &str, mode: u32, time: SystemTime) -> io::Result<()> {
    let mut file = cut(path, mode)?;
    file.write_all(data.as_bytes())?;
    file.set_modified(time)
}

pub(super) fn rsync(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    fs::create_dir_all(&layout.folder)?;
    replace(&layout.certificate, &pair.fullchain_pem, PUBLIC, Some(hours_ago()))?;
    pause();
    replace(&layout.key, &pair.key_pem, PRIVATE, Some(hours_ago()))
}

pub(super) fn tar(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    fs::create_dir_all(&layout.folder)?;
    remove(&layout.certificate)?;
    pause();
    copy(&layout.certificate, &pair.fullchain_pem, PUBLIC, hours_ago())?;
    pause();
    remove(&layout.key)?;
    pause();
    copy(&layout.key, &pair.key_pem, PRIVATE, hours_ago())
}

pub(super) fn slow_copy(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    fs::create_dir_all(&layout.folder)?;
    trickle(cut(&layout.certificate, PUBLIC)?, &pair.fullchain_pem, pause)?;
    pause();
    trickle(cut(&layout.key, PRIVATE)?, &pair.key_pem, pause)
}

fn trickle(mut file: File, data: &str, pause: &mut dyn FnMut()) -> io::Result<()> {
    let mut pieces = data.as_bytes().chunks(1024).peekable();
    while let Some(piece) = pieces.next() {
        file.write_all(piece)?;
        if pieces.peek().is_some() {
            pause();
        }
    }
    Ok(())
}

pub(super) fn cut_after_leaf(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    fs::create_dir_all(&layout.folder)?;
    put(&layout.key, &pair.key_pem, PRIVATE)?;
    pause();
    let mut file = cut(&layout.certificate, PUBLIC)?;
    file.write_all(pair.leaf_pem.as_bytes())?;
    pause();
    file.write_all(pair.chain_pem.as_bytes())
}

pub(super) fn replaced_folder(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    let (new, old) = (beside(&layout.folder, "new"), beside(&layout.folder, "old"));
    fs::create_dir_all(&new)?;
    both(&new, layout, pair)?;
    if layout.folder.exists() {
        pause();
        fs::rename(&layout.folder, &old)?;
        pause();
    }
    fs::rename(new, &layout.folder)?;
    if old.exists() { fs::remove_dir_all(old) } else { Ok(()) }
}

pub(super) fn moved_link(layout: &Layout, pair: &Pair, pause: &mut dyn FnMut()) -> io::Result<()> {
    let release = |number| layout.root.join(format!("release-{number}")).join(layout.name());
    let new = release(next_free(release));
    fs::create_dir_all(&new)?;
    both(&new, layout, pair)?;
    pause();
    point(&layout.folder, new)
}

/// Writes both files into another folder, under the names they have in the layout.
fn both(folder: &Path, layout: &Layout, pair: &Pair) -> io::Result<()> {
    let there = |path: &Path| folder.join(path.file_name().unwrap_or_default());
    put(&there(&layout.key), &pair.key_pem, PRIVATE)?;
    put(&there(&layout.certificate), &pair.fullchain_pem, PUBLIC)
}
