//! What a client with a token must be allowed to for a call of the server API: the same questions that its commands
//! would ask, and as how much it counts. Never answers them.

use super::call::Call;
use super::refusal::Refusal;
use crate::auth::Action;

/// What a client needs for a call, each with the channel: a publication needs what `publish` needs, a look into a
/// channel needs that the client may join it too.
///
/// # Errors
/// The call is for backends alone, which have the key.
pub fn needs<'c>(call: &'c Call<'_>) -> Result<Vec<(Action, &'c str)>, Refusal> {
    let mut needed = Vec::new();
    gather(call, &mut needed)?;
    Ok(needed)
}

fn gather<'c>(call: &'c Call<'_>, needed: &mut Vec<(Action, &'c str)>) -> Result<(), Refusal> {
    match call {
        Call::Publish { channel, .. } => needed.push((Action::Publish, channel)),
        Call::Broadcast { channels, .. } => {
            needed.extend(channels.iter().map(|channel| (Action::Publish, &**channel)));
        }
        Call::Presence { channel } | Call::PresenceStats { channel } => {
            needed.extend([(Action::Subscribe, &**channel), (Action::Presence, channel)]);
        }
        Call::History { channel, .. } => {
            needed.extend([(Action::Subscribe, &**channel), (Action::History, channel)]);
        }
        Call::ToUsers { .. } | Call::ToAll { .. } => needed.push((Action::Broadcast, "")),
        Call::Batch(calls) | Call::Lines(calls) => {
            calls.iter().try_for_each(|call| gather(call, needed))?;
        }
        Call::Subscribe { .. }
        | Call::Unsubscribe { .. }
        | Call::Disconnect { .. }
        | Call::Revoke { .. }
        | Call::HistoryRemove { .. }
        | Call::Channels { .. }
        | Call::Info => return Err(Refusal::backends_only()),
    }
    Ok(())
}

/// Messages that a client would have sent for the same: a publication into several channels is one for each.
pub fn messages(call: &Call<'_>) -> usize {
    match call {
        Call::Broadcast { channels, .. } => channels.len(),
        Call::Batch(calls) | Call::Lines(calls) => calls.iter().map(messages).sum(),
        Call::Publish { .. }
        | Call::ToUsers { .. }
        | Call::ToAll { .. }
        | Call::History { .. }
        | Call::HistoryRemove { .. }
        | Call::Presence { .. }
        | Call::PresenceStats { .. }
        | Call::Subscribe { .. }
        | Call::Unsubscribe { .. }
        | Call::Disconnect { .. }
        | Call::Revoke { .. }
        | Call::Channels { .. }
        | Call::Info => 1,
    }
}

/// Bytes that a call publishes.
pub fn published(call: &Call<'_>) -> usize {
    match call {
        Call::Publish { publish, .. } | Call::ToAll { publish } => publish.data.len(),
        Call::Broadcast { channels, publish } => channels.len() * publish.data.len(),
        Call::ToUsers { users, publish } => users.len() * publish.data.len(),
        Call::Batch(calls) | Call::Lines(calls) => calls.iter().map(published).sum(),
        Call::History { .. }
        | Call::HistoryRemove { .. }
        | Call::Presence { .. }
        | Call::PresenceStats { .. }
        | Call::Subscribe { .. }
        | Call::Unsubscribe { .. }
        | Call::Disconnect { .. }
        | Call::Revoke { .. }
        | Call::Channels { .. }
        | Call::Info => 0,
    }
}
