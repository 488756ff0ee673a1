//! What HTTP answers: one table of routes, each a path, its methods and what it shows. Never reads a request; the
//! worker does.

pub mod cors;
pub mod credentials;
pub mod health;
pub mod server;

use crate::config::Config;
use crate::handler::Transport;

/// The routes of a server.
#[derive(Debug)]
pub struct Routes(Vec<Route>);

/// One path.
#[derive(Debug)]
pub struct Route {
    /// The path, compared byte by byte.
    pub path: String,
    /// What stands there.
    pub resource: Resource,
}

/// What a path shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The demo page.
    Page,
    /// Whether the process lives.
    Live,
    /// Whether it takes connections.
    Ready,
    /// Everything about its health.
    Health,
    /// A WebSocket endpoint, by its index.
    WebSocket(u8),
    /// An endpoint of Server-Sent Events, by its index.
    Events(u8),
    /// The server API.
    Api,
}

impl Routes {
    /// The routes that a configuration and up to 256 endpoints give.
    pub fn new<'p>(config: &Config, endpoints: impl IntoIterator<Item = (&'p str, Transport)>) -> Self {
        let mut routes = Vec::new();
        let mut add = |path: &str, resource| routes.push(Route { path: path.into(), resource });
        for ((path, transport), at) in endpoints.into_iter().zip(0..=u8::MAX) {
            let resource = match transport {
                Transport::WebSocket => Resource::WebSocket(at),
                Transport::Events => Resource::Events(at),
            };
            add(path, resource);
        }
        add("/health/live", Resource::Live);
        add("/health/ready", Resource::Ready);
        if config.health_check_enabled {
            add(config.health_check_path.as_str(), Resource::Health);
        }
        add("/", Resource::Page);
        Self(routes)
    }

    /// The first route of this path. Whatever is below [`API`] belongs to the server API.
    pub fn find(&self, path: &str) -> Option<Resource> {
        let exact = self.0.iter().find(|route| route.path == path).map(|route| route.resource);
        exact.or_else(|| method(path).map(|_| Resource::Api))
    }

    /// All routes but those of the API, as they are searched.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

/// Where the server API is.
pub const API: &str = "/api";

/// The name below [`API`] of the feed of security events.
pub const FEED: &str = "security";

/// The method of the server API that a path names: `publish` for `/api/publish`, nothing for `/api`.
pub fn method(path: &str) -> Option<&str> {
    match path.strip_prefix(API)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}
