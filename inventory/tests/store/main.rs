//! The store and its keeper from outside: what is durable, what is held, what comes back after the worst days.
#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod access;
mod crash;
mod damage;
mod full;
mod keeping;
mod steps;
mod world;
