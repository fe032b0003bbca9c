// A gRPC client that does what it is told: commands on stdin, what happens on stdout, each one JSON object a line.
"use strict";

const readline = require("node:readline");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const config = JSON.parse(process.argv[2]);
const description = protoLoader.loadSync(config.protos, {
  keepCase: true,
  longs: String,
  enums: String,
  oneofs: true,
});
const loaded = grpc.loadPackageDefinition(description);
const HEALTH_CHECK = "/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck";

const methods = new Map();
for (const service of [loaded.remotemedia.v1.webrtc.WebRtcSignaling, loaded.grpc.health.v1.Health]) {
  for (const method of Object.values(service.service)) {
    methods.set(method.path, method);
  }
}

const channels = new Map();
const calls = new Map();

function channel(name = "", gzip = false) {
  const key = `${name} ${gzip}`;
  if (!channels.has(key)) {
    const options = { "grpc.use_local_subchannel_pool": 1 };
    if (config.keepalive_ms) {
      options["grpc.keepalive_time_ms"] = config.keepalive_ms;
      options["grpc.keepalive_permit_without_calls"] = 1;
    }
    if (gzip) {
      options["grpc.default_compression_algorithm"] = grpc.compressionAlgorithms.gzip;
    }
    channels.set(key, new grpc.Client(config.address, grpc.credentials.createInsecure(), options));
  }
  return channels.get(key);
}

function metadataOf(told) {
  const metadata = new grpc.Metadata({ waitForReady: true });
  for (const [name, value] of Object.entries(told.metadata ?? {})) {
    metadata.set(name, value);
  }
  return metadata;
}

function optionsOf(told) {
  return told.timeout_ms ? { deadline: Date.now() + told.timeout_ms } : {};
}

function say(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

function end(id, status) {
  const trailers = {};
  for (const [name, value] of Object.entries(status.metadata.getMap())) {
    trailers[name] = String(value);
  }
  say({ id, code: status.code, message: status.details, trailers });
}

const does = {
  unary(told) {
    const method = methods.get(told.method) ?? methods.get(HEALTH_CHECK);
    const call = channel(told.channel, told.gzip).makeUnaryRequest(
      told.method,
      method.requestSerialize,
      method.responseDeserialize,
      told.request ?? {},
      metadataOf(told),
      optionsOf(told),
      (error, response) => {
        if (!error) {
          say({ id: told.id, response });
        }
      },
    );
    call.on("status", (status) => end(told.id, status));
  },
  open(told) {
    const method = methods.get(told.method);
    const call = channel(told.channel, told.gzip).makeBidiStreamRequest(
      told.method,
      method.requestSerialize,
      method.responseDeserialize,
      metadataOf(told),
      optionsOf(told),
    );
    calls.set(told.id, call);
    call.on("data", (response) => say({ id: told.id, response }));
    call.on("error", () => {}); // the status says it
    call.on("status", (status) => end(told.id, status));
  },
  send: (told) => calls.get(told.id).write(told.request),
  half_close: (told) => calls.get(told.id).end(),
  cancel: (told) => calls.get(told.id).cancel(),
};

readline
  .createInterface({ input: process.stdin, crlfDelay: Infinity })
  .on("line", (line) => {
    const told = JSON.parse(line);
    does[told.op](told);
  })
  .on("close", () => process.exit(0));
