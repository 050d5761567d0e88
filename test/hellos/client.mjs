// A Node client for the recorder, for any Node: node client.mjs PORT MAX_VERSION TIMES.
// Connects TIMES times, each with the session of the one before.
import tls from 'node:tls';

const [port, maxVersion, times] = process.argv.slice(2);

function connect(session) {
  return new Promise((resolve, reject) => {
    let latest;
    const socket = tls.connect({
      host: '127.0.0.1',
      port: Number(port),
      servername: 'farm.example',
      ALPNProtocols: ['h2', 'http/1.1'],
      maxVersion,
      rejectUnauthorized: false,
      ...(session === undefined ? {} : { session }),
    });
    socket.on('session', (offered) => {
      latest = offered;
    });
    socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nHost: farm.example\r\n\r\n'));
    socket.on('data', () => {});
    socket.on('close', () => resolve(latest));
    socket.on('error', reject);
  });
}

let session;
for (let i = 0; i < Number(times); i++) session = await connect(session);
