//! The address of one end of a connection.

use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Ip(IpAddr, u16),
    Unix,
    Unknown,
}
