//! What HTTP answers: one table of routes, each a path, its methods and what it shows. Never reads a request; the
//! worker does.

pub mod health;

use crate::config::Config;

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
}

impl Routes {
    /// The routes that a configuration and the paths of up to 256 endpoints give.
    pub fn new<'p>(config: &Config, endpoints: impl IntoIterator<Item = &'p str>) -> Self {
        let mut routes = Vec::new();
        let mut add = |path: &str, resource| routes.push(Route { path: path.into(), resource });
        for (path, at) in endpoints.into_iter().zip(0..=u8::MAX) {
            add(path, Resource::WebSocket(at));
        }
        add("/health/live", Resource::Live);
        add("/health/ready", Resource::Ready);
        if config.health_check_enabled {
            add(config.health_check_path.as_str(), Resource::Health);
        }
        add("/", Resource::Page);
        Self(routes)
    }

    /// The first route of this path.
    pub fn find(&self, path: &str) -> Option<Resource> {
        self.0.iter().find(|route| route.path == path).map(|route| route.resource)
    }

    /// All routes, as they are searched.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}
