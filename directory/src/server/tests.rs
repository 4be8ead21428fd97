//! The server on real sockets, as a client sees it.

mod access;
mod client;
mod limits;
mod operations;
mod repeats;
mod world;
