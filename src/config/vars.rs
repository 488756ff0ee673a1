//! Every variable, once: its field, type, default, names, unit, range and sentence. The documentation,
//! `.env.example` and printed configuration come from here. Never reads a variable.

use std::path::PathBuf;
use std::time::Duration;

use super::namespaces::Namespaces;
use super::row::{Names, Row, vars};
use super::value::*;

vars! {
    ["Process"]
    /// Whether to serve at all; false says so and exits with 0.
    enabled: bool = "true", "REALTIME_ENABLED";
    /// Whether a server built in code listens as soon as it is built.
    auto_start: bool = "true", "REALTIME_AUTO_START", accepted("a server built in code listens when start or run is called");
    /// Whether the protocols of this configuration get their routes without being asked for in code.
    auto_register_routes: bool = "true", "REALTIME_AUTO_REGISTER_ROUTES";
    /// Where the server runs; only testing and local relax the checks of secrets.
    app_env: AppEnv = "production", "APP_ENV";
    /// More talk: log level debug unless REALTIME_LOG_LEVEL says otherwise.
    debug: bool = "false", "REALTIME_DEBUG", live;
    /// The least important log lines that are written.
    log_level: LogLevel = "info", "REALTIME_LOG_LEVEL", live;
    /// Whether the kernel may write no dump of the process's memory, which holds keys; no debugger reaches it then.
    no_core_dumps: bool = "false", "REALTIME_NO_CORE_DUMPS";
    /// Time that connections get to end after a stop was asked for; then they are cut.
    shutdown_grace: Duration = "10", "REALTIME_SHUTDOWN_GRACE", seconds, range(0, 3600), live;

    ["Listener and connections"]
    /// Address, name or unix:/path to listen on.
    host: Host = "0.0.0.0", "REALTIME_HOST";
    /// TCP port to listen on; 0 lets the system choose one.
    port: u16 = "8080", "REALTIME_PORT";
    /// Connections the process holds; beyond, a new one gets 503 with Retry-After. Auto is what descriptors and memory allow.
    max_connections: Cap = "auto", "REALTIME_MAX_CONNECTIONS", live;
    /// A connection without any traffic for so long is closed.
    connection_timeout: Duration = "300", "REALTIME_CONNECTION_TIMEOUT", seconds, range(1, 604_800), live;
    /// Ping, SSE comment or keep-alive of protocols that set no interval of their own.
    heartbeat_interval: Duration = "30", "REALTIME_HEARTBEAT_INTERVAL", seconds, range(1, 86_400), live, later;
    /// Size of one receive buffer of the ring that all connections of a shard share.
    buffer_size: ByteSize = "8192", "REALTIME_BUFFER_SIZE", bytes, range(1024, 1_048_576);
    /// Connections the kernel queues before they are accepted, per shard.
    backlog_size: u32 = "2000", "REALTIME_BACKLOG_SIZE", range(1, 65_535);
    /// Time from the accept until the whole request head has arrived.
    header_timeout: Duration = "10", "REALTIME_HEADER_TIMEOUT", seconds, range(1, 300), live;
    /// Size of a request head; a longer one gets 431.
    header_bytes: ByteSize = "8192", "REALTIME_HEADER_BYTES", bytes, range(1024, 65_536), live;
    /// Time a connection may make no progress taking what is sent to it.
    write_timeout: Duration = "10", "REALTIME_WRITE_TIMEOUT", seconds, range(1, 3600), live;
    /// Bytes that may wait for one connection; beyond, the slow-consumer policy decides.
    outbox_bytes: ByteSize = "1M", "REALTIME_OUTBOX_BYTES", bytes, range(4096, 1_073_741_824), live;
    /// Bytes beyond which a connection is slow: if it owes more for REALTIME_OUTBOX_SOFT_TIME, not counting what the slow-consumer policy may drop, it is closed.
    outbox_soft_bytes: ByteSize = "256K", "REALTIME_OUTBOX_SOFT_BYTES", bytes, range(4096, 1_073_741_824), live;
    /// How long a connection may be slow; looked at once in that time, so that it may be up to twice as long.
    outbox_soft_time: Duration = "10", "REALTIME_OUTBOX_SOFT_TIME", seconds, range(1, 3600), live;
    /// Memory that what waits for all connections may take, an equal share for each shard; beyond, the slowest are closed. A message that waits for many counts once. Auto is a quarter of REALTIME_MEMORY_LIMIT_MB.
    outbox_total_bytes: ByteCap = "auto", "REALTIME_OUTBOX_TOTAL_BYTES", bytes, range(65_536, 1 << 44), live;
    /// Where every message is returned as it came; a second WebSocket endpoint for tests. Unset is off.
    echo_path: Option<UrlPath> = "", "REALTIME_ECHO_PATH";

    ["Cores and engine"]
    /// Number of shards, one thread each. Auto is one per core the process may use; more than cores is allowed.
    shards: Shards = "auto", "REALTIME_SHARDS" | "REALTIME_WORKER_PROCESSES";
    /// How shards are bound to cores.
    cpu_policy: CpuPolicy = "auto", "REALTIME_CPU_POLICY";
    /// The cores to use, such as 0-3,6. Unset is every core the process may use.
    cpu_list: CpuList = "", "REALTIME_CPU_LIST";
    /// Which kernel interface moves the bytes; auto is io_uring where the kernel has and allows it.
    io_driver: DriverKind = "auto", "REALTIME_IO_DRIVER";
    /// Submission queue entries of a shard's ring.
    ring_entries: u32 = "1024", "REALTIME_RING_ENTRIES", range(64, 32_768), power_of_two;
    /// Receive buffers a shard owns, each of REALTIME_BUFFER_SIZE.
    receive_buffers: u16 = "512", "REALTIME_RECEIVE_BUFFERS", range(8, 32_768), power_of_two;
    /// Messages that may wait in one lane from one shard to another; beyond, the publisher is told to try again.
    mesh_capacity: u32 = "8192", "REALTIME_MESH_CAPACITY", range(64, 1_048_576);
    /// How long a shard polls before it sleeps; buys latency with a busy core.
    spin: Duration = "0", "REALTIME_SPIN", micros, range(0, 1_000_000);
    /// Give new connections to the shard of the core their packets arrive on, where the system can.
    steer_accept: bool = "false", "REALTIME_STEER_ACCEPT";
    /// Threads for blocking work of embedding code.
    async_workers: u16 = "4", "REALTIME_ASYNC_WORKERS", range(0, 1024);
    /// Memory at which overload protection is complete; its levels start at 80, 90 and 95 %. Auto is what the control group or host has.
    memory_limit: ByteCap = "auto", "REALTIME_MEMORY_LIMIT_MB" | "REALTIME_MAX_MEMORY_USAGE", mebibytes, range(16, 1 << 30), live;

    /// Time of one turn of a shard at which overload protection is complete; its levels start at 80, 90 and 95 %.
    overload_turn: Duration = "500", "REALTIME_OVERLOAD_TURN_MS", millis, range(10, 60_000), live;

    ["WebSocket"]
    /// Whether WebSocket is spoken; if not, its path is a 404.
    websocket_enabled: bool = "true", "WEBSOCKET_ENABLED";
    /// Where WebSocket is spoken.
    websocket_path: UrlPath = "/ws", "WEBSOCKET_PATH";
    /// Payload of one frame; a longer one is closed with 1009.
    websocket_max_frame_size: ByteSize = "2097152", "WEBSOCKET_MAX_FRAME_SIZE", bytes, range(125, 1_073_741_824), live;
    /// Payload of one message, after decompression; a longer one is closed with 1009.
    websocket_max_message_size: ByteSize = "10485760", "WEBSOCKET_MAX_MESSAGE_SIZE", bytes, range(125, 1_073_741_824), live;
    /// Frames one message may be cut into.
    websocket_max_fragments: u32 = "65537", "WEBSOCKET_MAX_FRAGMENTS", range(1, 16_777_216), live;
    /// Empty continuation frames one message may hold.
    websocket_max_empty_fragments: u32 = "256", "WEBSOCKET_MAX_EMPTY_FRAGMENTS", range(0, 16_777_216), live;
    /// Whether permessage-deflate (RFC 7692) is agreed to.
    websocket_compression: bool = "true", "WEBSOCKET_COMPRESSION", live;
    /// Effort of compression, 1 fast to 9 small.
    websocket_compression_level: u8 = "2", "WEBSOCKET_COMPRESSION_LEVEL", range(1, 9), live;
    /// Whether text that is not UTF-8 is closed with 1007.
    websocket_validate_utf8: bool = "true", "WEBSOCKET_VALIDATE_UTF8", live;
    /// Whether silent connections are pinged.
    websocket_heartbeat_enabled: bool = "true", "WEBSOCKET_HEARTBEAT_ENABLED", live;
    /// Silence after which a ping is sent.
    websocket_heartbeat_interval: Duration = "30", "WEBSOCKET_HEARTBEAT_INTERVAL", seconds, range(1, 86_400), live;
    /// Time an answer to a ping may take; then the connection is closed.
    websocket_heartbeat_timeout: Duration = "10", "WEBSOCKET_HEARTBEAT_TIMEOUT", seconds, range(1, 86_400), live;

    ["Channels"]
    /// Channels one connection may be in.
    max_channels_per_connection: u32 = "128", "REALTIME_MAX_CHANNELS_PER_CONNECTION", range(1, 1_000_000), live;
    /// Whether clients may publish into channels.
    client_publish: bool = "true", "REALTIME_CLIENT_PUBLISH", live;
    /// Whether clients may send to everyone and to users.
    client_broadcast: bool = "false", "REALTIME_CLIENT_BROADCAST", live;
    /// Channels the process holds; auto is bounded by memory.
    memory_max_channels: Cap = "0", "REALTIME_MEMORY_MAX_CHANNELS", live, later;
    /// Subscribers one channel may have; auto is bounded by memory.
    memory_max_subscribers: Cap = "0", "REALTIME_MEMORY_MAX_SUBSCRIBERS", live, later;
    /// Publications kept per channel for those who come back; 0 keeps none.
    history_size: u32 = "0", "REALTIME_HISTORY_SIZE", range(0, 1_000_000), live;
    /// How long publications are kept.
    history_ttl: Duration = "300", "REALTIME_HISTORY_TTL", seconds, range(1, 2_592_000), live;
    /// Budget of all histories of the process; beyond, the oldest publications go first.
    history_bytes: ByteSize = "256M", "REALTIME_HISTORY_BYTES", bytes, range(65_536, 1 << 44), live;
    /// Whether channels know who is in them.
    presence: bool = "false", "REALTIME_PRESENCE", live;
    /// Whether members are told who comes and goes, in channels with presence.
    member_events: bool = "false", "REALTIME_MEMBER_EVENTS", live;
    /// How long somebody who left is still a member, so that a reload of a page is no news.
    presence_hold: Duration = "3", "REALTIME_PRESENCE_HOLD", seconds, range(0, 3600), live;
    /// Interval of the sweep that drops expired history.
    gc_interval: Duration = "30", "REALTIME_GC_INTERVAL", seconds, range(1, 86_400), live;
    /// Interval of the sweep that drops expired presence and empty channels.
    cleanup_interval: Duration = "120", "REALTIME_CLEANUP_INTERVAL", seconds, range(1, 86_400), live, later;

    ["HTTP"]
    /// Whether streams of events are compressed, if the client asks for it.
    compression_enabled: bool = "true", "REALTIME_COMPRESSION_ENABLED", live;
    /// Payloads below this are not compressed, neither HTTP responses nor WebSocket messages.
    compression_threshold: ByteSize = "1024", "REALTIME_COMPRESSION_THRESHOLD", bytes, range(0, 1_073_741_824), live;
    /// Compression of streams of events; what is not gzip leaves them as they are.
    compression_algorithm: CompressionAlgorithm = "gzip", "REALTIME_COMPRESSION_ALGORITHM", live;
    /// Size of a request body; a longer one gets 413.
    http_body_bytes: ByteSize = "1M", "REALTIME_HTTP_BODY_BYTES", bytes, range(1024, 67_108_864), live;
    /// Whether the health path answers.
    health_check_enabled: bool = "true", "REALTIME_HEALTH_CHECK_ENABLED", live;
    /// Where health is told, beside /health/live and /health/ready.
    health_check_path: UrlPath = "/realtime/health", "REALTIME_HEALTH_CHECK_PATH";
    /// Whether health includes numbers.
    health_check_include_metrics: bool = "true", "REALTIME_HEALTH_CHECK_INCLUDE_METRICS", live, later;
    /// Whether browsers on other sites may call (CORS).
    cors_enabled: bool = "true", "REALTIME_CORS_ENABLED", live;
    /// Sites that may call; * is every site.
    cors_origins: Vec<OriginPattern> = "*", "REALTIME_CORS_ORIGINS", live;
    /// Methods they may use.
    cors_methods: Vec<Token> = "GET,POST", "REALTIME_CORS_METHODS", live;
    /// Header fields they may send.
    cors_headers: Vec<Token> = "*", "REALTIME_CORS_HEADERS", live;
    /// Key of the server API; unset lets it answer only where the listener is on a loopback address or a Unix socket.
    api_key: Option<Secret> = "", "REALTIME_API_KEY", live;

    ["Server-Sent Events"]
    /// Whether Server-Sent Events are served; if not, their path is a 404.
    sse_enabled: bool = "true", "SSE_ENABLED";
    /// Where Server-Sent Events are served.
    sse_path: UrlPath = "/sse", "SSE_PATH";
    /// How long a client is told to wait before it comes back.
    sse_retry_interval: Duration = "3000", "SSE_RETRY_INTERVAL", millis, range(0, 3_600_000), live;
    /// Silence after which a comment is sent.
    sse_keep_alive_interval: Duration = "25", "SSE_KEEP_ALIVE_INTERVAL", seconds, range(1, 3600), live;
    /// Size of one event.
    sse_max_event_size: ByteSize = "65536", "SSE_MAX_EVENT_SIZE", bytes, range(64, 1_073_741_824), live;
    /// Whether browsers on other sites may listen; also needs REALTIME_CORS_ENABLED.
    sse_cors_enabled: bool = "true", "SSE_CORS_ENABLED", live;
    /// Sites that may listen; * is every site.
    sse_cors_origins: Vec<OriginPattern> = "*", "SSE_CORS_ORIGINS", live;

    ["TLS"]
    /// Certificate chain, PEM.
    tls_cert: Option<PathBuf> = "", "REALTIME_TLS_CERT", live, later;
    /// Private key of the certificate, PEM.
    tls_key: Option<PathBuf> = "", "REALTIME_TLS_KEY", live, later;
    /// Whether the TCP listener speaks TLS when there is a certificate.
    tls_tcp: bool = "true", "REALTIME_TLS_TCP", later;

    ["WebTransport"]
    /// Whether WebTransport is spoken; needs a certificate.
    webtransport_enabled: bool = "false", "WEBTRANSPORT_ENABLED", later;
    /// Where WebTransport is spoken.
    webtransport_path: UrlPath = "/wt", "WEBTRANSPORT_PATH", later;
    /// Streams one session may have open.
    webtransport_max_streams: u32 = "1000", "WEBTRANSPORT_MAX_STREAMS", range(1, 1_000_000), live, later;
    /// Size of one datagram.
    webtransport_max_datagram_size: ByteSize = "1200", "WEBTRANSPORT_MAX_DATAGRAM_SIZE", bytes, range(64, 65_527), live, later;
    /// How messages travel when nothing else is asked for.
    webtransport_reliability: Reliability = "reliable_ordered", "WEBTRANSPORT_RELIABILITY", live, later;
    /// Congestion control of QUIC.
    webtransport_congestion_control: CongestionControl = "bbr2", "WEBTRANSPORT_CONGESTION_CONTROL", later;
    /// Early data in the first flight.
    webtransport_enable_0rtt: bool = "false", "WEBTRANSPORT_ENABLE_0RTT", accepted("early data can be replayed, so it is not taken");

    ["HTTP/3"]
    /// Whether HTTP/3 is spoken; needs a certificate.
    http3_enabled: bool = "false", "HTTP3_ENABLED", later;
    /// UDP port of HTTP/3; unset is the number of REALTIME_PORT.
    http3_port: Option<u16> = "", "HTTP3_PORT", range(1, 65_535), later;
    /// Version of QUIC.
    http3_quic_version: String = "draft-34", "HTTP3_QUIC_VERSION", accepted("QUIC version 1 (RFC 9000) is spoken");
    /// Connections over QUIC.
    http3_max_connections: u32 = "10000", "HTTP3_MAX_CONNECTIONS", range(1, 100_000_000), live, later;
    /// A QUIC connection without any traffic for so long is closed.
    http3_connection_timeout: Duration = "300", "HTTP3_CONNECTION_TIMEOUT", seconds, range(1, 604_800), later;
    /// Early data in the first flight.
    http3_enable_0rtt: bool = "false", "HTTP3_ENABLE_0RTT", accepted("early data can be replayed, so it is not taken");
    /// Early data in the first flight.
    http3_enable_early_data: bool = "false", "HTTP3_ENABLE_EARLY_DATA", accepted("early data can be replayed, so it is not taken");
    /// How long browsers remember that HTTP/3 is there (Alt-Svc).
    http3_alt_svc_max_age: Duration = "3600", "HTTP3_ALT_SVC_MAX_AGE", seconds, range(0, 31_536_000), live, later;
    /// Whether the protocol is negotiated by ALPN.
    http3_enable_protocol_negotiation: bool = "true", "HTTP3_ENABLE_PROTOCOL_NEGOTIATION", later;
    /// Protocols offered beside HTTP/3, best first.
    http3_fallback_protocols: Vec<Alpn> = "h2,http/1.1", "HTTP3_FALLBACK_PROTOCOLS", later;
    /// Whether HTTP/3 is offered first.
    http3_prefer_http3: bool = "true", "HTTP3_PREFER_HTTP3", later;
    /// Score a client needs for HTTP/3.
    http3_min_http3_score: u32 = "150", "HTTP3_MIN_HTTP3_SCORE", accepted("clients choose by ALPN and Alt-Svc, not by a score");
    /// Choice of the protocol by measured scores.
    http3_adaptive_selection: bool = "true", "HTTP3_ADAPTIVE_SELECTION", accepted("clients choose by ALPN and Alt-Svc, not by a score");

    ["Broadcasting and cluster"]
    /// What carries messages between processes.
    broadcast_driver: BroadcastDriver = "memory", "REALTIME_BROADCAST_DRIVER", later;
    /// Name of this node in the cluster; unset is a random one.
    node_id: Option<Token> = "", "REALTIME_NODE_ID";
    /// Secret that signs messages between nodes; unset is unsigned.
    cluster_secret: Option<Secret> = "", "REALTIME_CLUSTER_SECRET", later;
    /// Whether a lost broker makes the process not ready.
    ready_requires_bus: bool = "false", "REALTIME_READY_REQUIRES_BUS", live, later;
    /// Connections to the broker.
    connection_pool_size: u32 = "100", "REALTIME_CONNECTION_POOL_SIZE", range(1, 10_000), later;
    /// Time the broker may take to take a connection.
    connection_pool_timeout: Duration = "30", "REALTIME_CONNECTION_POOL_TIMEOUT", seconds, range(1, 3600), later;
    /// Redis by URL; wins over host, port and database.
    redis_url: Option<Url> = "", "REALTIME_REDIS_URL", later;
    /// Host of Redis.
    redis_host: Host = "localhost", "REALTIME_REDIS_HOST", later;
    /// Port of Redis.
    redis_port: u16 = "6379", "REALTIME_REDIS_PORT", range(1, 65_535), later;
    /// Database of Redis.
    redis_database: u32 = "0", "REALTIME_REDIS_DATABASE", range(0, 65_535), later;
    /// What every key and channel in Redis starts with.
    redis_prefix: String = "highper:realtime:", "REALTIME_REDIS_PREFIX", later;
    /// Whether Redis is a cluster.
    redis_cluster: bool = "false", "REALTIME_REDIS_CLUSTER", later;
    /// User at Redis.
    redis_username: Option<String> = "", "REALTIME_REDIS_USERNAME", later;
    /// Password at Redis.
    redis_password: Option<Secret> = "", "REALTIME_REDIS_PASSWORD", later;
    /// Whether Redis is reached by TLS.
    redis_tls: bool = "false", "REALTIME_REDIS_TLS", later;
    /// Sentinels that know the Redis master; unset is none.
    redis_sentinels: Vec<HostPort> = "", "REALTIME_REDIS_SENTINELS", later;
    /// Name of the master the sentinels watch.
    redis_sentinel_master: Token = "mymaster", "REALTIME_REDIS_SENTINEL_MASTER", later;
    /// NATS servers.
    nats_servers: Vec<Url> = "nats://localhost:4222", "REALTIME_NATS_SERVERS", later;
    /// What every subject in NATS starts with.
    nats_subject_prefix: String = "highper.realtime", "REALTIME_NATS_SUBJECT_PREFIX", later;
    /// User at NATS.
    nats_user: Option<String> = "", "REALTIME_NATS_USER", later;
    /// Password at NATS.
    nats_password: Option<Secret> = "", "REALTIME_NATS_PASSWORD", later;
    /// Token at NATS.
    nats_token: Option<Secret> = "", "REALTIME_NATS_TOKEN", later;
    /// Credentials file for NATS.
    nats_credentials: Option<PathBuf> = "", "REALTIME_NATS_CREDENTIALS", later;
    /// Whether NATS is reached by TLS.
    nats_tls: bool = "false", "REALTIME_NATS_TLS", later;

    ["Authentication"]
    /// Whether clients must prove who they are.
    auth_enabled: bool = "false", "REALTIME_AUTH_ENABLED", live;
    /// What proves it.
    auth_driver: AuthDriver = "jwt", "REALTIME_AUTH_DRIVER";
    /// Key of token signatures: a secret for HS algorithms, a public key in PEM for the others.
    jwt_secret: Option<Secret> = "", "REALTIME_JWT_SECRET", live;
    /// The one signature algorithm that is taken.
    jwt_algorithm: JwtAlgorithm = "HS256", "REALTIME_JWT_ALGORITHM", live;
    /// Whether signatures are checked; false is refused outside testing and local.
    jwt_verify_signature: bool = "true", "REALTIME_JWT_VERIFY_SIGNATURE", live;
    /// Whether expired tokens are refused.
    jwt_verify_expiration: bool = "true", "REALTIME_JWT_VERIFY_EXPIRATION", live;
    /// Where the keys of tokens are published (RFC 7517): an https address, or the path of a file. In place of REALTIME_JWT_SECRET.
    jwt_jwks: Option<KeySource> = "", "REALTIME_JWT_JWKS", live;
    /// How often published keys are fetched again.
    jwt_jwks_interval: Duration = "300", "REALTIME_JWT_JWKS_INTERVAL", seconds, range(10, 86_400), live;
    /// Issuers whose tokens are taken; none takes every issuer.
    jwt_issuers: Vec<String> = "", "REALTIME_JWT_ISSUERS", live;
    /// Audiences of which a token names at least one; none takes every audience.
    jwt_audiences: Vec<String> = "", "REALTIME_JWT_AUDIENCES", live;
    /// How far the clocks of issuer and server may differ.
    jwt_leeway: Duration = "30", "REALTIME_JWT_LEEWAY", seconds, range(0, 600), live;
    /// What connections without a token may do while authentication is on.
    anonymous: Anonymous = "refuse", "REALTIME_ANONYMOUS", live;
    /// Time a connection gets to send its token as first message, or a new one after the old one has expired.
    auth_timeout: Duration = "10", "REALTIME_AUTH_TIMEOUT", seconds, range(1, 300), live;
    /// Whether a token may stand in the address as ?token=; it is never logged.
    auth_query: bool = "true", "REALTIME_AUTH_QUERY", live;
    /// Name of the cookie that may hold a token; taken only from origins that REALTIME_CORS_ORIGINS lists.
    auth_cookie: Option<Token> = "", "REALTIME_AUTH_COOKIE", live;
    /// Whether WebSockets and streams are opened for requests without an Origin field. Auto is yes with tokens or without a list of origins.
    origin_missing: OriginMissing = "auto", "REALTIME_ORIGIN_MISSING", live;

    ["Hooks and webhooks"]
    /// Backend that is asked before a connection opens.
    hook_connect: Option<Url> = "", "REALTIME_HOOK_CONNECT", live;
    /// Backend that is asked before a client joins a channel whose namespace says subscribe_hook.
    hook_subscribe: Option<Url> = "", "REALTIME_HOOK_SUBSCRIBE", live;
    /// Time an answer of a hook may take; then the client is told to try again.
    hook_timeout: Duration = "1000", "REALTIME_HOOK_TIMEOUT_MS", millis, range(10, 60_000), live;
    /// Questions that hooks may be asked at once.
    hook_concurrency: u16 = "16", "REALTIME_HOOK_CONCURRENCY", range(1, 1024);
    /// Header fields of the client's request that a hook is shown.
    hook_headers: Vec<Token> = "cookie,authorization,origin,user-agent,x-request-id", "REALTIME_HOOK_HEADERS", live;
    /// Certificates (PEM) that hooks, webhooks and published keys are believed by; unset is the web's.
    hook_ca_file: Option<PathBuf> = "", "REALTIME_HOOK_CA_FILE";
    /// Backend that is told what happened.
    webhook_url: Option<Url> = "", "REALTIME_WEBHOOK_URL", live;
    /// Key of the HMAC-SHA256 that signs webhooks.
    webhook_secret: Option<Secret> = "", "REALTIME_WEBHOOK_SECRET", live;
    /// What is told.
    webhook_events: Vec<WebhookEvent> = "disconnect,join,leave,channel_occupied,channel_vacated", "REALTIME_WEBHOOK_EVENTS", live;
    /// Events one request carries at most.
    webhook_batch: u16 = "100", "REALTIME_WEBHOOK_BATCH", range(1, 10_000), live;
    /// Events that wait for the backend; beyond, the oldest are lost and counted.
    webhook_queue: u32 = "10000", "REALTIME_WEBHOOK_QUEUE", range(1, 10_000_000);
    /// How long a batch is sent again before it is lost.
    webhook_retry: Duration = "300", "REALTIME_WEBHOOK_RETRY", seconds, range(1, 86_400), live;

    ["Rate limits and proxies"]
    /// Whether the limits below count.
    rate_limit_enabled: bool = "false", "REALTIME_RATE_LIMIT_ENABLED", live;
    /// Concurrent connections per address.
    rate_limit_connections: u32 = "10", "REALTIME_RATE_LIMIT_CONNECTIONS", range(1, 100_000_000), live;
    /// Messages a connection may send per minute.
    rate_limit_messages_per_minute: u32 = "60", "REALTIME_RATE_LIMIT_MESSAGES_PER_MINUTE" | "REALTIME_RATE_LIMIT_MESSAGES", range(1, 100_000_000), live;
    /// Messages a connection may send at once.
    rate_limit_burst: u32 = "10", "REALTIME_RATE_LIMIT_BURST", range(1, 100_000_000), live;
    /// Concurrent connections per user; 0 sets no limit.
    rate_limit_connections_per_user: u32 = "0", "REALTIME_RATE_LIMIT_CONNECTIONS_PER_USER", range(0, 100_000_000), live;
    /// New connections per second and shard; 0 sets no limit.
    rate_limit_new_connections: u32 = "0", "REALTIME_RATE_LIMIT_NEW_CONNECTIONS", range(0, 10_000_000), live;
    /// Channels a connection may join per minute; 0 sets no limit.
    rate_limit_joins_per_minute: u32 = "0", "REALTIME_RATE_LIMIT_JOINS_PER_MINUTE", range(0, 100_000_000), live;
    /// Bytes a connection may publish per minute; 0 sets no limit.
    rate_limit_bytes_per_minute: ByteSize = "0", "REALTIME_RATE_LIMIT_BYTES_PER_MINUTE", bytes, range(0, 1 << 44), live;
    /// Calls of the server API per second and shard; 0 sets no limit.
    rate_limit_api_calls: u32 = "0", "REALTIME_RATE_LIMIT_API_CALLS", range(0, 10_000_000), live;
    /// Addresses and users whose connections each shard counts; beyond, those seen least lately are forgotten.
    rate_limit_table: u32 = "65536", "REALTIME_RATE_LIMIT_TABLE", range(64, 100_000_000);
    /// Whether a trusted proxy's X-Forwarded-For, Forwarded or X-Real-IP, the first that is there, names the client.
    behind_proxy: bool = "false", "REALTIME_BEHIND_PROXY", live;
    /// Whether connections of trusted proxies begin with a PROXY protocol header; others are served without one.
    proxy_protocol: bool = "false", "REALTIME_PROXY_PROTOCOL";
    /// Networks whose word on the client's address is believed; who comes by a socket file is believed too.
    trusted_proxies: Vec<Cidr> = "", "REALTIME_TRUSTED_PROXIES", live;

    ["Security monitoring"]
    /// Whether attacks are only told of, or refused too.
    monitoring_security_mode: SecurityMode = "observe", "MONITORING_SECURITY_MODE", live;
    /// Whether text messages are looked at too, not only requests.
    monitoring_security_messages: bool = "false", "MONITORING_SECURITY_MESSAGES", live;
    /// Failed authentications per minute and address that are brute force.
    monitoring_security_auth_failures: u32 = "10", "MONITORING_SECURITY_AUTH_FAILURES", range(1, 1_000_000), live;
    /// Words in a User-Agent field that are suspicious, beside the known scanners.
    monitoring_security_user_agents: Vec<String> = "", "MONITORING_SECURITY_USER_AGENTS", live;
    /// MaxMind database (.mmdb) of countries or cities.
    monitoring_security_geo_database: Option<PathBuf> = "", "MONITORING_SECURITY_GEO_DATABASE";
    /// Countries (ISO 3166, two letters) that may connect; none lets every country. Others are told of, and refused in block mode.
    monitoring_security_countries_allowed: Vec<Country> = "", "MONITORING_SECURITY_COUNTRIES_ALLOWED", live;
    /// Countries whose connections are told of, and refused in block mode.
    monitoring_security_countries_denied: Vec<Country> = "", "MONITORING_SECURITY_COUNTRIES_DENIED", live;
    /// Speed in km/h that no user travels at between two connections; 0 does not look.
    monitoring_security_travel_speed: u32 = "1000", "MONITORING_SECURITY_TRAVEL_SPEED", range(0, 100_000), live;
    /// Security events told per second and shard; more are counted.
    monitoring_security_events_per_second: u32 = "100", "MONITORING_SECURITY_EVENTS_PER_SECOND", range(1, 1_000_000), live;

    ["Monitoring"]
    /// Turns monitoring and tracing on.
    telemetry_enabled: bool = "false", "TELEMETRY_ENABLED", later;
    /// Whether costly measurements are taken.
    monitoring_enabled: bool = "false", "MONITORING_ENABLED", later;
    /// Name of the service in metrics and spans.
    service_name: String = "highper-realtime-app", "SERVICE_NAME" | "OTEL_SERVICE_NAME", later;
    /// Version of the service in metrics and spans; unset is the server's.
    service_version: Option<String> = "", "SERVICE_VERSION" | "OTEL_SERVICE_VERSION", later;
    /// Share of events that costly measurements look at; counters count all.
    monitoring_sampling_rate: Ratio = "0.1", "MONITORING_SAMPLING_RATE", live, later;
    /// Whether latencies are measured.
    monitoring_track_performance: bool = "true", "MONITORING_TRACK_PERFORMANCE", live, later;
    /// Whether memory is measured.
    monitoring_track_memory: bool = "true", "MONITORING_TRACK_MEMORY", live, later;
    /// Whether the broker's stored data is measured.
    monitoring_track_database: bool = "true", "MONITORING_TRACK_DATABASE", live, later;
    /// Whether the broker's round trips are measured.
    monitoring_track_cache: bool = "true", "MONITORING_TRACK_CACHE", live, later;
    /// Whether calls to other services are measured.
    monitoring_track_external_calls: bool = "true", "MONITORING_TRACK_EXTERNAL_CALLS", live, later;
    /// Whether security events are counted and logged.
    monitoring_security_enabled: bool = "true", "MONITORING_SECURITY_ENABLED", live;
    /// Whether failed authentications are security events.
    monitoring_track_failed_auth: bool = "true", "MONITORING_TRACK_FAILED_AUTH", live;
    /// Whether unusual rates are security events.
    monitoring_anomaly_detection: bool = "true", "MONITORING_ANOMALY_DETECTION", live;
    /// A request that takes longer is logged.
    monitoring_slow_request: Duration = "1000", "MONITORING_SLOW_REQUEST_MS", millis, range(1, 3_600_000), live, later;
    /// Memory above this is logged.
    monitoring_high_memory: ByteSize = "128", "MONITORING_HIGH_MEMORY_MB", mebibytes, range(1, 1 << 30), live, later;
    /// Use of the shards' cores above this is logged.
    monitoring_high_cpu_percent: u8 = "80", "MONITORING_HIGH_CPU_PERCENT", range(1, 100), live, later;
    /// Whether metrics are exposed for Prometheus.
    prometheus_enabled: bool = "true", "PROMETHEUS_ENABLED", later;
    /// Port of an internal listener for metrics; unset is the port of everything else.
    prometheus_port: Option<u16> = "", "PROMETHEUS_PORT", range(1, 65_535), later;
    /// Where metrics are exposed.
    prometheus_endpoint: UrlPath = "/metrics", "PROMETHEUS_ENDPOINT", later;

    ["Tracing"]
    /// Whether spans are recorded.
    tracing_enabled: bool = "false", "TRACING_ENABLED", later;
    /// Share of traces that are recorded.
    tracing_sampling_rate: Ratio = "0.05", "TRACING_SAMPLING_RATE", live, later;
    /// Where spans go.
    otel_traces_exporter: TracesExporter = "otlp", "OTEL_TRACES_EXPORTER", later;
    /// Collector that takes the OpenTelemetry protocol; unset is the protocol's own default.
    otel_exporter_otlp_endpoint: Option<Url> = "", "OTEL_EXPORTER_OTLP_ENDPOINT", later;
    /// Header fields for the collector, name=value with commas between.
    otel_exporter_otlp_headers: Option<Secret> = "", "OTEL_EXPORTER_OTLP_HEADERS", later;
    /// Encoding of the OpenTelemetry protocol.
    otel_exporter_otlp_protocol: OtlpProtocol = "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL", later;
    /// Time the collector may take.
    otel_exporter_otlp_timeout: Duration = "10000", "OTEL_EXPORTER_OTLP_TIMEOUT", millis, range(1, 600_000), later;
    /// Sampler by its OpenTelemetry name; unset is TRACING_SAMPLING_RATE.
    otel_traces_sampler: Option<Token> = "", "OTEL_TRACES_SAMPLER", later;
    /// Argument of that sampler.
    otel_traces_sampler_arg: Option<String> = "", "OTEL_TRACES_SAMPLER_ARG", later;
    /// Whether requests get spans.
    tracing_http_enabled: bool = "true", "TRACING_HTTP_ENABLED", live, later;
    /// Whether the broker's stored data gets spans.
    tracing_database_enabled: bool = "true", "TRACING_DATABASE_ENABLED", live, later;
    /// Whether the broker's round trips get spans.
    tracing_cache_enabled: bool = "true", "TRACING_CACHE_ENABLED", live, later;
    /// Whether calls to other services get spans.
    tracing_external_enabled: bool = "true", "TRACING_EXTERNAL_ENABLED", live, later;
    /// Whether spans go to Jaeger, by the OpenTelemetry protocol.
    tracing_jaeger_enabled: bool = "false", "TRACING_JAEGER_ENABLED", later;
    /// Host of Jaeger.
    tracing_jaeger_agent_host: Host = "localhost", "TRACING_JAEGER_AGENT_HOST", later;
    /// UDP port of Jaeger's agent.
    tracing_jaeger_agent_port: u16 = "6832", "TRACING_JAEGER_AGENT_PORT", accepted("spans go to Jaeger by the OpenTelemetry protocol");
    /// Jaeger's collector, whose host is used.
    tracing_jaeger_collector_endpoint: Url = "http://localhost:14268/api/traces", "TRACING_JAEGER_COLLECTOR_ENDPOINT", later;

    ["Of the PHP library"]
    /// Self-test of the protocols.
    enable_protocol_testing: bool = "false", "REALTIME_ENABLE_PROTOCOL_TESTING", accepted("readiness tests itself");
    /// Interval of the self-test.
    protocol_test_interval: Duration = "60", "REALTIME_PROTOCOL_TEST_INTERVAL", seconds, accepted("readiness tests itself");
    /// Benchmarks inside the server.
    enable_benchmarking: bool = "false", "REALTIME_ENABLE_BENCHMARKING", accepted("load comes from realtime-bench, not from the server");
    /// Interval of the benchmarks.
    benchmark_interval: Duration = "300", "REALTIME_BENCHMARK_INTERVAL", seconds, accepted("load comes from realtime-bench, not from the server");
    /// Measurement of every protocol.
    auto_instrument: bool = "true", "REALTIME_AUTO_INSTRUMENT", accepted("every protocol is always measured");
    /// Switch of the PHP framework.
    auto_register: Option<String> = "", "REALTIME_AUTO_REGISTER", accepted("there is no PHP framework to register with");
    /// Switch of the PHP framework.
    service_provider_enabled: Option<String> = "", "REALTIME_SERVICE_PROVIDER_ENABLED", accepted("there is no PHP framework to register with");
}

/// Families of variables that are accepted without an effect, and why.
pub static ACCEPTED_PREFIXES: &[(&str, &str)] = &[
    ("REALTIME_LARAVEL_", "there is no PHP framework to register with"),
    ("REALTIME_SYMFONY_", "there is no PHP framework to register with"),
];
