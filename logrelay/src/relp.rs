//! RELP frames, both sides.
