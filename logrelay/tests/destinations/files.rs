//! Files: paths that messages make, limits on open files, what happens to them from outside.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use logrelay::{
    destination::Sink,
    message::{Batch, Message},
};
use nix::{sys::stat::Mode, unistd::mkfifo};

use crate::common::{EPOCH, NOW, NUMBER, build, chunk, counted, deliver, push, read, sink};

fn template(dir: &Path, rest: &str, keys: &str) -> Sink {
    sink(&format!("file = \"{}/{rest}\"\ntemplate = \"$MSG\\n\"\n{keys}", dir.display()))
}

#[tokio::test]
async fn lines_go_to_the_files_of_their_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = template(dir.path(), "logs/${HOST}/${PROGRAM}.log", "mode = \"0600\"\ndir_mode = \"0711\"");
    let mut batch = chunk(&[(1, "a", "one"), (2, "b", "two"), (3, "a", "three")]);
    push(&mut batch, 4, b"a", b"for another destination", NUMBER + 1);
    let delivered = deliver(&mut sink, &batch, NOW).await;
    assert_eq!((delivered.messages, delivered.octets, delivered.unsendable), (3, 14, 0));
    assert_eq!(read(dir.path().join("logs/a/app.log")), "one\nthree\n");
    assert_eq!(read(dir.path().join("logs/b/app.log")), "two\n");
    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("logs"), mode("logs/a"), mode("logs/a/app.log")), (0o711, 0o711, 0o600));
    deliver(&mut sink, &chunk(&[(5, "a", "four")]), NOW).await;
    assert_eq!(read(dir.path().join("logs/a/app.log")), "one\nthree\nfour\n");
    assert_eq!((sink.state().open_files, counted(&sink, |c| &c.opened)), (2, 2));
}

#[tokio::test]
async fn the_default_template_is_that_of_syslog_ng() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = sink(&format!("file = \"{}/all.log\"", dir.path().display()));
    deliver(&mut sink, &chunk(&[(1, "web01", "hello")]), NOW).await;
    let text = read(dir.path().join("all.log"));
    assert!(text.starts_with("Oct  9 ") && text.ends_with(" web01 app: hello\n"), "{text}");
}

#[tokio::test]
async fn no_host_name_leads_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (base, outside) = (dir.path().join("base"), dir.path().join("outside"));
    fs::create_dir_all(&base).unwrap();
    fs::create_dir_all(&outside).unwrap();
    let mut sink = template(&base, "${HOST}/x.log", "");
    let long = "n".repeat(5000);
    let hosts: [&[u8]; 12] = [
        b"..",
        b".",
        b"",
        b"../outside",
        b"../../../../../../tmp/evil",
        b"/etc/passwd",
        b"a\0b",
        b"a\nb",
        b"..\\outside",
        b"\xff\xfe",
        b".hidden",
        long.as_bytes(),
    ];
    let mut batch = Batch::default();
    for (i, host) in hosts.iter().enumerate() {
        push(&mut batch, i as u64 + 1, host, format!("line {i}").as_bytes(), NUMBER);
    }
    let delivered = deliver(&mut sink, &batch, NOW).await;
    assert_eq!((delivered.messages, delivered.unsendable), (hosts.len() as u64, 0));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let mut lines = 0;
    for folder in fs::read_dir(&base).unwrap() {
        let folder = folder.unwrap();
        assert!(!folder.file_name().to_str().is_some_and(|name| name.starts_with('.')));
        lines += read(folder.path().join("x.log")).lines().count();
    }
    assert_eq!(lines, hosts.len());
}

#[tokio::test]
async fn links_below_the_base_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (base, outside) = (dir.path().join("base"), dir.path().join("outside"));
    fs::create_dir_all(&base).unwrap();
    fs::create_dir_all(&outside).unwrap();
    symlink(&outside, base.join("evil")).unwrap();
    fs::create_dir(base.join("file")).unwrap();
    symlink(outside.join("x.log"), base.join("file/x.log")).unwrap();
    let mut sink = template(&base, "${HOST}/x.log", "");
    for (host, said) in [("evil", "symbolic link"), ("file", "symbolic link")] {
        let delivered = deliver(&mut sink, &chunk(&[(1, "good", "yes"), (2, host, "no")]), NOW).await;
        assert_eq!((delivered.messages, delivered.unsendable), (1, 1));
        let (_, error) = sink.state().last_error.unwrap();
        assert!(error.contains(said) && error.contains(host), "{error}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(read(base.join("good/x.log")), "yes\nyes\n");
    // The operator's own part may be a link.
    symlink(&outside, dir.path().join("linked")).unwrap();
    let mut sink = template(&dir.path().join("linked"), "${HOST}.log", "");
    deliver(&mut sink, &chunk(&[(1, "h", "x")]), NOW).await;
    assert_eq!(read(outside.join("h.log")), "x\n");
}

#[tokio::test]
async fn what_is_no_file_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("folder.log")).unwrap();
    mkfifo(&dir.path().join("fifo.log"), Mode::S_IRWXU).unwrap();
    let mut sink = template(dir.path(), "${HOST}.log", "");
    for (host, said) in [("folder", "it is a folder; move it away"), ("fifo", "FIFO that nobody reads")] {
        // With a macro in it others may have made the path: their lines are left out, and hold nobody up.
        let delivered = deliver(&mut sink, &chunk(&[(1, host, "no"), (2, "good", "yes")]), NOW).await;
        assert_eq!((delivered.messages, delivered.unsendable), (1, 1));
        assert!(sink.state().last_error.unwrap().1.contains(said));
        // Without one it is the operator's.
        let batch = chunk(&[(1, host, "no")]);
        let mut fixed = template(dir.path(), &format!("{host}.log"), "");
        let trouble = fixed.deliver(batch.records(), EPOCH, NUMBER, NOW).await.unwrap_err();
        assert!(trouble.reason.contains(said) && trouble.reason.contains("destination d: "), "{trouble:?}");
        assert!(!trouble.retry && trouble.delivered_until.is_none(), "{trouble:?}");
    }
    // A reader does not make a file of it.
    let reader = fs::OpenOptions::new().read(true).write(true).open(dir.path().join("fifo.log")).unwrap();
    assert_eq!(deliver(&mut sink, &chunk(&[(1, "fifo", "no")]), NOW).await.unsendable, 1);
    drop(reader);
    assert_eq!(sink.state().last_error.unwrap().0, NOW);
    let mut sink = template(&dir.path().join("absent"), "${HOST}.log", "create_dirs = false");
    let trouble = sink.deliver(chunk(&[(1, "h", "x")]).records(), EPOCH, NUMBER, NOW).await.unwrap_err();
    assert!(trouble.reason.contains("create_dirs = true"), "{trouble:?}");
    fs::create_dir(dir.path().join("absent")).unwrap();
    deliver(&mut sink, &chunk(&[(1, "h", "x")]), NOW).await;
}

#[tokio::test]
async fn ten_thousand_hosts_and_few_open_files() {
    const HOSTS: u64 = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let mut sink = template(dir.path(), "${HOST}.log", "open_files = 256");
    let fds = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = fds();
    let mut sequence = 0;
    for round in 0..2 {
        for part in 0..10 {
            let mut batch = Batch::default();
            for host in part * HOSTS / 10..(part + 1) * HOSTS / 10 {
                sequence += 1;
                let text = format!("round {round} host {host}");
                push(&mut batch, sequence, format!("host{host}").as_bytes(), text.as_bytes(), NUMBER);
            }
            assert_eq!(deliver(&mut sink, &batch, NOW + part as i64).await.messages, HOSTS / 10);
            assert!(sink.state().open_files <= 256);
        }
    }
    // Other tests run at the same time and open files, too.
    assert!(fds() < before + 1000, "{} before, {} after", before, fds());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count() as u64, HOSTS);
    for host in [0, 1, 4711, HOSTS - 1] {
        let text = read(dir.path().join(format!("host{host}.log")));
        assert_eq!(text, format!("round 0 host {host}\nround 1 host {host}\n"));
    }
    let (opened, closed) = (counted(&sink, |c| &c.opened), counted(&sink, |c| &c.closed));
    assert_eq!(opened - closed, sink.state().open_files as u64);
    sink.idle(NOW + 61_000_000).await;
    assert_eq!(sink.state().open_files, 0);
}

#[tokio::test]
async fn files_that_were_moved_or_removed_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (file, moved) = (dir.path().join("h.log"), dir.path().join("h.log.old"));
    let mut sink = template(dir.path(), "${HOST}.log", "");
    deliver(&mut sink, &chunk(&[(1, "h", "one")]), NOW).await;
    fs::rename(&file, &moved).unwrap();
    deliver(&mut sink, &chunk(&[(2, "h", "two")]), NOW + 500_000).await;
    assert_eq!(read(&moved), "one\ntwo\n", "within a second the name is not looked at");
    deliver(&mut sink, &chunk(&[(3, "h", "three")]), NOW + 1_000_000).await;
    assert_eq!((read(&moved), read(&file)), ("one\ntwo\n".into(), "three\n".into()));
    fs::remove_file(&file).unwrap();
    deliver(&mut sink, &chunk(&[(4, "h", "four")]), NOW + 2_000_000).await;
    assert_eq!((read(&file), counted(&sink, |c| &c.moved)), ("four\n".into(), 2));
    // As logrotate does it: move, then SIGHUP.
    fs::rename(&file, &moved).unwrap();
    sink.reopen().await;
    deliver(&mut sink, &chunk(&[(5, "h", "five")]), NOW + 2_000_001).await;
    assert_eq!((read(&moved), read(&file)), ("four\n".into(), "five\n".into()));
    // And with copytruncate.
    fs::copy(&file, &moved).unwrap();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
    deliver(&mut sink, &chunk(&[(6, "h", "six")]), NOW + 2_000_002).await;
    assert_eq!((read(&moved), read(&file)), ("five\n".into(), "six\n".into()));
}

#[tokio::test]
async fn a_link_points_to_the_current_file() {
    let dir = tempfile::tempdir().unwrap();
    let keys = format!("symlink = \"{}/current/${{PROGRAM}}\"\nfsync = true", dir.path().display());
    let mut sink = template(dir.path(), "days/${HOST}.log", &keys);
    let link = dir.path().join("current/app");
    for (sequence, host) in [(1, "monday"), (2, "tuesday"), (3, "monday")] {
        deliver(&mut sink, &chunk(&[(sequence, host, "x")]), NOW).await;
        sink.reopen().await;
    }
    assert_eq!(fs::read_link(&link).unwrap(), dir.path().join("days/tuesday.log"), "late lines do not turn it back");
    assert_eq!(read(&link), "x\n");
    fs::remove_file(&link).unwrap();
    fs::write(&link, "mine").unwrap();
    deliver(&mut sink, &chunk(&[(4, "wednesday", "x")]), NOW).await;
    assert_eq!((read(&link), counted(&sink, |c| &c.attributes_failed)), ("mine".into(), 1));
    assert_eq!(fs::read_dir(link.parent().unwrap()).unwrap().count(), 1, "nothing temporary is left");
    // A link that a crash left under the temporary name is replaced, but nothing else is.
    let temporary = link.with_file_name("app.tmp");
    fs::remove_file(&link).unwrap();
    symlink("left behind", &temporary).unwrap();
    deliver(&mut sink, &chunk(&[(5, "thursday", "x")]), NOW).await;
    assert_eq!(fs::read_link(&link).unwrap(), dir.path().join("days/thursday.log"));
    fs::write(&temporary, "mine, too").unwrap();
    deliver(&mut sink, &chunk(&[(6, "friday", "x")]), NOW).await;
    assert_eq!((read(&temporary), counted(&sink, |c| &c.attributes_failed)), ("mine, too".into(), 2));
    assert_eq!(fs::read_link(&link).unwrap(), dir.path().join("days/thursday.log"));
}

#[tokio::test]
async fn new_files_have_the_owner_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = template(dir.path(), "${HOST}/x.log", "owner = \"12345\"\ngroup = \"54321\"");
    deliver(&mut sink, &chunk(&[(1, "h", "x")]), NOW).await;
    let owner = |path: &str| fs::metadata(dir.path().join(path)).map(|known| (known.uid(), known.gid())).unwrap();
    if nix::unistd::geteuid().is_root() {
        assert_eq!((owner("h"), owner("h/x.log")), ((12345, 54321), (12345, 54321)));
        assert_eq!(counted(&sink, |c| &c.attributes_failed), 0);
    } else {
        assert_eq!(counted(&sink, |c| &c.attributes_failed), 1);
    }
    assert_eq!(read(dir.path().join("h/x.log")), "x\n");
}

#[tokio::test]
async fn records_that_cannot_be_read_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = template(dir.path(), "all.log", "");
    let batch = chunk(&[(1, "h", "one"), (2, "h", "two")]);
    let length = Message::decode(batch.records().next().unwrap()).map(|_| batch.bytes().len() / 2).unwrap();
    // The length of the raw line in the second record goes beyond its end.
    let mut octets = batch.bytes().to_vec();
    octets[length + 64] = 0xff;
    let batch = Batch::of(octets);
    let delivered = deliver(&mut sink, &batch, NOW).await;
    assert_eq!((delivered.messages, delivered.unsendable), (1, 1));
    assert_eq!(counted(&sink, |c| &c.unreadable), 1);
}

#[test]
fn a_destination_is_one_thing() {
    let error = |keys: &str| build(keys).unwrap_err();
    assert!(error("file = \"/x\"\nsyslog = \"tcp://a:1\"").contains("make two destinations"));
    assert!(error("").contains("neither `file` nor `syslog`"));
    assert!(error("file = \"/var/log/${HOST\"").contains("destination d: file: "));
    assert!(error("syslog = \"tcp://a:1\"\ntemplate = \"${HOST\"").contains("destination d: template: "));
    assert!(error("syslog = \"tls://a:1\"\nca_file = \"/absent.pem\"").contains("/absent.pem"));
}
