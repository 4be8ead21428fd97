//! Reading a line: PRI, profiles, times.
