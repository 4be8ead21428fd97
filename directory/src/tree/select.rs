//! Which attributes a search returns (RFC 4511 section 4.5.1.8, RFC 3673 for `+`).

use smallvec::SmallVec;

use crate::filter::attribute::{Id, Name};

/// Most names that one selection keeps; the rest is ignored. SSSD asks for about 35.
pub const NAMES_MAX: usize = 512;

/// A compiled list of requested attributes.
///
/// Secrets such as `userPassword` are never selected: entries do not hold their encoding at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    user: bool,
    operational: bool,
    /// Attributes of the table that are asked for by name without options, one bit each.
    rows: [u64; 4],
    /// All other names.
    others: SmallVec<[Name; 2]>,
}

impl Selection {
    /// Compiles requested names: none or `*` for all user attributes, `+` for all operational ones, `1.1` for none.
    /// What is no attribute description is ignored.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut selection = Self::default();
        let mut is_empty = true;
        for name in names.into_iter().take(NAMES_MAX) {
            is_empty = false;
            match name {
                "*" => selection.user = true,
                "+" => selection.operational = true,
                "1.1" => {}
                _ => selection.add(name),
            }
        }
        selection.user |= is_empty;
        selection
    }

    fn add(&mut self, name: &str) {
        let row = Id::of(name).row_or_beyond();
        match self.rows.get_mut(row / 64) {
            Some(word) => *word |= 1 << (row % 64),
            None => self.others.extend(Name::parse(name)),
        }
    }

    /// Whether an attribute is asked for by its name (`*` and `+` do not count): computed attributes that are costly
    /// are made only then.
    pub fn names(&self, attribute: &str) -> bool {
        let id = Id::of(attribute);
        self.has_row(id) || self.has_other(id, attribute)
    }

    /// Whether nothing can be selected, as with `1.1`.
    pub fn is_none(&self) -> bool {
        !self.user && !self.operational && self.rows == [0; 4] && self.others.is_empty()
    }

    /// As [`Selection::names`], for an attribute of the table.
    pub(crate) fn has_row(&self, id: Id) -> bool {
        let row = id.row_or_beyond();
        self.rows.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Whether an entry's attribute is selected.
    pub(crate) fn selects<'a>(&self, id: Id, description: impl FnOnce() -> &'a str) -> bool {
        self.takes(id) || (self.others.iter().any(|name| name.id == id) && self.has_other(id, description()))
    }

    fn has_other(&self, id: Id, description: &str) -> bool {
        self.others.iter().any(|name| name.includes(id, description))
    }

    /// Whether an attribute is selected whatever its options.
    pub(crate) fn takes(&self, id: Id) -> bool {
        let all = |id: Id| if id.is_operational() { self.operational } else { self.user };
        self.has_row(id) || ((self.user || self.operational) && all(id))
    }
}
