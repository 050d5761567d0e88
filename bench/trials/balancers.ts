/** Rows of layer-4 balancers, each before the same two tlsfarm terminators. */
import type { Trial } from './trial.ts';

const ALWAYS = { kind: 'always', fullEvery: 0 } as const;
const row = { ground: 'balanced', untried: {}, target: null } as const;

export const balancerTrials: readonly Trial[] = [
  {
    ...row,
    key: 'balancer-connection',
    title: 'balancer: returning by session ID, TLS 1.2',
    unit: 'µs per connection',
    // A client that is sent to the wrong terminator would not resume.
    wants: 'resumed',
    load: { resume: ALWAYS },
  },
  {
    ...row,
    key: 'balancer-mb',
    title: 'balancer: 1 MB objects, TLS 1.2',
    unit: 'µs per MB',
    wants: 'any',
    load: { clients: 8, requestsPerConnection: 40, resume: ALWAYS, graceMs: 10_000 },
  },
];
