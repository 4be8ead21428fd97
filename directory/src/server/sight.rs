//! Who a client is, and what it therefore sees.
//!
//! The certificate of a host counts as soon as TLS is there, with or without SASL EXTERNAL, because it has been proved
//! either way. A person who has bound on top of it sees what a bound person sees.
//!
//! What a host is shown that sees only what concerns it is told in [`eyes`](super::eyes).

use std::sync::Arc;

use inventory::{Host, entry::EntryId};

use crate::{config::Views, view::View};

/// Who has bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    Anonymous,
    /// Somebody with a password. The entry must still be there.
    Person(EntryId),
    /// A host, by SASL EXTERNAL.
    Host,
}

/// What a client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// The rootDSE and the subschema.
    Nothing,
    /// Everything but secrets.
    Everything,
    /// What concerns a host.
    Of(Arc<Host>),
}

impl Who {
    /// What a client sees. `host` tells which host it is; `is_trusted` that its network needs no bind.
    pub(super) fn sight(
        &self,
        view: &View,
        views: Views,
        host: impl FnOnce() -> Option<Arc<Host>>,
        is_trusted: bool,
    ) -> Sight {
        if let Self::Person(id) = self
            && view.tree.by_id(*id).is_some()
        {
            return Sight::Everything;
        }
        match (host(), views) {
            (Some(host), Views::Host) => Sight::Of(host),
            (Some(_), Views::All) => Sight::Everything,
            (None, _) if is_trusted => Sight::Everything,
            (None, _) => Sight::Nothing,
        }
    }
}
