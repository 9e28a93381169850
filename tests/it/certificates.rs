//! Authorities, and the certificates that they sign.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, both PEM.
pub struct Signed {
    pub certificate: String,
    pub key: String,
}

impl Signed {
    /// As clients take it.
    pub fn identity(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    pub fn new() -> Self {
        let mut params = params("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server on this machine.
    pub fn server(&self) -> Signed {
        let mut params = params("a server");
        let loopback = SanType::IpAddress([127, 0, 0, 1].into());
        params.subject_alt_names = vec![dns("localhost"), loopback];
        self.sign(&params)
    }

    /// A server of this name, whose time is over on this day.
    pub fn server_until(&self, name: &str, (year, month, day): (i32, u8, u8)) -> Signed {
        let mut params = params("a server for a while");
        params.subject_alt_names = vec![dns(name)];
        params.not_after = date_time_ymd(year, month, day);
        self.sign(&params)
    }

    /// A client with these names: URIs where there is a colon, else DNS names.
    pub fn client(&self, names: &[&str]) -> Signed {
        let san = |name: &&str| {
            if name.contains(':') {
                uri(name)
            } else {
                dns(name)
            }
        };
        self.client_with("a client", names.iter().map(san).collect())
    }

    /// A client with this common name, and these others.
    pub fn client_with(&self, common_name: &str, names: Vec<SanType>) -> Signed {
        let mut params = params(common_name);
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    /// A client whose time is over.
    pub fn expired_client(&self, name: &str) -> Signed {
        let mut params = params("a client of old");
        params.subject_alt_names = vec![dns(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(2020, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Signed {
        let key = KeyPair::generate().unwrap();
        Signed {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// Whatever the text looks like.
pub fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}
