//! Translating syslog-ng.conf.
