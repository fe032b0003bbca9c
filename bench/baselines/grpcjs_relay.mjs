// The least that a signaling relay on @grpc/grpc-js can do: announce, offer, answer, ICE candidate, each acknowledged.
// No rooms, limits, metrics or checks; one read, one relay, one acknowledgement. Prints its port.
// Its argument is the path of protos/webrtc_signaling.proto.
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const { remotemedia } = grpc.loadPackageDefinition(loadSync(process.argv[2], { keepCase: true }));
const peers = new Map();

function signal(call) {
  let me = '';
  call.sendMetadata(new grpc.Metadata());
  const tell = (to, notification) => peers.get(to)?.write({ notification });
  const acknowledge = ({ request_id }, data) =>
    call.write({ request_id, ack: { message: 'ok', data: JSON.stringify(data) } });
  call.on('data', (request) => {
    // A notification is made of the request itself: fields that its message does not have are left out.
    const { announce, offer, answer, ice_candidate } = request;
    if (ice_candidate) {
      const { to_peer_id } = ice_candidate;
      ice_candidate.from_peer_id = me;
      tell(to_peer_id, { ice_candidate });
      acknowledge(request, { to_peer_id });
    } else if (offer) {
      const { to_peer_id } = offer;
      const offer_id = `${me}_${to_peer_id}_${Date.now()}`;
      offer.from_peer_id = me;
      offer.offer_id = offer_id;
      offer.type = 'offer';
      tell(to_peer_id, { offer });
      acknowledge(request, { offer_id, to_peer_id });
    } else if (answer) {
      const { to_peer_id } = answer;
      answer.from_peer_id = me;
      answer.type = 'answer';
      tell(to_peer_id, { answer });
      acknowledge(request, { to_peer_id });
    } else if (announce) {
      me = announce.peer_id;
      peers.set(me, call);
      acknowledge(request, { peer_id: me, peers_count: peers.size - 1, other_peers: [] });
    }
  });
  call.on('end', () => { peers.delete(me); call.end(); });
  call.on('cancelled', () => peers.delete(me));
  call.on('error', () => peers.delete(me));
}

const server = new grpc.Server();
server.addService(remotemedia.v1.webrtc.WebRtcSignaling.service, { Signal: signal });
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`listening on 127.0.0.1:${port}`);
});
