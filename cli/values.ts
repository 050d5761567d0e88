/** Texts of flags to values. Each throws commander's InvalidArgumentError with the fix in it. */
import { InvalidArgumentError, Option } from 'commander';
import type { Address } from '../config/address.ts';
import { parseAddress } from '../config/address.ts';
import { DEFAULT_TEST_DEVICE } from '../config/defaults.ts';
import { OperatorError } from '../config/operator-error.ts';
import type { DeviceOptions } from '../native/index.ts';

export function address(text: string): Address {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof OperatorError) throw new InvalidArgumentError(error.message);
    throw error;
  }
}

/** Where to connect: port 0 is nowhere. */
export function target(text: string): Address {
  const parsed = address(text);
  if ('port' in parsed && parsed.port === 0) {
    throw new InvalidArgumentError('Port 0 cannot be connected to: write the port it listens on.');
  }
  return parsed;
}

export function targets(text: string, previous: readonly Address[] | undefined): Address[] {
  return [...(previous ?? []), target(text)];
}

export function texts(text: string, previous: readonly string[] | undefined): string[] {
  return [...(previous ?? []), text];
}

/** A whole number between the two, both included. */
export function whole(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^[0-9]+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`Write a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** `500ms`, `10s`, `5m`, `2h`, or a plain number of milliseconds; never zero. */
export function durationMs(text: string): number {
  const found = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?$/.exec(text);
  const value = Math.round(Number(found?.[1]) * (UNIT_MS[found?.[2] ?? 'ms'] ?? 1));
  // 2^31 - 1 is what timers can hold: 24 days.
  if (found === null || value < 1 || value > 0x7fff_ffff) {
    throw new InvalidArgumentError('Write a time such as 500ms, 10s or 5m; zero is not "off".');
  }
  return value;
}

/** A flag that is a time, with its default in words. */
export function time(flags: string, description: string, defaultMs: number): Option {
  return new Option(flags, description).argParser(durationMs).default(defaultMs, words(defaultMs));
}

/** The same, in whole seconds for whom it is passed on to. */
export function timeS(flags: string, description: string, defaultS: number): Option {
  const inWords = words(defaultS * 1_000);
  return new Option(flags, description).argParser(durationS).default(defaultS, inWords);
}

function words(ms: number): string {
  const unit = ['h', 'm', 's'].find((name) => ms % (UNIT_MS[name] ?? 1) === 0) ?? 'ms';
  return `${ms / (UNIT_MS[unit] ?? 1)}${unit}`;
}

/** A flag that the command cannot do without; `example` is how it could look. */
export function needed<T>(value: T | undefined, flag: string, example: string): T {
  if (value !== undefined) return value;
  throw new OperatorError(
    'flag-missing',
    `${flag} is missing: add it, for example ${flag} ${example}.`,
  );
}

/** The same in whole seconds. */
export function durationS(text: string): number {
  return Math.max(1, Math.round(durationMs(text) / 1_000));
}

/** `inline`, `test`, `test:8` or `test:8,depth=16,cancellable=no`. */
export function device(text: string): DeviceOptions {
  if (text === 'inline') return { kind: 'inline', polls: 1, depth: 1, cancellable: true };
  const found =
    /^test(?::([1-9][0-9]{0,5}))?(?:,depth=([1-9][0-9]{0,4}))?(?:,cancellable=(yes|no))?$/.exec(
      text,
    );
  if (found === null) {
    throw new InvalidArgumentError(
      'Write inline, test, test:POLLS or test:POLLS,depth=N,cancellable=no.',
    );
  }
  return {
    kind: 'test',
    polls: Number(found[1] ?? DEFAULT_TEST_DEVICE.polls),
    depth: Number(found[2] ?? DEFAULT_TEST_DEVICE.depth),
    cancellable: found[3] !== 'no',
  };
}
