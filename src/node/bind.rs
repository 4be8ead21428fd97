//! Everything that the node listens on, taken before privileges are dropped and before anything runs.

use std::{
    io,
    net::TcpListener,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use crate::{
    config::Config,
    exit::{Exit, Failure},
    logins, logs, names,
};

/// Everybody on the machine may ask; who may write is decided by the peer's credentials.
const SOCKET_MODE: u32 = 0o666;

/// Sockets that are bound and not served yet.
pub(crate) struct Bound {
    /// The DNS part, when `[dns]` is there.
    pub names: Option<names::Bound>,
    /// The directory part, when `[directory]` is there.
    pub logins: Option<logins::Bound>,
    /// The log relay, when `[logrelay]` is there.
    pub logs: Option<logs::Bound>,
    /// The HTTP API, when `[admin] listen` is there.
    pub http: Option<TcpListener>,
    /// The control socket.
    pub control: UnixListener,
}

/// Binds everything that the configuration names.
///
/// # Errors
/// Which address or path cannot be had, and why.
pub(crate) fn bind(config: &Config) -> Result<Bound, Failure> {
    let names = config.dns.as_ref().map(names::bind).transpose()?;
    let logins = config.directory.as_ref().map(logins::bind).transpose()?;
    let logs = config.logrelay.as_ref().map(logs::bind).transpose()?;
    let http = config.admin.listen.map(names::listen).transpose()?;
    let path = &config.admin.socket;
    let control = control(path).map_err(|e| refused(&path.display().to_string(), &e))?;
    Ok(Bound { names, logins, logs, http, control })
}

fn refused(what: &str, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::NoPermission,
        _ => Exit::Os,
    };
    Failure::new(exit, format!("cannot listen on {what}: {error}"))
}

/// Binds the control socket. A socket file that nobody answers on is left over from a crash and replaced.
fn control(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else than a socket"));
        }
        match UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "in use by another gatehouse")),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(e) => return Err(e),
        }
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_left_over_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.sock");
        let live = control(&path).unwrap();
        assert_eq!(control(&path).unwrap_err().to_string(), "in use by another gatehouse");
        drop(live);
        assert!(path.exists());
        control(&path).unwrap();
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = names::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let failure = names::listen(address).unwrap_err();
        assert_eq!(failure.exit, Exit::Os);
        assert!(failure.sentence.contains(&address.to_string()) && failure.sentence.contains("in use"), "{failure}");
    }

    #[test]
    fn a_file_in_the_way_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(control(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
