//! From root to as little as possible: after the ports are bound and before any thread of ours exists.
//!
//! Started as root, the node hands its data folder and the folder of its socket to the user of
//! `[node] user`, becomes that user, and keeps CAP_NET_BIND_SERVICE alone. Without such a user it
//! stays uid 0 and drops every other capability. Either way nothing that it starts or reads can
//! raise its rights again (no_new_privs). Capabilities belong to threads, so this runs first; only the
//! allocator's thread is there already. Becoming a user takes everything from it; where there is no such
//! user it stays root with its capabilities.

use std::{
    collections::HashSet,
    io,
    os::unix::fs::{MetadataExt, chown},
    path::Path,
};

use caps::{CapSet, Capability};
use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
    },
    unistd::{self, Uid, User},
};

use crate::exit::{Exit, Failure};

/// What is left of the rights that the process was started with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// The process was not root.
    Unchanged,
    /// It became this user.
    Became(String),
    /// It is still uid 0, because this user does not exist.
    StillRoot(String),
}

/// Drops what the node does not need. `folders` exist and become the user's.
///
/// # Errors
/// A sentence when the system refuses; the caller must not go on.
pub(crate) fn drop_privileges(user: &str, folders: &[&Path]) -> Result<Rights, Failure> {
    let refused = |what: String| Failure::new(Exit::NoPermission, what);
    if !Uid::effective().is_root() {
        prctl::set_no_new_privs().map_err(|e| refused(format!("no_new_privs cannot be set: {e}")))?;
        return Ok(Rights::Unchanged);
    }
    let found = User::from_name(user).map_err(|e| refused(format!("user {user} cannot be looked up: {e}")))?;
    let keep: HashSet<_> = HashSet::from([Capability::CAP_NET_BIND_SERVICE]);
    let bounds = caps::read(None, CapSet::Bounding).unwrap_or_default();
    for capability in bounds.difference(&keep) {
        // Without CAP_SETPCAP, as in some containers, the bounds stay; no_new_privs makes them pointless.
        let _ = caps::drop(None, CapSet::Bounding, *capability);
    }
    let rights = match found {
        Some(user) if !user.uid.is_root() => {
            for folder in folders {
                hand_over(folder, &user)
                    .map_err(|e| refused(format!("{} cannot be given to {}: {e}", folder.display(), user.name)))?;
            }
            become_user(&user).map_err(|e| refused(format!("root cannot become {}: {e}", user.name)))?;
            Rights::Became(user.name)
        }
        _ => Rights::StillRoot(user.to_owned()),
    };
    let kept = possible(&keep);
    for (set, wanted) in
        [(CapSet::Inheritable, &HashSet::new()), (CapSet::Effective, &kept), (CapSet::Permitted, &kept)]
    {
        caps::set(None, set, wanted).map_err(|e| refused(format!("capabilities cannot be dropped: {e}")))?;
    }
    prctl::set_no_new_privs().map_err(|e| refused(format!("no_new_privs cannot be set: {e}")))?;
    Ok(rights)
}

/// Raises the limit of open files to what the process may have: every connection and every forwarded
/// question takes one. When the system refuses, the limit stays as it is, which the log says.
pub(crate) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match soft < hard {
        true => setrlimit(Resource::RLIMIT_NOFILE, hard, hard),
        false => Ok(()),
    });
    if let Err(e) = raised {
        tracing::warn!("the limit of open files cannot be raised: {e}");
    }
}

/// What of `keep` the process has: in a container it may be less.
fn possible(keep: &HashSet<Capability>) -> HashSet<Capability> {
    caps::read(None, CapSet::Permitted).map(|have| have.intersection(keep).copied().collect()).unwrap_or_default()
}

fn become_user(user: &User) -> nix::Result<()> {
    prctl::set_keepcaps(true)?;
    unistd::setgroups(&[user.gid])?;
    unistd::setgid(user.gid)?;
    unistd::setuid(user.uid)?;
    prctl::set_keepcaps(false)
}

/// Gives a folder that is root's, with the plain files in it, to the user. A folder that is
/// already the user's is left alone, for its files could be links to somebody else's.
fn hand_over(folder: &Path, user: &User) -> io::Result<()> {
    let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    if std::fs::symlink_metadata(folder)?.uid() != 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_file() && meta.nlink() == 1 && meta.uid() == 0 {
            chown(entry.path(), uid, gid)?;
        }
    }
    chown(folder, uid, gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_limited_by_the_hard_limit_only() {
        raise_open_files();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(soft, hard);
    }

    #[test]
    fn only_what_is_roots_is_handed_over() {
        let me = User::from_uid(Uid::current()).unwrap().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("store.db"), "x").unwrap();
        hand_over(folder.path(), &me).unwrap();
        let owner = std::fs::metadata(folder.path().join("store.db")).unwrap().uid();
        assert_eq!(owner, me.uid.as_raw());
        assert!(hand_over(&folder.path().join("nowhere"), &me).is_err());
    }
}
