/** Rows of servers that terminate TLS before one origin. */
import type { Trial } from './trial.ts';

const ALWAYS = { kind: 'always', fullEvery: 0 } as const;
const NO_TICKETS_YET = 'not yet: it has no stateless tickets';

const row = { unit: 'µs per connection', ground: 'rsa', untried: {}, target: null } as const;

export const terminatorTrials: readonly Trial[] = [
  {
    ...row,
    key: 'full-rsa-1.2',
    title: 'full, ECDHE-RSA-2048, TLS 1.2',
    wants: 'full',
    load: {},
  },
  {
    ...row,
    key: 'full-rsa-1.3',
    title: 'full, RSA-2048, TLS 1.3',
    wants: 'full',
    load: { tlsVersion: '1.3' },
  },
  {
    ...row,
    key: 'full-ecdsa-1.2',
    title: 'full, ECDHE-ECDSA P-256, TLS 1.2',
    ground: 'ec',
    wants: 'full',
    load: {},
  },
  {
    ...row,
    key: 'resumed-id-1.2',
    title: 'resumed by ID, TLS 1.2',
    wants: 'resumed',
    load: { resume: ALWAYS },
  },
  {
    ...row,
    key: 'resumed-ticket-1.2',
    title: 'resumed by ticket, TLS 1.2',
    ground: 'rsa-tickets',
    wants: 'resumed',
    load: { resume: ALWAYS, mechanism: 'ticket' },
    untried: { tlsfarm: NO_TICKETS_YET },
  },
  {
    ...row,
    key: 'resumed-1.3',
    title: "resumed, TLS 1.3, the server's sessions",
    wants: 'resumed',
    load: { resume: ALWAYS, tlsVersion: '1.3' },
  },
  {
    ...row,
    key: 'resumed-ticket-1.3',
    title: 'resumed, TLS 1.3, stateless tickets',
    ground: 'rsa-tickets',
    wants: 'resumed',
    load: { resume: ALWAYS, tlsVersion: '1.3', mechanism: 'ticket' },
    untried: { tlsfarm: NO_TICKETS_YET },
  },
  {
    ...row,
    key: 'every-10th-1.2',
    title: 'every 10th full, RSA, TLS 1.2',
    wants: 'resumed',
    load: { resume: { kind: 'always', fullEvery: 10 } },
  },
  {
    ...row,
    key: 'bulk-1.3',
    title: '1 MB objects, kept connections, TLS 1.3',
    unit: 'µs per MB',
    wants: 'any',
    // Few connections with many objects: what their handshakes cost is below 2 % of the whole.
    load: {
      tlsVersion: '1.3',
      clients: 8,
      requestsPerConnection: 40,
      resume: ALWAYS,
      graceMs: 10_000,
    },
  },
  {
    ...row,
    key: 'idle-1.2',
    title: 'memory of an idle connection, TLS 1.2',
    unit: 'KiB per connection',
    wants: 'any',
    load: {},
    target: { value: 24.2, why: "OpenSSL's own heap, 21.2, and 3" },
  },
  {
    ...row,
    key: 'idle-1.3',
    title: 'memory of an idle connection, TLS 1.3',
    unit: 'KiB per connection',
    wants: 'any',
    load: { tlsVersion: '1.3' },
    target: { value: 24.9, why: "OpenSSL's own heap, 21.9, and 3" },
  },
];
