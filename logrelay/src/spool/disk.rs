//! What the spool asks of a file system, so that tests can put one in its place that loses, tears and refuses.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

/// A file system. All paths are below the spool's folder, or are that folder.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Creates the folder and its parents if they are not there, durably.
    ///
    /// # Errors
    /// As the file system says; so everywhere in this trait.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names and lengths of the files in a folder.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>>;
    /// Creates a file, to be read and written, which must not exist.
    ///
    /// # Errors
    /// As the file system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that exists; for writing too if asked.
    ///
    /// # Errors
    /// As the file system says.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    ///
    /// # Errors
    /// As the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// As the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Called at the named points; an error is taken for that of the operation that follows.
    ///
    /// # Errors
    /// What the test wants to happen.
    fn fault(&self, point: &'static str) -> io::Result<()>;
    /// Whether groups and cursors shall be written in halves, with a fault point in between.
    fn halves(&self) -> bool;
}

/// An open file. Reading and writing name their offset, so it may be shared between threads.
pub trait DiskFile: Send + Sync {
    /// Octets in it.
    ///
    /// # Errors
    /// As the file system says; so everywhere in this trait.
    fn length(&self) -> io::Result<u64>;
    /// Reads until `buffer` is full or the file ends; the octets read.
    ///
    /// # Errors
    /// As the file system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of it.
    ///
    /// # Errors
    /// As the file system says; a part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file.
    ///
    /// # Errors
    /// As the file system says.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Makes content and length durable (fdatasync).
    ///
    /// # Errors
    /// As the file system says; what was not durable is then of unknown fate, and asking again proves nothing.
    fn sync(&self) -> io::Result<()>;
    /// Locks the file against other processes until it is closed.
    ///
    /// # Errors
    /// `WouldBlock` if another process has it.
    fn lock(&self) -> io::Result<()>;
    /// Gives the lock back, even if a child that is just being started still has the file open.
    fn unlock(&self);
}

/// A function that is called at named points of the spool; see the list in the module's text.
pub type Fault = fn(&'static str) -> io::Result<()>;

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk {
    /// Called at every named point, if there is one.
    pub fault: Option<Fault>,
}

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let made: Vec<&Path> =
            dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        for path in made {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(meta) => names.push((entry.file_name().to_string_lossy().into_owned(), meta.len())),
                // The writer of another process removed it meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(write).open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn fault(&self, point: &'static str) -> io::Result<()> {
        self.fault.map_or(Ok(()), |fault| fault(point))
    }

    fn halves(&self) -> bool {
        self.fault.is_some()
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|meta| meta.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn lock(&self) -> io::Result<()> {
        self.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })
    }

    fn unlock(&self) {
        // If it fails, closing does it.
        let _ = File::unlock(self);
    }
}

/// Reads `length` octets at `offset`, or fewer if the file ends before.
pub(super) fn read(file: &dyn DiskFile, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; length];
    let read = file.read_at(&mut buffer, offset)?;
    buffer.truncate(read);
    Ok(buffer)
}

/// Whether an error says that octets, or what the file system knows of them, are lost; not that we may not read them.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    let damage = [libc::EIO, libc::ENODATA, libc::EILSEQ, libc::EUCLEAN, libc::EBADMSG];
    error.raw_os_error().is_some_and(|code| damage.contains(&code))
}

/// Whether an error says that the disk, or what we may use of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
