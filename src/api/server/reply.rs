//! The responses of the server API as JSON: `{"result":…}` or `{"error":…}`. Data and tags are written as they were
//! published. Never decides a status but that of a refused request.

use highper_wire::dialect::string::write_string;

use super::job::{Layout, Outcome};
use super::refusal::Refusal;
use crate::message::{Answer, Found, Numbered, Position, Totals};

/// What `info` tells of this process.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// Different for every start.
    pub epoch_seed: u64,
    /// The name it was given.
    pub name: &'a str,
    /// Seconds since it started.
    pub uptime_secs: u64,
}

/// Writes a response; the result is its status.
pub(super) fn write<'o>(
    out: &mut Vec<u8>,
    layout: &Layout,
    outcomes: &mut impl Iterator<Item = &'o Outcome>,
    node: &Node<'_>,
) -> u16 {
    match layout {
        Layout::Refused(refusal) => {
            error(out, refusal);
            return refusal.status;
        }
        Layout::One(_) | Layout::All(..) => match outcome(layout, outcomes) {
            Outcome::Refused(refusal) => {
                error(out, refusal);
                return if refusal.status == 503 { 503 } else { 200 };
            }
            known => wrapped(out, "result", |out| result(out, known, node)),
        },
        Layout::Broadcast(count) => wrapped(out, "result", |out| responses(out, *count, outcomes, node)),
        Layout::Batch(layouts) => {
            out.extend_from_slice(br#"{"replies":["#);
            for (place, layout) in layouts.iter().enumerate() {
                separate(out, place);
                reply(out, layout, outcomes, node);
            }
            out.extend_from_slice(b"]}");
        }
    }
    200
}

/// One reply of a batch: its result under the name of its method.
fn reply<'o>(
    out: &mut Vec<u8>,
    layout: &Layout,
    outcomes: &mut impl Iterator<Item = &'o Outcome>,
    node: &Node<'_>,
) {
    match layout {
        Layout::One(method) | Layout::All(method, _) => match outcome(layout, outcomes) {
            Outcome::Refused(refusal) => error(out, refusal),
            known => wrapped(out, method, |out| result(out, known, node)),
        },
        Layout::Broadcast(count) => wrapped(out, "broadcast", |out| responses(out, *count, outcomes, node)),
        Layout::Refused(_) | Layout::Batch(_) => unreachable!("calls of a batch are neither"),
    }
}

/// The one outcome of a layout: the first that was refused, else the last.
fn outcome<'o>(layout: &Layout, outcomes: &mut impl Iterator<Item = &'o Outcome>) -> &'o Outcome {
    let count = if let Layout::All(_, count) = layout { *count } else { 1 };
    let of_call = outcomes.take(usize::from(count));
    match (
        layout,
        of_call.reduce(|worst, next| if matches!(worst, Outcome::Refused(_)) { worst } else { next }),
    ) {
        (_, Some(refused @ Outcome::Refused(_))) => refused,
        (Layout::One(_), Some(known)) => known,
        _ => &Outcome::Done,
    }
}

fn responses<'o>(
    out: &mut Vec<u8>,
    count: u16,
    outcomes: &mut impl Iterator<Item = &'o Outcome>,
    node: &Node<'_>,
) {
    out.extend_from_slice(br#"{"responses":["#);
    for (place, known) in outcomes.take(usize::from(count)).enumerate() {
        separate(out, place);
        match known {
            Outcome::Refused(refusal) => error(out, refusal),
            known => wrapped(out, "result", |out| result(out, known, node)),
        }
    }
    out.extend_from_slice(b"]}");
}

fn result(out: &mut Vec<u8>, known: &Outcome, node: &Node<'_>) {
    match known {
        Outcome::Done | Outcome::Published(None) | Outcome::Refused(_) => out.extend_from_slice(b"{}"),
        Outcome::Published(Some(place)) => {
            out.push(b'{');
            position(out, *place);
            out.push(b'}');
        }
        Outcome::Answered(answer) => answered(out, answer),
        Outcome::Found(Found::Channels(channels)) => {
            out.extend_from_slice(br#"{"channels":{"#);
            for (place, (channel, count)) in channels.iter().enumerate() {
                separate(out, place);
                write_string(out, channel.name());
                text(out, &format!(r#":{{"num_clients":{count}}}"#));
            }
            out.extend_from_slice(b"}}");
        }
        Outcome::Found(Found::Totals(totals)) => info(out, totals, node),
    }
}

fn answered(out: &mut Vec<u8>, answer: &Answer) {
    match answer {
        Answer::History { position: place, publications } => {
            out.extend_from_slice(br#"{"publications":["#);
            for (at, Numbered { offset, publication }) in publications.iter().enumerate() {
                separate(out, at);
                text(out, &format!(r#"{{"offset":{offset},"data":"#));
                out.extend_from_slice(&publication.data);
                if let Some(tags) = publication.tags() {
                    out.extend_from_slice(br#","tags":"#);
                    out.extend_from_slice(tags);
                }
                out.push(b'}');
            }
            out.extend_from_slice(b"],");
            position(out, *place);
            out.push(b'}');
        }
        Answer::Presence(members) => {
            out.extend_from_slice(br#"{"presence":{"#);
            for (at, (slot, member)) in members.iter().enumerate() {
                separate(out, at);
                text(out, &format!(r#""{slot}":{{"client":"{slot}","user":"#));
                write_string(out, &member.user);
                if let Some(info) = &member.info {
                    out.extend_from_slice(br#","conn_info":"#);
                    out.extend_from_slice(info);
                }
                out.push(b'}');
            }
            out.extend_from_slice(b"}}");
        }
        Answer::PresenceStats { connections, users } => {
            text(out, &format!(r#"{{"num_clients":{connections},"num_users":{users}}}"#));
        }
        Answer::Missed { .. } | Answer::Done | Answer::NotAvailable => out.extend_from_slice(b"{}"),
    }
}

fn info(out: &mut Vec<u8>, totals: &Totals, node: &Node<'_>) {
    text(out, &format!(r#"{{"nodes":[{{"uid":"{:016x}","name":"#, node.epoch_seed));
    write_string(out, node.name);
    out.extend_from_slice(br#","version":"#);
    write_string(out, env!("CARGO_PKG_VERSION"));
    let Totals { clients, users, channels, subscriptions } = totals;
    text(out, &format!(r#","num_clients":{clients},"num_users":{users},"num_channels":{channels}"#));
    text(out, &format!(r#","num_subs":{subscriptions},"uptime":{}}}]}}"#, node.uptime_secs));
}

fn position(out: &mut Vec<u8>, Position { epoch, offset }: Position) {
    text(out, &format!(r#""offset":{offset},"epoch":"{epoch:08x}""#));
}

fn error(out: &mut Vec<u8>, refusal: &Refusal) {
    wrapped(out, "error", |out| {
        serde_json::to_writer(out, refusal).expect("a refusal is JSON and memory takes it");
    });
}

fn wrapped(out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    text(out, &format!(r#"{{"{name}":"#));
    write(out);
    out.push(b'}');
}

fn separate(out: &mut Vec<u8>, place: usize) {
    if place > 0 {
        out.push(b',');
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}
