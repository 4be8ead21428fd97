//! The spool: one append-only log of segments and a cursor for each destination.
