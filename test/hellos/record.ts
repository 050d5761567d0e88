/**
 * Records ClientHellos: real clients connect through a proxy, which notes what they send before the
 * server has said a word, to a real server, which gives them sessions to come back with. Started by
 * test/hellos/record; writes `<client>-<case>.json` beside itself.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { constants, createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createServer as createHttpsServer } from 'node:https';

import type { Recording } from './recording.ts';

const HERE = import.meta.dirname;
const NAME = 'farm.example';
const CLIENT_DEADLINE_MS = 60_000;

/** What a server gives its clients to come back with. */
const SERVERS = {
  tickets: 'TLS 1.2 and 1.3, stateless tickets',
  stateful: 'TLS 1.3, stateful tickets of 32 bytes (SSL_OP_NO_TICKET)',
  'tls12-id': 'TLS 1.2 only, session IDs',
  'tls12-ticket': 'TLS 1.2 only, tickets',
  'early-data': 'openssl s_server, TLS 1.3, accepts early data',
} as const;
type ServerKind = keyof typeof SERVERS;

interface Client {
  readonly program: string;
  /** Debian package that brings it. */
  readonly package: string;
  readonly versionArgs: readonly string[];
}

interface Trial {
  readonly client: string;
  readonly name: string;
  readonly server: ServerKind;
  /** PORT, CERT, SPKI, DIR and HERE are replaced. Several commands run one after the other. */
  readonly commands: readonly (readonly string[])[];
  readonly input?: string;
  /** Which connection is kept, from 1; the last unless told. */
  readonly connection?: number;
}

const otherNode = findOtherNode();
const clients: Record<string, Client> = {
  openssl: { program: 'openssl', package: 'openssl', versionArgs: ['version'] },
  curl: { program: 'curl', package: 'curl', versionArgs: ['--version'] },
  gnutls: { program: 'gnutls-cli', package: 'gnutls-bin', versionArgs: ['--version'] },
  go: { program: 'go', package: 'golang-go', versionArgs: ['version'] },
  chromium: { program: 'chromium', package: 'chromium', versionArgs: ['--version'] },
  node24: { program: process.execPath, package: 'nodejs', versionArgs: nodeVersion() },
  node20: { program: otherNode ?? 'node', package: 'nodejs', versionArgs: nodeVersion() },
};

const sClient = (...options: string[]): string[] => [
  'openssl',
  's_client',
  '-connect',
  '127.0.0.1:PORT',
  '-ign_eof',
  ...(options.includes('-noservername') ? [] : ['-servername', NAME]),
  ...options,
];
const curl = (...options: string[]): string[] => [
  'curl',
  '--silent',
  '--insecure',
  '--connect-to',
  `${NAME}:443:127.0.0.1:PORT`,
  ...options,
];
const gnutls = (...options: string[]): string[] => [
  'gnutls-cli',
  '--insecure',
  '--port',
  'PORT',
  '--sni-hostname',
  NAME,
  ...options,
  '127.0.0.1',
];
const chromium = [
  'chromium',
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--user-data-dir=DIR/profile',
  '--ignore-certificate-errors-spki-list=SPKI',
  `--host-resolver-rules=MAP ${NAME}:443 127.0.0.1:PORT`,
  '--virtual-time-budget=5000',
  '--dump-dom',
  `https://${NAME}/`,
];
const url = `https://${NAME}/`;
const REQUEST = 'GET / HTTP/1.0\r\n\r\n';
const manyNames = (bytes: number): string =>
  Array.from(
    { length: Math.floor(bytes / 10) },
    (_, i) => `proto${String(i).padStart(4, '0')}`,
  ).join();

const trials: readonly Trial[] = [
  openssl('tls12', 'tickets', [sClient('-tls1_2', '-alpn', 'h2,http/1.1')]),
  openssl('tls13', 'tickets', [sClient('-alpn', 'h2,http/1.1')]),
  openssl('no-sni', 'tickets', [sClient('-noservername')]),
  openssl('fragmented', 'tickets', [sClient('-max_send_frag', '512', '-alpn', manyNames(2_000))]),
  openssl('two-records', 'tickets', [sClient('-alpn', manyNames(20_000))]),
  openssl('tls13-psk-ticket', 'tickets', [
    sClient('-sess_out', 'DIR/session.pem'),
    sClient('-sess_in', 'DIR/session.pem'),
  ]),
  openssl('tls13-psk-32', 'stateful', [
    sClient('-sess_out', 'DIR/session.pem'),
    sClient('-sess_in', 'DIR/session.pem'),
  ]),
  openssl('tls13-psk-two', 'stateful', [
    sClient('-sess_out', 'DIR/session.pem'),
    sClient('-sess_out', 'DIR/external.pem'),
    sClient('-sess_in', 'DIR/session.pem', '-psk_session', 'DIR/external.pem'),
  ]),
  openssl('tls12-session-id', 'tls12-id', [
    sClient('-tls1_2', '-sess_out', 'DIR/session.pem'),
    sClient('-tls1_2', '-sess_in', 'DIR/session.pem'),
  ]),
  openssl('tls12-session-id-offering-tls13', 'tls12-id', [
    sClient('-sess_out', 'DIR/session.pem'),
    sClient('-sess_in', 'DIR/session.pem'),
  ]),
  openssl('tls12-ticket', 'tls12-ticket', [
    sClient('-tls1_2', '-sess_out', 'DIR/session.pem'),
    sClient('-tls1_2', '-sess_in', 'DIR/session.pem'),
  ]),
  openssl('early-data', 'early-data', [
    sClient('-sess_out', 'DIR/session.pem'),
    sClient('-sess_in', 'DIR/session.pem', '-early_data', 'DIR/early'),
  ]),

  { client: 'curl', name: 'h2', server: 'tickets', commands: [curl(url)] },
  { client: 'curl', name: 'tls12', server: 'tickets', commands: [curl('--tls-max', '1.2', url)] },
  {
    client: 'curl',
    name: 'tls13-psk-ticket',
    server: 'tickets',
    commands: [curl('--http1.1', url, url)],
  },
  {
    client: 'curl',
    name: 'tls13-psk-32',
    server: 'stateful',
    commands: [curl('--http1.1', url, url)],
  },

  ...(['node24', 'node20'] as const).flatMap((client): Trial[] => [
    { client, name: 'tls13', server: 'tickets', commands: [node(client, 'TLSv1.3', 1)] },
    { client, name: 'tls12', server: 'tickets', commands: [node(client, 'TLSv1.2', 1)] },
    { client, name: 'tls13-psk-ticket', server: 'tickets', commands: [node(client, 'TLSv1.3', 2)] },
    { client, name: 'tls13-psk-32', server: 'stateful', commands: [node(client, 'TLSv1.3', 2)] },
    {
      client,
      name: 'tls12-session-id-offering-tls13',
      server: 'tls12-id',
      commands: [node(client, 'TLSv1.3', 2)],
    },
  ]),

  { client: 'gnutls', name: 'tls13', server: 'tickets', commands: [gnutls('--alpn', 'h2')] },
  {
    client: 'gnutls',
    name: 'tls12',
    server: 'tickets',
    commands: [gnutls('--priority', 'NORMAL:-VERS-TLS1.3')],
  },
  {
    client: 'gnutls',
    name: 'tls13-psk-ticket',
    server: 'tickets',
    commands: [gnutls('--resume', '--waitresumption')],
  },
  {
    client: 'gnutls',
    name: 'tls13-psk-32',
    server: 'stateful',
    commands: [gnutls('--resume', '--waitresumption')],
  },
  {
    client: 'gnutls',
    name: 'tls13-psk-two',
    server: 'stateful',
    commands: [
      gnutls(
        '--resume',
        '--waitresumption',
        '--priority',
        'NORMAL:+PSK:+DHE-PSK:+ECDHE-PSK',
        '--pskusername',
        'somebody',
        '--pskkey',
        '00112233445566778899aabbccddeeff',
      ),
    ],
  },
  {
    client: 'gnutls',
    name: 'tls12-session-id',
    server: 'tls12-id',
    commands: [gnutls('--resume', '--priority', 'NORMAL:-VERS-TLS1.3')],
  },

  { client: 'go', name: 'tls13', server: 'tickets', commands: [go('1.3', 1)] },
  { client: 'go', name: 'tls12', server: 'tickets', commands: [go('1.2', 1)] },
  { client: 'go', name: 'tls13-psk-ticket', server: 'tickets', commands: [go('1.3', 2)] },
  { client: 'go', name: 'tls13-psk-32', server: 'stateful', commands: [go('1.3', 2)] },
  { client: 'go', name: 'tls12-ticket', server: 'tls12-ticket', commands: [go('1.2', 2)] },

  { client: 'chromium', name: 'tls13', server: 'tickets', commands: [chromium], connection: 1 },
  { client: 'chromium', name: 'tls13-psk-ticket', server: 'tickets', commands: [chromium] },
  { client: 'chromium', name: 'tls13-psk-32', server: 'stateful', commands: [chromium] },
  {
    client: 'chromium',
    name: 'tls12-session-id-offering-tls13',
    server: 'tls12-id',
    commands: [chromium],
  },
];

await main(process.argv.slice(2));

async function main(only: readonly string[]): Promise<void> {
  const chosen = trials.filter(
    ({ client, name }) =>
      only.length === 0 || only.some((word) => `${client}-${name}`.includes(word)),
  );
  const missing = missingClients(new Set(chosen.map(({ client }) => client)));
  if (missing.length > 0) {
    console.error(`record: missing clients. Install them:\n${missing.join('\n')}`);
    process.exitCode = 1;
    return;
  }
  const dir = mkdtempSync(join(tmpdir(), 'hellos-'));
  try {
    makeCertificate(dir);
    for (const trial of chosen) await record(trial, dir);
  } finally {
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function record(trial: Trial, dir: string): Promise<void> {
  const server = await startServer(trial.server, dir);
  const proxy = await startProxy(server.target);
  const replace = (word: string): string =>
    word
      .replaceAll('PORT', String(proxy.port))
      .replaceAll('SPKI', spki(dir))
      .replaceAll('HERE', HERE)
      .replaceAll('DIR', dir);
  try {
    for (const command of trial.commands) {
      await run(trial, command.map(replace), dir);
    }
  } finally {
    proxy.close();
    server.close();
    rmSync(join(dir, 'profile'), { recursive: true, force: true, maxRetries: 3 });
  }
  const connection = trial.connection ?? proxy.connections.length;
  const chunks = proxy.connections[connection - 1];
  const name = `${trial.client}-${trial.name}`;
  if (
    chunks === undefined ||
    chunks.length === 0 ||
    proxy.connections.length < trial.commands.length
  ) {
    throw new Error(`${name}: only ${proxy.connections.length} connections`);
  }
  const recording: Recording = {
    name,
    client: trial.client,
    version: version(trial.client),
    command: trial.commands.map((words) => words.map(quote).join(' ')).join(' && '),
    server: SERVERS[trial.server],
    connection,
    given: [...server.given],
    chunks: chunks.map((chunk) => chunk.toString('hex')),
  };
  writeFileSync(join(HERE, `${name}.json`), `${JSON.stringify(recording, null, 2)}\n`);
  const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  console.log(`${name}: ${total} bytes, connection ${connection} of ${proxy.connections.length}`);
}

async function run(trial: Trial, [program = '', ...args]: string[], dir: string): Promise<void> {
  const executable = program === 'node' ? (clients[trial.client]?.program ?? program) : program;
  const child = spawn(executable, args, {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: { ...process.env, HOME: dir, GOCACHE: join(dir, 'go'), GOFLAGS: '-mod=mod' },
  });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  child.stdin.on('error', () => {});
  child.stdin.end(trial.input ?? '');
  const timer = setTimeout(() => child.kill('SIGKILL'), CLIENT_DEADLINE_MS);
  const [code] = (await once(child, 'exit')) as [number | null];
  clearTimeout(timer);
  // Clients differ in what they think of a server that closes: only what they sent matters here.
  if (code !== 0) console.error(`  (${program} ended with ${code}: ${errors.trim().slice(-200)})`);
}

interface Proxy {
  readonly port: number;
  /** Per connection, what came before the server's first byte. */
  readonly connections: Buffer[][];
  close(): void;
}

async function startProxy(
  target: { port: number; host: string } | { path: string },
): Promise<Proxy> {
  const connections: Buffer[][] = [];
  const server = createServer((client) => {
    const chunks: Buffer[] = [];
    let answered = false;
    const upstream = connect(target);
    client.on('data', (chunk: Buffer) => {
      if (chunks.length === 0) connections.push(chunks);
      if (!answered) chunks.push(chunk);
      upstream.write(chunk);
    });
    upstream.on('data', (chunk: Buffer) => {
      answered = true;
      client.write(chunk);
    });
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.end());
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
  });
  return { port: await listen(server), connections, close: () => server.close() };
}

interface Origin {
  /** IDs of the sessions it keeps, in hex. */
  readonly given: Iterable<string>;
  readonly target: { port: number; host: string } | { path: string };
  close(): void;
}

async function startServer(kind: ServerKind, dir: string): Promise<Origin> {
  if (kind === 'early-data') return startOpenSSL(dir);
  const server = createHttpsServer(
    {
      cert: readFileSync(join(dir, 'cert.pem')),
      key: readFileSync(join(dir, 'key.pem')),
      maxVersion: kind.startsWith('tls12') ? 'TLSv1.2' : 'TLSv1.3',
      ALPNProtocols: ['http/1.1'],
      secureOptions: kind === 'stateful' || kind === 'tls12-id' ? constants.SSL_OP_NO_TICKET : 0,
      sessionIdContext: 'hellos',
    },
    // One request per connection, and a page that makes a browser ask twice.
    (request, response) => {
      response.setHeader('Connection', 'close');
      response.setHeader('Content-Type', 'text/html');
      response.end(request.url === '/' ? '<!doctype html><script src="/again"></script>' : '');
    },
  );
  const sessions = new Map<string, Buffer>();
  server.on('newSession', (id: Buffer, data: Buffer, done: () => void) => {
    sessions.set(id.toString('hex'), data);
    done();
  });
  server.on('resumeSession', (id: Buffer, done: (error: null, data: Buffer | null) => void) => {
    done(null, sessions.get(id.toString('hex')) ?? null);
  });
  server.on('tlsClientError', () => {});
  const port = await listen(server);
  return {
    given: sessions.keys(),
    target: { host: '127.0.0.1', port },
    close: () => server.close(),
  };
}

/** Node's server does not do early data. */
async function startOpenSSL(dir: string): Promise<Origin> {
  const path = join(dir, 'server.sock');
  writeFileSync(join(dir, 'early'), REQUEST);
  const child: ChildProcess = spawn(
    'openssl',
    ['s_server', '-unix', path, '-cert', 'cert.pem', '-key', 'key.pem', '-early_data'],
    { cwd: dir, stdio: ['pipe', 'ignore', 'ignore'] },
  );
  for (let i = 0; i < 100 && !existsSync(path); i++) await pause(50);
  // It answers each connection with what stands on its input; q ends the connection.
  const quit = setInterval(() => child.stdin?.write('q\n'), 500);
  return {
    given: [],
    target: { path },
    close: () => {
      clearInterval(quit);
      child.kill();
    },
  };
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function makeCertificate(dir: string): void {
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const subject = ['-subj', `/CN=${NAME}`, '-addext', `subjectAltName=DNS:${NAME}`, '-days', '30'];
  const files = ['-keyout', 'key.pem', '-out', 'cert.pem'];
  execFileSync('openssl', [...args, ...subject, ...files], { cwd: dir, stdio: 'ignore' });
}

/** Chromium trusts a certificate by the hash of its public key. */
function spki(dir: string): string {
  const key = new X509Certificate(readFileSync(join(dir, 'cert.pem'))).publicKey;
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64');
}

function missingClients(wanted: ReadonlySet<string>): string[] {
  return Object.entries(clients).flatMap(([name, client]) => {
    if (!wanted.has(name)) return [];
    if (name === 'node20' && otherNode === null)
      return ['  a Node older than 24: apt-get install nodejs'];
    try {
      version(name);
      return [];
    } catch {
      return [`  ${client.program}: apt-get install --no-install-recommends ${client.package}`];
    }
  });
}

function version(name: string): string {
  const client = clients[name] as Client;
  const text = execFileSync(client.program, client.versionArgs, {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return (text.toString().split('\n')[0] ?? '').trim();
}

/** The system's Node, when it is another one than this. */
function findOtherNode(): string | null {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, 'node');
    if (!existsSync(path) || folder.includes('node_modules')) continue;
    if (realpathSync(path) !== realpathSync(process.execPath)) return path;
  }
  return null;
}

function nodeVersion(): string[] {
  return ['-p', '"Node " + process.version + ", OpenSSL " + process.versions.openssl'];
}

function openssl(name: string, server: ServerKind, commands: string[][]): Trial {
  return { client: 'openssl', name, server, commands, input: REQUEST };
}

function node(_client: string, maxVersion: string, times: number): string[] {
  return ['node', 'HERE/client.mjs', 'PORT', maxVersion, String(times)];
}

function go(maxVersion: string, times: number): string[] {
  return ['go', 'run', 'HERE/client.go', '127.0.0.1:PORT', maxVersion, String(times)];
}

/** A word for the shell, shortened when it is one of the very long lists. */
function quote(word: string): string {
  const short = word.length > 200 ? `${word.slice(0, 40)}…(${word.length} characters)` : word;
  return /^[\w@%+=:,./-]+$/.test(short) ? short : `'${short}'`;
}
