/**
 * Certificate files and flags to the addon's TLS options, checked: what comes out makes a context.
 */
import { X509Certificate } from 'node:crypto';
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
  refuseSameType(tls, files);
  return tls;
}

/** OpenSSL keeps one certificate per key type: the second would silently replace the first. */
function refuseSameType(tls: TlsOptions, files: readonly CertificateFiles[]): void {
  const first = new Map<string, string>();
  for (const [index, { cert }] of tls.certificates.entries()) {
    const type = new X509Certificate(cert).publicKey.asymmetricKeyType ?? 'unknown';
    const path = files[index]?.cert ?? '';
    const other = first.get(type);
    if (other !== undefined) {
      throw new OperatorError(
        'tls-same-key-type',
        `--cert ${other} and --cert ${path} both have a key of type ${type}: give one certificate per type.`,
      );
    }
    first.set(type, path);
  }
}

/** What OpenSSL said, with the flag to change. */
function tlsError(
  wrong: { readonly code: string; readonly message: string; readonly index: number },
  files: readonly CertificateFiles[],
): OperatorError {
  const pair = files[wrong.index];
  const cert = `--cert ${pair?.cert}`;
  const key = `--key ${pair?.key}`;
  const code = `tls-${wrong.code.toLowerCase().replaceAll('_', '-')}`;
  const detail = wrong.message.replace(/\.$/, '');
  const sentences: Readonly<Record<string, string>> = {
    CERT_PARSE: `${cert} is not a PEM certificate chain: give a file that begins with -----BEGIN CERTIFICATE-----, leaf first.`,
    KEY_PARSE: `${key} is not a PEM private key without a passphrase: give one that begins with -----BEGIN PRIVATE KEY-----.`,
    KEY_MISMATCH: `${key} does not belong to ${cert}: give each --cert the key it was made with, in the same order.`,
    KEY_TYPE: `${key} is of a type that cannot be used (${detail}): use RSA-2048 or ECDSA P-256.`,
    CIPHERS: `--ciphers names nothing that OpenSSL knows (${detail}): leave it out, or see \`openssl ciphers\`.`,
    CIPHERSUITES: `--ciphersuites has a name that OpenSSL does not know (${detail}): leave it out, or see \`openssl ciphers -tls1_3\`.`,
    GROUPS: `--groups has a name that OpenSSL does not know (${detail}): leave it out, or use names such as X25519:P-256.`,
  };
  const where = pair === undefined ? '' : `${cert}, ${key}: `;
  return new OperatorError(code, sentences[wrong.code] ?? `${where}${wrong.message}`);
}
