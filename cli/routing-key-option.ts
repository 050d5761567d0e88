import { Option } from 'commander';

/** The same for both roles; the secret itself is never a flag. */
export function routingKeyOption(): Option {
  return new Option(
    '--routing-key-file <file>',
    'secret that balancers and terminators share, from `tlsfarm secret routing`',
  ).env('TLSFARM_ROUTING_KEY_FILE');
}
