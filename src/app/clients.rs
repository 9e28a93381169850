//! The clients of one configured tenant, as the broker and the commands use them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::BuildError;
use crate::broker::TenantClients;
use crate::budget::{Budget, Granted, Replicas, Ticket, Turn};
use crate::config::{OtherClient, TenantConfig};
use crate::directory::Directory;
use crate::outbound::{HttpClient, Outgoing};
use crate::qlik::credential::Credential;
use crate::qlik::{Management, QlikClient, QlikError, Role};
use crate::tenant::ScopeSet;

/// Makes the clients of one tenant, over one pool of connections.
pub struct Clients<'a> {
    config: &'a TenantConfig,
    http: HttpClient,
    /// Shared by all of them: the tenant counts their calls together.
    pub budget: Arc<Budget>,
    before: Option<&'a TenantClients>,
}

impl<'a> Clients<'a> {
    /// Reads the authority, calls nobody.
    pub fn of(
        config: &'a TenantConfig,
        outgoing: &Outgoing<'_>,
        replicas: Replicas,
    ) -> Result<Self, BuildError> {
        let http = outgoing.client(config.ca_pem.as_deref());
        let http = http.map_err(|error| BuildError {
            place: format!("tenants.{}.ca_file", config.tenant.id),
            reason: error.to_string(),
        })?;
        Ok(Self {
            config,
            http,
            budget: Budget::new(config.budget, replicas),
            before: None,
        })
    }

    /// The same with the budget of the clients that were there before, and what they know of their
    /// secrets.
    #[must_use]
    pub fn after(self, before: &'a TenantClients) -> Self {
        Self {
            budget: Arc::clone(&before.budget),
            before: Some(before),
            ..self
        }
    }

    /// A turn for a command, which makes a few calls and has a minute for each.
    pub async fn turn(&self) -> Result<Granted, QlikError> {
        let ticket = Ticket {
            turn: Turn::Caller("command".into()),
            user: None,
            until: Instant::now() + Duration::from_secs(60),
        };
        let turn = self.budget.turn(ticket).await;
        turn.map_err(|retry_after| QlikError::Throttled { retry_after })
    }

    /// The client that issues the users' tokens.
    pub fn issuing(&self) -> Result<QlikClient, BuildError> {
        self.client(Role::Issuing, "client_secret", &self.config.credential)
    }

    /// The client that looks users up, if there is one.
    pub fn management(&self) -> Result<Option<Arc<Management>>, BuildError> {
        let Some(OtherClient { credential, scopes }) = &self.config.management else {
            return Ok(None);
        };
        let client = self.client(Role::Management, "management.client_secret", credential)?;
        let (http, budget) = (self.http.clone(), Arc::clone(&self.budget));
        let management = Management::new(client, http, scopes.clone(), budget);
        Ok(Some(management))
    }

    /// The same with what it is for.
    pub fn directory(&self) -> Result<Option<Arc<Directory>>, BuildError> {
        let management = self.management()?;
        Ok(management.map(|management| Arc::new(Directory::new(management))))
    }

    /// The client that has tokens of its own, if there is one, and what it asks for.
    pub fn service(&self) -> Result<Option<(QlikClient, ScopeSet)>, BuildError> {
        let Some(OtherClient { credential, scopes }) = &self.config.service else {
            return Ok(None);
        };
        let client = self.client(Role::Service, "service.client_secret", credential)?;
        Ok(Some((client, scopes.clone())))
    }

    /// A client of the tenant by a credential, which stands under `key` in its table.
    pub fn client(
        &self,
        role: Role,
        key: &str,
        credential: &Credential,
    ) -> Result<QlikClient, BuildError> {
        let tenant = &self.config.tenant;
        let (id, http) = (tenant.id.as_str(), self.http.clone());
        let made = QlikClient::new(http, id, &tenant.url, credential.clone());
        let made = made.map_err(|error| BuildError {
            place: format!("tenants.{id}.{key}"),
            reason: error.to_string(),
        })?;
        let before = self.before.and_then(|before| match role {
            Role::Issuing => Some(&*before.issuing),
            Role::Management => Some(before.directory.as_ref()?.management().client()),
            Role::Service => Some(before.service.as_ref()?.client()),
        });
        Ok(match before {
            Some(before) => made.after(before),
            None => made,
        })
    }
}
