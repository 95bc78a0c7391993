import { writeFileSync } from 'node:fs';
import { inSeat, runClient, type AcmeClient, type Seat } from './client.ts';

/** @param program its path */
export function certbot(program: string): AcmeClient {
  const run = (seat: Seat, args: readonly string[]) =>
    runClient(
      [
        program,
        ...args,
        ...['--non-interactive', '--config-dir', inSeat(seat, 'etc')],
        ...['--work-dir', inSeat(seat, 'lib'), '--logs-dir', inSeat(seat, 'log')],
      ],
      seat,
      { REQUESTS_CA_BUNDLE: seat.world.caFile },
    ).then(() => {});
  const account = (seat: Seat): readonly string[] => [
    ...['--server', seat.directory, '--agree-tos', '--email', 'ops@example.org'],
    ...['--eab-kid', seat.binding.kid, '--eab-hmac-key', seat.binding.hmac],
  ];
  const standalone = (seat: Seat): readonly string[] => [
    ...['--standalone', '--http-01-port', String(seat.port), '--http-01-address', '127.0.0.1'],
  ];
  return {
    name: 'certbot 5.8',
    certificate: (seat, identifier) => {
      const name = identifier.startsWith('*') ? 'wildcard' : identifier;
      return inSeat(seat, 'etc', 'live', name, 'fullchain.pem');
    },
    ip: (seat, address) =>
      run(seat, ['certonly', ...account(seat), ...standalone(seat), '--ip-address', address]),
    issue: {
      'http-01': (seat, identifier) =>
        run(seat, ['certonly', ...account(seat), ...standalone(seat), '-d', identifier]),
      'dns-01': (seat, identifier) =>
        run(seat, [
          ...['certonly', ...account(seat), '--dns-rfc2136', '--dns-rfc2136-credentials'],
          ...[credentials(seat), '--dns-rfc2136-propagation-seconds', '0'],
          ...['--cert-name', 'wildcard', '-d', identifier],
        ]),
      'tls-alpn-01': 'certbot has no tls-alpn-01',
    },
    renewByAri: (seat) =>
      run(seat, ['renew', '--cert-name', seat.name, '--no-random-sleep-on-renew']),
    revoke: (seat) =>
      run(seat, [
        ...['revoke', '--server', seat.directory, '--no-delete-after-revoke'],
        ...['--cert-path', inSeat(seat, 'etc', 'live', seat.name, 'cert.pem')],
      ]),
    changeKey: 'the client has no such command',
  };
}

/** The file of the plug-in for RFC 2136; returns its path. */
function credentials(seat: Seat): string {
  const file = inSeat(seat, 'rfc2136.ini');
  const { primary, key } = seat.world.names;
  const lines = [
    `dns_rfc2136_server = ${primary.address}`,
    `dns_rfc2136_name = ${key.name}`,
    `dns_rfc2136_secret = ${key.secret}`,
    'dns_rfc2136_algorithm = HMAC-SHA256',
    '',
  ];
  writeFileSync(file, lines.join('\n'), { mode: 0o600 });
  return file;
}
