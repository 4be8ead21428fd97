//! Files and folders below a base, reached without a symbolic link that a message could lead to.
//!
//! Every folder below the base is opened from the one above it with O_NOFOLLOW, so the way works on any kernel and under
//! system-call filters that do not know openat2. The base itself is the operator's and may be a link.

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat},
    unistd::{fchown, fsync},
};

use super::options::Rights;

/// Octets of a file name at most (NAME_MAX of Linux's file systems).
const NAME_MAX: usize = 255;
/// Open attempts while somebody else creates and removes the same name.
const ATTEMPTS: usize = 3;

/// Why a file cannot be written.
#[derive(Debug)]
pub(super) struct Fault {
    /// What does not work, and what to do about it.
    pub(super) text: String,
    /// Whether the path itself is at fault, which messages may have made: its lines must not hold up those of others.
    pub(super) bad_path: bool,
    /// Whether somebody must do something before it can work.
    pub(super) lasting: bool,
}

impl Fault {
    /// What reaching or opening `path` below the base ended with: such an error may mean that the path is none, or that
    /// what another message has made, or somebody with it, is in its way.
    pub(super) fn of_path(doing: &str, path: &[u8], errno: Errno) -> Self {
        let is_none = matches!(errno, Errno::ENAMETOOLONG | Errno::EILSEQ | Errno::EINVAL);
        let bad_path = is_none || matches!(errno, Errno::ELOOP | Errno::EISDIR | Errno::ENOTDIR | Errno::ENXIO);
        Self { bad_path, ..Self::new(doing, path, errno) }
    }

    /// What `doing` to `path` ended with.
    pub(super) fn new(doing: &str, path: &[u8], errno: Errno) -> Self {
        let remedy = match errno {
            Errno::EACCES | Errno::EPERM => "; let this user write there, or change the path",
            Errno::ENOENT => "; make the folder, or set create_dirs = true",
            Errno::EISDIR => ", it is a folder; move it away, or change the path",
            Errno::ENXIO => ", it is a FIFO that nobody reads, or a socket; remove it, or change the path",
            Errno::ELOOP => {
                ", it is a symbolic link, and those are not followed below the folder before the first macro; remove it"
            }
            Errno::ENOTDIR => {
                ", a part of it is a file or a symbolic link where a folder should be; remove it, or change the path"
            }
            Errno::ENOSPC | Errno::EDQUOT => "; make room, or rotate and keep fewer files (rotate_bytes, rotate_keep)",
            Errno::EFBIG => "; set rotate_bytes to less than the system allows for a file",
            Errno::EROFS => "; mount the file system writable",
            Errno::EMFILE | Errno::ENFILE => "; lower open_files, or raise LimitNOFILE",
            _ => "",
        };
        let lasting = matches!(
            errno,
            Errno::EACCES
                | Errno::EPERM
                | Errno::EISDIR
                | Errno::ENXIO
                | Errno::ELOOP
                | Errno::ENOTDIR
                | Errno::EROFS
                | Errno::EFBIG
        );
        let path = String::from_utf8_lossy(path);
        Self { text: format!("cannot {doing} {path}: {}{remedy}", errno.desc()), bad_path: false, lasting }
    }

    /// As [`new`](Self::new), of an error of the standard library.
    pub(super) fn io(doing: &str, path: &[u8], error: &io::Error) -> Self {
        Self::new(doing, path, Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }
}

/// The folder that `path` is in, and its name there. With `rights`, folders that are missing are made.
///
/// # Errors
/// The path does not begin with `base` or has a part that is none; or the system's reason.
pub(super) fn parent<'p>(base: &Path, path: &'p [u8], rights: Option<&Rights>) -> Result<(OwnedFd, &'p [u8]), Fault> {
    let fault = |errno| Fault::of_path("reach", path, errno);
    let above = base.as_os_str().as_encoded_bytes();
    let above = if above == b"/" { b"" } else { above };
    let rest =
        path.strip_prefix(above).filter(|rest| rest.first() == Some(&b'/')).ok_or_else(|| fault(Errno::EINVAL))?;
    let mut parts = rest.split(|octet| *octet == b'/').filter(|part| !part.is_empty()).peekable();
    // The base is the operator's: what is wrong with it is wrong for all.
    let mut folder = base_folder(base, rights).map_err(|errno| Fault::new("reach", above, errno))?;
    while let Some(part) = parts.next() {
        if part == b"." || part == b".." || part.contains(&0) {
            return Err(fault(Errno::EINVAL));
        }
        if part.len() > NAME_MAX {
            return Err(fault(Errno::ENAMETOOLONG));
        }
        if parts.peek().is_none() {
            return Ok((folder, part));
        }
        folder = below(&folder, part, OFlag::O_NOFOLLOW, rights).map_err(fault)?;
    }
    Err(fault(Errno::EINVAL))
}

const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Opens the base; with `rights`, makes it and what is above it.
fn base_folder(base: &Path, rights: Option<&Rights>) -> Result<OwnedFd, Errno> {
    match (open(base, FOLDER, Mode::empty()), base.parent(), base.file_name()) {
        (Err(Errno::ENOENT), Some(above), Some(name)) if rights.is_some_and(|rights| rights.create_dirs) => {
            below(&base_folder(above, rights)?, name.as_encoded_bytes(), OFlag::empty(), rights)
        }
        (opened, ..) => opened,
    }
}

/// Opens the folder `name` in `folder`; with `rights`, makes it when it is missing.
fn below(folder: &OwnedFd, name: &[u8], flags: OFlag, rights: Option<&Rights>) -> Result<OwnedFd, Errno> {
    let rights = match (openat(folder, name, FOLDER | flags, Mode::empty()), rights) {
        (Err(Errno::ENOENT), Some(rights)) if rights.create_dirs => rights,
        (opened, _) => return opened,
    };
    match mkdirat(folder, name, Mode::from_bits_truncate(rights.dir_mode)) {
        Ok(()) => {
            // The mode again, without what the process's umask took from it.
            let made = openat(folder, name, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
            let _ = fchmod(&made, Mode::from_bits_truncate(rights.dir_mode));
            own(&made, rights);
            if rights.fsync {
                sync_folder(folder)?;
            }
        }
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    openat(folder, name, FOLDER | flags, Mode::empty())
}

/// Gives a new file or folder its owner; false if this user may not.
fn own(made: &OwnedFd, rights: &Rights) -> bool {
    (rights.owner.is_none() && rights.group.is_none()) || fchown(made, rights.owner, rights.group).is_ok()
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &OwnedFd) -> Result<(), Errno> {
    fsync(openat(folder, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// A file that was opened for appending.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    /// Whether it was not there before.
    pub(super) created: bool,
    /// Whether it has the owner and mode that were asked for.
    pub(super) owned: bool,
}

/// Opens a regular file for appending; makes it when it is missing. Anything else is refused, and a FIFO without a reader
/// does not make us wait.
pub(super) fn append(folder: &OwnedFd, name: &[u8], follow: bool, rights: &Rights) -> Result<Opened, Errno> {
    let mut flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    if !follow {
        flags |= OFlag::O_NOFOLLOW;
    }
    for _ in 0..ATTEMPTS {
        match openat(folder, name, flags, Mode::empty()) {
            Ok(fd) => {
                let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode & SFlag::S_IFMT.bits());
                if kind != SFlag::S_IFREG {
                    return Err(Errno::ENXIO);
                }
                return Ok(Opened { file: fd.into(), created: false, owned: true });
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        let mode = Mode::from_bits_truncate(rights.mode);
        match openat(folder, name, flags | OFlag::O_CREAT | OFlag::O_EXCL, mode) {
            Ok(fd) => {
                let owned = fchmod(&fd, mode).is_ok() & own(&fd, rights);
                if rights.fsync {
                    sync_folder(folder)?;
                }
                return Ok(Opened { file: fd.into(), created: true, owned });
            }
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ELOOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reaching_and_opening_tell_of_a_bad_path() {
        assert!(Fault::of_path("open", b"/x", Errno::EINVAL).bad_path);
        assert!(!Fault::of_path("open", b"/x", Errno::EIO).bad_path);
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        assert!(!Fault::io("write", b"/x", &error).bad_path && !Fault::io("make durable", b"/x", &error).bad_path);
        assert!(parent(Path::new("/tmp"), b"/tmp/../b", None).is_err_and(|fault| fault.bad_path));
    }
}
