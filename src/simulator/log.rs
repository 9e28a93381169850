//! The request log and the counters, free of secrets.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

use super::asked::{Asked, Payload};
use super::call::Call;

/// The log keeps the latest requests only; the counters count all.
const KEPT: usize = 10_000;

/// What takes the place of a secret.
const REDACTED: &str = "[redacted]";

/// Fields of bodies and queries that are secrets or tokens.
const SECRET_FIELDS: [&str; 10] = [
    "client_secret",
    "clientSecret",
    "client_assertion",
    "token",
    "subject_token",
    "refresh_token",
    "access_token",
    "accessToken",
    "code",
    "code_verifier",
];

/// One request that reached the tenant.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Its number since the last reset, from 1.
    pub number: u64,
    /// When it came, by the tenant's clock.
    pub time: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query as sent, secrets redacted.
    pub query: String,
    /// What was called.
    pub call: Call,
    /// The status it was answered with; none while it is under way, or when it was left hanging.
    pub status: Option<u16>,
    /// The headers by lower-case name; of `authorization` only the scheme.
    pub headers: BTreeMap<String, String>,
    /// The JSON or form body, secrets redacted.
    pub body: Option<Value>,
}

/// The log.
#[derive(Default)]
pub(super) struct Log {
    records: VecDeque<RequestRecord>,
    counters: BTreeMap<Call, usize>,
    opened: u64,
    /// Requests of before a reset must not be closed in the log of after it.
    generation: u64,
}

/// A record under way.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    number: u64,
    generation: u64,
}

impl Log {
    pub(super) fn open(&mut self, asked: &Asked, call: Call, time: String) -> Ticket {
        self.opened += 1;
        for counted in call.lineage() {
            *self.counters.entry(counted).or_default() += 1;
        }
        if self.records.len() >= KEPT {
            self.records.pop_front();
        }
        self.records.push_back(RequestRecord {
            number: self.opened,
            time,
            method: asked.method.to_string(),
            path: asked.path.clone(),
            query: redacted_query(&asked.raw_query),
            call,
            status: None,
            headers: headers(asked),
            body: redacted_body(&asked.body),
        });
        Ticket {
            number: self.opened,
            generation: self.generation,
        }
    }

    pub(super) fn close(&mut self, ticket: Ticket, status: u16) {
        if ticket.generation != self.generation {
            return;
        }
        let first = self.records.front().map_or(0, |record| record.number);
        let index = ticket
            .number
            .checked_sub(first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| self.records.get_mut(index)) {
            record.status = Some(status);
        }
    }

    pub(super) fn count(&self, call: Call) -> usize {
        self.counters.get(&call).copied().unwrap_or_default()
    }

    /// Every counter, those at zero included.
    pub(super) fn counts(&self) -> BTreeMap<Call, usize> {
        Call::ALL
            .into_iter()
            .map(|call| (call, self.count(call)))
            .collect()
    }

    /// Those with a number above `number`, oldest first.
    pub(super) fn records_after(&self, number: u64) -> Vec<RequestRecord> {
        let records = self.records.iter();
        let later = records.skip_while(|record| record.number <= number);
        later.cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            generation: self.generation + 1,
            ..Self::default()
        };
    }
}

fn headers(asked: &Asked) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in &asked.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let value = match name.as_str() {
            "authorization" => value.split(' ').next().unwrap_or_default().to_owned(),
            "cookie" => REDACTED.to_owned(),
            _ => value.into_owned(),
        };
        headers.insert(name.as_str().to_owned(), value);
    }
    headers
}

fn redacted_query(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if SECRET_FIELDS.contains(&key) => format!("{key}={REDACTED}"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn redacted_body(body: &Payload) -> Option<Value> {
    let mut body = match body {
        Payload::Json(body) => body.clone(),
        Payload::Form(fields) => Value::Object(fields.clone()),
        Payload::Empty | Payload::Unreadable(_) => return None,
    };
    if let Value::Object(fields) = &mut body {
        for (key, value) in fields {
            if SECRET_FIELDS.contains(&key.as_str()) {
                *value = Value::String(REDACTED.to_owned());
            }
        }
    }
    Some(body)
}
