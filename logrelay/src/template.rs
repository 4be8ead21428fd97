//! Templates with syslog-ng's macros.
