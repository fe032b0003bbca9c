//! A gRPC client that does what it is told: commands on stdin, what happens on stdout, each one JSON object a line.

use std::{collections::HashMap, env, error::Error, io::Write, time::Duration};

use prost::Message;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::CompressionEncoding,
    codegen::http::uri::PathAndQuery,
    metadata::{KeyAndValueRef, MetadataKey, MetadataMap},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

mod signaling {
    tonic::include_proto!("remotemedia.v1.webrtc");
    include!(concat!(env!("OUT_DIR"), "/remotemedia.v1.webrtc.serde.rs"));
}

mod health {
    tonic::include_proto!("grpc.health.v1");
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.serde.rs"));
}

#[derive(Deserialize)]
struct Options {
    address: String,
    #[serde(default)]
    keepalive_ms: u64,
}

#[derive(Deserialize)]
struct Command {
    op: String,
    id: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    request: Value,
    #[serde(default)]
    metadata: HashMap<String, String>,
    #[serde(default)]
    timeout_ms: u64,
    #[serde(default)]
    gzip: bool,
}

/// An open call: dropping `sender` is the half-close, dropping all of it ends the call.
struct Call {
    sender: Option<UnboundedSender<Value>>,
    cancel: oneshot::Sender<()>,
    conversation: JoinHandle<()>,
}

struct Client {
    options: Options,
    channels: HashMap<String, Channel>,
    calls: HashMap<String, Call>,
}

trait Spoken: Message + Default + Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<M: Message + Default + Serialize + DeserializeOwned + Send + Sync + 'static> Spoken for M {}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = serde_json::from_str(&env::args().nth(1).ok_or("no options")?)?;
    let mut client = Client {
        options,
        channels: HashMap::new(),
        calls: HashMap::new(),
    };
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        client.act(serde_json::from_str(&line)?)?;
    }
    Ok(())
}

impl Client {
    fn act(&mut self, told: Command) -> Result<(), Box<dyn Error>> {
        match told.op.as_str() {
            "unary" => {
                let channel = self.channel(&told.channel)?;
                match told.method.as_str() {
                    "/remotemedia.v1.webrtc.WebRtcSignaling/GetPeers" => {
                        spawn_unary::<signaling::GetPeersRequest, signaling::GetPeersResponse>(
                            channel, told,
                        )
                    }
                    "/grpc.health.v1.Health/Check" => spawn_unary::<
                        health::HealthCheckRequest,
                        health::HealthCheckResponse,
                    >(channel, told),
                    _ => {
                        spawn_unary::<signaling::HealthCheckRequest, signaling::HealthCheckResponse>(
                            channel, told,
                        )
                    }
                }
            }
            "open" => {
                let channel = self.channel(&told.channel)?;
                let id = told.id.clone();
                let call = if told.method == "/grpc.health.v1.Health/Watch" {
                    spawn_stream::<health::HealthCheckRequest, health::HealthCheckResponse>(
                        channel, told,
                    )
                } else {
                    spawn_stream::<signaling::SignalingRequest, signaling::SignalingResponse>(
                        channel, told,
                    )
                };
                self.calls.insert(id, call);
            }
            "send" => {
                let call = self.calls.get(&told.id).ok_or("no such call")?;
                // It fails where the call has ended, whose end says why.
                let _ = call.sender.as_ref().ok_or("closed")?.send(told.request);
            }
            "half_close" => self.calls.get_mut(&told.id).ok_or("no such call")?.sender = None,
            // Both sides: while its requests may go on, dropping the responses alone tells the server nothing.
            "cancel" => {
                let call = self.calls.remove(&told.id).ok_or("no such call")?;
                drop(call.cancel);
                // The requests end last: their end alone would be a half-close, and the server might answer that first.
                tokio::spawn(async move {
                    let _ = call.conversation.await;
                    drop(call.sender);
                });
            }
            other => return Err(format!("unknown op {other}").into()),
        }
        Ok(())
    }

    fn channel(&mut self, name: &str) -> Result<Channel, Box<dyn Error>> {
        if let Some(channel) = self.channels.get(name) {
            return Ok(channel.clone());
        }
        let mut endpoint = Endpoint::from_shared(format!("http://{}", self.options.address))?;
        if self.options.keepalive_ms > 0 {
            endpoint = endpoint
                .http2_keep_alive_interval(Duration::from_millis(self.options.keepalive_ms))
                .keep_alive_while_idle(true);
        }
        let channel = endpoint.connect_lazy();
        self.channels.insert(name.to_owned(), channel.clone());
        Ok(channel)
    }
}

fn grpc(channel: Channel, told: &Command) -> Grpc<Channel> {
    let client = Grpc::new(channel).accept_compressed(CompressionEncoding::Gzip);
    if told.gzip {
        client.send_compressed(CompressionEncoding::Gzip)
    } else {
        client
    }
}

fn request<T>(body: T, told: &Command) -> Request<T> {
    let mut request = Request::new(body);
    for (name, value) in &told.metadata {
        let name: MetadataKey<_> = name.parse().expect("a name");
        request
            .metadata_mut()
            .insert(name, value.parse().expect("a value"));
    }
    if told.timeout_ms > 0 {
        request.set_timeout(Duration::from_millis(told.timeout_ms));
    }
    request
}

fn message<M: Spoken>(value: Value) -> M {
    let value = if value.is_null() { json!({}) } else { value };
    serde_json::from_value(value).expect("a message")
}

fn path(told: &Command) -> PathAndQuery {
    told.method.parse().expect("a path")
}

fn spawn_unary<Q: Spoken, R: Spoken>(channel: Channel, mut told: Command) {
    tokio::spawn(async move {
        let mut client = grpc(channel, &told);
        let body: Q = message(told.request.take());
        let sent = match client.ready().await {
            Ok(()) => {
                let codec = ProstCodec::<Q, R>::default();
                client.unary(request(body, &told), path(&told), codec).await
            }
            Err(error) => Err(Status::from_error(error.into())),
        };
        match sent {
            Ok(response) => {
                let (trailers, body, _) = response.into_parts();
                say(json!({"id": told.id, "response": body}));
                end(&told.id, &Status::ok(""), &trailers);
            }
            Err(status) => end(&told.id, &status, status.metadata()),
        }
    });
}

fn spawn_stream<Q: Spoken, R: Spoken>(channel: Channel, told: Command) -> Call {
    let (sender, receiver) = unbounded_channel::<Value>();
    let (cancel, cancelled) = oneshot::channel();
    let conversation = tokio::spawn(async move {
        let id = told.id.clone();
        tokio::select! {
            () = converse::<Q, R>(channel, told, UnboundedReceiverStream::new(receiver)) => {}
            // Dropping the call is how tonic cancels one; nobody tells its caller a status.
            _ = cancelled => end(&id, &Status::new(Code::Cancelled, ""), &MetadataMap::new()),
        }
    });
    Call {
        sender: Some(sender),
        cancel,
        conversation,
    }
}

async fn converse<Q: Spoken, R: Spoken>(
    channel: Channel,
    told: Command,
    values: UnboundedReceiverStream<Value>,
) {
    let mut client = grpc(channel, &told);
    let requests = request(values.map(message::<Q>), &told);
    let opened = match client.ready().await {
        Ok(()) => {
            let codec = ProstCodec::<Q, R>::default();
            client.streaming(requests, path(&told), codec).await
        }
        Err(error) => Err(Status::from_error(error.into())),
    };
    let mut responses = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return end(&told.id, &status, status.metadata()),
    };
    loop {
        match responses.message().await {
            Ok(Some(response)) => say(json!({"id": told.id, "response": response})),
            Ok(None) => {
                let trailers = responses
                    .trailers()
                    .await
                    .ok()
                    .flatten()
                    .unwrap_or_default();
                return end(&told.id, &Status::ok(""), &trailers);
            }
            Err(status) => return end(&told.id, &status, status.metadata()),
        }
    }
}

fn end(id: &str, status: &Status, trailers: &MetadataMap) {
    let mut texts = Map::new();
    for pair in trailers.iter() {
        if let KeyAndValueRef::Ascii(name, value) = pair {
            texts.insert(name.to_string(), json!(value.to_str().unwrap_or_default()));
        }
    }
    let code = i32::from(status.code());
    say(json!({"id": id, "code": code, "message": status.message(), "trailers": texts}));
}

fn say(what: Value) {
    let mut out = std::io::stdout().lock();
    // Whoever told us to has gone where this fails.
    let _ = writeln!(out, "{what}");
    let _ = out.flush();
}
