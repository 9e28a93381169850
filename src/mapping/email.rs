//! E-mail addresses, as far as a user is found by one.

use std::fmt;

use crate::identity::Claims;

/// RFC 5321, 4.5.3.1: a path of 256 octets, less its two brackets.
const MAX_CHARS: usize = 254;
/// The characters of an unquoted local part (RFC 5322, 3.2.3), beside letters and digits.
const LOCAL: &[u8] = b"!#$%&'*+-/=?^_`{|}~.";

/// A plain address in ASCII: `local@domain`, nothing quoted, no comment, no second `@`. Whatever is
/// not plain could mean one mailbox here and another one there.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Takes an address that verified claims hold. The error names the fault, never the value.
    pub(super) fn of(claims: &Claims, text: &str) -> Result<Self, &'static str> {
        if claims.denies("email_verified") {
            return Err("the claim email_verified is not true");
        }
        Self::parse(text)
    }

    /// Checks the form.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_CHARS {
            return Err("the e-mail address is too long");
        }
        let (local, domain) = text.split_once('@').ok_or("the e-mail address has no @")?;
        if domain.contains('@') {
            return Err("the e-mail address has several @");
        }
        let is_local = |b: u8| b.is_ascii_alphanumeric() || LOCAL.contains(&b);
        if !dotted(local) || !local.bytes().all(is_local) {
            return Err("the e-mail address has a part before the @ that is not plain");
        }
        let is_label = |label: &str| !label.starts_with('-') && !label.ends_with('-');
        let is_domain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        if !dotted(domain) || !domain.bytes().all(is_domain) || !domain.split('.').all(is_label) {
            return Err("the e-mail address has a domain that is not plain");
        }
        Ok(Self(text.to_owned()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an address of the tenant's is this one. ASCII case does not matter: tenants ignore it.
    pub fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }
}

/// Not empty, and no empty part between dots.
fn dotted(text: &str) -> bool {
    text.split('.').all(|part| !part.is_empty())
}

/// Addresses are personal data.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_taken() {
        for good in [
            "ann@acme.test",
            "Ann.Lee+x@sub.acme.test",
            "o'neil@acme.test",
            "a@b",
        ] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "@",
            "ann",
            "ann@",
            "@acme.test",
            "ann@acme.test.",
            "ann@.acme.test",
            "ann@acme..test",
            ".ann@acme.test",
            "ann.@acme.test",
            "a..b@acme.test",
            "ann@evil.test@acme.test",
            "\"ann\"@acme.test",
            "ann@acme.test\" or email co \"",
            "ann\\@acme.test",
            "ann@acme.test\n",
            "ann @acme.test",
            "ann@acme test",
            "änn@acme.test",
            "ann@ácme.test",
            "ann@[127.0.0.1]",
            "ann(comment)@acme.test",
            "ann@-acme.test",
            "ann@acme-.test",
            "<ann@acme.test>",
            "ann@acme.test,bob@acme.test",
            "ann@acme.test;",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert!(Email::parse(&format!("{}@acme.test", "x".repeat(250))).is_err());
    }
}
