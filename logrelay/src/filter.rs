//! Filter expressions, as syslog-ng has them.
