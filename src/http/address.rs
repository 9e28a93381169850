//! Where a request comes from: the socket's peer, or the client behind trusted proxies.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// `X-Forwarded-For` is read from right to left for as long as the hop that wrote it is trusted.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer;
    if trusted.is_empty() {
        return address;
    }
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let headers = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = headers.flat_map(|value| value.split(',')).collect();
    for hop in hops.into_iter().rev() {
        match hop.trim().parse::<IpAddr>() {
            Ok(hop) if is_trusted(&address) => address = hop.to_canonical(),
            _ => break,
        }
    }
    address
}
