//! The last good answers on an instance's disk, for when no appliance answers.
//!
//! One file for each user and service, in a folder for each kind of question: `keys/` belongs to the user that sshd runs
//! the command as, `check/` to root. The name is a digest, so no user's name becomes a path; the file says for whom it is.
//! A file is replaced as a whole, by a rename, with mode 0600; one that belongs to somebody else is not believed. At most
//! [`FILES_MAX`] files: denials and what is over go first, then the oldest. A denial is kept in the place of an earlier
//! answer only, so that asking for many names puts nothing here. Nothing is synced to disk: a crash may lose the newest answers, never make one
//! up, because a torn file is no JSON.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{ANSWER_OCTETS_MAX, Answer, Asked, What};

/// Most files in one folder.
pub const FILES_MAX: usize = 2000;
/// Files that are left after the oldest were removed.
const FILES_AFTER: usize = 1800;
/// Most octets of a file.
const FILE_OCTETS_MAX: usize = 2 * ANSWER_OCTETS_MAX;
/// An answer that says the same is written again after this many seconds only.
const REFRESH_S: u64 = 300;
/// How far the clock may have gone back before an answer counts as one from the future.
const SKEW_S: u64 = 300;
/// How long the appliance that answered last is asked first, before the configured order is tried again.
const PREFERRED_FOR: Duration = Duration::from_secs(600);
/// The file that names it.
const PREFERRED: &str = "preferred";

/// How long it is remembered that nobody answered.
const SILENCE_FOR: Duration = Duration::from_secs(10);
/// The file that says so.
const SILENCE: &str = "silence";

/// Where the answers to one kind of question are kept.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    owner: u32,
    age_max_s: u64,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    user: String,
    service: String,
    answered_s: u64,
    answer: Answer,
}

/// What the disk knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recalled {
    /// An answer that may be used, and how many seconds ago it was given.
    Usable(Box<Answer>, u64),
    /// An answer that is too old, and by how many seconds.
    Expired(u64),
    /// Nothing.
    Nothing,
    /// Something that must not be used: why.
    Unusable(String),
}

impl Cache {
    /// The folder for `what` below `dir`; it is made when it can be. `owner` is the user that we are: files and folders of
    /// others, root excepted, are not believed. `age_max_s` bounds what the answers say of themselves.
    ///
    /// # Errors
    /// A sentence with the remedy when there is no folder that may be used.
    pub fn open(dir: &Path, what: What, owner: u32, age_max_s: u64) -> Result<Self, String> {
        let folder = dir.join(what.as_str());
        let refuse = |why: String| {
            let shown = folder.display();
            format!("answers cannot be kept in {shown}: {why}; make it with `install -d -m 0700 -o USER {shown}`")
        };
        // Both kinds of questions, of different users, go through the outer folder.
        let made = DirBuilder::new().mode(0o755).recursive(true).create(dir);
        let made = made.and_then(|()| match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        });
        made.map_err(|e| refuse(e.to_string()))?;
        let meta = fs::symlink_metadata(&folder).map_err(|e| refuse(e.to_string()))?;
        if !meta.is_dir() || !trusted(&meta, owner) {
            return Err(refuse("it belongs to another user, or others may write there".into()));
        }
        Ok(Self { folder, owner, age_max_s })
    }

    /// Keeps an answer, unless the disk says the same already or something newer. An answer that must not be reused, or
    /// that knows no such user, takes away what was there. So does any other that cannot be written: an answer that was
    /// taken back must not come back when nobody answers.
    ///
    /// # Errors
    /// What the system said.
    pub fn keep(&self, asked: &Asked, answer: &Answer, now_s: u64) -> io::Result<()> {
        self.keep_by(asked, answer, now_s, |path, octets| self.replace(path, octets))
    }

    fn keep_by(
        &self,
        asked: &Asked,
        answer: &Answer,
        now_s: u64,
        write: impl FnOnce(&Path, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self.path(asked);
        if answer.valid_for_s == 0 || !answer.known {
            return removed(&path);
        }
        let (present, is_unreadable) = match self.load(asked) {
            Ok(present) => (present, false),
            Err(_) => (None, true),
        };
        if present
            .as_ref()
            .is_some_and(|kept| is_newer(kept, answer, now_s, self.age_max_s) || says_the_same(kept, answer, now_s))
        {
            return Ok(());
        }
        if !answer.is_allow() {
            if present.is_none() && !is_unreadable {
                return Ok(());
            }
            // First of all, so that a full disk or a crash leaves no answer and not the old one.
            removed(&path)?;
        }
        let differs = present.as_ref().is_none_or(|kept| timeless(&kept.answer) != timeless(answer));
        let room = if present.is_none() { self.make_room(now_s) } else { Ok(()) };
        let (user, service) = (asked.user.clone(), asked.service.clone());
        let kept = Kept { user, service, answered_s: now_s, answer: answer.clone() };
        room.and_then(|()| write(&path, &serde_json::to_vec(&kept)?)).inspect_err(|_| {
            if differs {
                // The first error is told.
                let _ = removed(&path);
            }
        })
    }

    /// The last good answer.
    pub fn recall(&self, asked: &Asked, now_s: u64) -> Recalled {
        match self.load(asked) {
            Err(why) => Recalled::Unusable(why),
            Ok(None) => Recalled::Nothing,
            Ok(Some(kept)) => judge(kept, now_s, self.age_max_s),
        }
    }

    /// The appliance that answered last, if that was not long ago.
    pub fn preferred(&self) -> Option<String> {
        let file = File::open(self.folder.join(PREFERRED)).ok()?;
        let age = age(&file.metadata().ok()?)?;
        let mut text = String::new();
        file.take(512).read_to_string(&mut text).ok()?;
        (age < PREFERRED_FOR).then_some(text)
    }

    /// Remembers who answered. The first in the configuration needs no remembering.
    ///
    /// # Errors
    /// What the system said.
    pub fn prefer(&self, appliance: Option<&str>) -> io::Result<()> {
        let path = self.folder.join(PREFERRED);
        match appliance {
            Some(name) => self.replace(&path, name.as_bytes()),
            None => fs::remove_file(path),
        }
    }

    /// Whether nobody answered a moment ago, to a question of this kind or, where we may look, of another kind: a login
    /// asks for keys first and for a decision then.
    pub fn is_silent(&self) -> bool {
        let dir = self.folder.parent().unwrap_or(&self.folder);
        let is_fresh = |what: What| {
            let meta = fs::symlink_metadata(dir.join(what.as_str()).join(SILENCE)).ok()?;
            Some(age(&meta)? < SILENCE_FOR)
        };
        [What::Keys, What::Check].into_iter().filter_map(is_fresh).any(|fresh| fresh)
    }

    /// Remembers that nobody answered, or forgets it.
    ///
    /// # Errors
    /// What the system said.
    pub fn set_silent(&self, silent: bool) -> io::Result<()> {
        let path = self.folder.join(SILENCE);
        match silent {
            true => self.replace(&path, b""),
            false => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    fn path(&self, asked: &Asked) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        // Neither part holds a zero octet, so the two cannot run together.
        hasher.update(asked.user.as_bytes()).update(&[0]).update(asked.service.as_bytes());
        let digest = hasher.finalize().to_hex();
        self.folder.join(format!("{}.json", digest.get(..32).unwrap_or_default()))
    }

    fn load(&self, asked: &Asked) -> Result<Option<Kept>, String> {
        let path = self.path(asked);
        let bad = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let Some(kept) = self.read(&path)? else { return Ok(None) };
        if kept.user != asked.user || kept.service != asked.service {
            return Err(bad(&"it is the answer to another question"));
        }
        Ok(Some(kept))
    }

    fn read(&self, path: &Path) -> Result<Option<Kept>, String> {
        let bad = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| bad(&e))?,
        };
        let meta = file.metadata().map_err(|e| bad(&e))?;
        if !meta.is_file() || !trusted(&meta, self.owner) {
            return Err(bad(&"it belongs to another user, or others may write it"));
        }
        let mut octets = Vec::new();
        file.take(FILE_OCTETS_MAX as u64).read_to_end(&mut octets).map_err(|e| bad(&e))?;
        serde_json::from_slice(&octets).map(Some).map_err(|e| bad(&e))
    }

    /// Writes under another name and renames, so that a reader sees the old file or the new one.
    fn replace(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        let number = getrandom::u64().map_err(io::Error::other)?;
        let scratch = self.folder.join(format!("new-{number:016x}"));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch)?;
            file.write_all(octets)?;
            fs::rename(&scratch, path)
        };
        write().inspect_err(|_| {
            // What cannot be removed now is removed with the oldest.
            let _ = fs::remove_file(&scratch);
        })
    }

    /// Removes files when there are too many: first those that admit nobody any more, then the oldest.
    fn make_room(&self, now_s: u64) -> io::Result<()> {
        if fs::read_dir(&self.folder)?.count() < FILES_MAX {
            return Ok(());
        }
        let entries = fs::read_dir(&self.folder)?.filter_map(Result::ok);
        let mut files: Vec<(bool, SystemTime, PathBuf)> = Vec::new();
        for entry in entries {
            if let Ok(modified) = entry.metadata().and_then(|meta| meta.modified()) {
                let path = entry.path();
                let judged = self.read(&path).ok().flatten().map(|kept| judge(kept, now_s, self.age_max_s));
                let admits = matches!(judged, Some(Recalled::Usable(answer, _)) if answer.is_allow());
                files.push((admits, modified, path));
            }
        }
        files.sort_unstable();
        let surplus = files.len().saturating_sub(FILES_AFTER);
        files.iter().take(surplus).try_for_each(|(_, _, path)| removed(path))
    }
}

/// How long ago a file was written. None: in the future.
#[expect(clippy::disallowed_methods, reason = "the age of a file; it decides whom we ask first and how long we wait")]
fn age(meta: &fs::Metadata) -> Option<Duration> {
    SystemTime::now().duration_since(meta.modified().ok()?).ok()
}

/// Whether only we or root can have made it.
fn trusted(meta: &fs::Metadata, owner: u32) -> bool {
    (meta.uid() == owner || meta.uid() == 0) && meta.mode() & 0o022 == 0
}

/// Removes a file, or finds it removed.
fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An answer without position and times.
fn timeless(answer: &Answer) -> Answer {
    Answer { epoch: 0, serial: 0, valid_for_s: 0, age_s: None, ..answer.clone() }
}

/// Whether what is kept was decided by a later state of the same history: the answer comes from an appliance that lags,
/// or was long on its way. What may not be used any more is not worth keeping.
fn is_newer(kept: &Kept, answer: &Answer, now_s: u64, age_max_s: u64) -> bool {
    kept.answer.epoch == answer.epoch
        && kept.answer.serial > answer.serial
        && matches!(judge(kept.clone(), now_s, age_max_s), Recalled::Usable(..))
}

/// Whether writing the answer would change nothing that matters.
fn says_the_same(kept: &Kept, answer: &Answer, now_s: u64) -> bool {
    let ends_no_later =
        kept.answered_s.saturating_add(kept.answer.valid_for_s) <= now_s.saturating_add(answer.valid_for_s);
    let is_fresh = kept.answered_s <= now_s && now_s - kept.answered_s < REFRESH_S;
    is_fresh && ends_no_later && timeless(&kept.answer) == timeless(answer)
}

/// Whether an answer may be used at `now_s`.
fn judge(kept: Kept, now_s: u64, age_max_s: u64) -> Recalled {
    if kept.answered_s > now_s.saturating_add(SKEW_S) {
        return Recalled::Unusable("it is from the future; the clock of this instance has gone back".into());
    }
    let age_s = now_s.saturating_sub(kept.answered_s);
    let valid_s = kept.answer.valid_for_s.min(age_max_s);
    let ended = kept.answer.until.is_some_and(|until| kept.answer.is_allow() && now_s >= until);
    if age_s >= valid_s || ended {
        return Recalled::Expired(age_s);
    }
    Recalled::Usable(Box::new(kept.answer), age_s)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{
        super::tests::{admitted, asked},
        *,
    };
    use crate::policy::Verdict;

    const NOW: u64 = 1_700_000_000;

    fn cache() -> (Cache, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let owner = fs::metadata(dir.path()).unwrap().uid();
        (Cache::open(dir.path(), What::Keys, owner, 86_400).unwrap(), dir)
    }

    fn alice() -> Asked {
        asked("alice", What::Keys)
    }

    fn denied() -> Answer {
        Answer { verdict: Verdict::Deny, keys: vec![], ..admitted() }
    }

    #[test]
    fn what_was_answered_is_recalled_until_its_time_is_over() {
        let (cache, _dir) = cache();
        assert_eq!(cache.recall(&alice(), NOW), Recalled::Nothing);
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        assert_eq!(cache.recall(&alice(), NOW + 3599), Recalled::Usable(Box::new(admitted()), 3599));
        assert_eq!(cache.recall(&alice(), NOW + 3600), Recalled::Expired(3600));
        assert_eq!(cache.recall(&asked("bob", What::Keys), NOW), Recalled::Nothing);
        let sudo = Asked { service: "sudo".into(), ..alice() };
        assert_eq!(cache.recall(&sudo, NOW), Recalled::Nothing);
    }

    #[test]
    fn the_instance_may_be_stricter_than_the_answer() {
        let (cache, dir) = cache();
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        let strict = Cache::open(dir.path(), What::Keys, cache.owner, 60).unwrap();
        assert_eq!(strict.recall(&alice(), NOW + 61), Recalled::Expired(61));
    }

    #[test]
    fn a_grant_does_not_outlive_its_end_on_disk() {
        let (cache, _dir) = cache();
        cache.keep(&alice(), &Answer { until: Some(NOW + 10), ..admitted() }, NOW).unwrap();
        assert!(matches!(cache.recall(&alice(), NOW + 9), Recalled::Usable(..)));
        assert_eq!(cache.recall(&alice(), NOW + 10), Recalled::Expired(10));
    }

    #[test]
    fn a_denial_takes_the_place_of_what_was_allowed() {
        let (cache, _dir) = cache();
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        cache.keep(&alice(), &denied(), NOW + 1).unwrap();
        assert_eq!(cache.recall(&alice(), NOW + 2), Recalled::Usable(Box::new(denied()), 1));
    }

    #[test]
    fn a_denial_that_cannot_be_written_leaves_no_admission() {
        let (cache, _dir) = cache();
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        let full = |_: &Path, _: &[u8]| Err(io::Error::from(io::ErrorKind::StorageFull));
        cache.keep_by(&alice(), &denied(), NOW + 1, full).unwrap_err();
        assert_eq!(cache.recall(&alice(), NOW + 2), Recalled::Nothing);
        // Nor does an admission that says something else, less time perhaps; one that says the same may stay.
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        cache.keep_by(&alice(), &admitted(), NOW + 400, full).unwrap_err();
        assert!(matches!(cache.recall(&alice(), NOW + 400), Recalled::Usable(..)));
        cache.keep_by(&alice(), &Answer { until: Some(NOW + 500), ..admitted() }, NOW + 400, full).unwrap_err();
        assert_eq!(cache.recall(&alice(), NOW + 400), Recalled::Nothing);
    }

    #[test]
    fn a_denial_is_kept_only_in_the_place_of_another_answer() {
        let (cache, _dir) = cache();
        cache.keep(&alice(), &denied(), NOW).unwrap();
        assert_eq!(cache.recall(&alice(), NOW), Recalled::Nothing);
        fs::write(cache.path(&alice()), "torn").unwrap();
        cache.keep(&alice(), &denied(), NOW).unwrap();
        assert_eq!(cache.recall(&alice(), NOW), Recalled::Usable(Box::new(denied()), 0));
    }

    #[test]
    fn an_older_answer_does_not_replace_a_newer_one() {
        let (cache, _dir) = cache();
        cache.keep(&alice(), &Answer { serial: 9, ..admitted() }, NOW).unwrap();
        let newer = Answer { serial: 10, ..denied() };
        cache.keep(&alice(), &newer, NOW).unwrap();
        cache.keep(&alice(), &Answer { serial: 9, ..admitted() }, NOW + 1).unwrap();
        assert_eq!(cache.recall(&alice(), NOW + 1), Recalled::Usable(Box::new(newer), 1));
        let restored = Answer { epoch: 2, serial: 1, ..admitted() };
        cache.keep(&alice(), &restored, NOW + 2).unwrap();
        assert_eq!(cache.recall(&alice(), NOW + 2), Recalled::Usable(Box::new(restored), 0));
    }

    #[test]
    fn denials_and_what_is_over_make_room_first() {
        let (cache, _dir) = cache();
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        let brief = Answer { valid_for_s: 10, ..admitted() };
        for n in 1..FILES_MAX {
            let user = asked(&format!("user{n}"), What::Keys);
            cache.keep(&user, &if n % 2 == 0 { brief.clone() } else { admitted() }, NOW).unwrap();
            if n % 2 == 1 {
                cache.keep(&user, &denied(), NOW).unwrap();
            }
        }
        cache.keep(&asked("late", What::Keys), &admitted(), NOW + 60).unwrap();
        assert!(fs::read_dir(&cache.folder).unwrap().count() <= FILES_AFTER + 1);
        assert!(matches!(cache.recall(&alice(), NOW + 60), Recalled::Usable(..)), "the oldest, but it admits");
    }

    #[test]
    fn a_removed_user_leaves_nothing_behind() {
        let (cache, _dir) = cache();
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        cache.keep(&alice(), &Answer { known: false, ..denied() }, NOW + 1).unwrap();
        assert_eq!(cache.recall(&alice(), NOW + 2), Recalled::Nothing);
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        cache.keep(&alice(), &Answer { valid_for_s: 0, ..denied() }, NOW + 1).unwrap();
        assert_eq!(cache.recall(&alice(), NOW + 2), Recalled::Nothing);
    }

    #[test]
    fn the_same_answer_is_not_written_again_for_a_while() {
        let (cache, _dir) = cache();
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        let inode = || fs::metadata(cache.path(&alice())).unwrap().ino();
        let first = inode();
        cache.keep(&alice(), &Answer { serial: 8, ..admitted() }, NOW + 299).unwrap();
        assert_eq!(inode(), first, "a newer position says nothing new");
        cache.keep(&alice(), &admitted(), NOW + 300).unwrap();
        assert_eq!(cache.recall(&alice(), NOW + 300), Recalled::Usable(Box::new(admitted()), 0));
        cache.keep(&alice(), &Answer { valid_for_s: 10, ..admitted() }, NOW + 301).unwrap();
        assert_eq!(cache.recall(&alice(), NOW + 311), Recalled::Expired(10), "a shorter time replaces a longer one");
    }

    #[test]
    fn damaged_foreign_and_future_files_are_not_believed() {
        let (cache, _dir) = cache();
        let unusable = |now_s| match cache.recall(&alice(), now_s) {
            Recalled::Unusable(why) => why,
            other => panic!("{other:?}"),
        };
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        assert!(unusable(NOW - 301).contains("from the future"));
        assert!(
            matches!(cache.recall(&alice(), NOW - 299), Recalled::Usable(..)),
            "clocks are set a little now and then"
        );

        let path = cache.path(&alice());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(unusable(NOW).contains("others may write it"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let written = fs::read(&path).unwrap();
        fs::write(&path, &written[..written.len() / 2]).unwrap();
        assert!(unusable(NOW).contains("EOF"));
        fs::write(&path, String::from_utf8(written).unwrap().replace("\"user\":\"alice\"", "\"user\":\"mallory\""))
            .unwrap();
        assert!(unusable(NOW).contains("another question"));
        // The next good answer mends it.
        cache.keep(&alice(), &admitted(), NOW).unwrap();
        assert!(matches!(cache.recall(&alice(), NOW), Recalled::Usable(..)));
    }

    #[test]
    fn names_never_become_paths() {
        let (cache, _dir) = cache();
        for user in ["../../etc/passwd", "a/b", ".", "x\u{1F600}"] {
            let path = cache.path(&asked(user, What::Keys));
            assert_eq!(path.parent().unwrap(), cache.folder);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name.len() == 37 && name.is_ascii(), "{name}");
        }
    }

    #[test]
    fn files_are_private_and_bounded() {
        let (cache, _dir) = cache();
        for n in 0..FILES_MAX + 10 {
            cache.keep(&asked(&format!("user{n}"), What::Keys), &admitted(), NOW).unwrap();
        }
        let count = fs::read_dir(&cache.folder).unwrap().count();
        assert!((FILES_AFTER..=FILES_MAX).contains(&count), "{count}");
        let newest = asked(&format!("user{}", FILES_MAX + 9), What::Keys);
        assert!(matches!(cache.recall(&newest, NOW), Recalled::Usable(..)));
        let mode = fs::metadata(cache.path(&newest)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let (cache, dir) = cache();
        assert_eq!(fs::metadata(&cache.folder).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&cache.folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(dir.path(), What::Keys, cache.owner, 60).unwrap_err();
        assert!(error.contains("others may write there") && error.contains("install -d"), "{error}");
    }

    #[test]
    fn silence_is_remembered_for_a_moment_and_for_both_kinds_of_questions() {
        let (cache, dir) = cache();
        let check = Cache::open(dir.path(), What::Check, cache.owner, 60).unwrap();
        assert!(!cache.is_silent() && !check.is_silent());
        cache.set_silent(false).unwrap();
        cache.set_silent(true).unwrap();
        assert!(cache.is_silent() && check.is_silent());
        let file = OpenOptions::new().write(true).open(cache.folder.join(SILENCE)).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - SILENCE_FOR).unwrap();
        assert!(!cache.is_silent(), "it is over");
        file.set_modified(written + Duration::from_secs(3600)).unwrap();
        assert!(!cache.is_silent(), "a time in the future says nothing");
        cache.set_silent(true).unwrap();
        cache.set_silent(false).unwrap();
        assert!(!cache.is_silent() && !check.is_silent());
    }

    #[test]
    fn who_answered_last_is_remembered() {
        let (cache, _dir) = cache();
        assert_eq!(cache.preferred(), None);
        cache.prefer(Some("10.1.0.2:636")).unwrap();
        assert_eq!(cache.preferred().as_deref(), Some("10.1.0.2:636"));
        cache.prefer(None).unwrap();
        assert_eq!(cache.preferred(), None);
    }
}
