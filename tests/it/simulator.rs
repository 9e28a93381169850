//! The simulated tenant, spoken to as a client would: over HTTP.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use qlik_token_broker::simulator::{
    CLIENT_CREDENTIALS, Call, ClientSetup, Fault, IMPERSONATION, RateLimit, Refusal, Simulator,
    UserStatus, World,
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::{Value, json};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const PORTAL: &str = "http://localhost:3000";

/// A running tenant and a client that follows no redirect.
struct Tenant {
    simulator: Simulator,
    http: Client,
}

impl Tenant {
    async fn demo() -> Self {
        Self::of(World::demo()).await
    }

    async fn of(world: World) -> Self {
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        Self {
            simulator: Simulator::start(world).await.unwrap(),
            http,
        }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.simulator.url()))
    }

    async fn token(&self, body: &Value) -> Response {
        let call = self.call(Method::POST, "/oauth/token").json(body);
        call.send().await.unwrap()
    }

    /// The access token of an impersonated user.
    async fn impersonated(&self, subject: &str) -> String {
        access_token(self.token(&impersonation(subject)).await).await
    }

    /// The access token of the management client.
    async fn admin(&self) -> String {
        access_token(self.token(&management()).await).await
    }

    async fn send(&self, method: Method, path: &str, bearer: &str, body: &Value) -> Response {
        let mut call = self.call(method, path).bearer_auth(bearer);
        if !body.is_null() {
            call = call.json(body);
        }
        call.send().await.unwrap()
    }

    async fn get(&self, path: &str, bearer: &str) -> Response {
        self.send(Method::GET, path, bearer, &Value::Null).await
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> Response {
        let mut call = self.call(method, path);
        if !body.is_null() {
            call = call.json(body);
        }
        call.send().await.unwrap()
    }

    async fn script(&self, call: &str, fault: &Value) {
        let body = json!({ "call": call, "fault": fault, "times": 1 });
        let answer = self
            .control(Method::POST, "/_simulator/faults", &body)
            .await;
        assert_eq!(answer.status(), 204, "{fault}: {:?}", answer.text().await);
    }
}

async fn access_token(answer: Response) -> String {
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    let body: Value = answer.json().await.unwrap();
    body["access_token"].as_str().unwrap().to_owned()
}

fn impersonation(subject: &str) -> Value {
    json!({
        "client_id": "demo-broker", "client_secret": World::DEMO_BROKER_SECRET, "grant_type": IMPERSONATION,
        "scope": "user_default", "user_lookup": { "field": "subject", "value": subject },
    })
}

fn management() -> Value {
    json!({
        "client_id": "demo-management", "client_secret": World::DEMO_MANAGEMENT_SECRET,
        "grant_type": CLIENT_CREDENTIALS,
    })
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

fn without(mut body: Value, key: &str) -> Value {
    body.as_object_mut().unwrap().remove(key);
    body
}

/// Asserts status and code of an error of the OAuth endpoints, and its shape.
async fn refused(answer: Response, status: u16, code: &str) {
    let got = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        (got.as_u16(), body["errors"][0]["code"].as_str()),
        (status, Some(code)),
        "{body}"
    );
    assert_eq!(body["errors"][0]["status"], status.to_string());
    assert!(body["errors"][0]["title"].is_string());
    assert!(body["traceId"].is_string());
}

fn claims(token: &str) -> (Value, Value) {
    let mut parts = token
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let header = serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (
        header,
        serde_json::from_slice(&parts.next().unwrap()).unwrap(),
    )
}

/// `path` with a percent-encoded filter.
fn filtered(path: &str, filter: &str) -> String {
    let encoded = filter.bytes().map(|byte| format!("%{byte:02X}"));
    format!("{path}?filter={}", encoded.collect::<String>())
}

fn user_id(tenant: &Tenant, subject: &str) -> String {
    tenant
        .simulator
        .with_world(|world| world.find_user(subject).unwrap().id.clone())
}

mod assertions;
mod clients;
mod control;
mod embed;
mod faults;
mod rates;
mod rest;
mod tokens;
mod users;
