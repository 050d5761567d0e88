/** A CA and two server certificates, as PEM texts by file name. */
// @peculiar/x509 finds its parts through this polyfill: it has to be there first.
import 'reflect-metadata';
import type { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';

const CA_NAME = 'CN=tlsfarm development CA';
const SERVER_NAME = 'CN=tlsfarm development server';
const ALWAYS: readonly string[] = ['localhost', '127.0.0.1', '::1'];

const RSA = {
  name: 'RSASSA-PKCS1-v1_5',
  hash: 'SHA-256',
  modulusLength: 2_048,
  publicExponent: new Uint8Array([1, 0, 1]),
};
const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

export async function makeCertificates(
  names: readonly string[],
  days: number,
  now: Date,
): Promise<Record<string, string>> {
  x509.cryptoProvider.set(globalThis.crypto);
  // An hour back: the clocks of a farm are never quite equal.
  const notBefore = new Date(now.getTime() - 3_600_000);
  const notAfter = new Date(now.getTime() + days * DAY_MS);

  const caKeys = await generate(ECDSA);
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: CA_NAME,
    serialNumber: serialNumber(),
    notBefore,
    notAfter,
    keys: caKeys,
    signingAlgorithm: ECDSA,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(caKeys.publicKey),
    ],
  });

  const server = async (algorithm: typeof RSA | typeof ECDSA): Promise<[string, string]> => {
    const keys = await generate(algorithm);
    const certificate = await x509.X509CertificateGenerator.create({
      subject: SERVER_NAME,
      issuer: ca.subject,
      serialNumber: serialNumber(),
      notBefore,
      notAfter,
      publicKey: keys.publicKey,
      signingKey: caKeys.privateKey,
      signingAlgorithm: ECDSA,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          [...new Set([...ALWAYS, ...names])].map((name) => ({
            type: isIP(name) === 0 ? 'dns' : 'ip',
            value: name,
          })),
        ),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(ca),
      ],
    });
    return [pem(certificate), await keyPem(keys.privateKey)];
  };

  const [rsaCert, rsaKey] = await server(RSA);
  const [ecCert, ecKey] = await server(ECDSA);
  return {
    'ca.crt': pem(ca),
    'ca.key': await keyPem(caKeys.privateKey),
    'rsa.crt': rsaCert,
    'rsa.key': rsaKey,
    'ec.crt': ecCert,
    'ec.key': ecKey,
  };
}

function generate(algorithm: typeof RSA | typeof ECDSA): Promise<webcrypto.CryptoKeyPair> {
  const usages: webcrypto.KeyUsage[] = ['sign', 'verify'];
  return crypto.subtle.generateKey(algorithm, true, usages);
}

/** RFC 5280 §4.1.2.2: positive, at most 20 octets, unpredictable. */
function serialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem').trim()}\n`;
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY').trim()}\n`;
}
