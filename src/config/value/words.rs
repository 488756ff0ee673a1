//! Variables whose value is one of a few words. Each enum knows its words, so the error can list them.

use std::fmt;

use super::{Bounds, Value};

macro_rules! words {
    ($(
        $(#[$meta:meta])*
        $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal $(| $other:literal)* ),+ $(,)? }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$variant_meta])* $variant ),+ }

        impl $name {
            /// The word that means this.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word ),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Value for $name {
            fn expects(_: &Bounds) -> String {
                format!("one of {}", [$($word),+].join(", "))
            }

            fn parse(raw: &str, _: &Bounds) -> Option<Self> {
                $(
                    if [$word $(, $other)*].iter().any(|word| raw.eq_ignore_ascii_case(word)) {
                        return Some(Self::$variant);
                    }
                )+
                None
            }

            fn show(&self) -> String {
                self.as_str().to_owned()
            }
        }
    )* };
}

words! {
    /// Which kernel interface moves the bytes.
    DriverKind {
        /// io_uring where the kernel has and allows it, else epoll.
        Auto = "auto",
        /// io_uring or no start.
        Uring = "uring" | "io_uring",
        /// epoll.
        Epoll = "epoll",
    }

    /// How shards are bound to cores.
    CpuPolicy {
        /// One shard per allowed core, pinned if there are no more shards than cores.
        Auto = "auto",
        /// The kernel's scheduler decides.
        None = "none",
        /// Pinned to the cores of REALTIME_CPU_LIST in order, again from the start if there are more shards.
        List = "list",
    }

    /// What carries messages between processes.
    BroadcastDriver {
        /// Nothing: one process.
        Memory = "memory",
        /// Redis.
        Redis = "redis",
        /// NATS.
        Nats = "nats",
    }

    /// What proves who a client is.
    AuthDriver {
        /// A signed token (RFC 7519).
        Jwt = "jwt",
    }

    /// Signature algorithm of tokens (RFC 7518 §3.1, RFC 8037). `none` does not exist here.
    JwtAlgorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSA PKCS #1 v1.5 with SHA-256.
        Rs256 = "RS256",
        /// RSA PKCS #1 v1.5 with SHA-384.
        Rs384 = "RS384",
        /// RSA PKCS #1 v1.5 with SHA-512.
        Rs512 = "RS512",
        /// RSA PSS with SHA-256.
        Ps256 = "PS256",
        /// RSA PSS with SHA-384.
        Ps384 = "PS384",
        /// RSA PSS with SHA-512.
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
    }

    /// The least important log lines that are written.
    LogLevel {
        /// Nothing.
        Off = "off" | "none",
        /// What needs a person.
        Error = "error" | "critical" | "alert" | "emergency",
        /// What may need one soon.
        Warn = "warn" | "warning",
        /// Start, stop, and what an operator did.
        Info = "info" | "notice",
        /// One line per connection.
        Debug = "debug",
        /// One line per step.
        Trace = "trace",
    }

    /// What a channel can be reached by.
    Transport {
        /// WebSocket.
        WebSocket = "websocket" | "ws",
        /// Server-Sent Events.
        Sse = "sse",
        /// The server API over HTTP.
        Api = "api",
    }

    /// What happens when a subscriber's outbox is full.
    SlowConsumer {
        /// Its connection is closed; it comes back and recovers.
        Disconnect = "disconnect",
        /// The oldest publications that wait make room; the subscriber is told of a gap where they were.
        DropOldest = "drop_oldest",
        /// Of the publications that wait only the newest is kept, whether the outbox is full or not; nothing is told.
        LatestOnly = "latest_only",
    }

    /// Compression of HTTP responses.
    CompressionAlgorithm {
        /// RFC 1952.
        Gzip = "gzip",
        /// RFC 1950, as RFC 9110 §8.4.1.2 names it.
        Deflate = "deflate",
        /// RFC 7932.
        Brotli = "br" | "brotli",
    }

    /// An application protocol as TLS negotiates it (RFC 7301).
    Alpn {
        /// HTTP/3.
        H3 = "h3" | "http3" | "http/3",
        /// HTTP/2.
        H2 = "h2" | "http2" | "http/2",
        /// HTTP/1.1.
        Http11 = "http/1.1" | "http1.1",
    }

    /// How WebTransport carries messages.
    Reliability {
        /// One stream, in order.
        ReliableOrdered = "reliable_ordered",
        /// A stream per message.
        ReliableUnordered = "reliable_unordered",
        /// Datagrams, older ones dropped.
        UnreliableOrdered = "unreliable_ordered",
        /// Datagrams as they come.
        UnreliableUnordered = "unreliable_unordered",
    }

    /// Congestion control of QUIC.
    CongestionControl {
        /// BBR version 2; where the QUIC library has only version 1, that.
        Bbr2 = "bbr2",
        /// BBR.
        Bbr = "bbr",
        /// CUBIC (RFC 9438).
        Cubic = "cubic",
        /// New Reno (RFC 9002).
        Reno = "reno" | "newreno",
    }

    /// Where spans go.
    TracesExporter {
        /// OpenTelemetry protocol.
        Otlp = "otlp",
        /// Jaeger, which takes OTLP.
        Jaeger = "jaeger",
        /// Zipkin.
        Zipkin = "zipkin",
        /// Nowhere.
        None = "none",
    }

    /// What connections without a token may do.
    Anonymous {
        /// Nothing: they are refused.
        Refuse = "refuse",
        /// Join public channels and see what these show, but send nothing.
        Subscribe = "subscribe",
        /// What users may do in public channels.
        Full = "full",
    }

    /// What becomes of requests without an Origin field.
    OriginMissing {
        /// They are taken if tokens are wanted, or if every origin is allowed anyhow.
        Auto = "auto",
        /// They are taken.
        Allow = "allow",
        /// They are refused.
        Refuse = "refuse",
    }

    /// What a webhook tells.
    WebhookEvent {
        /// A connection opened.
        Connect = "connect",
        /// A connection ended.
        Disconnect = "disconnect",
        /// A connection is in a channel.
        Join = "join",
        /// A connection left a channel.
        Leave = "leave",
        /// A channel has its first subscriber.
        ChannelOccupied = "channel_occupied",
        /// A channel lost its last subscriber.
        ChannelVacated = "channel_vacated",
        /// Something that looks like an attack.
        Security = "security",
    }

    /// What is done about attacks.
    SecurityMode {
        /// They are told of.
        Observe = "observe",
        /// They are told of and refused.
        Block = "block",
    }

    /// Encoding of the OpenTelemetry protocol.
    OtlpProtocol {
        /// Protocol buffers over gRPC.
        Grpc = "grpc",
        /// Protocol buffers over HTTP.
        HttpProtobuf = "http/protobuf",
        /// JSON over HTTP.
        HttpJson = "http/json",
    }
}

/// Where the server runs. Only `testing` and `local` relax the checks of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppEnv {
    /// The real thing.
    Production,
    /// Automated tests.
    Testing,
    /// A developer's machine.
    Local,
    /// Anything else, as strict as production.
    Other(Box<str>),
}

impl AppEnv {
    /// Whether weak secrets and unverified tokens are only warned of.
    pub fn relaxed(&self) -> bool {
        match self {
            Self::Testing | Self::Local => true,
            Self::Production | Self::Other(_) => false,
        }
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Production => "production",
            Self::Testing => "testing",
            Self::Local => "local",
            Self::Other(word) => word,
        }
    }
}

impl Value for AppEnv {
    fn expects(_: &Bounds) -> String {
        "production, testing, local or another word of letters, digits, - and _ (as strict as production)"
            .to_owned()
    }

    fn parse(raw: &str, _: &Bounds) -> Option<Self> {
        let sound = raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        match raw.to_ascii_lowercase().as_str() {
            "production" | "prod" => Some(Self::Production),
            "testing" | "test" => Some(Self::Testing),
            "local" | "development" | "dev" => Some(Self::Local),
            word if sound && (1..=64).contains(&word.len()) => Some(Self::Other(word.into())),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}
