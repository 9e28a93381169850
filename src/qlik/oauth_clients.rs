//! `/api/v1/oauth-clients`, as the management client sees it: which pages a client allows.

use std::sync::Arc;

use reqwest::Method;
use serde::Deserialize;
use tokio::time::Instant;
use url::form_urlencoded::byte_serialize;

use super::error::QlikError;
use super::management::{Ask, Management};
use super::rest::Answer;
use crate::telemetry::metrics::UpstreamCall;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    /// Absent in the reduced form that is shown to those who are no administrators.
    allowed_origins: Option<Vec<String>>,
}

impl Management {
    /// The origins that an OAuth client of the tenant allows, as they are written there.
    pub async fn allowed_origins(
        self: &Arc<Self>,
        client_id: &str,
        deadline: Instant,
    ) -> Result<Vec<String>, QlikError> {
        let id: String = byte_serialize(client_id.as_bytes()).collect();
        let ask = Ask {
            call: UpstreamCall::OauthClient,
            method: Method::GET,
            path: &format!("/api/v1/oauth-clients/{id}"),
            body: None,
        };
        let Answer { status, body } = self.call(&ask, deadline).await?;
        let resource = serde_json::from_slice::<Resource>(&body);
        match (status, resource) {
            (200, Ok(resource)) => {
                let unseen = "the tenant does not show the OAuth client's origins";
                resource.allowed_origins.ok_or(QlikError::Malformed(unseen))
            }
            (404, _) => Err(QlikError::Malformed(
                "the tenant lists no such OAuth client",
            )),
            _ => Err(QlikError::Malformed("not the JSON of an OAuth client")),
        }
    }
}
