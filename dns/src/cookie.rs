//! temporary
use std::net::IpAddr;
#[allow(missing_docs)]
pub enum CookieState {
    ClientOnly,
    Good { renew: bool },
    Bad,
    Malformed,
}
#[allow(missing_docs)]
pub fn check(_: &[[u8; 16]], _: &[u8], _: u32, _: IpAddr) -> CookieState {
    CookieState::ClientOnly
}
#[allow(missing_docs)]
pub fn make(_: &[u8; 16], _: &[u8; 8], _: u32, _: IpAddr) -> [u8; 16] {
    [0; 16]
}
