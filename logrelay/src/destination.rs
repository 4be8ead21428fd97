//! Destinations: files and syslog receivers.
