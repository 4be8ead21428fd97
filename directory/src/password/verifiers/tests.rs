use inventory::entry::{Attribute, DIRECTORY, Value};
use tempfile::TempDir;

use super::*;

fn entry(id: u8, attributes: &[(&str, &str)]) -> Entry {
    let attribute = |(name, value): &(&str, &str)| Attribute((*name).into(), [Value::from(*value)].into());
    Entry {
        id: EntryId([id; 16]),
        dn: format!("uid=user{id},dc=acme,dc=private").into(),
        attributes: attributes.iter().map(attribute).collect(),
        source: DIRECTORY.into(),
    }
}

fn learned(store: &Verifiers, entry: &Entry, password: &str, now_s: u64) {
    store.learn(entry, &Arc::new(Zeroizing::new(password.to_owned())), now_s);
    store.flush();
}

fn says(store: &Verifiers, entry: &Entry, password: &str) -> Option<bool> {
    store.of(entry, 1).map(|text| phc::matches(&text, password.as_bytes()))
}

#[test]
fn a_verifier_survives_a_restart_and_is_only_ours_to_read() {
    let dir = TempDir::new().unwrap();
    let ada = entry(1, &[("pwdChangedTime", "20260101000000Z")]);
    learned(&Verifiers::open(dir.path()).unwrap(), &ada, "secret", 1);
    let store = Verifiers::open(dir.path()).unwrap();
    assert_eq!((says(&store, &ada, "secret"), says(&store, &ada, "Secret")), (Some(true), Some(false)));
    let file = fs::read_to_string(dir.path().join("verifiers")).unwrap();
    assert!(!file.contains("secret") && file.contains("$argon2id$"), "{file}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(dir.path().join("verifiers")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn it_is_gone_when_the_entry_says_something_else_about_its_password() {
    for changed in [
        entry(1, &[("pwdChangedTime", "20260102000000Z")]),
        entry(1, &[("pwdChangedTime", "20260101000000Z"), ("userPassword", "{SASL}ada")]),
        entry(1, &[("pwdChangedTime", "20260101000000Z"), ("pwdAccountLockedTime", "000001010000Z")]),
        entry(1, &[]),
    ] {
        let dir = TempDir::new().unwrap();
        let ada = entry(1, &[("pwdChangedTime", "20260101000000Z"), ("cn", "Ada")]);
        let store = Verifiers::open(dir.path()).unwrap();
        learned(&store, &ada, "secret", 1);
        // Another name is no other password.
        assert_eq!(
            says(&store, &entry(1, &[("pwdChangedTime", "20260101000000Z"), ("cn", "A")]), "secret"),
            Some(true)
        );
        assert_eq!(says(&store, &changed, "secret"), None);
        assert_eq!(says(&store, &ada, "secret"), None, "it does not come back");
        store.flush();
        drop(store);
        assert_eq!(Verifiers::open(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn it_is_gone_when_the_entry_is() {
    let dir = TempDir::new().unwrap();
    let store = Verifiers::open(dir.path()).unwrap();
    let ada = entry(1, &[]);
    learned(&store, &ada, "secret", 1);
    store.changed(ada.id, Some(&ada));
    assert_eq!(store.count(), 1);
    store.changed(ada.id, None);
    assert_eq!((store.count(), store.counters.dropped.load(Relaxed)), (0, 1));
}

#[test]
fn a_new_password_replaces_it_and_the_same_one_is_not_hashed_into_the_file_again() {
    let dir = TempDir::new().unwrap();
    let store = Verifiers::open(dir.path()).unwrap();
    let ada = entry(1, &[]);
    learned(&store, &ada, "secret", 1);
    learned(&store, &ada, "secret", 1 + CONFIRMED_S);
    assert_eq!(store.counters.learned.load(Relaxed), 1);
    learned(&store, &ada, "changed", 1 + 2 * CONFIRMED_S);
    assert_eq!((says(&store, &ada, "secret"), says(&store, &ada, "changed")), (Some(false), Some(true)));
}

#[test]
fn a_file_cut_at_any_octet_costs_the_torn_verifier_only() {
    let dir = TempDir::new().unwrap();
    let store = Verifiers::open(dir.path()).unwrap();
    let people = [entry(1, &[]), entry(2, &[])];
    learned(&store, &people[0], "one", 1);
    learned(&store, &people[1], "two", 1);
    drop(store);
    let text = fs::read(dir.path().join("verifiers")).unwrap();
    let first = text.iter().position(|octet| *octet == b'\n').unwrap();
    for cut in (0..text.len()).step_by(7) {
        fs::write(dir.path().join("verifiers"), &text[..cut]).unwrap();
        let store = Verifiers::open(dir.path()).unwrap();
        let expected = usize::from(cut >= first) + usize::from(cut >= text.len() - 1);
        assert_eq!(store.count(), expected, "cut at {cut}");
        // What was cut off is no longer in the file, so that the next line begins a line.
        drop(store);
        assert_eq!(Verifiers::open(dir.path()).unwrap().counters.damaged.load(Relaxed), 0);
    }
}

#[test]
fn the_file_does_not_grow_with_every_change() {
    let dir = TempDir::new().unwrap();
    let table: Table = Arc::default();
    let counters = Arc::new(Counters::default());
    let mut store = Store { path: dir.path().join("verifiers"), file: None, lines: 0, table, counters };
    for _ in 0..3 * SLACK {
        store.append(&Kept { id: EntryId([1; 16]), at: 0, about: About([0; 16]), verifier: None }).unwrap();
    }
    assert!(store.lines <= SLACK + 1, "{}", store.lines);
}

#[test]
fn a_full_disk_at_the_start_costs_nothing_that_can_be_read() {
    let dir = TempDir::new().unwrap();
    let (ada, grace) = (entry(1, &[]), entry(2, &[]));
    learned(&Verifiers::open(dir.path()).unwrap(), &ada, "secret", 1);
    // The new file cannot be made: a folder has its name.
    let blocked = dir.path().join("verifiers.new");
    fs::create_dir(&blocked).unwrap();
    let store = Verifiers::open(dir.path()).unwrap();
    assert_eq!((says(&store, &ada, "secret"), store.counters.failed.load(Relaxed)), (Some(true), 1));
    learned(&store, &grace, "other", 1);
    assert_eq!((says(&store, &grace, "other"), store.counters.failed.load(Relaxed)), (Some(true), 2));
    fs::remove_dir(&blocked).unwrap();
    learned(&store, &grace, "third", 1 + CONFIRMED_S);
    drop(store);
    let store = Verifiers::open(dir.path()).unwrap();
    assert_eq!((says(&store, &ada, "secret"), says(&store, &grace, "third")), (Some(true), Some(true)));
}

#[test]
fn a_file_that_cannot_be_read_does_not_end_the_node() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("verifiers")).unwrap();
    let store = Verifiers::open(dir.path()).unwrap();
    assert_eq!((store.count(), store.counters.failed.load(Relaxed)), (0, 1));
    let ada = entry(1, &[]);
    learned(&store, &ada, "secret", 1);
    assert_eq!(says(&store, &ada, "secret"), Some(true));
}

#[test]
fn a_password_change_that_cannot_be_seen_ends_the_verifier_with_any_change_of_the_entry() {
    for (name, before, after) in [
        ("entryCSN", "20260101000000.000000Z#000000#000#000000", "20260102000000.000000Z#000000#000#000000"),
        ("modifyTimestamp", "20260101000000Z", "20260102000000Z"),
    ] {
        let dir = TempDir::new().unwrap();
        let store = Verifiers::open(dir.path()).unwrap();
        learned(&store, &entry(1, &[(name, before)]), "secret", 1);
        assert_eq!(says(&store, &entry(1, &[(name, before)]), "secret"), Some(true));
        assert_eq!(says(&store, &entry(1, &[(name, after)]), "secret"), None);
    }
}

#[test]
fn the_age_of_a_verifier_counts_from_its_last_confirmation_and_has_an_end() {
    let dir = TempDir::new().unwrap();
    let ada = entry(1, &[]);
    let store = Verifiers::open(dir.path()).unwrap();
    learned(&store, &ada, "secret", 1);
    learned(&store, &ada, "secret", 1 + REMEMBER_S);
    assert_eq!(store.counters.learned.load(Relaxed), 1);
    drop(store);
    let store = Verifiers::open(dir.path()).unwrap();
    assert!(store.of(&ada, REMEMBER_S + AGE_MAX_S).is_some());
    assert!(store.of(&ada, 1 + REMEMBER_S + AGE_MAX_S).is_none());
    store.flush();
    assert_eq!((store.count(), store.counters.dropped.load(Relaxed)), (0, 1));
    drop(store);
    assert_eq!(Verifiers::open(dir.path()).unwrap().count(), 0);
}
