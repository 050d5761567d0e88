/** `tlsfarm up` as a story: bring up, tour, serve, end. Returns the exit status. */
import { Listr } from 'listr2';
import type { Address } from '../config/address.ts';
import type { DemoFarmOptions } from './demo-farm.ts';
import { DemoFarm, TERMINATOR_NAMES } from './demo-farm.ts';
import { tourHolds, tourTable } from './tour-table.ts';
import type { Tour } from './tour.ts';
import { takeTour } from './tour.ts';

export interface UpOptions extends DemoFarmOptions {
  readonly tourOnly: boolean;
}

interface Step {
  readonly title: string;
  /** `progress` is told what it is at. */
  run(progress: (what: string) => void): Promise<void>;
}

/** Ctrl-C during the bring-up or the tour: an end like any other. */
class Interrupted extends Error {}

export async function runUp(options: UpOptions): Promise<number> {
  const farm = new DemoFarm(options);
  const interrupted = Promise.withResolvers<void>();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stopping) void farm.stop();
      interrupted.resolve();
    });
  }
  process.on('exit', () => farm.removeFolder());
  let stopping = false;
  try {
    const tour = await bringUp(farm, interrupted.promise);
    process.stdout.write(`\n${tourTable(tour)}`);
    const holds = tourHolds(tour);
    if (options.tourOnly) return holds ? 0 : 1;
    process.stdout.write(howToTry(farm, options.folder !== null));
    const dead = await Promise.race([farm.died, interrupted.promise.then(() => null)]);
    if (dead !== null) {
      process.stderr.write(`tlsfarm: ${dead} The farm is being taken down.\n`);
      return 1;
    }
    return 0;
  } catch (error) {
    if (error instanceof Interrupted) return 0;
    throw error;
  } finally {
    stopping = true;
    await farm.stop();
  }
}

async function bringUp(farm: DemoFarm, interrupted: Promise<void>): Promise<Tour> {
  let tour: Tour = { rows: [], broken: ['there was no tour'] };
  const until = interrupted.then(() => {
    throw new Interrupted();
  });
  until.catch(() => {});
  let begun = Promise.resolve();
  const steps: Step[] = [
    ...farm.steps.map((step) => ({
      title: step.title,
      run: () => {
        begun = step.run();
        return Promise.race([begun, until]);
      },
    })),
    {
      title: 'Tour',
      run: async (progress) => {
        const { host, port } = clientTarget(farm.address);
        const terminators = TERMINATOR_NAMES.length;
        const visits = takeTour({ host, port, ca: farm.ca, terminators }, progress);
        const died = farm.died.then((how) => {
          throw new Error(how);
        });
        died.catch(() => {});
        tour = await Promise.race([visits, until, died]);
      },
    },
  ];
  try {
    await runSteps(steps);
  } finally {
    // What a step has begun must have come to an end before everything can be stopped.
    await begun.catch(() => {});
  }
  return tour;
}

/** Drawn on a terminal; elsewhere one plain line per step that is done. */
async function runSteps(steps: readonly Step[]): Promise<void> {
  if (!process.stdout.isTTY) {
    for (const { title, run } of steps) {
      await run(() => {});
      process.stdout.write(`${title}: done\n`);
    }
    return;
  }
  const list = new Listr(
    steps.map(({ title, run }) => ({
      title,
      task: (_context: unknown, task: { output: string }) =>
        run((what) => {
          task.output = what;
        }),
    })),
    // What went wrong is said once, by whoever called us; signals are ours.
    { registerSignalListeners: false, rendererOptions: { showErrorMessage: false } },
  );
  await list.run();
}

/** A wildcard is no address to connect to. */
function clientTarget(listen: Address): { host: string; port: number } {
  if ('path' in listen) throw new Error('up listens on a port');
  if (listen.host === '0.0.0.0') return { host: '127.0.0.1', port: listen.port };
  if (listen.host === '::') return { host: '::1', port: listen.port };
  return { host: listen.host, port: listen.port };
}

function howToTry(farm: DemoFarm, kept: boolean): string {
  const { host, port } = clientTarget(farm.address);
  const at = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const ca = farm.file('ca.crt');
  const twice = (flag: string, file: string): string => {
    const visit = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -connect ${at} -servername localhost \\
      -CAfile ${ca} -ign_eof ${flag}`;
    const show = `2>/dev/null | grep -e '^New,' -e '^Reused,' -e Hello`;
    return `  ${visit} -sess_out ${farm.file(file)} ${show}
  ${visit} -sess_in ${farm.file(file)} ${show}`;
  };
  const where = farm.terminators.map((part) => `${part.name} ${part.address}`).join(', ');
  return `
The farm serves https://${at}/ (${where}).

Try it with curl, and with openssl in both versions (the second visit says "Reused"):
  curl --cacert ${ca} https://${at}/

${twice('-tls1_2', 'session-tls12.pem')}

${twice('-tls1_3', 'session-tls13.pem')}

${kept ? 'Logs, certificates and secrets are in' : 'Logs are in'} ${farm.file('')}
Ctrl-C ends everything${kept ? '' : ' and removes that folder'}.
`;
}
