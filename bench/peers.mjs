/** Debian packages that the comparison runs beside, and why. */
export const peers = {
  'nginx-light': 'the origin, and a peer',
  'libnginx-mod-stream': 'nginx as a TLS terminator and as a balancer',
  haproxy: 'a peer, as a terminator and as a balancer with a session-ID stick table',
  hitch: 'a peer',
  stunnel4: 'a peer',
};
