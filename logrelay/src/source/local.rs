//! Paths of local sockets and pipes.
//!
//! A socket that is there already is replaced only when nobody answers on it: then it is what a crash has left. It is
//! removed at the end, if it is still ours. Everybody on this machine may write to it, as to syslog's own.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use nix::sys::stat::Mode;

/// A socket's path, removed when dropped.
#[derive(Debug)]
pub(super) struct OwnPath {
    path: PathBuf,
    identity: Identity,
}

/// Device, inode, and time of the last change: the number of an inode is soon used again.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A datagram socket at `path`.
pub(super) fn datagram(path: &Path) -> Result<(UnixDatagram, OwnPath), String> {
    make_way(path, |path| UnixDatagram::unbound()?.connect(path))?;
    let socket = UnixDatagram::bind(path).map_err(|error| cannot(path, &error))?;
    Ok((socket, open_to_all(path)?))
}

/// A stream socket at `path`.
pub(super) fn stream(path: &Path) -> Result<(UnixListener, OwnPath), String> {
    make_way(path, |path| UnixStream::connect(path).map(drop))?;
    let socket = UnixListener::bind(path).map_err(|error| cannot(path, &error))?;
    socket.set_nonblocking(true).map_err(|error| cannot(path, &error))?;
    Ok((socket, open_to_all(path)?))
}

/// The pipe at `path`, made if it is missing. Open for writing too, so that it does not end with its last writer.
pub(super) fn pipe(path: &Path) -> Result<File, String> {
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(error) => return Err(cannot(path, &error.into())),
    }
    let found = fs::metadata(path).map_err(|error| cannot(path, &error))?;
    if !found.file_type().is_fifo() {
        return Err(format!(
            "{} is to be a pipe, but it is something else; remove it, or name another path",
            path.display()
        ));
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    options.open(path).map_err(|error| cannot(path, &error))
}

fn make_way(path: &Path, ask: impl Fn(&Path) -> io::Result<()>) -> Result<(), String> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot(path, &error)),
    };
    let shown = path.display();
    if !found.file_type().is_socket() {
        return Err(format!("{shown} is to be a socket, but it is something else; remove it, or name another path"));
    }
    match ask(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| cannot(path, &error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A socket of the other kind has somebody behind it, and so has one that we may not ask.
        _ => Err(format!(
            "somebody listens on {shown} already; stop the other server (rsyslog, journald), or name another path"
        )),
    }
}

fn open_to_all(path: &Path) -> Result<OwnPath, String> {
    let open = fs::set_permissions(path, Permissions::from_mode(0o666)).and_then(|()| identity(path));
    open.map(|identity| OwnPath { path: path.into(), identity }).map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "make its folder first",
        io::ErrorKind::PermissionDenied => "this user may not write to its folder",
        io::ErrorKind::AddrInUse => "is another server running?",
        _ => "name another path",
    };
    format!("cannot listen on {}: {error}; {remedy}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_replaced_only_when_nobody_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (socket, own) = datagram(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert!(datagram(&path).unwrap_err().contains("somebody listens on"));
        assert!(stream(&path).unwrap_err().contains("somebody listens on"), "of the other kind too");
        drop(socket);
        let (again, own_again) = datagram(&path).unwrap();
        drop(own);
        assert!(path.exists(), "who was replaced does not remove what replaced it");
        drop((again, own_again));
        assert!(!path.exists());

        let (socket, own) = stream(&path).unwrap();
        assert!(stream(&path).unwrap_err().contains("somebody listens on"));
        std::mem::forget(own);
        drop(socket);
        let (_socket, _own) = stream(&path).unwrap();
    }

    #[test]
    fn what_is_no_socket_or_pipe_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "precious").unwrap();
        for error in [datagram(&file).unwrap_err(), stream(&file).unwrap_err(), pipe(&file).unwrap_err()] {
            assert!(error.contains("file is to be a") && error.contains("name another path"), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(datagram(&link).is_err());
        assert!(stream(&dir.path().join("none/log")).unwrap_err().contains("make its folder first"));
        let made = dir.path().join("pipe");
        drop(pipe(&made).unwrap());
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o600);
        pipe(&made).unwrap();
    }
}
