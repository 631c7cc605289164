//! What storages behind a network were asked for.

use packstone::storage::Traffic;
use serde::Serialize;

/// Requests and bytes of a command.
#[derive(Debug, Serialize)]
pub struct TrafficLine {
    message_type: &'static str,
    requests: u64,
    put_requests: u64,
    get_requests: u64,
    list_requests: u64,
    delete_requests: u64,
    other_requests: u64,
    repeated_requests: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

impl TrafficLine {
    /// Of this traffic.
    pub const fn of(traffic: &Traffic) -> Self {
        let requests = &traffic.requests;
        Self {
            message_type: "traffic",
            requests: requests.total(),
            put_requests: requests.put,
            get_requests: requests.get,
            list_requests: requests.list,
            delete_requests: requests.delete,
            other_requests: requests.other,
            repeated_requests: traffic.repeated,
            sent_bytes: traffic.sent_bytes,
            received_bytes: traffic.received_bytes,
        }
    }
}
