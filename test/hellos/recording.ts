import { readdirSync, readFileSync } from 'node:fs';

/** The first bytes of one real client, as test/hellos/record writes them. */
export interface Recording {
  /** `<client>-<case>`, the file's name. */
  readonly name: string;
  readonly client: string;
  /** As the client says it. */
  readonly version: string;
  /** What was run; PORT, CERT, DIR stand for what differed from run to run. */
  readonly command: string;
  /** What the client talked to: a client offers only what a server gave it before. */
  readonly server: string;
  /** Which connection of the command this is, from 1. */
  readonly connection: number;
  /** Session IDs the server gave to this command's connections, in hex; empty with tickets. */
  readonly given: readonly string[];
  /** Everything up to the server's first byte, in hex, cut as it was received. */
  readonly chunks: readonly string[];
}

const DIRECTORY = new URL('./', import.meta.url);

/** All recordings in the tree, by name. */
export function loadRecordings(): Recording[] {
  return readdirSync(DIRECTORY)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => JSON.parse(readFileSync(new URL(file, DIRECTORY), 'utf8')) as Recording);
}

export function bytesOf(recording: Recording): Uint8Array {
  return new Uint8Array(Buffer.from(recording.chunks.join(''), 'hex'));
}
