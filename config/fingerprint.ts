/**
 * Under which policy was a session made? A session resumes only under the same one, so this hash is
 * OpenSSL's session-id context and part of every lookup. Two nodes that mean the same must get the
 * same 32 bytes, however their operators wrote it; certificate bytes and paths never go in, or every
 * renewal would drop all sessions.
 */
import { createHash } from 'node:crypto';

export interface SessionPolicy {
  /** Names of the vhost; the default vhost of a terminator without vhosts is `*`. */
  readonly names: readonly string[];
  readonly clientAuth: 'none' | 'optional' | 'required';
  /** SHA-256 of each accepted client CA's subject public key, hex; empty without client authentication. */
  readonly clientAuthorities: readonly string[];
  readonly minVersion: '1.2' | '1.3';
  readonly maxVersion: '1.2' | '1.3';
  readonly ciphers: string;
  readonly ciphersuites: string;
  readonly groups: string;
  readonly securityLevel: number;
}

/** SHA-256 over the policy's canonical text. */
export function fingerprint(policy: SessionPolicy): Uint8Array {
  return createHash('sha256').update(canonicalPolicy(policy)).digest();
}

/**
 * One `field=value` line each, always in this order; the first line versions the format. Sets are
 * sorted; preference lists keep their order, because the order is policy.
 */
export function canonicalPolicy(policy: SessionPolicy): string {
  return [
    'tlsfarm session policy 1',
    `names=${set(policy.names.map(canonicalName)).join(',')}`,
    `client-auth=${policy.clientAuth}`,
    `client-authorities=${set(policy.clientAuthorities.map((id) => id.toLowerCase())).join(',')}`,
    `versions=${policy.minVersion}-${policy.maxVersion}`,
    `ciphers=${policy.minVersion === '1.3' ? '' : list(policy.ciphers).join(':')}`,
    `ciphersuites=${list(policy.ciphersuites).join(':')}`,
    `groups=${list(policy.groups).join(':')}`,
    `security-level=${policy.securityLevel}`,
    '',
  ].join('\n');
}

/** Host names compare without case and without the root's dot. */
function canonicalName(name: string): string {
  return name.trim().toLowerCase().replace(/\.$/, '');
}

function set(values: readonly string[]): string[] {
  return [...new Set(values)].sort();
}

/** OpenSSL separates with colons, commas or spaces, and reads names without regard to case. */
function list(text: string): string[] {
  return text
    .split(/[:, \t]+/)
    .filter((item) => item !== '')
    .map((item) => item.toUpperCase());
}
