/**
 * The father: opens every listening socket, creates the session table, and keeps one son alive on
 * each slot's socket. It never touches a connection.
 *
 * | state     | leaves it                                                                      |
 * |-----------|--------------------------------------------------------------------------------|
 * | starting  | all sons ready → serving; one fails → everything closed, the reason is thrown    |
 * | serving   | SIGHUP: hand-over of all slots; a son dies: successor; SIGTERM, SIGINT → stopping |
 * | stopping  | all sons gone → stopped; a second signal or drainTimeoutMs: closed by force      |
 *
 * Hand-over: the successor starts on the *same* descriptor and is ready before its predecessor hears
 * "drain", so that somebody accepts at every moment and nothing in the queue is lost.
 */
import type { Logger } from 'pino';
import { formatAddress } from '../config/address.ts';
import { OperatorError } from '../config/operator-error.ts';
import { sumCounters, withoutGauges } from './counters.ts';
import type { Addon, SocketAddress } from './index.ts';
import { openListeners } from './listeners.ts';
import type { Listeners } from './listeners.ts';
import { SON_LISTEN_FD, SON_SESSION_TABLE_FD } from './messages.ts';
import type { Counters, Role, StartMessage } from './messages.ts';
import { respawn } from './respawn.ts';
import { SonProcess } from './son-process.ts';

export type FatherDoor = Pick<
  Addon,
  'openListener' | 'closeFd' | 'createSessionTable' | 'openSessionTable' | 'raiseFileLimit'
>;

/** What sons are started with, made once the listening address (port 0!) is known. */
export type MakePayload = (address: SocketAddress) => unknown;

export interface FatherOptions {
  readonly role: Role;
  /** URL of the module with the role's `startSon`. */
  readonly module: string;
  readonly slots: number;
  readonly listen: SocketAddress;
  readonly backlog: number;
  /** Entries of the session table, or null for a role without one. */
  readonly sessionSlots: number | null;
  readonly makePayload: MakePayload;
  /** Reads the configuration again; throws an OperatorError when the farm had better stay as it is. */
  readonly reload: () => Promise<MakePayload>;
  readonly drainTimeoutMs: number;
  readonly logger: Logger;
  /** For what had better not stand in the log when nothing came of it. */
  onServing(): void;
}

/** Beyond a son's own drain time-out, before it is killed. */
const STOP_GRACE_MS = 2_000;
/** A son told to close has nothing to wait for. */
const CLOSE_GRACE_MS = 500;

interface Slot {
  readonly number: number;
  current: SonProcess | null;
  /** Started for a hand-over, not ready yet. */
  successor: SonProcess | null;
  deaths: number;
  timer: NodeJS.Timeout | null;
}

export class Father {
  readonly #door: FatherDoor;
  readonly #options: FatherOptions;
  readonly #logger: Logger;
  readonly #slots: Slot[] = [];
  readonly #sons = new Set<SonProcess>();
  /** Sums of the sons that are gone and had time for last words. */
  #retired: Counters = {};
  readonly #stopped = Promise.withResolvers<void>();
  #payload: unknown = null;
  #listeners: Listeners | null = null;
  #tableFd: number | null = null;
  #state: 'starting' | 'serving' | 'stopping' | 'stopped' = 'starting';
  #reloading: Promise<void> = Promise.resolve();

  constructor(door: FatherDoor, options: FatherOptions) {
    this.#door = door;
    this.#options = options;
    this.#logger = options.logger;
  }

  /** Where it listens; only after `start`. */
  get address(): SocketAddress {
    if (this.#listeners === null) throw new Error('not listening');
    return this.#listeners.address;
  }

  /** Resolves when the last son is gone and every descriptor is closed. */
  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  /**
   * Resolves when all sons are ready; rejects with nothing left open or running. `beforeListening` is
   * called before the log line: whoever reads "listening" may send a signal at once.
   */
  async start(beforeListening: () => void = () => {}): Promise<void> {
    const { listen, slots, backlog, sessionSlots, makePayload, role } = this.#options;
    const fileLimit = this.#door.raiseFileLimit();
    try {
      this.#listeners = await openListeners(this.#door, listen, slots, backlog);
      if (sessionSlots !== null) this.#tableFd = this.#door.createSessionTable(sessionSlots);
      this.#payload = makePayload(this.#listeners.address);
      for (let number = 0; number < slots; number++) {
        const slot: Slot = { number, current: null, successor: null, deaths: 0, timer: null };
        this.#slots.push(slot);
        slot.current = this.#spawn(slot, this.#payload);
      }
      await Promise.all([...this.#sons].map((son) => son.ready));
    } catch (error) {
      this.#state = 'stopping';
      for (const son of this.#sons) son.kill();
      await Promise.all([...this.#sons].map((son) => son.exited));
      this.#release();
      if (error instanceof OperatorError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new OperatorError(
        'son-failed',
        `The ${role} could not start: ${reason}. The log above says more; nothing has been left running.`,
        { cause: error },
      );
    }
    this.#state = 'serving';
    beforeListening();
    this.#logger.info(
      { address: formatAddress(this.address), sons: slots, fileLimit, sonPids: this.#pids() },
      'listening',
    );
    this.#options.onServing();
  }

  /**
   * The final stop (only after `start`): sons empty the accept queues, let connections finish, and exit. Called a second
   * time it waits for nobody.
   */
  stop(reason: string): void {
    if (this.#state === 'stopped') return;
    if (this.#state === 'stopping') {
      this.#logger.warn({ reason }, 'stopping at once');
      this.#end(CLOSE_GRACE_MS, (son) => son.close());
      return;
    }
    this.#state = 'stopping';
    this.#logger.info({ reason, drainTimeoutMs: this.#options.drainTimeoutMs }, 'stopping');
    for (const slot of this.#slots) if (slot.timer !== null) clearTimeout(slot.timer);
    this.#end(this.#options.drainTimeoutMs + STOP_GRACE_MS, (son) => son.drain(true));
    void this.#finish();
  }

  /** Re-read the configuration and hand every slot over, one by one. Never rejects: it logs. */
  reload(): Promise<void> {
    // One at a time: a second SIGHUP waits for the first to be through.
    this.#reloading = this.#reloading.then(() => this.#reload());
    return this.#reloading;
  }

  /** One line with everything countable; also logged at the final stop. */
  async logStats(): Promise<void> {
    const asked = await Promise.all([...this.#sons].map((son) => son.counters()));
    const answered = asked.filter((counters) => counters !== null);
    this.#logger.info(
      {
        address: this.#listeners === null ? null : formatAddress(this.#listeners.address),
        sons: this.#sons.size,
        sonPids: this.#pids(),
        silentSons: asked.length - answered.length,
        counters: sumCounters([this.#retired, ...answered]),
        sessions:
          this.#tableFd === null ? null : this.#door.openSessionTable(this.#tableFd).stats(),
      },
      'stats',
    );
  }

  #spawn(slot: Slot, payload: unknown): SonProcess {
    const { role, module, drainTimeoutMs } = this.#options;
    const listenFd = this.#listeners?.fds[slot.number];
    if (listenFd === undefined) throw new Error(`slot ${slot.number} has no socket`);
    const message: StartMessage = {
      type: 'start',
      role,
      slot: slot.number,
      module,
      listenFd: SON_LISTEN_FD,
      sessionTableFd: this.#tableFd === null ? null : SON_SESSION_TABLE_FD,
      logLevel: this.#logger.level,
      drainTimeoutMs,
      payload,
    };
    const fds = this.#tableFd === null ? [listenFd] : [listenFd, this.#tableFd];
    const son = new SonProcess(
      message,
      fds,
      (leaving) => void this.#sonWantsToLeave(slot, leaving),
    );
    this.#sons.add(son);
    son.ready.then(
      () => this.#logger.debug({ slot: slot.number, son: son.pid }, 'son ready'),
      () => {},
    );
    void son.exited.then((exit) => {
      this.#sons.delete(son);
      if (son.lastCounters !== null) {
        this.#retired = sumCounters([this.#retired, withoutGauges(son.lastCounters)]);
      }
      const line = { slot: slot.number, son: son.pid, how: exit.how };
      if (son.leaving && exit.clean) this.#logger.info(line, 'son left');
      else if (this.#state !== 'starting') this.#logger.error(line, 'son died');
      if (slot.successor === son) slot.successor = null;
      if (slot.current !== son) return;
      slot.current = null;
      this.#replace(slot, exit.livedMs);
    });
    return son;
  }

  /** The current son of a slot is dead: the queue fills, and a successor is due. */
  #replace(slot: Slot, livedMs: number): void {
    // A successor that is starting for a hand-over will do.
    if (this.#state !== 'serving' || slot.successor !== null || slot.timer !== null) return;
    const { delayMs, deaths } = respawn(slot.deaths, livedMs);
    slot.deaths = deaths;
    const start = (): void => {
      slot.timer = null;
      if (this.#state !== 'serving' || slot.current !== null || slot.successor !== null) return;
      const son = this.#spawn(slot, this.#payload);
      slot.current = son;
      const done = { slot: slot.number, son: son.pid, delayMs };
      son.ready.then(
        () => this.#logger.info(done, 'son replaced'),
        (error: unknown) =>
          this.#logger.error({ ...done, reason: messageOf(error) }, 'son failed to start'),
      );
    };
    if (delayMs === 0) start();
    else slot.timer = setTimeout(start, delayMs);
  }

  /** Put a son started with `payload` in the slot's place. Rejects, nothing changed, if it cannot start. */
  async #handOver(slot: Slot, payload: unknown): Promise<void> {
    const successor = this.#spawn(slot, payload);
    slot.successor = successor;
    try {
      await successor.ready;
      // Dead again between ready and here: its exit has cleared the place.
      if (slot.successor !== successor) throw new Error('the successor died at once');
    } catch (error) {
      if (slot.successor === successor) slot.successor = null;
      if (slot.current === null) this.#replace(slot, 0);
      throw error;
    }
    slot.successor = null;
    const predecessor = slot.current;
    slot.current = successor;
    if (this.#state === 'serving') predecessor?.drain(false);
  }

  async #sonWantsToLeave(slot: Slot, son: SonProcess): Promise<void> {
    if (this.#state !== 'serving' || slot.current !== son) return;
    if (slot.successor !== null) return; // A reload is replacing it already.
    this.#logger.info({ slot: slot.number, son: son.pid }, 'son asked to leave');
    try {
      await this.#handOver(slot, this.#payload);
    } catch (error) {
      this.#logger.error({ slot: slot.number, reason: messageOf(error) }, 'son failed to start');
    }
  }

  async #reload(): Promise<void> {
    if (this.#state !== 'serving') return;
    const before = this.#payload;
    let payload: unknown;
    try {
      const makePayload = await this.#options.reload();
      payload = makePayload(this.address);
    } catch (error) {
      this.#logger.error({ reason: messageOf(error) }, 'reload refused');
      return;
    }
    const changed: Slot[] = [];
    // From here on a son that dies is replaced with what was just read.
    this.#payload = payload;
    try {
      for (const slot of this.#slots) {
        await this.#whenFree(slot);
        if (this.#state !== 'serving') return;
        await this.#handOver(slot, payload);
        changed.push(slot);
      }
    } catch (error) {
      this.#payload = before;
      this.#logger.error({ reason: messageOf(error) }, 'reload failed');
      for (const slot of changed) await this.#handOver(slot, before).catch(() => {});
      return;
    }
    this.#logger.info({ sons: changed.length, sonPids: this.#pids() }, 'reloaded');
  }

  /** Two hand-overs of one slot at once would leave a son without a place. */
  async #whenFree(slot: Slot): Promise<void> {
    while (slot.successor !== null) await slot.successor.ready.catch(() => {});
  }

  /** Tell all sons, and kill those who have not gone in time. */
  #end(patienceMs: number, tell: (son: SonProcess) => void): void {
    for (const son of this.#sons) tell(son);
    setTimeout(() => {
      for (const son of this.#sons) {
        this.#logger.error({ slot: son.slot, son: son.pid }, 'son killed');
        son.kill();
      }
    }, patienceMs).unref();
  }

  async #finish(): Promise<void> {
    while (this.#sons.size > 0) await Promise.all([...this.#sons].map((son) => son.exited));
    await this.logStats();
    this.#release();
    this.#state = 'stopped';
    this.#logger.info('stopped');
    this.#stopped.resolve();
  }

  #release(): void {
    this.#listeners?.close();
    this.#listeners = null;
    if (this.#tableFd !== null) this.#door.closeFd(this.#tableFd);
    this.#tableFd = null;
  }

  #pids(): number[] {
    return this.#slots.flatMap((slot) => slot.current?.pid ?? []);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
