/**
 * The page behind the demo farm: plain HTTP on loopback, one port per terminator, so that the page
 * can say which terminator asked for it (nothing on the wire tells an origin).
 */
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface DemoOrigin {
  readonly host: string;
  readonly port: number;
  close(): void;
}

export const ORIGIN_HOST = '127.0.0.1';

/** `terminator` is the name on the page. */
export function startDemoOrigin(terminator: string): Promise<DemoOrigin> {
  const server: Server = createServer((request, response) => {
    request.resume();
    response.setHeader('Content-Type', 'text/plain; charset=utf-8');
    response.end(page(terminator));
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, ORIGIN_HOST, () => {
      const { port } = server.address() as AddressInfo;
      const close = (): void => {
        server.close();
        server.closeAllConnections();
      };
      resolve({ host: ORIGIN_HOST, port, close });
    });
  });
}

export function page(terminator: string): string {
  return `Hello from the farm. Your TLS ended at terminator ${terminator}.\n`;
}

/** Which terminator a page names, or null when it is not our page. */
export function terminatorOn(body: string): string | null {
  const found = /^Hello from the farm\. Your TLS ended at terminator (\S+)\.\n$/.exec(body);
  return found?.[1] ?? null;
}
