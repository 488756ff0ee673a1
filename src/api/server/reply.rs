//! The responses of the server API as JSON: `{"result":…}` or `{"error":…}`. Data and tags are written as they were
//! published. Never decides a status but that of a refused request.

use std::borrow::Cow;

use highper_wire::dialect::string::write_string;

use super::job::{Layout, Outcome};
use super::refusal::Refusal;
use crate::message::{Answer, Found, Numbered, Position, Totals};

/// What `info` tells of this process.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// Different for every start.
    pub epoch_seed: u64,
    /// The name it was given (REALTIME_NODE_ID).
    pub name: Option<&'a str>,
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
            refusal.status
        }
        Layout::One(_) | Layout::Since(_) | Layout::All(..) | Layout::Broadcast(_) => {
            response(out, layout, outcomes, node)
        }
        Layout::Batch(layouts) => {
            out.extend_from_slice(br#"{"replies":["#);
            for (place, layout) in layouts.iter().enumerate() {
                separate(out, place);
                reply(out, layout, outcomes, node);
            }
            out.extend_from_slice(b"]}");
            200
        }
        Layout::Lines(layouts) => {
            for layout in layouts {
                response(out, layout, outcomes, node);
                out.push(b'\n');
            }
            200
        }
    }
}

/// The response to one call; the result is its status if nothing else was asked for.
fn response<'o>(
    out: &mut Vec<u8>,
    layout: &Layout,
    outcomes: &mut impl Iterator<Item = &'o Outcome>,
    node: &Node<'_>,
) -> u16 {
    if let Layout::Broadcast(count) = layout {
        wrapped(out, "result", |out| responses(out, *count, outcomes, node));
        return 200;
    }
    match outcome(layout, outcomes) {
        Ok(known) => wrapped(out, "result", |out| result(out, known, node)),
        Err(refusal) => {
            error(out, &refusal);
            // SDKs read an error only under 200; that a queue is full is for their retries to see.
            return if refusal.status == 503 { 503 } else { 200 };
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
    let method = match layout {
        Layout::Broadcast(count) => {
            return wrapped(out, "broadcast", |out| responses(out, *count, outcomes, node));
        }
        Layout::One(method) | Layout::All(method, _) => method,
        Layout::Since(_) => "history",
        Layout::Refused(_) | Layout::Batch(_) | Layout::Lines(_) => {
            unreachable!("calls of a batch are neither")
        }
    };
    match outcome(layout, outcomes) {
        Ok(known) => wrapped(out, method, |out| result(out, known, node)),
        Err(refusal) => error(out, &refusal),
    }
}

/// The one outcome of a layout: the first that was refused, else the last.
fn outcome<'o>(
    layout: &Layout,
    outcomes: &mut impl Iterator<Item = &'o Outcome>,
) -> Result<&'o Outcome, Cow<'o, Refusal>> {
    let count = if let Layout::All(_, count) = layout { *count } else { 1 };
    let mut last = &Outcome::Done;
    let mut refused = None;
    for outcome in outcomes.take(usize::from(count)) {
        match outcome {
            Outcome::Refused(refusal) => refused = refused.or(Some(refusal)),
            known => last = known,
        }
    }
    if let Some(refusal) = refused {
        return Err(Cow::Borrowed(refusal));
    }
    match (layout, last) {
        (Layout::Since(epoch), Outcome::Answered(Answer::History { position, .. }))
            if position.epoch != *epoch =>
        {
            Err(Cow::Owned(Refusal::unrecoverable()))
        }
        // That all went well is all there is to say.
        (Layout::All(..), _) => Ok(&Outcome::Done),
        (_, known) => Ok(known),
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
    match node.name {
        Some(name) => write_string(out, name),
        None => text(out, &format!("\"{:016x}\"", node.epoch_seed)),
    }
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
