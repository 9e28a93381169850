//! An OAuth client for people, and for programs.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::qlik::admin::{OauthClient, SecretHint, safe};

const HEAD: [&str; 9] = [
    "ID", "NAME", "GRANTS", "SCOPES", "ORIGINS", "CONSENT", "PROOF", "CHANGED", "USED BY",
];

/// What is shown of a client.
pub(super) struct Shown {
    id: String,
    name: String,
    kind: String,
    grants: Vec<String>,
    scopes: Vec<String>,
    origins: Vec<String>,
    pub consent: Option<String>,
    methods: Vec<String>,
    secrets: Vec<Secret>,
    keys: Vec<String>,
    created_at: Option<String>,
    changed_at: Option<String>,
    used_by: Vec<String>,
}

struct Secret {
    hint: String,
    created_at: Option<Timestamp>,
    age_seconds: Option<i64>,
}

impl Secret {
    fn of(secret: &SecretHint, now: Option<Timestamp>) -> Self {
        let created_at = secret.created_at();
        let age = now.zip(created_at);
        Self {
            hint: secret.hint.clone(),
            created_at,
            age_seconds: age.map(|(now, then)| now.as_second().saturating_sub(then.as_second())),
        }
    }
}

impl Shown {
    pub fn of(client: &OauthClient, used_by: Vec<String>, now: Option<Timestamp>) -> Self {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        Self {
            id: client.client_id.clone(),
            name: client.client_name.clone(),
            kind: client.app_type.clone(),
            grants: list(&client.allowed_grant_types),
            scopes: list(&client.allowed_scopes),
            origins: list(&client.allowed_origins),
            consent: client.consent().map(str::to_owned),
            methods: list(&client.allowed_auth_methods),
            secrets: client.secrets().map(|one| Secret::of(one, now)).collect(),
            keys: client.kids().map(str::to_owned).collect(),
            created_at: client.created_at.clone(),
            changed_at: client.updated_at.clone(),
            used_by,
        }
    }

    pub fn json(&self) -> Value {
        let secrets = self.secrets.iter().map(|secret| {
            let created_at = secret.created_at.map(|time| time.to_string());
            json!({"hint": secret.hint, "created_at": created_at, "age_seconds": secret.age_seconds})
        });
        json!({
            "id": self.id,
            "name": self.name,
            "type": self.kind,
            "grants": self.grants,
            "scopes": self.scopes,
            "origins": self.origins,
            "consent": self.consent,
            "auth_methods": self.methods,
            "secrets": secrets.collect::<Vec<_>>(),
            "keys": self.keys,
            "created_at": self.created_at,
            "changed_at": self.changed_at,
            "used_by": self.used_by,
        })
    }

    /// One thing per line.
    pub fn details(&self) -> String {
        let mut lines = vec![
            ("id", self.id.clone()),
            ("name", self.name.clone()),
            ("type", self.kind.clone()),
            ("grants", self.grants.join(" ")),
            ("scopes", self.scopes.join(" ")),
            ("origins", self.origins.join(" ")),
            ("consent", self.consent.clone().unwrap_or_default()),
            ("methods", self.methods.join(" ")),
        ];
        lines.extend(self.secrets.iter().map(|one| ("secret", one.to_string())));
        lines.extend(self.keys.iter().map(|kid| ("key", kid.clone())));
        lines.push(("made", self.created_at.clone().unwrap_or_default()));
        lines.push(("changed", self.changed_at.clone().unwrap_or_default()));
        lines.extend(self.used_by.iter().map(|place| ("used by", place.clone())));
        let lines = lines.iter();
        let lines = lines.map(|(name, value)| format!("{name:8} {}\n", or_dash(value)));
        lines.collect::<Vec<_>>().concat()
    }

    fn cells(&self) -> [String; 9] {
        let grant =
            |grant: &String| grant.replace("urn:qlik:oauth:user-impersonation", "impersonation");
        let grants: Vec<_> = self.grants.iter().map(grant).collect();
        let secrets = self.secrets.iter().map(Secret::to_string);
        let keys = self.keys.iter().map(|kid| format!("key {kid}"));
        let proofs: Vec<_> = secrets.chain(keys).collect();
        [
            self.id.clone(),
            self.name.clone(),
            grants.join(" "),
            self.scopes.join(" "),
            self.origins.join(" "),
            self.consent.clone().unwrap_or_default(),
            proofs.join(", "),
            // Without its fraction of a second.
            self.changed_at
                .as_deref()
                .map_or_else(String::new, |time| time.chars().take(19).collect()),
            self.used_by.join(", "),
        ]
        .map(|cell| or_dash(&cell))
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.hint)?;
        match self.age_seconds {
            None => Ok(()),
            Some(age) => write!(f, " ({})", how_old(age)),
        }
    }
}

/// All of them, in columns.
pub(super) fn table(clients: &[Shown]) -> String {
    let head = HEAD.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head)
        .chain(clients.iter().map(Shown::cells))
        .collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One of several that are meant.
pub(super) fn line(client: &OauthClient) -> String {
    format!(
        "  {}  {}\n",
        safe(&client.client_id),
        safe(&client.client_name)
    )
}

/// How long ago, in the largest unit of which there are two.
pub(super) fn how_old(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{} s", seconds.max(0)),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn or_dash(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => safe(text),
    }
}
