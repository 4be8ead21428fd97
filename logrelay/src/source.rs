//! Sources: sockets, pipes.
