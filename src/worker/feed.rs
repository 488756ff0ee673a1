//! The feed of security events for operators: a stream of Server-Sent Events in a channel that no client can name,
//! for whoever may call the server API. Never carries anything else.

use highper_shards::SlotId;
use highper_wire::dialect::Dialect;
use highper_wire::http1::{Head, Status};

use super::close::Cause;
use super::{ShardIo, Worker};
use crate::api::cors::Cors;
use crate::conn::entry::Wanted;
use crate::conn::{NO_ENDPOINT, Reply};

impl Worker {
    /// A GET of the feed: opens it, or says why not. `None` if it is open now.
    pub(super) fn open_feed(
        &mut self,
        io: &mut ShardIo,
        slot: SlotId,
        head: &Head<'_>,
        cors: &Cors,
    ) -> Option<Reply> {
        if let Some(refusal) = self.api_refusal(io, slot, head) {
            let status = Status::from_code(refusal.status).unwrap_or(Status::Forbidden);
            return Some(Reply::Refused(status, refusal.message.into_owned()));
        }
        if self.monitor.is_none() {
            return Some(Reply::Refused(Status::NotFound, "MONITORING_SECURITY_ENABLED is false".into()));
        }
        let channel = self.shared.names.security();
        let wanted = Wanted {
            channels: vec![channel.clone()],
            is_gzip: false,
            cursor: None,
            dialect: Dialect::Raw,
            head_only: head.method == "HEAD",
            cors: cors.clone(),
        };
        self.begin_stream(io, slot, NO_ENDPOINT, &wanted);
        if wanted.head_only {
            self.close_http(io, slot);
        } else if self.join(io, slot, &channel, None, None).is_err() {
            self.end(io, slot, Cause::Restart);
        } else {
            self.schedule(io, slot);
        }
        None
    }
}
