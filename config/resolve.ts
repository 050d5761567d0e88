/** DNS names to literal addresses, at start and at every re-read; the addon knows no names. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { SocketAddress } from '../native/index.ts';
import type { Address } from './address.ts';
import { formatAddress } from './address.ts';
import { OperatorError } from './operator-error.ts';

/** `flag` is where the operator wrote it. A name with several addresses gives the first. */
export async function resolveAddress(flag: string, address: Address): Promise<SocketAddress> {
  if ('path' in address || isIP(address.host) !== 0) return address;
  try {
    const found = await lookup(address.host);
    return { host: found.address, port: address.port };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new OperatorError(
      'name-unresolved',
      `${flag} ${formatAddress(address)}: the name ${address.host} cannot be resolved (${code}): ` +
        'correct it, or write its IP address.',
      { cause: error },
    );
  }
}
