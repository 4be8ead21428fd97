//! Followed files, with real ones: growth, rotation in all its ways, truncation, limits, and what a crash leaves.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod crash;
mod grow;
mod limits;
mod logrotate;
mod rig;
mod rotate;
