//! Where connections come from: the peer of the socket, the client that a PROXY header names, the client that a
//! trusted proxy's header fields name. Never reads a header itself; `highper_wire::proxy` and `address` do.

use std::net::SocketAddr;
use std::time::Duration;

use highper_shards::{Moment, SlotId};
use highper_wire::http1::Head;
use highper_wire::proxy;

use super::{ShardIo, Worker};
use crate::address::{Address, forwarded};
use crate::conn::{Conn, Phase};

/// How long a proxy may take for its header, from the first moment of the connection on.
pub(super) const PROXY_TIMEOUT: Duration = Duration::from_secs(3);

impl Worker {
    /// A connection as it begins. Only a trusted peer's PROXY header is waited for; everybody else speaks HTTP from
    /// the first byte on, in which a PROXY header is a bad request.
    pub(super) fn begin(&self, now: Moment, peer: Option<SocketAddr>) -> Conn {
        let peer = peer.map(|peer| peer.ip());
        let mut conn = Conn::new(now, Address::of(peer));
        if self.shared.config.proxy_protocol && self.trusted.believes(peer) {
            conn.phase = Phase::Proxy(proxy::Reader::new());
        }
        conn
    }

    /// Reads the PROXY header of a trusted peer; what follows it is a request.
    pub(super) fn on_proxy_header(&mut self, io: &mut ShardIo, slot: SlotId, bytes: &mut [u8]) {
        let timeout = self.shared.config.header_timeout;
        let Some(conn) = io.conn(slot) else { return };
        let Phase::Proxy(reader) = &mut conn.phase else { return };
        let mut input: &[u8] = bytes;
        let header = match reader.next(&mut input) {
            Ok(None) => return,
            Ok(Some(header)) => header,
            Err(refusal) => {
                self.counters.proxy_errors += 1;
                tracing::debug!(conn = %slot, address = ?conn.address, %refusal, "no PROXY header is believed");
                return self.close_http(io, slot);
            }
        };
        if let proxy::Header::Client(client) = header {
            conn.address = Address::of(Some(client.ip()));
        }
        conn.phase = Phase::http();
        self.counters.proxied += 1;
        let taken = bytes.len() - input.len();
        io.arm(slot, io.now() + timeout);
        self.on_requests(io, slot, &mut bytes[taken..]);
    }

    /// A trusted peer has sent no whole PROXY header in time.
    pub(super) fn on_proxy_deadline(&mut self, io: &mut ShardIo, slot: SlotId) {
        self.counters.proxy_errors += 1;
        self.close_http(io, slot);
    }

    /// Finds the client of a request, whose address the connection has from here on. A proxy's connection carries
    /// requests of many clients: each is found from the proxy's own address.
    pub(super) fn find_client(&mut self, io: &mut ShardIo, slot: SlotId, head: &Head<'_>) {
        if !self.shared.config.behind_proxy {
            return;
        }
        let Some(conn) = io.conn(slot) else { return };
        let Phase::Http(http) = &mut conn.phase else { return };
        let known = http.backlog.as_ref().and_then(|backlog| backlog.peer);
        let peer = known.unwrap_or(conn.address);
        if !self.trusted.believes(peer.get()) {
            return;
        }
        http.backlog.get_or_insert_default().peer = Some(peer);
        conn.address = Address::of(forwarded::client(peer.get(), &self.trusted, head));
    }
}
