// The least that a signaling relay on @grpc/grpc-js can do: announce, offer, answer, ICE candidate, each acknowledged.
// No rooms, limits, metrics or checks. Prints its port.
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const { remotemedia } = grpc.loadPackageDefinition(loadSync(process.argv[2], { keepCase: true, oneofs: true }));
const peers = new Map();

function signal(call) {
  let me = '';
  call.sendMetadata(new grpc.Metadata());
  const tell = (to, notification) => peers.get(to)?.write({ notification });
  const acknowledge = (request, data) => call.write({ request_id: request.request_id, ack: { message: 'ok', data } });
  call.on('data', (request) => {
    switch (request.request) {
      case 'announce':
        me = request.announce.peer_id;
        peers.set(me, call);
        acknowledge(request, JSON.stringify({ peer_id: me, peers_count: peers.size - 1, other_peers: [] }));
        break;
      case 'offer': {
        const { to_peer_id, sdp } = request.offer;
        const offer_id = `${me}_${to_peer_id}_${Date.now()}`;
        tell(to_peer_id, { offer: { from_peer_id: me, offer_id, sdp, type: 'offer' } });
        acknowledge(request, JSON.stringify({ offer_id, to_peer_id }));
        break;
      }
      case 'answer': {
        const { to_peer_id, sdp } = request.answer;
        tell(to_peer_id, { answer: { from_peer_id: me, sdp, type: 'answer' } });
        acknowledge(request, JSON.stringify({ to_peer_id }));
        break;
      }
      case 'ice_candidate': {
        const { to_peer_id, ...candidate } = request.ice_candidate;
        tell(to_peer_id, { ice_candidate: { from_peer_id: me, ...candidate } });
        acknowledge(request, JSON.stringify({ to_peer_id }));
        break;
      }
    }
  });
  call.on('end', () => { peers.delete(me); call.end(); });
  call.on('error', () => peers.delete(me));
}

const server = new grpc.Server();
server.addService(remotemedia.v1.webrtc.WebRtcSignaling.service, { Signal: signal });
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`listening on 127.0.0.1:${port}`);
});
