//! What can be said of the certificate that a server shows.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::{CertificateError, Error};
use x509_parser::parse_x509_certificate;

/// Why a handshake with a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// The certificate's time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// No authority that is trusted has signed it.
    Untrusted,
    /// It is for another host.
    OtherName,
    /// It cannot be used for another reason.
    Unusable,
    /// What answers does not speak TLS as it is understood here.
    Protocol,
}

impl PeerFault {
    /// The fault behind an error of a client, if TLS is what failed.
    pub fn behind(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(fault) = error.downcast_ref::<Error>() {
                return Some(Self::of(fault));
            }
            // An error of the operating system's kind holds another one, and names its cause only.
            let held = error
                .downcast_ref::<std::io::Error>()
                .and_then(|io| io.get_ref());
            next = match held {
                Some(held) => Some(held as &(dyn StdError + 'static)),
                None => error.source(),
            };
        }
        None
    }

    fn of(error: &Error) -> Self {
        let Error::InvalidCertificate(fault) = error else {
            return Self::Protocol;
        };
        match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            // Another authority of the same name looks like a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            _ => Self::Unusable,
        }
    }
}

/// When the time of a certificate is over: `notAfter` (RFC 5280, 4.1.2.5).
pub fn ends(certificate: &[u8]) -> Option<SystemTime> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let seconds = parsed.validity().not_after.timestamp();
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}
