//! Who may change the queue through its socket, and who may only read it. The socket's mode decides who may connect.

use std::sync::Arc;

use shared::accounts;
use shared::outside::quoted;
use shared::wire::{Refusal, Reply, Request};

/// The users who may change the queue: root, capture's own, and those of `queue.writers`.
#[derive(Debug, Clone)]
pub struct Writers {
    own: u32,
    named: Arc<[u32]>,
}

impl Writers {
    /// Those named in the configuration, beside root and the user of this process.
    pub fn new(named: &[u32]) -> Self {
        Self {
            own: rustix::process::geteuid().as_raw(),
            named: named.into(),
        }
    }

    /// Whether this is root or capture's own user.
    pub fn is_own(&self, user: u32) -> bool {
        user == 0 || user == self.own
    }

    /// Whether this user may change the queue.
    pub fn may_change(&self, user: u32) -> bool {
        self.is_own(user) || self.named.contains(&user)
    }
}

/// The refusal of a request that changes the queue, or keeps others from it; none of one that only reads.
pub fn refusal(user: u32, request: &Request) -> Option<Reply> {
    let order = match request {
        Request::Read { .. } | Request::Locate { .. } | Request::Identities | Request::Status => return None,
        Request::Open { consumer, .. } => format!("be the consumer {}", quoted(consumer)),
        Request::Commit { .. } => "commit".to_owned(),
        Request::Report(_) => "report as a consumer".to_owned(),
        Request::Append { .. } | Request::Imports => "append telegrams".to_owned(),
        Request::Forget { consumer } => format!("forget the consumer {}", quoted(consumer)),
        Request::Renew { .. } => "renew the queue's identity".to_owned(),
    };
    let name = accounts::user_name(user).map_or_else(String::new, |name| format!(" ({})", quoted(&name)));
    Some(Reply::Refused {
        // One that a publisher of an earlier version knows too.
        refusal: Refusal::Invalid,
        message: format!(
            "user {user}{name} may read this queue, and not {order}: add {user} to queue.writers in capture's \
             configuration (SMARTMETER_QUEUE_WRITERS) and start capture again"
        ),
    })
}
