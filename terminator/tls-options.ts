/**
 * Certificate files and flags to the addon's TLS options, checked: what comes out makes a context.
 */
import { DEFAULT_ALPN } from '../config/defaults.ts';
import { fingerprint } from '../config/fingerprint.ts';
import { OperatorError } from '../config/operator-error.ts';
import { readOperatorFile } from '../config/operator-file.ts';
import type { Addon, TlsOptions } from '../native/index.ts';

/** Paths of a PEM chain and its key; `--cert` and `--key` pair up in order. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

export interface TlsRequest {
  readonly certificates: readonly CertificateFiles[];
  readonly minVersion: '1.2' | '1.3';
  readonly ciphers: string;
  readonly ciphersuites: string;
  readonly groups: string;
  readonly securityLevel: number;
  readonly sessionMaxAgeS: number;
}

export function readTlsOptions(door: Pick<Addon, 'checkTls'>, request: TlsRequest): TlsOptions {
  const { certificates: files, minVersion, ciphers, ciphersuites, groups, securityLevel } = request;
  const certificates = files.map((pair) => ({
    cert: readOperatorFile(`--cert ${pair.cert}`, pair.cert),
    key: readOperatorFile(`--key ${pair.key}`, pair.key),
  }));
  const tls: TlsOptions = {
    certificates,
    minVersion,
    ciphers,
    ciphersuites,
    groups,
    securityLevel,
    alpn: DEFAULT_ALPN,
    fingerprint: fingerprint({
      // One vhost, the default one; it asks no client for a certificate.
      names: ['*'],
      clientAuth: 'none',
      clientAuthorities: [],
      minVersion,
      maxVersion: '1.3',
      ciphers,
      ciphersuites,
      groups,
      securityLevel,
    }),
    sessionMaxAgeS: request.sessionMaxAgeS,
  };
  const wrong = door.checkTls(tls);
  if (wrong !== null) throw tlsError(wrong, files);
  return tls;
}

/** Where the operator has to look, by the addon's code. */
const WHERE: Readonly<Record<string, string>> = {
  CIPHERS: '--ciphers',
  CIPHERSUITES: '--ciphersuites',
  GROUPS: '--groups',
  SECLEVEL: '--seclevel',
};

/** What to do, where the addon's own sentence, which knows no flags, cannot say it. */
const FIX: Readonly<Record<string, string>> = {
  CERT_PARSE: 'give a PEM chain, the leaf first',
  CERT_WEAK: 'give one with RSA-2048 or ECDSA P-256, or lower --seclevel',
  KEY_PARSE: 'give the key that the certificate was made with, as PEM without a passphrase',
  KEY_MISMATCH: 'give each --cert the --key it was made with, in the same order',
  CIPHERS: 'leave the flag out for the default',
  CIPHERSUITES: 'leave the flag out for the default',
  GROUPS: 'leave the flag out for the default',
};

/** What OpenSSL said, as a sentence with the flag to change. */
function tlsError(
  wrong: { readonly code: string; readonly message: string; readonly index: number },
  files: readonly CertificateFiles[],
): OperatorError {
  const pair = files[wrong.index];
  const certificate = `--cert ${pair?.cert}, --key ${pair?.key}`;
  const where = pair === undefined ? (WHERE[wrong.code] ?? 'TLS') : certificate;
  const fix = FIX[wrong.code];
  const what = wrong.message.replace(/[.?]$/, '');
  return new OperatorError(
    `tls-${wrong.code.toLowerCase().replaceAll('_', '-')}`,
    `${where}: ${what}${fix === undefined ? '' : `; ${fix}`}.`,
  );
}
