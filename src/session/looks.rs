//! What the chain looks at in a request: everything that decides an outcome goes into the digest
//! under which the outcome is remembered.

use std::sync::Arc;

use http::HeaderName;

use super::trusted_header::is_look_alike;
use super::{Authenticator, Authorization, Presented, Table};
use crate::digest::Parts;

#[derive(Debug)]
pub(super) struct Looks {
    cookies: Vec<String>,
    headers: Vec<HeaderName>,
    at_the_peer: bool,
    at_certificates: bool,
}

impl Looks {
    pub fn of(tables: &[Arc<Table>]) -> Self {
        let mut looks = Self {
            cookies: Vec::new(),
            headers: Vec::new(),
            at_the_peer: false,
            at_certificates: false,
        };
        for table in tables {
            let cookie = match &table.authenticator {
                Authenticator::ApiKey(_) => None,
                Authenticator::Jwt(jwt) => jwt.cookie(),
                Authenticator::Handle(handles) => handles.cookie(),
                Authenticator::Introspection(introspection) => introspection.cookie(),
                Authenticator::PortalCheck(check) => {
                    looks.cookies.extend_from_slice(&check.rules().cookies);
                    looks
                        .headers
                        .extend_from_slice(&check.rules().forward_headers);
                    None
                }
                Authenticator::TrustedHeader(trusted) => {
                    looks.headers.extend(trusted.headers().cloned());
                    looks.at_the_peer = true;
                    None
                }
                Authenticator::ClientCertificate(_) => {
                    looks.at_certificates = true;
                    None
                }
            };
            looks.cookies.extend(cookie.map(str::to_owned));
        }
        looks
    }

    pub fn any_ambient(&self) -> bool {
        !self.cookies.is_empty() || self.at_the_peer || self.at_certificates
    }

    pub fn digest(&self, presented: &Presented<'_>) -> Option<[u8; 32]> {
        // Proving a key costs less than looking it up.
        if presented.is_key() {
            return None;
        }
        let mut parts = Parts::of("session");
        let mut anything = false;
        match presented.authorization {
            Authorization::Other => parts.add(b"other"),
            Authorization::Absent => {}
            Authorization::Bearer(token) => {
                parts.add(b"bearer");
                parts.add(token.as_bytes());
                anything = true;
            }
        }
        if presented.is_ours() {
            return Some(parts.digest());
        }
        for (name, value) in &presented.cookies {
            if self.cookies.iter().any(|cookie| cookie == name) {
                parts.add(b"cookie");
                parts.add(name.as_bytes());
                parts.add(value.as_bytes());
                anything = true;
            }
        }
        if !self.headers.is_empty() {
            anything |= self.add_headers(presented, &mut parts);
        }
        if self.at_certificates && !presented.certificate.is_empty() {
            parts.add(b"certificate");
            for name in presented.certificate {
                parts.add(name.as_bytes());
            }
        }
        anything.then(|| parts.digest())
    }

    /// Their look-alikes as well, which can be a reason to refuse.
    fn add_headers(&self, presented: &Presented<'_>, parts: &mut Parts) -> bool {
        let mut any = false;
        for (name, value) in presented.headers {
            if self
                .headers
                .iter()
                .any(|header| is_look_alike(header, name))
            {
                parts.add(b"header");
                parts.add(name.as_str().as_bytes());
                parts.add(value.as_bytes());
                any = true;
            }
        }
        if self.at_the_peer {
            parts.add(presented.peer.to_string().as_bytes());
        }
        any
    }
}
