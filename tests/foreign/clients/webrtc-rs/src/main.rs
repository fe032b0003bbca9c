//! Peers with webrtc-rs that do what they are told: lines of JSON on stdin, what happens on stdout. tests/stacks has their meaning.

mod peer;
mod signaling;

use std::collections::HashMap;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};

/// An order: what the peer of that number does.
#[derive(Debug, Deserialize)]
pub struct Line {
    peer: u64,
    op: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    room: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    text: String,
}

#[tokio::main]
async fn main() {
    let mut peers = HashMap::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("stdin is read") {
        let told: Line = serde_json::from_str(&line).expect("a line is an order");
        let posted = peers.entry(told.peer).or_insert_with(|| peer::start(told.peer));
        posted.send(peer::Act::Do(told)).expect("a peer stays until the end");
    }
}
