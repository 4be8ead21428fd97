//! A disk in memory that keeps apart what was synced, loses the rest when the power is cut, and fails when told to.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use logrelay::spool::{Disk, DiskFile};
use nix::libc::{EIO, ENOSPC};

const PAGE: usize = 4096;

/// What survives of writes that were not synced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// Everything, for the time being: only the process was killed.
    Process,
    /// Nothing.
    All,
    /// The first of them, the last one torn.
    Prefix,
    /// Any of their pages, in no order.
    Pages,
}

/// An operation that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Sync,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Default)]
struct Node {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Change>,
}

type Names = BTreeMap<PathBuf, Arc<Mutex<Node>>>;

/// What was done.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) read: u64,
    pub(crate) reads: u64,
    pub(crate) syncs: u64,
}

#[derive(Default)]
struct World {
    names: Names,
    durable_names: Names,
    /// Handles of an earlier life are dead.
    life: u64,
    dead: bool,
    failures: Vec<(Kind, u64, i32)>,
    /// Files and pages of them that cannot be read.
    bad: Vec<(PathBuf, u64)>,
    /// Everything fails from the nth operation of a kind on.
    end: Option<(Kind, u64)>,
    done: Done,
    random: u64,
}

/// The disk.
#[derive(Clone, Default)]
pub(crate) struct Lossy(Arc<Mutex<World>>);

impl fmt::Debug for Lossy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lossy")
    }
}

struct Handle {
    world: Lossy,
    node: Arc<Mutex<Node>>,
    path: PathBuf,
    life: u64,
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, bytes) => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Change::Length(length) => content.resize(*length, 0),
    }
}

/// The pieces of a change that lie in different pages.
fn pages(change: Change) -> Vec<Change> {
    let Change::Write(offset, bytes) = change else { return vec![change] };
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + PAGE - (offset + at) % PAGE);
        pieces.push(Change::Write(offset + at, bytes[at..end].to_vec()));
        at = end;
    }
    pieces
}

impl World {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn alive(&self, life: u64) -> io::Result<()> {
        if self.dead || life != self.life { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn due(&mut self, kind: Kind) -> Option<io::Error> {
        if let Some((of, nth)) = &mut self.end
            && *of == kind
        {
            *nth = nth.saturating_sub(1);
            self.dead |= *nth == 0;
        }
        let mut error = None;
        for failure in self.failures.iter_mut().filter(|failure| failure.0 == kind) {
            failure.1 = failure.1.saturating_sub(1);
            if failure.1 == 0 {
                error = Some(failure.2);
            }
        }
        self.failures.retain(|failure| failure.1 > 0);
        error.map(io::Error::from_raw_os_error)
    }
}

impl Lossy {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// The `nth` operation of a kind from now on fails.
    pub(crate) fn fail(&self, kind: Kind, nth: u64, full: bool) {
        self.world().failures.push((kind, nth, if full { ENOSPC } else { EIO }));
    }

    /// From now on a page of a file cannot be read.
    pub(crate) fn spoil(&self, path: &Path, page: u64) {
        self.world().bad.push((path.to_owned(), page));
    }

    /// What was to fail does not.
    pub(crate) fn mend(&self) {
        self.world().failures.clear();
    }

    /// Everything fails from the `nth` operation of a kind on, until [`revive`](Self::revive).
    pub(crate) fn end(&self, kind: Kind, nth: u64) {
        self.world().end = Some((kind, nth));
    }

    /// Whether everything fails.
    pub(crate) fn is_dead(&self) -> bool {
        self.world().dead
    }

    /// From now on everything fails, until [`revive`](Self::revive).
    pub(crate) fn kill(&self) {
        self.world().dead = true;
    }

    /// Power is back; what was not synced is lost in part or whole.
    pub(crate) fn revive(&self, cut: Cut, seed: u64) {
        let mut world = self.world();
        world.random = seed;
        (world.dead, world.life) = (false, world.life + 1);
        world.failures.clear();
        world.end = None;
        if matches!(cut, Cut::Process) {
            return;
        }
        let mut names = world.durable_names.clone();
        let changed: Vec<PathBuf> = world.names.keys().chain(names.keys()).cloned().collect();
        for path in changed {
            let now = world.names.get(&path).cloned();
            if !matches!(cut, Cut::All) && world.random().is_multiple_of(2) {
                match now {
                    Some(node) => names.insert(path, node),
                    None => names.remove(&path),
                };
            }
        }
        for node in names.values() {
            let mut node = node.lock().unwrap();
            let mut changes = std::mem::take(&mut node.unsynced);
            match cut {
                Cut::Process | Cut::All => changes.clear(),
                Cut::Prefix => {
                    changes.truncate(world.random() as usize % (changes.len() + 1));
                    if let Some(Change::Write(_, bytes)) = changes.last_mut() {
                        bytes.truncate(world.random() as usize % (bytes.len() + 1));
                    }
                }
                Cut::Pages => {
                    changes = changes.into_iter().flat_map(pages).collect();
                    changes.retain(|_| world.random().is_multiple_of(2));
                }
            }
            for change in changes {
                apply(&mut node.durable, &change);
            }
            node.current = node.durable.clone();
        }
        world.names = names.clone();
        world.durable_names = names;
    }

    /// What was done since it was asked last.
    pub(crate) fn done(&self) -> Done {
        std::mem::take(&mut self.world().done)
    }

    /// Octets of a file.
    pub(crate) fn length(&self, path: &Path) -> u64 {
        self.world().names[path].lock().unwrap().current.len() as u64
    }

    fn handle(&self, node: Arc<Mutex<Node>>, path: &Path, life: u64) -> Arc<dyn DiskFile> {
        Arc::new(Handle { world: self.clone(), node, path: path.to_owned(), life })
    }
}

impl Disk for Lossy {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        let world = self.world();
        world.alive(world.life)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let world = self.world();
        world.alive(world.life)?;
        let inside = world.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(inside.map(|(path, node)| (name(path), node.lock().unwrap().current.len() as u64)).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.alive(world.life)?;
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = Arc::<Mutex<Node>>::default();
        world.names.insert(path.to_owned(), Arc::clone(&node));
        Ok(self.handle(node, path, world.life))
    }

    fn open(&self, path: &Path, _: bool) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world();
        world.alive(world.life)?;
        let node = world.names.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(node, path, world.life))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.alive(world.life)?;
        world.names.remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.alive(world.life)?;
        world.durable_names = world.names.clone();
        Ok(())
    }

    fn fault(&self, _: &'static str) -> io::Result<()> {
        Ok(())
    }

    fn halves(&self) -> bool {
        false
    }
}

impl DiskFile for Handle {
    fn length(&self) -> io::Result<u64> {
        self.world.world().alive(self.life)?;
        Ok(self.node.lock().unwrap().current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world.world();
        world.alive(self.life)?;
        let pages = offset / PAGE as u64..(offset + buffer.len() as u64).div_ceil(PAGE as u64);
        let is_bad = world.bad.iter().any(|(path, page)| *path == self.path && pages.contains(page));
        if let Some(error) = world.due(Kind::Read).or(is_bad.then(|| io::Error::from_raw_os_error(EIO))) {
            return Err(error);
        }
        let node = self.node.lock().unwrap();
        let rest = node.current.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        world.done.read += length as u64;
        world.done.reads += 1;
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.world.world();
        world.alive(self.life)?;
        let error = world.due(Kind::Write);
        world.alive(self.life)?;
        let written = if error.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
        let change = Change::Write(offset as usize, written.to_vec());
        let mut node = self.node.lock().unwrap();
        apply(&mut node.current, &change);
        node.unsynced.push(change);
        error.map_or(Ok(()), Err)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.world.world().alive(self.life)?;
        let change = Change::Length(length as usize);
        let mut node = self.node.lock().unwrap();
        apply(&mut node.current, &change);
        node.unsynced.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.world();
        world.alive(self.life)?;
        world.done.syncs += 1;
        let error = world.due(Kind::Sync);
        world.alive(self.life)?;
        let mut node = self.node.lock().unwrap();
        let changes = std::mem::take(&mut node.unsynced);
        if let Some(error) = error {
            // As on Linux: the pages are called clean, and are not written by a later sync either.
            return Err(error);
        }
        for change in changes {
            apply(&mut node.durable, &change);
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    fn unlock(&self) {}
}

#[test]
fn it_loses_what_it_should() {
    for cut in [Cut::All, Cut::Prefix, Cut::Pages] {
        for seed in 0..50 {
            let disk = Lossy::default();
            let (dir, path) = (Path::new("/d"), Path::new("/d/f"));
            let file = disk.create(path).unwrap();
            file.write_at(b"synced", 0).unwrap();
            file.sync().unwrap();
            disk.sync_dir(dir).unwrap();
            file.write_at(&[b'x'; 3 * PAGE], 6).unwrap();
            disk.create(Path::new("/d/unsynced")).unwrap();
            disk.revive(cut, seed);
            assert!(file.sync().is_err(), "a handle from before");
            let mut content = vec![0; 4 * PAGE];
            let length = disk.open(path, false).unwrap().read_at(&mut content, 0).unwrap();
            assert_eq!(&content[..6], b"synced");
            assert!(!matches!(cut, Cut::All) || length == 6 && disk.list(dir).unwrap().len() == 1);
        }
    }
}
