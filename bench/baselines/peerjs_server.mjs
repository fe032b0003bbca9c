// PeerJS's own server, as its package starts it. Clients connect to /peerjs?key=peerjs&id=ID&token=TOKEN.
// It relays and does not acknowledge. Prints its port.
import { PeerServer } from 'peer';

// Clients need not send heartbeats while a benchmark has them idle; nothing else differs from the defaults that count.
const options = { host: '127.0.0.1', port: 0, concurrent_limit: 5000, alive_timeout: 24 * 60 * 60 * 1000 };
const server = PeerServer(options, (listener) => console.log(`listening on 127.0.0.1:${listener.address().port}`));
// A connection that breaks would end the process otherwise.
server.on('error', () => {});
