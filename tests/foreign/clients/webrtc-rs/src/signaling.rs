//! One session over gRPC: requests that return when they are acknowledged, and notifications.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use webrtc::peer_connection::RTCIceCandidateInit;

pub mod pb {
    tonic::include_proto!("remotemedia.v1.webrtc");
}

use pb::signaling_request::Request;
use pb::signaling_response::Response;
use pb::web_rtc_signaling_client::WebRtcSignalingClient;

pub use pb::signaling_notification::Notification;

type Outcome = Result<Value, String>;

pub struct Session {
    requests: mpsc::UnboundedSender<pb::SignalingRequest>,
    pending: Arc<Mutex<HashMap<String, oneshot::Sender<Outcome>>>>,
    last: u64,
}

impl Session {
    /// Connects; notifications go to `told`, which is given None at the end.
    pub async fn connect(
        address: &str,
        told: impl Fn(Option<Notification>) + Send + 'static,
    ) -> Result<Session, Box<dyn std::error::Error + Send + Sync>> {
        let mut client = WebRtcSignalingClient::connect(format!("http://{address}")).await?;
        let (requests, outgoing) = mpsc::unbounded_channel();
        let mut responses = client
            .signal(UnboundedReceiverStream::new(outgoing))
            .await?
            .into_inner();
        let pending: Arc<Mutex<HashMap<String, oneshot::Sender<Outcome>>>> = Arc::default();
        let waiting = pending.clone();
        tokio::spawn(async move {
            while let Ok(Some(said)) = responses.message().await {
                let outcome = match said.response {
                    Some(Response::Notification(one)) => {
                        if one.notification.is_some() {
                            told(one.notification);
                        }
                        continue;
                    }
                    Some(Response::Error(refused)) => Err(refused.message),
                    Some(Response::Ack(ack)) => {
                        Ok(serde_json::from_str(&ack.data).expect("an acknowledgement has JSON"))
                    }
                    _ => Ok(Value::Null),
                };
                if let Some(asked) = waiting.lock().unwrap().remove(&said.request_id) {
                    let _ = asked.send(outcome);
                }
            }
            waiting.lock().unwrap().clear();
            told(None);
        });
        Ok(Session { requests, pending, last: 0 })
    }

    async fn ask(&mut self, request: Request) -> Outcome {
        self.last += 1;
        let request_id = self.last.to_string();
        let (sender, outcome) = oneshot::channel();
        self.pending.lock().unwrap().insert(request_id.clone(), sender);
        let request = pb::SignalingRequest { request_id, request: Some(request) };
        self.requests.send(request).map_err(|_| "the session has ended".to_owned())?;
        outcome.await.unwrap_or_else(|_| Err("the session has ended".to_owned()))
    }

    pub async fn announce(&mut self, peer_id: String, room: String) -> Outcome {
        self.ask(Request::Announce(pb::AnnounceRequest { peer_id, room, ..Default::default() })).await
    }

    pub async fn offer(&mut self, to_peer_id: String, sdp: String) -> Outcome {
        self.ask(Request::Offer(pb::OfferRequest { to_peer_id, sdp, r#type: "offer".into() })).await
    }

    pub async fn answer(&mut self, to_peer_id: String, sdp: String, offer_id: String) -> Outcome {
        self.ask(Request::Answer(pb::AnswerRequest { to_peer_id, sdp, r#type: "answer".into(), offer_id })).await
    }

    pub async fn candidate(&mut self, to: String, candidate: RTCIceCandidateInit, offer_id: String) -> Outcome {
        self.ask(Request::IceCandidate(candidate_to_proto(to, candidate, offer_id))).await
    }

    pub async fn disconnect(&mut self, peer_id: String, offer_id: String) -> Outcome {
        self.ask(Request::Disconnect(pb::DisconnectRequest { peer_id, offer_id })).await
    }
}

// docs: a candidate of webrtc-rs as a request, and a notification as a candidate of webrtc-rs
fn candidate_to_proto(to: String, candidate: RTCIceCandidateInit, offer_id: String) -> pb::IceCandidateRequest {
    pb::IceCandidateRequest {
        to_peer_id: to,
        candidate: candidate.candidate,
        // It says Some("") whatever the media section is called, and the index is right.
        sdp_mid: candidate.sdp_mid.filter(|mid| !mid.is_empty()),
        sdp_mline_index: candidate.sdp_mline_index.map(u32::from),
        username_fragment: candidate.username_fragment,
        offer_id,
    }
}

pub fn candidate_from_proto(said: pb::IceCandidateNotification) -> RTCIceCandidateInit {
    RTCIceCandidateInit {
        candidate: said.candidate,
        sdp_mid: said.sdp_mid,
        sdp_mline_index: said.sdp_mline_index.and_then(|index| index.try_into().ok()),
        username_fragment: said.username_fragment,
        url: None,
    }
}
// docs: end
