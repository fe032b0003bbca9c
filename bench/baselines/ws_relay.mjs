// The least that a JSON-RPC signaling relay on ws can do: announce, offer, answer, ICE candidate, each acknowledged.
// No rooms, limits, metrics or checks. Prints its port.
import { WebSocketServer } from 'ws';

const peers = new Map();
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });

server.on('connection', (socket) => {
  let me = '';
  const send = (target, message) => target?.send(JSON.stringify({ jsonrpc: '2.0', ...message }));
  socket.on('message', (data) => {
    const { id, method, params } = JSON.parse(data);
    if (method === 'announce') {
      me = params.peer_id;
      peers.set(me, socket);
      send(socket, { result: { peer_id: me, peers_count: peers.size - 1, other_peers: [] }, id });
      return;
    }
    const { to_peer_id, ...rest } = params;
    const result = { to_peer_id };
    if (method === 'offer') {
      rest.offer_id = result.offer_id = `${me}_${to_peer_id}_${Date.now()}`;
      rest.type = 'offer';
    }
    send(peers.get(to_peer_id), { method, params: { from_peer_id: me, ...rest } });
    send(socket, { result, id });
  });
  socket.on('close', () => peers.delete(me));
});
server.on('listening', () => console.log(`listening on 127.0.0.1:${server.address().port}`));
