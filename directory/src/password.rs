//! password.
mod crypt;
mod des;
mod phc;
mod scheme;
