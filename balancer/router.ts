import type { NodeIndex } from '../config/node-id.ts';
import type { RoutableIdOpener } from '../config/routable-id.ts';
import type * as door from '../native/index.ts';
import { type Affinity, findAffinity } from './affinity.ts';
import { NOT_TLS, type NotTlsReason, parseClientHello } from './client-hello.ts';
import type { Health } from './health.ts';
import type { Picker } from './pick.ts';

/** What an opened ID needs; null without a routing secret: affinity by ID is off. */
export interface Routing {
  readonly opener: RoutableIdOpener;
  readonly nodes: NodeIndex;
}

/** An ID of our own that names a terminator we do not know. */
export interface UnknownNode {
  readonly epoch: number;
  readonly nodeId: number;
  /** Such hellos since the last report, this one included. */
  readonly hellos: number;
}

export interface RouterOptions {
  /** Shared: the addon writes the hello's raw bytes here before `route`. */
  readonly hello: Uint8Array;
  readonly routing: Routing | null;
  readonly picker: Picker;
  readonly health: Health;
  /** Milliseconds of a monotonic clock. */
  nowMs(): number;
  /** At most once a minute: a terminator advertises a name that is not in our list, or is missing. */
  unknownNode(report: UnknownNode): void;
  /** A terminator began (or went on) to be avoided, or answered again. */
  healthChanged(terminator: number, up: boolean): void;
}

/** Plain numbers that only grow; read them whenever. */
export interface RouterCounters {
  /** Connections that were refused, by reason; `incomplete` is patience that ran out before a hello. */
  readonly notTls: Record<NotTlsReason | 'incomplete', number>;
  /** Where a verified ID was found; `none` of them in most first visits. */
  readonly affinity: { psk: number; sessionId: number; none: number };
  /** Hellos with affinity whose terminator was over its fair share. */
  affinityOverloaded: number;
  /** Hellos with affinity whose terminator is being punished. */
  affinityDown: number;
  /** Hellos with a verified ID that names no terminator of ours. */
  unknownNode: number;
}

export interface Router {
  /** `BalancerOptions.route`: how many candidates were written, or -1. */
  route(length: number, source: string): number;
  /** `BalancerOptions.events`; kinds that say nothing about a terminator are passed over. */
  events(batch: Int32Array, length: number): void;
  readonly counters: RouterCounters;
}

export const UNKNOWN_NODE_REPORT_MS = 60_000;

const NOT_TLS_REFUSAL = -1;

// Same numbers as the addon's door, checked by their types: importing the values would load the
// addon, and nothing in this file needs it.
const EVENT_ANSWERED: typeof door.EVENT_ANSWERED = 1;
const EVENT_REFUSED: typeof door.EVENT_REFUSED = 2;
const EVENT_SILENT: typeof door.EVENT_SILENT = 3;
const EVENT_EXHAUSTED: typeof door.EVENT_EXHAUSTED = 4;
const EVENT_FIELDS = 3;

/** The balancer's decisions in one place: hello → affinity → pick, and what became of it → health. */
export function createRouter(options: RouterOptions): Router {
  const { hello: buffer, routing, picker, health } = options;
  const counters = createCounters();
  let unreported = 0;
  let reportedAtMs = Number.NEGATIVE_INFINITY;

  function notTls(reason: NotTlsReason | 'incomplete'): number {
    counters.notTls[reason]++;
    return NOT_TLS_REFUSAL;
  }

  function countAffinity(affinity: Affinity | null, nowMs: number): void {
    if (affinity === null) {
      counters.affinity.none++;
      return;
    }
    if (affinity.by === 'psk') counters.affinity.psk++;
    else counters.affinity.sessionId++;
    if (affinity.terminator >= 0) return;
    counters.unknownNode++;
    unreported++;
    if (nowMs - reportedAtMs < UNKNOWN_NODE_REPORT_MS) return;
    const { epoch, nodeId } = affinity;
    options.unknownNode({ epoch, nodeId, hellos: unreported });
    unreported = 0;
    reportedAtMs = nowMs;
  }

  return {
    counters,
    route(length, source) {
      const hello = parseClientHello(buffer.subarray(0, length));
      if (hello.kind === 'not-tls') return notTls(hello.reason);
      if (hello.kind === 'incomplete') return notTls('incomplete');

      const nowMs = options.nowMs();
      const affinity = routing === null ? null : findAffinity(hello, routing.opener, routing.nodes);
      countAffinity(affinity, nowMs);

      const picked = picker.pick(affinity?.terminator ?? -1, affinity?.id ?? null, source, nowMs);
      if (picked.affinity === 'overloaded') counters.affinityOverloaded++;
      if (picked.affinity === 'down') counters.affinityDown++;
      return picked.count;
    },
    events(batch, length) {
      const nowMs = options.nowMs();
      for (let at = 0; at + EVENT_FIELDS <= length; at += EVENT_FIELDS) {
        const terminator = batch[at + 1] as number;
        switch (batch[at]) {
          case EVENT_ANSWERED:
            if (health.answered(terminator)) options.healthChanged(terminator, true);
            break;
          case EVENT_REFUSED:
          case EVENT_SILENT:
            if (health.failed(terminator, nowMs)) options.healthChanged(terminator, false);
            break;
          case EVENT_EXHAUSTED:
            health.exhausted(terminator);
            break;
          default:
            break;
        }
      }
    },
  };
}

function createCounters(): RouterCounters {
  const reasons = [...Object.keys(NOT_TLS), 'incomplete'];
  return {
    notTls: Object.fromEntries(reasons.map((reason) => [reason, 0])) as RouterCounters['notTls'],
    affinity: { psk: 0, sessionId: 0, none: 0 },
    affinityOverloaded: 0,
    affinityDown: 0,
    unknownNode: 0,
  };
}
