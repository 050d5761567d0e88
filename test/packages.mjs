/**
 * Debian packages the tests run against, and why: real clients and servers, so that we do not
 * only agree with ourselves.
 */
export const packages = {
  openssl: 's_client, s_server and sess_id: an independent TLS client and server',
  curl: 'an HTTP client as people use it',
  'nginx-light': 'an origin behind terminators, and a foreign terminator behind balancers',
  'libnginx-mod-stream': 'a foreign terminator that passes TCP on',
};
