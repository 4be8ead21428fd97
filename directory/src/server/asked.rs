//! What a search asks for, compiled: by the client's words, and made ready to walk.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;

use super::{repeats::Wanted, sight::Sight};
use crate::{
    dn::{BadDn, Dn},
    filter::Filter,
    tree::{Scope, Selection},
};

/// What was compiled for the last search: clients ask for the same base and attributes again and again.
#[derive(Default)]
pub(super) struct Compiled {
    base: Option<(String, Dn)>,
    selection: Option<(Vec<String>, Selection)>,
    /// By the list of attributes as it came.
    named: Option<(Box<[u8]>, Selection)>,
}

impl Compiled {
    pub(super) fn base(&mut self, text: &str) -> Result<Dn, BadDn> {
        match &self.base {
            Some((known, base)) if known == text => Ok(base.clone()),
            _ => {
                let base = Dn::parse(text)?;
                self.base = Some((text.to_owned(), base.clone()));
                Ok(base)
            }
        }
    }

    /// The selection of a list of attributes.
    pub(super) fn selection(&mut self, names: &[String]) -> Selection {
        match &self.selection {
            Some((known, selection)) if known == names => selection.clone(),
            _ => {
                let selection = Selection::new(names.iter().map(String::as_str));
                self.selection = Some((names.to_vec(), selection.clone()));
                selection
            }
        }
    }

    /// As [`Compiled::selection`], of a list as it came, which `make` compiles if it is not the last one.
    pub(super) fn named(&mut self, list: &[u8], make: impl FnOnce() -> Option<Selection>) -> Option<Selection> {
        match &self.named {
            Some((known, selection)) if **known == *list => Some(selection.clone()),
            _ => {
                let selection = make()?;
                self.named = Some((list.into(), selection.clone()));
                Some(selection)
            }
        }
    }
}

/// What a search asks for, compiled.
pub(super) struct Asked {
    pub(super) base: Dn,
    pub(super) scope: Scope,
    pub(super) filter: Filter,
    pub(super) selection: Selection,
    pub(super) types_only: bool,
    /// As the client set them; 0 is none.
    pub(super) sizelimit: i32,
    pub(super) timelimit: i32,
}

/// A search that was read without the codec.
pub(super) struct Plain {
    pub(super) asked: Asked,
    /// What the client sees.
    pub(super) sight: Sight,
    /// Set if the answer is to be kept.
    pub(super) wanted: Option<Wanted>,
}

/// A search that is ready to walk.
pub(super) struct Prepared {
    pub(super) base: Dn,
    pub(super) scope: Scope,
    pub(super) filter: Filter,
    pub(super) selection: Selection,
    pub(super) types_only: bool,
    /// Whether computed attributes are to be returned.
    pub(super) is_computed: bool,
    pub(super) sight: Sight,
    /// Most entries that are returned.
    pub(super) limit: usize,
    /// How long it may take.
    pub(super) time: Duration,
    /// When it must be over, see [`Prepared::deadline`].
    pub(super) over: OnceLock<Instant>,
    /// Whether the search could find roles of sudo.
    pub(super) sudo: bool,
}

impl Prepared {
    /// When it must be over. Most searches are so before they would look at a clock, so time counts from the first time
    /// that this is asked: at the end of the first turn.
    pub(super) fn deadline(&self) -> Instant {
        *self.over.get_or_init(|| Instant::now() + self.time)
    }
}
