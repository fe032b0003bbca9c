// The least that a JSON-RPC signaling relay on ws can do: announce, offer, answer, ICE candidate, each acknowledged.
// No rooms, limits, metrics or checks; one read, one relay, one acknowledgement. Prints its port.
import { WebSocketServer } from 'ws';

const peers = new Map();
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });

server.on('connection', (socket) => {
  let me = '';
  socket.on('message', (data) => {
    const { id, method, params } = JSON.parse(data);
    let result;
    if (method === 'announce') {
      me = params.peer_id;
      peers.set(me, socket);
      result = { peer_id: me, peers_count: peers.size - 1, other_peers: [] };
    } else {
      const { to_peer_id } = params;
      result = { to_peer_id };
      // The params go on as they came, but for the target's id, which JSON leaves out where it is undefined.
      params.to_peer_id = undefined;
      params.from_peer_id = me;
      if (method === 'offer') params.offer_id = result.offer_id = `${me}_${to_peer_id}_${Date.now()}`;
      if (method !== 'ice_candidate') params.type = method;
      peers.get(to_peer_id)?.send(JSON.stringify({ jsonrpc: '2.0', method, params }));
    }
    socket.send(JSON.stringify({ jsonrpc: '2.0', result, id }));
  });
  socket.on('close', () => peers.delete(me));
  // A connection that breaks would end the process otherwise.
  socket.on('error', () => {});
});
server.on('listening', () => console.log(`listening on 127.0.0.1:${server.address().port}`));
