//! A persistent list of numbered places, of which each holds a value or none: two steps from a number to its value.
//!
//! A change copies one page and the list of pages, unless nobody else holds them: at 1,000,000 entries some thousand
//! pointers each.

use std::sync::Arc;

/// Places of a page.
const PAGE: usize = 1024;

type Page<T> = Arc<[Option<T>]>;

/// The list; a clone copies nothing. Values must be cheap to clone.
#[derive(Clone)]
pub(super) struct Places<T> {
    /// All of the same size.
    pages: Arc<[Page<T>]>,
    len: usize,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { pages: Arc::new([]), len: 0 }
    }
}

impl<T: Clone> Places<T> {
    /// How many places there are, empty ones included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.pages.get(place / PAGE)?.get(place % PAGE)?.as_ref()
    }

    /// Fills or empties a place; beyond the end there is none.
    pub(super) fn set(&mut self, place: usize, value: Option<T>) {
        if place >= self.len {
            return;
        }
        let page = Arc::make_mut(&mut self.pages).get_mut(place / PAGE);
        if let Some(held) = page.and_then(|page| Arc::make_mut(page).get_mut(place % PAGE)) {
            *held = value;
        }
    }

    /// Adds an empty place and returns its number.
    pub(super) fn push(&mut self) -> usize {
        if self.len == self.pages.len() * PAGE {
            let page: Page<T> = (0..PAGE).map(|_| None).collect();
            self.pages = self.pages.iter().cloned().chain([page]).collect();
        }
        self.len += 1;
        self.len - 1
    }

    /// All values, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter()).filter_map(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_emptied_and_older_lists_stay() {
        let mut places = Places::default();
        for number in 0..PAGE * 2 + 3 {
            let place = places.push();
            assert_eq!((place, places.get(place)), (number, None));
            places.set(place, Some(Arc::new(number)));
        }
        let old = places.clone();
        places.set(PAGE, None);
        places.set(PAGE + 1, Some(Arc::new(0)));
        places.set(PAGE * 2 + 3, Some(Arc::new(1)));
        assert_eq!((places.len(), places.iter().count()), (PAGE * 2 + 3, PAGE * 2 + 2));
        assert_eq!((places.get(PAGE), places.get(PAGE + 1)), (None, Some(&Arc::new(0))));
        assert_eq!(places.get(PAGE * 2 + 3), None, "beyond the end");
        assert!(old.iter().map(|value| **value).eq(0..PAGE * 2 + 3));
    }
}
