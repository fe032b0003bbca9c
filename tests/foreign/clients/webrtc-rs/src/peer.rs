//! One announced peer and its calls. What it does is done one after the other, in the order in which it was posted.
//!
//! The states of a call, and what leads from one to the next:
//!
//! ```text
//! Offering ──their answer──► Talking      we have called: their candidates are held until then
//! Answering ──our answer is taken──► Talking
//! any ──hang-up, their leaving, their newer offer──► forgotten
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::BytesMut;
use rtc::peer_connection::transport::RTCDtlsRole;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit, RTCIceGatheringState,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
};

use crate::Line;
use crate::signaling::{Notification, Session, candidate_from_proto};

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What is done next: an order, what the server tells, or what a connection tells, by the number of its call.
pub enum Act {
    Do(Line),
    Told(Option<Notification>),
    Found(u64, RTCIceCandidateInit),
    Came(u64, Arc<dyn DataChannel>),
    Opened(u64, Arc<dyn DataChannel>),
    Heard(u64, String),
    Failed(u64),
}

#[derive(PartialEq)]
enum State {
    Offering,
    Answering,
    Talking,
}

struct Call {
    number: u64,
    state: State,
    offer_id: String,
    /// The certificates of their connection.
    theirs: String,
    connection: Arc<dyn PeerConnection>,
    channel: Option<Arc<dyn DataChannel>>,
    held: Vec<RTCIceCandidateInit>,
}

struct Peer {
    number: u64,
    id: String,
    session: Option<Session>,
    calls: HashMap<String, Call>,
    last: u64,
    post: UnboundedSender<Act>,
}

struct Handler {
    call: u64,
    post: UnboundedSender<Act>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            let _ = self.post.send(Act::Found(self.call, candidate));
        }
    }

    /// Says that there are no more candidates, of which it tells by the state alone.
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.post.send(Act::Found(self.call, RTCIceCandidateInit::default()));
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Failed {
            let _ = self.post.send(Act::Failed(self.call));
        }
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let _ = self.post.send(Act::Came(self.call, channel));
    }
}

/// Tells the certificates that a description names: another connection has others.
fn certificates_of(sdp: &str) -> String {
    let sdp = sdp.to_lowercase();
    let found: BTreeSet<&str> = sdp.lines().filter(|line| line.starts_with("a=fingerprint:")).collect();
    found.into_iter().collect::<Vec<_>>().join(",")
}

/// Starts a peer; returns what posts to it.
pub fn start(number: u64) -> UnboundedSender<Act> {
    let (post, posted) = unbounded_channel();
    let peer = Peer { number, id: String::new(), session: None, calls: HashMap::new(), last: 0, post: post.clone() };
    tokio::spawn(peer.work(posted));
    post
}

impl Peer {
    async fn work(mut self, mut posted: UnboundedReceiver<Act>) {
        while let Some(act) = posted.recv().await {
            if let Err(fault) = self.act(act).await {
                self.say("fault", json!({"why": fault.to_string()}));
            }
        }
    }

    fn say(&self, said: &str, more: Value) {
        let mut tidings = json!({"peer": self.number, "said": said});
        for (name, value) in more.as_object().into_iter().flatten() {
            tidings[name] = value.clone();
        }
        println!("{tidings}");
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("it has joined")
    }

    async fn act(&mut self, act: Act) -> Result<(), Fault> {
        match act {
            Act::Do(line) => self.obey(line).await?,
            Act::Told(Some(told)) => self.take(told).await?,
            Act::Told(None) => self.say("lost", json!({})),
            Act::Found(number, candidate) => {
                if let Some((to, offer_id)) = self.of(number).map(|(to, call)| (to.clone(), call.offer_id.clone())) {
                    // Refused where they have left.
                    let _ = self.session().candidate(to, candidate, offer_id).await;
                }
            }
            Act::Came(number, channel) => self.attend(number, channel),
            Act::Opened(number, channel) => {
                // One is enough, where the other side has made one, too.
                let open = self.of(number).filter(|(_, call)| call.channel.is_none());
                if let Some(to) = open.map(|(to, _)| to.clone()) {
                    let call = self.calls.get_mut(&to).expect("it is there");
                    call.channel = Some(channel);
                    let offer_id = call.offer_id.clone();
                    self.say("open", json!({"with": to, "offer_id": offer_id}));
                }
            }
            Act::Heard(number, text) => {
                if let Some((to, _)) = self.of(number) {
                    self.say("heard", json!({"with": to, "text": text}));
                }
            }
            Act::Failed(number) => {
                if let Some((to, _)) = self.of(number) {
                    self.say("failed", json!({"with": to}));
                }
            }
        }
        Ok(())
    }

    fn of(&self, number: u64) -> Option<(&String, &Call)> {
        self.calls.iter().find(|(_, call)| call.number == number)
    }

    async fn obey(&mut self, told: Line) -> Result<(), Fault> {
        match told.op.as_str() {
            "join" => {
                let post = self.post.clone();
                let address = told.url.strip_prefix("grpc://").ok_or("it has gRPC alone")?;
                let session = Session::connect(address, move |told| {
                    let _ = post.send(Act::Told(told));
                });
                self.session = Some(session.await?);
                self.id = told.id.clone();
                self.session().announce(told.id, told.room).await?;
                self.say("joined", json!({}));
            }
            "call" => self.call(told.to).await?,
            "call_again" => {
                self.hang_up(&told.to).await?;
                self.call(told.to).await?;
            }
            "hang_up" => self.hang_up(&told.to).await?,
            "send" => {
                if let Some(channel) = self.calls.get(&told.to).and_then(|call| call.channel.clone()) {
                    channel.send(BytesMut::from(told.text.as_bytes())).await?;
                }
            }
            "leave" => {
                for to in self.calls.keys().cloned().collect::<Vec<_>>() {
                    self.end(&to, "left");
                }
                // Its stream of requests ends with it, which says that it leaves.
                self.session = None;
            }
            other => return Err(format!("no such order: {other}").into()),
        }
        Ok(())
    }

    async fn call(&mut self, to: String) -> Result<(), Fault> {
        if self.calls.contains_key(&to) {
            return Ok(()); // they have called meanwhile, and one call is enough
        }
        let connection = self.begin(&to, State::Offering, String::new()).await?;
        let channel = connection.create_data_channel("talk", None).await?;
        self.attend(self.last, channel);
        let offer = connection.create_offer(None).await?;
        match self.session().offer(to.clone(), offer.sdp.clone()).await {
            Ok(acknowledged) => {
                let offer_id = acknowledged["offer_id"].as_str().unwrap_or_default().to_owned();
                self.calls.get_mut(&to).expect("it has begun").offer_id = offer_id;
            }
            Err(why) => {
                self.end(&to, &why);
                return Ok(());
            }
        }
        // Only now, so that no candidate overtakes the offer, and each can say its id.
        connection.set_local_description(offer).await?;
        Ok(())
    }

    async fn hang_up(&mut self, to: &str) -> Result<(), Fault> {
        if let Some(offer_id) = self.calls.get(to).map(|call| call.offer_id.clone()) {
            self.end(to, "hung_up");
            self.session().disconnect(to.to_owned(), offer_id).await?;
        }
        Ok(())
    }

    async fn take(&mut self, told: Notification) -> Result<(), Fault> {
        match told {
            Notification::Offer(offer) => {
                let from = offer.from_peer_id;
                if let Some(before) = self.calls.get(&from) {
                    // Glare: of two that call each other at once, the greater id is heard. Rust compares texts by their bytes.
                    if before.state == State::Offering && self.id > from {
                        return Ok(());
                    }
                    // Of the connection that there is, it negotiates that anew; of another one, it is another call.
                    if before.theirs != certificates_of(&offer.sdp) {
                        self.end(&from, "called_again");
                    }
                }
                self.answer(from, offer.sdp, offer.offer_id).await?;
            }
            Notification::Answer(answer) => {
                let theirs = certificates_of(&answer.sdp);
                if let Some(call) = self.ours(&answer.from_peer_id, &answer.offer_id)
                    && call.state == State::Offering
                {
                    call.connection.set_remote_description(RTCSessionDescription::answer(answer.sdp)?).await?;
                    call.state = State::Talking;
                    call.theirs = theirs;
                    for candidate in std::mem::take(&mut call.held) {
                        call.connection.add_ice_candidate(candidate).await?;
                    }
                }
            }
            Notification::IceCandidate(said) => {
                if let Some(call) = self.ours(&said.from_peer_id, &said.offer_id) {
                    let candidate = candidate_from_proto(said);
                    if call.state == State::Offering {
                        call.held.push(candidate);
                    } else {
                        call.connection.add_ice_candidate(candidate).await?;
                    }
                }
            }
            Notification::PeerDisconnected(said) => {
                if self.ours(&said.peer_id, &said.offer_id).is_some() {
                    self.end(&said.peer_id, "peer_hung_up");
                }
            }
            Notification::PeerLeft(said) => {
                if self.calls.contains_key(&said.peer_id) {
                    self.end(&said.peer_id, "peer_left");
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn answer(&mut self, from: String, sdp: String, offer_id: String) -> Result<(), Fault> {
        let connection = match self.calls.get(&from) {
            Some(call) => call.connection.clone(),
            None => self.begin(&from, State::Answering, offer_id.clone()).await?,
        };
        let call = self.calls.get_mut(&from).expect("it has begun");
        call.offer_id = offer_id.clone();
        call.theirs = certificates_of(&sdp);
        connection.set_remote_description(RTCSessionDescription::offer(sdp)?).await?;
        let answer = connection.create_answer(None).await?;
        if self.session().answer(from.clone(), answer.sdp.clone(), offer_id).await.is_err() {
            // They have hung up, or left, or call anew, which is on its way.
            self.end(&from, "refused");
            return Ok(());
        }
        self.calls.get_mut(&from).expect("it has begun").state = State::Talking;
        connection.set_local_description(answer).await?;
        Ok(())
    }

    fn ours(&mut self, from: &str, offer_id: &str) -> Option<&mut Call> {
        self.calls.get_mut(from).filter(|call| offer_id.is_empty() || offer_id == call.offer_id)
    }

    /// Makes a call with a new connection.
    async fn begin(&mut self, to: &str, state: State, offer_id: String) -> Result<Arc<dyn PeerConnection>, Fault> {
        self.last += 1;
        let handler = Handler { call: self.last, post: self.post.clone() };
        // As a DTLS client it refuses the other side's SCTP association, and werift opens one only where it has called.
        let settings = SettingEngineBuilder::new().with_answering_dtls_role(RTCDtlsRole::Server).build();
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_setting_engine(settings)
                .with_handler(Arc::new(handler))
                .with_udp_addrs(vec!["127.0.0.1:0"])
                .build()
                .await?,
        );
        let call = Call {
            number: self.last,
            state,
            offer_id,
            theirs: String::new(),
            connection: connection.clone(),
            channel: None,
            held: Vec::new(),
        };
        self.calls.insert(to.to_owned(), call);
        Ok(connection)
    }

    /// Posts what a channel tells.
    fn attend(&self, number: u64, channel: Arc<dyn DataChannel>) {
        let post = self.post.clone();
        tokio::spawn(async move {
            while let Some(event) = channel.poll().await {
                let _ = match event {
                    DataChannelEvent::OnOpen => post.send(Act::Opened(number, channel.clone())),
                    DataChannelEvent::OnMessage(message) => {
                        post.send(Act::Heard(number, String::from_utf8_lossy(&message.data).into_owned()))
                    }
                    DataChannelEvent::OnClose => break,
                    _ => Ok(()),
                };
            }
        });
    }

    /// Forgets a call; its connection closes beside the rest.
    fn end(&mut self, to: &str, why: &str) {
        let call = self.calls.remove(to).expect("it has begun");
        let connection = call.connection.clone();
        tokio::spawn(async move { connection.close().await });
        self.say("ended", json!({"with": to, "why": why, "offer_id": call.offer_id}));
    }
}
