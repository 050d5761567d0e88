/**
 * The father's listening sockets: one SO_REUSEPORT socket per slot (a unix socket is shared by all
 * slots). They outlive every son, so a connection that the kernel has accepted is never lost.
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { formatAddress } from '../config/address.ts';
import { OperatorError } from '../config/operator-error.ts';
import type { Addon, SocketAddress } from './index.ts';

export type ListenerDoor = Pick<Addon, 'openListener' | 'closeFd'>;

export interface Listeners {
  /** One per slot; all the same for a unix socket. */
  readonly fds: readonly number[];
  /** Where they really listen: port 0 is replaced by what the kernel gave the first. */
  readonly address: SocketAddress;
  close(): void;
}

export async function openListeners(
  door: ListenerDoor,
  address: SocketAddress,
  slots: number,
  backlog: number,
): Promise<Listeners> {
  try {
    return 'path' in address
      ? await openUnix(door, address.path, slots, backlog)
      : await openPorts(door, address.host, address.port, slots, backlog);
  } catch (error) {
    throw listenError(error, address);
  }
}

async function openPorts(
  door: ListenerDoor,
  host: string,
  wantedPort: number,
  slots: number,
  backlog: number,
): Promise<Listeners> {
  if (wantedPort !== 0) await refuseForeignListener(host, wantedPort);
  const fds: number[] = [];
  const close = (): void => {
    for (const fd of fds.splice(0)) door.closeFd(fd);
  };
  let port = wantedPort;
  try {
    for (let slot = 0; slot < slots; slot++) {
      const listener = door.openListener({ host, port }, backlog);
      fds.push(listener.fd);
      port = listener.port;
    }
  } catch (error) {
    close();
    throw error;
  }
  return { fds, address: { host, port }, close };
}

async function openUnix(
  door: ListenerDoor,
  path: string,
  slots: number,
  backlog: number,
): Promise<Listeners> {
  await removeStaleSocket(path);
  const { fd } = door.openListener({ path }, backlog);
  let open = true;
  const close = (): void => {
    if (!open) return;
    open = false;
    door.closeFd(fd);
    unlinkQuietly(path);
  };
  return { fds: Array.from({ length: slots }, () => fd), address: { path }, close };
}

/**
 * SO_REUSEPORT would let us share a port with a stranger of the same user, for example a forgotten
 * farm, and every other client would end up there. A bind without that option tells.
 */
function refuseForeignListener(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    // exclusive: never through a cluster's primary; ipv6Only: `::` must not stumble over `0.0.0.0`.
    probe.listen({ host, port, exclusive: true, ipv6Only: true }, () => {
      probe.close(() => resolve());
    });
  });
}

/** A socket file that nobody answers on is what a killed process left behind. */
function removeStaleSocket(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return resolve();
    if (!found.isSocket()) return reject(Object.assign(new Error(path), { code: 'EADDRINUSE' }));
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      reject(Object.assign(new Error(path), { code: 'EADDRINUSE' }));
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') unlinkQuietly(path);
      resolve();
    });
  });
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody else removed it: that is what we wanted.
  }
}

/** What the kernel said about a listening address, as a sentence with the fix. */
export function listenError(error: unknown, address: SocketAddress): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  const where = formatAddress(address);
  const say = (stable: string, sentence: string): OperatorError =>
    new OperatorError(stable, sentence, { cause: error });
  switch (code) {
    case 'EADDRINUSE':
      return say(
        'listen-in-use',
        `--listen ${where} is already in use: stop what listens there (\`ss -lntp\` shows it) or choose another address.`,
      );
    case 'EACCES':
    case 'EPERM':
      return say(
        'listen-forbidden',
        'path' in address
          ? `--listen ${where} cannot be created: give this user write permission on its folder or choose another path.`
          : `--listen ${where} needs a privilege: use a port from 1024 up, or grant CAP_NET_BIND_SERVICE.`,
      );
    case 'EADDRNOTAVAIL':
      return say(
        'listen-not-local',
        `--listen ${where} is not an address of this machine: use one that \`ip address\` lists, or a wildcard (0.0.0.0 or [::]).`,
      );
    case 'EAFNOSUPPORT':
      return say(
        'listen-family',
        `--listen ${where} is of a family that this kernel has switched off: use an IPv4 address.`,
      );
    case 'ENOENT':
    case 'ENOTDIR':
    case 'ENAMETOOLONG':
    case 'EINVAL':
      return say(
        'listen-unusable',
        `--listen ${where} cannot be opened (${code}): its folder must exist and the path be shorter than 108 bytes.`,
      );
    default:
      return error;
  }
}
