//! Which variable a name means: first names, aliases, `_FILE` twins, lower-case keys, near misses, and names that
//! others set. Never looks at a value except to tell a Kubernetes service link.

use super::row::Row;
use super::source::CONFIG_VARIABLE;
use super::vars::{ACCEPTED_PREFIXES, ROWS};

/// What a name means.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Index into [`ROWS`].
    pub(super) index: usize,
    /// The spelling: one of the row's names.
    pub(super) name: &'static str,
    /// Place of the spelling among the row's names; the lowest wins.
    pub(super) rank: usize,
    /// Whether the value is the path of a file that holds the secret.
    pub(super) twin: bool,
}

/// The variable of an exact name, as the environment has them.
pub(super) fn exact(name: &str) -> Option<Known> {
    ROWS.iter().enumerate().find_map(|(index, row)| {
        row.names().enumerate().find_map(|(rank, known)| {
            let twin = name != known;
            let fits = !twin || row.secret && name.strip_suffix("_FILE") == Some(known);
            fits.then_some(Known { index, name: known, rank, twin })
        })
    })
}

/// The variable of a key of the configuration file or of `--set`: any case, with or without `REALTIME_`, or the
/// name of the field.
pub(super) fn loose(key: &str) -> Option<Known> {
    let upper = key.to_ascii_uppercase();
    exact(&upper).or_else(|| exact(&format!("REALTIME_{upper}"))).or_else(|| {
        let index = ROWS.iter().position(|row| row.field == key)?;
        Some(Known { index, name: ROWS[index].name, rank: 0, twin: false })
    })
}

/// The row of a field.
pub(super) fn field(name: &str) -> (usize, &'static Row) {
    ROWS.iter()
        .enumerate()
        .find(|(_, row)| row.field == name)
        .expect("checks name fields of the table; tested")
}

/// Whether a name that is no variable should be told to the operator.
pub(super) fn suspicious(name: &str) -> bool {
    let expected = name == CONFIG_VARIABLE
        || is_service_link(name)
        || ACCEPTED_PREFIXES.iter().any(|(prefix, _)| name.starts_with(prefix));
    let ours = OUR_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let shared = SHARED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    !expected && (ours || shared && nearest(name).is_some())
}

/// The variable whose name differs least, if it differs little.
pub(super) fn nearest(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let twins = ROWS.iter().filter(|row| row.secret).map(|row| format!("{}_FILE", row.name));
    ROWS.iter()
        .flat_map(|row| row.names().map(str::to_owned))
        .chain(twins)
        .chain([CONFIG_VARIABLE.to_owned()])
        .map(|known| (distance(&upper, &known).min(distance(&format!("REALTIME_{upper}"), &known)), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= NEAR_MAX.min(known.len() / 4))
        .map(|(_, known)| known)
}

/// Kubernetes gives every container variables for the services of its namespace. A service called `realtime` makes
/// `REALTIME_PORT=tcp://10.0.0.1:8080`.
pub(super) fn is_service_port(name: &str, value: &str) -> bool {
    name.ends_with("_PORT") && ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

fn is_service_link(name: &str) -> bool {
    let numbered_port = || {
        let (_, rest) = name.rsplit_once("_PORT_")?;
        let (port, protocol) = rest.split_once('_')?;
        let protocol = protocol.split('_').next()?;
        let known = ["TCP", "UDP", "SCTP"].contains(&protocol);
        Some(known && port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || numbered_port().unwrap_or(false)
}

/// Edit distance: insertions, deletions and replacements.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(byte != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Nobody else uses these.
const OUR_PREFIXES: [&str; 5] = ["REALTIME_", "WEBSOCKET_", "SSE_", "WEBTRANSPORT_", "HTTP3_"];

/// Other programs use these too (`PROMETHEUS_MULTIPROC_DIR`): only a near miss is worth a word.
const SHARED_PREFIXES: [&str; 4] = ["TELEMETRY_", "MONITORING_", "TRACING_", "PROMETHEUS_"];

/// Beyond three typing errors it is another word.
const NEAR_MAX: usize = 3;
