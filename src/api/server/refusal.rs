//! Why a call was not carried out: a status, a stable code, and the field at fault. Never holds what was sent.

use std::borrow::Cow;

use serde::Serialize;

/// A call that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The status of the response, if the whole request is refused.
    #[serde(skip)]
    pub status: u16,
    /// What SDKs look at: 100 internal, 101 unauthorized, 103 permission denied, 104 method not found,
    /// 107 bad request, 108 not available, 111 too many requests, 112 unrecoverable position.
    pub code: u16,
    /// English for the developer; begins with the field, if one is at fault.
    pub message: Cow<'static, str>,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Whether the same call may succeed later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub temporary: bool,
}

impl Refusal {
    /// A field is missing or wrong.
    pub fn bad(field: impl Into<String>, problem: &str) -> Self {
        let field = field.into();
        let message = format!("{field}: {problem}").into();
        Self { field: Some(field), ..Self::new(400, 107, message) }
    }

    /// The body is no JSON object.
    pub fn not_json(problem: impl std::fmt::Display) -> Self {
        Self::new(400, 107, format!("body: {problem}").into())
    }

    /// There is no such method.
    pub fn no_method() -> Self {
        Self::new(404, 104, "method not found".into())
    }

    /// The key is missing or wrong.
    pub fn unauthorized() -> Self {
        Self::new(401, 101, "unauthorized: X-API-Key or Authorization: apikey KEY (REALTIME_API_KEY)".into())
    }

    /// A client showed a token that is not valid.
    pub fn bad_token(problem: impl std::fmt::Display) -> Self {
        Self::new(401, 101, format!("unauthorized: {problem}").into())
    }

    /// The client's token does not allow it.
    pub fn denied(channel: &str, problem: impl std::fmt::Display) -> Self {
        let named = if channel.is_empty() { String::new() } else { format!("{channel}: ") };
        Self::new(403, 103, format!("permission denied: {named}{problem}").into())
    }

    /// The call is not for clients.
    pub fn backends_only() -> Self {
        Self::new(403, 103, "permission denied: this call needs the key of the API".into())
    }

    /// Without a key the API answers only local programs, and those not through a browser or a proxy.
    pub fn no_key() -> Self {
        let message = "the API is closed: set REALTIME_API_KEY; without it only programs on this host may call, on a \
             loopback listener, not through a browser or a proxy";
        Self::new(403, 103, message.into())
    }

    /// The channel's namespace leaves the API out.
    pub fn closed() -> Self {
        Self::new(403, 103, "permission denied: the channel's namespace is closed to the API".into())
    }

    /// The channel keeps nothing of the kind.
    pub fn not_available() -> Self {
        Self::new(400, 108, "not available: the channel keeps no history or no presence".into())
    }

    /// The channel's numbering has started again since the position that was named.
    pub fn unrecoverable() -> Self {
        Self::new(400, 112, "unrecoverable position: since.epoch is not the channel's".into())
    }

    /// A queue inside the server is full: nothing was done.
    pub fn try_again() -> Self {
        Self {
            temporary: true,
            ..Self::new(503, 111, "the server is busy; nothing was done, try again".into())
        }
    }

    /// More calls came within a second than may: nothing was done.
    pub fn too_many() -> Self {
        let message =
            "too many calls (REALTIME_RATE_LIMIT_API_CALLS); nothing was done, try again in a second";
        Self { temporary: true, ..Self::new(429, 111, message.into()) }
    }

    fn new(status: u16, code: u16, message: Cow<'static, str>) -> Self {
        Self { status, code, message, field: None, temporary: false }
    }
}
