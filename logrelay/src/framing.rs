//! Where a line ends: octet counting and newlines.
