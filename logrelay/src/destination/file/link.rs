//! The symbolic link to the current file.
//!
//! It is made under a temporary name and moved over the former one, so that there is no moment without it. Something that
//! is no symbolic link is never replaced, nor removed where the temporary name is: NAME.tmp.

use std::{os::fd::OwnedFd, path::Path};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, readlinkat, renameat},
    sys::stat::{FileStat, SFlag, fstatat},
    unistd::{UnlinkatFlags, symlinkat, unlinkat},
};

use super::{
    beneath::{self, Fault},
    options::Rights,
};

/// Lets `link`, below `base`, point to `target`. A link that is there already is moved only if the target is `new`: lines
/// that come late to an older file do not turn it back.
pub(super) fn point(base: &Path, link: &[u8], target: &[u8], new: bool, rights: &Rights) -> Result<(), Fault> {
    let (folder, name) = beneath::parent(base, link, Some(rights))?;
    swap(&folder, name, target, new).map_err(|errno| Fault::new("point the symbolic link", link, errno))
}

fn swap(folder: &OwnedFd, name: &[u8], target: &[u8], new: bool) -> Result<(), Errno> {
    match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(known) if !is_link(&known) => return Err(Errno::EEXIST),
        Ok(_) if !new || readlinkat(folder, name)?.as_encoded_bytes() == target => return Ok(()),
        Ok(_) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let temporary = [name, b".tmp"].concat();
    match fstatat(folder, &temporary[..], AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(known) if is_link(&known) => unlinkat(folder, &temporary[..], UnlinkatFlags::NoRemoveDir)?,
        Ok(_) => return Err(Errno::EEXIST),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    symlinkat(target, folder, &temporary[..])?;
    renameat(folder, &temporary[..], folder, name)
}

fn is_link(known: &FileStat) -> bool {
    known.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits()
}
