//! What `check --live` can find, and what to do about it: the one table, which docs/operations.md repeats.

use super::finding::Level;
use crate::outbound::{PeerFault, Trouble};

/// What may be wrong. Part of the contract: a code keeps its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Fault {
    FileUnusable,
    NameUnknown,
    Unreachable,
    CertificateExpired,
    CertificateUntrusted,
    CertificateName,
    TlsFailed,
    CertificateEnds,
    NoTenant,
    ClockOff,
    ClockWrong,
    TenantFailed,
    SecretRefused,
    KeyRefused,
    SecretDead,
    ClientUnknown,
    ClientRefused,
    ConsentRequired,
    GrantMissing,
    GrantExtra,
    ScopeMissing,
    ScopeExtra,
    OriginMissing,
    OriginExtra,
    CspMissing,
    NotSeen,
    Unproven,
    UserUnknown,
    UserDisabled,
    UserAmbiguous,
    UserTokens,
    UserNotAskable,
    TokenUseless,
    TokenShort,
    KeysUnusable,
    KeysUnfit,
    AlgorithmUnused,
    IssuerOther,
    AskerRefused,
    SessionsOpen,
    AnswerOdd,
    StoreUnreachable,
    StoreRefused,
    StoreTls,
    StoreDenied,
    StoreOld,
    StoreEvicts,
    CollectorUnreachable,
    CollectorRefused,
    Late,
}

use Level::{Error, Ok, Warning};

struct Row(&'static str, Level, &'static str);

impl Fault {
    #[rustfmt::skip]
    fn row(self) -> Row {
        match self {
            Self::FileUnusable => Row("file_unusable", Error, "correct the file"),
            Self::NameUnknown => Row("name_unknown", Error, "check the host in the address, and the DNS of this machine"),
            Self::Unreachable => Row("unreachable", Error, "check the address, what this machine may call, and upstream.proxy"),
            Self::CertificateExpired => Row("certificate_expired", Error, "have the certificate renewed by whoever runs this host, or correct the clock of this machine"),
            Self::CertificateUntrusted => Row("certificate_untrusted", Error, "if the host has a private authority, or a proxy opens TLS on the way, name its certificate in the tenant's ca_file; for other hosts add it to the authorities of this machine"),
            Self::CertificateName => Row("certificate_name", Error, "check the host in the address: what answers there is somebody else"),
            Self::TlsFailed => Row("tls_failed", Error, "check the port, and what answers there: TLS 1.2 or 1.3 is needed"),
            Self::CertificateEnds => Row("certificate_ends", Warning, "have the certificate renewed by whoever runs this host"),
            Self::NoTenant => Row("no_tenant", Error, "correct url: it is the tenant's own address, such as https://acme.eu.qlikcloud.com"),
            Self::ClockOff => Row("clock_off", Warning, "let this machine keep its clock by NTP"),
            Self::ClockWrong => Row("clock_wrong", Error, "correct the clock of this machine, and keep it by NTP: sessions and proofs that are dated are refused"),
            Self::TenantFailed => Row("tenant_failed", Error, "try again in a minute; if it stays, look at Qlik's status page and at what stands in between"),
            Self::SecretRefused => Row("secret_refused", Error, "put a secret of this OAuth client in place; if none is at hand, add one to the client"),
            Self::KeyRefused => Row("key_refused", Error, "register the public key on the OAuth client under this kid and algorithm"),
            Self::SecretDead => Row("secret_dead", Warning, "take it out of the list; the others work"),
            Self::ClientUnknown => Row("client_unknown", Error, "check that url, client_id and its secret or key belong together, and that the OAuth client was not deleted"),
            Self::ClientRefused => Row("client_refused", Error, "check the secret, the grant, the scopes and the consent of this OAuth client"),
            Self::ConsentRequired => Row("consent_required", Error, "set the consent method of the OAuth client to trusted"),
            Self::GrantMissing => Row("grant_missing", Error, "allow the grant on the OAuth client"),
            Self::GrantExtra => Row("grant_extra", Warning, "take the grant from the OAuth client: whoever gets its secret could use it"),
            Self::ScopeMissing => Row("scope_missing", Error, "allow the scope on the OAuth client, or take it out of the configuration"),
            Self::ScopeExtra => Row("scope_extra", Warning, "take the scope from the OAuth client: whoever gets its secret could ask for it"),
            Self::OriginMissing => Row("origin_missing", Error, "add it to the allowed origins of the OAuth client, or embeds stay blank on this page"),
            Self::OriginExtra => Row("origin_extra", Warning, "add it to allowed_origins if the page is yours, or take it from the OAuth client"),
            Self::CspMissing => Row("csp_missing", Warning, "if this page embeds by iframe, add it to the tenant's CSP origins; qlik-embed needs no entry"),
            Self::NotSeen => Row("not_seen", Ok, "to have it checked, add a management client with the scope admin_classic; or look at it in the console"),
            Self::Unproven => Row("unproven", Warning, "name a user with --subject, --user-id or --email, or add a management client with the scope admin_classic"),
            Self::UserUnknown => Row("user_unknown", Error, "create the user in the tenant, or name another; without a management client it may be the grant or the scopes as well"),
            Self::UserDisabled => Row("user_disabled", Error, "enable the user in the tenant, or name another"),
            Self::UserAmbiguous => Row("user_ambiguous", Error, "give one of these users another address, or map by subject"),
            Self::UserTokens => Row("user_tokens", Error, "revoke old tokens of the user in the tenant"),
            Self::UserNotAskable => Row("user_not_askable", Error, "name a user without quotes and backslashes, or by another field"),
            Self::TokenUseless => Row("token_useless", Error, "lower cache.min_life: every token counts as expired at once"),
            Self::TokenShort => Row("token_short", Warning, "lower cache.refresh_margin: tokens are renewed with every request"),
            Self::KeysUnusable => Row("keys_unusable", Error, "check jwks_url, or the issuer's address, against what the issuer documents"),
            Self::KeysUnfit => Row("keys_unfit", Error, "set algorithms to what the issuer signs with"),
            Self::AlgorithmUnused => Row("algorithm_unused", Warning, "take it out of algorithms, unless the issuer is about to get such a key"),
            Self::IssuerOther => Row("issuer_other", Error, "set issuer exactly to what the issuer's metadata say, slashes included"),
            Self::AskerRefused => Row("asker_refused", Error, "check client_id and client_secret of this table, and that the issuer lets the client introspect"),
            Self::SessionsOpen => Row("sessions_open", Error, "take the table out until what answers there refuses a session that nobody has: everybody is let in"),
            Self::AnswerOdd => Row("answer_odd", Error, "check the address, and what answers there: a login page and a proxy's page are no answer"),
            Self::StoreUnreachable => Row("store_unreachable", Error, "check shared.url, and that this machine may connect to it"),
            Self::StoreRefused => Row("store_refused", Error, "check shared.username and shared.password; as an administrator of the store look at ACL LOG"),
            Self::StoreTls => Row("store_tls", Error, "check rediss:// in shared.url, the host in it, and shared.ca_file"),
            Self::StoreDenied => Row("store_denied", Error, "give its user the commands, keys and channels that docs/operations.md lists; write to the master, and leave room"),
            Self::StoreOld => Row("store_old", Error, "use Redis 5 or later, or Valkey"),
            Self::StoreEvicts => Row("store_evicts", Warning, "set maxmemory-policy to noeviction: an eviction may forget that somebody was logged out"),
            Self::CollectorUnreachable => Row("collector_unreachable", Warning, "check telemetry.otlp_endpoint, and that this machine may call it directly: upstream.proxy is not used; meanwhile the broker serves without traces"),
            Self::CollectorRefused => Row("collector_refused", Warning, "check that OTLP over HTTP is taken at this address, usually port 4318, and what it wants in telemetry.headers"),
            Self::Late => Row("late", Error, "look at the lines above: something answers too slowly to be checked"),
        }
    }

    pub fn code(self) -> &'static str {
        self.row().0
    }

    pub fn level(self) -> Level {
        self.row().1
    }

    pub fn remedy(self) -> &'static str {
        self.row().2
    }
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Name => Self::NameUnknown,
            Trouble::NoConnection | Trouble::Late | Trouble::Broken => Self::Unreachable,
            Trouble::NoClient => Self::FileUnusable,
            Trouble::Tls(PeerFault::Expired | PeerFault::NotYetValid) => Self::CertificateExpired,
            Trouble::Tls(PeerFault::Untrusted) => Self::CertificateUntrusted,
            Trouble::Tls(PeerFault::OtherName) => Self::CertificateName,
            Trouble::Tls(PeerFault::Unusable | PeerFault::Protocol) => Self::TlsFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Fault; 50] = [
        Fault::FileUnusable,
        Fault::NameUnknown,
        Fault::Unreachable,
        Fault::CertificateExpired,
        Fault::CertificateUntrusted,
        Fault::CertificateName,
        Fault::TlsFailed,
        Fault::CertificateEnds,
        Fault::NoTenant,
        Fault::ClockOff,
        Fault::ClockWrong,
        Fault::TenantFailed,
        Fault::SecretRefused,
        Fault::KeyRefused,
        Fault::SecretDead,
        Fault::ClientUnknown,
        Fault::ClientRefused,
        Fault::ConsentRequired,
        Fault::GrantMissing,
        Fault::GrantExtra,
        Fault::ScopeMissing,
        Fault::ScopeExtra,
        Fault::OriginMissing,
        Fault::OriginExtra,
        Fault::CspMissing,
        Fault::NotSeen,
        Fault::Unproven,
        Fault::UserUnknown,
        Fault::UserDisabled,
        Fault::UserAmbiguous,
        Fault::UserTokens,
        Fault::UserNotAskable,
        Fault::TokenUseless,
        Fault::TokenShort,
        Fault::KeysUnusable,
        Fault::KeysUnfit,
        Fault::AlgorithmUnused,
        Fault::IssuerOther,
        Fault::AskerRefused,
        Fault::SessionsOpen,
        Fault::AnswerOdd,
        Fault::StoreUnreachable,
        Fault::StoreRefused,
        Fault::StoreTls,
        Fault::StoreDenied,
        Fault::StoreOld,
        Fault::StoreEvicts,
        Fault::CollectorUnreachable,
        Fault::CollectorRefused,
        Fault::Late,
    ];

    #[test]
    fn the_operators_table_has_every_finding_with_its_level_and_remedy() {
        assert_eq!(Fault::Late as usize + 1, ALL.len(), "the last one");
        let docs = include_str!("../../../docs/operations.md");
        let section = docs.split("### What it finds").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<_> = section
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert_eq!(rows.len(), ALL.len(), "a row for each");
        for (index, fault) in ALL.into_iter().enumerate() {
            assert_eq!(
                fault as usize, index,
                "{fault:?} is there once, in its order"
            );
            let cells: Vec<_> = rows[index].trim_matches('|').split(" | ").collect();
            let cells: Vec<_> = cells.iter().map(|cell| cell.trim()).collect();
            assert_eq!(cells.len(), 4, "{cells:?}");
            assert_eq!(cells[0], format!("`{}`", fault.code()));
            assert_eq!(cells[1], fault.level().as_str(), "{fault:?}");
            assert_eq!(cells[3].replace('`', ""), fault.remedy(), "{fault:?}");
        }
    }
}
