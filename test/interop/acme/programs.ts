import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { certbot } from './certbot.ts';
import { inSeat, runClient, type AcmeClient, type Challenge, type Seat } from './client.ts';

/** The programs that `npm run interop` got (scripts/foreign.mjs). */
export interface AcmePrograms {
  /** A folder like `/` with lego, uacme, dehydrated, nginx, and Knot DNS of Debian. */
  readonly debian: string;
  readonly certbot: string;
  /** A program in Go with acmez and with cert-manager's fork of x/crypto/acme. */
  readonly go: string;
  /** The program of the guide to acmez. */
  readonly goGuide: string;
  /** The program with acme-client, below its own node_modules. */
  readonly node: string;
  readonly hook: string;
}

export const acmeClients = (programs: AcmePrograms): readonly AcmeClient[] => [
  lego(programs),
  certbot(programs.certbot),
  uacme(programs),
  dehydrated(programs),
  withGo(programs, 'acmez', 'acmez'),
  withGo(programs, 'x', "cert-manager's x/crypto/acme"),
  acmeClient(programs),
];

const notThere = 'the client has no such command';
const asName = (version: string): string =>
  `version ${version} orders an IP address as if it were a DNS name`;

/** How lego, and Traefik with it inside, change the zone. */
export const rfc2136 = ({ world: { names } }: Seat) => ({
  RFC2136_NAMESERVER: names.primary.address,
  RFC2136_TSIG_ALGORITHM: `${names.key.algorithm}.`,
  RFC2136_TSIG_KEY: names.key.name,
  RFC2136_TSIG_SECRET: names.key.secret,
});

function lego({ debian }: AcmePrograms): AcmeClient {
  const program = join(debian, 'usr', 'bin', 'lego');
  const run = (seat: Seat, identifier: string, how: readonly string[], act: readonly string[]) =>
    runClient(
      [
        program,
        ...['--path', inSeat(seat, 'lego'), '--server', seat.directory],
        ...['--email', 'ops@example.org', '--accept-tos'],
        ...['--eab', '--kid', seat.binding.kid, '--hmac', seat.binding.hmac],
        ...['--domains', identifier, ...how, ...act],
      ],
      seat,
      { LEGO_CA_CERTIFICATES: seat.world.caFile, ...rfc2136(seat) },
    ).then(() => {});
  const http = (seat: Seat): readonly string[] => [
    ...['--http', '--http.port', `127.0.0.1:${seat.port}`],
  ];
  return {
    name: 'lego 4.9',
    certificate: (seat, identifier) =>
      inSeat(seat, 'lego', 'certificates', `${identifier.replace('*', '_')}.crt`),
    ip: asName('4.9'),
    issue: {
      'http-01': (seat, identifier) => run(seat, identifier, http(seat), ['run']),
      'dns-01': (seat, identifier) =>
        run(
          seat,
          identifier,
          [
            '--dns',
            'rfc2136',
            '--dns.disable-cp',
            '--dns.resolvers',
            rfc2136(seat).RFC2136_NAMESERVER,
          ],
          ['run'],
        ),
      'tls-alpn-01': (seat, identifier) =>
        run(seat, identifier, ['--tls', '--tls.port', `127.0.0.1:${seat.port}`], ['run']),
    },
    renewByAri: 'version 4.9 knows no ARI: it renews by days',
    revoke: (seat) => run(seat, seat.name, [], ['revoke', '--keep']),
    changeKey: notThere,
  };
}

/** It takes the roots of the system alone, so that it runs with them replaced. */
function uacme({ debian, hook }: AcmePrograms): AcmeClient {
  const program = join(debian, 'usr', 'bin', 'uacme');
  const bundle = '/etc/ssl/certs/ca-certificates.crt';
  const run = (seat: Seat, args: readonly string[]) =>
    runClient(
      [
        ...['unshare', '-m', 'sh', '-c', `mount --bind "$ACME_CA" ${bundle} && exec "$@"`, 'uacme'],
        ...[program, '-c', inSeat(seat, 'uacme'), '-a', seat.directory, '-h', hook, '-y', ...args],
      ],
      seat,
    ).then(() => {});
  const made = async (seat: Seat): Promise<void> => {
    if (existsSync(inSeat(seat, 'uacme', 'private', 'key.pem'))) return;
    await run(seat, ['-e', `${seat.binding.kid}:${seat.binding.hmac}`, 'new', 'ops@example.org']);
  };
  const issue = async (seat: Seat, identifier: string): Promise<void> => {
    await made(seat);
    await run(seat, ['-f', 'issue', identifier]);
  };
  return {
    name: 'uacme 1.7',
    certificate: (seat, identifier) =>
      inSeat(seat, 'uacme', identifier.replace('*.', ''), 'cert.pem'),
    ip: issue,
    issue: {
      'http-01': issue,
      'dns-01': issue,
      'tls-alpn-01': 'by its server ualpn, which needs port 443 itself',
    },
    renewByAri: 'version 1.7 knows no ARI: it renews by days',
    revoke: (seat) => run(seat, ['revoke', inSeat(seat, 'uacme', seat.name, 'cert.pem')]),
    changeKey: (seat) => run(seat, ['newkey']),
  };
}

function dehydrated({ debian, hook }: AcmePrograms): AcmeClient {
  const program = join(debian, 'usr', 'bin', 'dehydrated');
  const run = (seat: Seat, kind: 'http' | 'dns', args: readonly string[]) => {
    mkdirSync(seat.dir, { recursive: true });
    const config = inSeat(seat, `config-${kind}`);
    writeFileSync(
      config,
      [
        `CA=${seat.directory}`,
        `BASEDIR=${inSeat(seat, 'dehydrated')}`,
        `CHALLENGETYPE=${kind}-01`,
        `HOOK=${hook}`,
        `WELLKNOWN=${inSeat(seat, 'dehydrated')}`,
        `CURL_OPTS="--cacert ${seat.world.caFile}"`,
        `EAB_KID=${seat.binding.kid}`,
        `EAB_HMAC_KEY=${seat.binding.hmac}`,
        'CONTACT_EMAIL=ops@example.org',
        // its keys of RSA take a slow machine half a minute each
        'ACCOUNT_KEYSIZE=2048',
        'KEY_ALGO=prime256v1',
        '',
      ].join('\n'),
    );
    mkdirSync(inSeat(seat, 'dehydrated'), { recursive: true });
    return runClient(['bash', program, '--config', config, ...args], seat, { CHALLENGE: kind });
  };
  const issue = async (seat: Seat, identifier: string, kind: 'http' | 'dns'): Promise<void> => {
    await run(seat, kind, ['--register', '--accept-terms']);
    const alias = identifier.startsWith('*') ? ['--alias', 'wildcard'] : [];
    await run(seat, kind, ['--cron', '--force', '--domain', identifier, ...alias]);
  };
  const certificate = (seat: Seat, identifier: string): string => {
    const name = identifier.startsWith('*') ? 'wildcard' : identifier;
    return inSeat(seat, 'dehydrated', 'certs', name, 'fullchain.pem');
  };
  return {
    name: 'dehydrated 0.7',
    certificate,
    ip: asName('0.7'),
    failsOnBadNonces: 'version 0.7 repeats no request that is refused',
    issue: {
      'http-01': (seat, identifier) => issue(seat, identifier, 'http'),
      'dns-01': (seat, identifier) => issue(seat, identifier, 'dns'),
      'tls-alpn-01': 'needs a server of its own that presents its certificates',
    },
    renewByAri: 'version 0.7 knows no ARI: it renews by days',
    revoke: (seat) => run(seat, 'http', ['--revoke', certificate(seat, seat.name)]).then(() => {}),
    changeKey: notThere,
  };
}

function withGo({ go }: AcmePrograms, library: string, name: string): AcmeClient {
  const run = (seat: Seat, ...args: readonly string[]): Promise<void> =>
    runClient([go, library, seat.dir, ...args], seat).then(() => {});
  const issue = (challenge: Challenge) => (seat: Seat, identifier: string) =>
    run(seat, 'issue', challenge, identifier);
  return {
    name,
    certificate: (seat) => inSeat(seat, 'cert.pem'),
    ip: issue('http-01'),
    issue: {
      'http-01': issue('http-01'),
      'dns-01': issue('dns-01'),
      'tls-alpn-01': issue('tls-alpn-01'),
    },
    renewByAri: (seat) => run(seat, 'renew', 'http-01'),
    revoke: (seat) => run(seat, 'revoke'),
    changeKey: (seat) => run(seat, 'change-key'),
  };
}

function acmeClient({ node }: AcmePrograms): AcmeClient {
  const run = async (seat: Seat, ...args: readonly string[]): Promise<void> => {
    await runClient([process.execPath, node, seat.dir, ...args], seat, {
      NODE_EXTRA_CA_CERTS: seat.world.caFile,
    });
  };
  const issue = (challenge: Challenge) => (seat: Seat, identifier: string) =>
    run(seat, 'issue', challenge, identifier);
  return {
    name: 'acme-client 5.4',
    certificate: (seat) => inSeat(seat, 'cert.pem'),
    ip: issue('http-01'),
    issue: {
      'http-01': issue('http-01'),
      'dns-01': issue('dns-01'),
      'tls-alpn-01': issue('tls-alpn-01'),
    },
    renewByAri: 'version 5.4 knows no ARI',
    revoke: (seat) => run(seat, 'revoke'),
    changeKey: (seat) => run(seat, 'change-key'),
  };
}
