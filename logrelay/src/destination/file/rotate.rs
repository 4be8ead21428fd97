//! Rotation: NAME becomes NAME.1, NAME.1 becomes NAME.2, and the last of those that are kept is removed.
//! As with logrotate, what has a higher number stays when fewer are kept than before: it may be somebody else's.
//!
//! A rotated file may be compressed: NAME.1 stays until NAME.1.gz is whole and on disk, under a temporary name until
//! then. After a crash NAME.1 is still there, is moved on as it is, and is compressed as NAME.2 next time.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, SyncSender},
    },
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    sys::stat::{Mode, fchmod, fstat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat},
};

use super::{
    super::counters::{Counters, count},
    options::Compression,
};

/// Files that wait to be compressed; while there are so many no file is rotated.
const WAITING_MAX: usize = 64;
/// Octets that are compressed at a time.
const BLOCK: usize = 64 << 10;
/// What a rotated file may end in.
const ENDINGS: [&str; 3] = ["", ".gz", ".zst"];

/// Moves `name` and the rotated files before it on by one. Nothing is followed, all names are in `folder`.
pub(super) fn shift(folder: &OwnedFd, name: &[u8], keep: usize) -> Result<(), Errno> {
    if keep == 0 {
        return unlinkat(folder, name, UnlinkatFlags::NoRemoveDir);
    }
    for ending in ENDINGS {
        absent(unlinkat(folder, &numbered(name, keep, ending)[..], UnlinkatFlags::NoRemoveDir))?;
        for n in (1..keep).rev() {
            let (from, to) = (numbered(name, n, ending), numbered(name, n + 1, ending));
            absent(renameat(folder, &from[..], folder, &to[..]))?;
        }
    }
    renameat(folder, name, folder, &numbered(name, 1, "")[..])
}

/// What is not there needs no moving.
fn absent(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::ENOENT) { Ok(()) } else { result }
}

fn numbered(name: &[u8], n: usize, ending: &str) -> Vec<u8> {
    [name, format!(".{n}{ending}").as_bytes()].concat()
}

/// A rotated file that is to be compressed.
struct Job {
    folder: OwnedFd,
    name: Vec<u8>,
    path: Box<[u8]>,
    how: Compression,
}

/// Compresses rotated files, one after the other, on a thread of its own that begins with the first.
#[derive(Debug, Default)]
pub(super) struct Compressor {
    jobs: Option<(SyncSender<Job>, JoinHandle<()>)>,
    busy: Arc<Mutex<HashSet<Box<[u8]>>>>,
    stop: Arc<AtomicBool>,
}

impl Compressor {
    /// Whether a file with this path may be rotated: its last rotated file is compressed, and there is room for one more.
    pub(super) fn is_free(&self, path: &[u8]) -> bool {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.len() < WAITING_MAX && !busy.contains(path)
    }

    /// Compresses the file that was just rotated.
    pub(super) fn compress(
        &mut self,
        folder: OwnedFd,
        name: &[u8],
        path: &[u8],
        how: Compression,
        counters: &Arc<Counters>,
    ) {
        let job = Job { folder, name: name.into(), path: path.into(), how };
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(job.path.clone());
        if self.jobs.is_none() {
            self.jobs = self.start(counters.clone()).ok();
        }
        let sent = self.jobs.as_ref().map(|(jobs, _)| jobs.try_send(job));
        if !matches!(sent, Some(Ok(()))) {
            count(&counters.compress_failed);
            self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        }
    }

    fn start(&self, counters: Arc<Counters>) -> io::Result<(SyncSender<Job>, JoinHandle<()>)> {
        let (sender, jobs) = mpsc::sync_channel::<Job>(WAITING_MAX);
        let (busy, stop) = (self.busy.clone(), self.stop.clone());
        let thread = thread::Builder::new().name("compress".into()).spawn(move || {
            for job in jobs {
                for n in [2, 1] {
                    match squeeze(&job, n, &stop) {
                        Ok(true) => count(&counters.compressed),
                        Ok(false) => {}
                        Err(error) => {
                            count(&counters.compress_failed);
                            let path = String::from_utf8_lossy(&job.path);
                            tracing::warn!(%path, %error, "a rotated file could not be compressed and stays as it is");
                        }
                    }
                }
                busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&job.path);
            }
        })?;
        Ok((sender, thread))
    }

    /// Stops; a file that is being compressed stays as it was.
    pub(super) fn stop(&mut self) {
        if let Some((jobs, thread)) = self.jobs.take() {
            self.stop.store(true, Relaxed);
            drop(jobs);
            let _ = thread.join();
            self.stop.store(false, Relaxed);
        }
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Replaces the `n`th rotated file by a compressed one; false if there is none, or if we are to stop.
fn squeeze(job: &Job, n: usize, stop: &AtomicBool) -> io::Result<bool> {
    let from = numbered(&job.name, n, "");
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut plain = match openat(&job.folder, &from[..], flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(false),
        opened => File::from(opened?),
    };
    let (to, temporary) = (numbered(&job.name, n, job.how.suffix()), numbered(&job.name, n, ".tmp"));
    let none = |result: Result<(), Errno>| absent(result).map_err(io::Error::from);
    none(unlinkat(&job.folder, &temporary[..], UnlinkatFlags::NoRemoveDir))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let out = File::from(openat(&job.folder, &temporary[..], flags, Mode::from_bits_truncate(0o600))?);
    let result = pack(&mut plain, &out, job.how, stop).and_then(|whole| {
        if whole {
            let known = fstat(&plain)?;
            let _ = fchown(&out, Some(Uid::from_raw(known.st_uid)), Some(Gid::from_raw(known.st_gid)));
            fchmod(&out, Mode::from_bits_truncate(known.st_mode))?;
            out.sync_all()?;
            renameat(&job.folder, &temporary[..], &job.folder, &to[..])?;
            unlinkat(&job.folder, &from[..], UnlinkatFlags::NoRemoveDir)?;
        }
        Ok(whole)
    });
    if !matches!(result, Ok(true)) {
        let _ = unlinkat(&job.folder, &temporary[..], UnlinkatFlags::NoRemoveDir);
    }
    result
}

/// Copies `plain` to `out`, compressed; false if it was stopped on the way.
fn pack(plain: &mut File, out: &File, how: Compression, stop: &AtomicBool) -> io::Result<bool> {
    match how {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            Ok(copy(plain, &mut encoder, stop)? && encoder.finish().map(|_| true)?)
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            Ok(copy(plain, &mut encoder, stop)? && encoder.finish().map(|_| true)?)
        }
    }
}

fn copy(from: &mut File, to: &mut impl Write, stop: &AtomicBool) -> io::Result<bool> {
    let mut block = vec![0; BLOCK];
    loop {
        if stop.load(Relaxed) {
            return Ok(false);
        }
        match from.read(&mut block) {
            Ok(0) => return Ok(true),
            Ok(n) => to.write_all(&block[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
