//! The keys of a destination as they stand side by side in its table: so an unknown one is told apart from all of them.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, de};

use super::{ToFile, ToSyslog};

/// See [`super::Destination`], [`ToFile`] and [`ToSyslog`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Destination {
    name: String,
    file: Option<String>,
    #[serde(default, deserialize_with = "one_or_more")]
    syslog: Vec<String>,
    template: Option<String>,
    time_zone: Option<String>,
    #[serde(default)]
    frac_digits: u8,
    #[serde(default)]
    paused: bool,
    owner: Option<String>,
    group: Option<String>,
    mode: Option<String>,
    dir_mode: Option<String>,
    create_dirs: Option<bool>,
    rotate_bytes: Option<u64>,
    rotate_s: Option<u64>,
    rotate_keep: Option<usize>,
    compress: Option<String>,
    fsync: Option<bool>,
    symlink: Option<String>,
    open_files: Option<usize>,
    close_s: Option<u64>,
    ca_file: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    framing: Option<String>,
    window: Option<usize>,
    timeout_s: Option<u64>,
    reopen_s: Option<u64>,
}

impl From<Destination> for super::Destination {
    fn from(keys: Destination) -> Self {
        let Destination {
            name,
            file,
            syslog,
            template,
            time_zone,
            frac_digits,
            paused,
            owner,
            group,
            mode,
            dir_mode,
            create_dirs,
            rotate_bytes,
            rotate_s,
            rotate_keep,
            compress,
            fsync,
            symlink,
            open_files,
            close_s,
            ca_file,
            client_cert,
            client_key,
            framing,
            window,
            timeout_s,
            reopen_s,
        } = keys;
        let to_file = ToFile {
            owner,
            group,
            mode,
            dir_mode,
            create_dirs,
            rotate_bytes,
            rotate_s,
            rotate_keep,
            compress,
            fsync,
            symlink,
            open_files,
            close_s,
        };
        let to_syslog = ToSyslog { ca_file, client_cert, client_key, framing, window, timeout_s, reopen_s };
        Self { name, file, syslog, template, time_zone, frac_digits, paused, to_file, to_syslog }
    }
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMore;
    impl<'de> de::Visitor<'de> for OneOrMore {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text, or a list of texts")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = items.next_element()? {
                all.push(item);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(OneOrMore)
}
