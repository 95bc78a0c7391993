import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../support/until.ts';
import { ClientFailed, inSeat, type AcmeClient, type Seat } from './client.ts';
import { rfc2136 } from './programs.ts';

/** Servers with a client of ACME inside: they run until their certificate is there. */
export const acmeDaemons = (programs: {
  readonly caddy: string;
  readonly traefik: string;
}): readonly AcmeClient[] => [caddy(programs.caddy), traefik(programs.traefik)];

interface Daemon {
  readonly argv: readonly string[];
  /** How it ends. Traefik waits for its own connections: everything it has is on disk by then. */
  readonly end: 'SIGTERM' | 'SIGKILL';
  readonly environment?: Readonly<Record<string, string>>;
  /** The newest certificate, where there is one. */
  readonly certificate: () => string | undefined;
}

/** Runs it until it has another certificate than before, which is then in `cert.pem`. */
async function runUntilNew(
  seat: Seat,
  { argv, end, environment, certificate }: Daemon,
): Promise<void> {
  const before = certificate();
  const [program = '', ...args] = argv;
  let output = '';
  const child = spawn(program, args, {
    cwd: seat.dir,
    env: {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      HOME: seat.dir,
      ACME_CONTROL: seat.world.control,
      ...environment,
    },
  });
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let gone = false;
  // it would go on for ever
  const refused = (): boolean => output.includes('acme:error:rateLimited');
  void ended.then(() => (gone = true));
  try {
    await until(() => gone || refused() || ![undefined, before].includes(certificate()));
    if (gone || refused()) throw new ClientFailed(output.slice(-3000));
    writeFileSync(inSeat(seat, 'cert.pem'), certificate() ?? '');
  } catch (thrown) {
    throw new ClientFailed(`${String(thrown)}\n${output.slice(-3000)}`);
  } finally {
    child.kill(end);
    await ended;
  }
}

const noCommands = 'a server that renews by itself; it has no commands';

function caddy(program: string): AcmeClient {
  const run = (
    seat: Seat,
    identifier: string,
    challenge: 'http-01' | 'tls-alpn-01',
  ): Promise<void> => {
    const storage = inSeat(seat, `storage-${challenge}-${identifier}`);
    mkdirSync(storage, { recursive: true });
    const [http, https] =
      challenge === 'http-01' ? [seat.port, seat.otherPort] : [seat.otherPort, seat.port];
    const other = challenge === 'http-01' ? 'tlsalpn' : 'http';
    writeFileSync(
      inSeat(seat, 'Caddyfile'),
      [
        '{',
        `  admin off`,
        `  http_port ${http}`,
        `  https_port ${https}`,
        `  storage file_system ${storage}`,
        '}',
        `${identifier} {`,
        '  tls {',
        '    issuer acme {',
        `      dir ${seat.directory}`,
        `      trusted_roots ${seat.world.caFile}`,
        '      email ops@example.org',
        `      disable_${other}_challenge`,
        `      eab ${seat.binding.kid} ${seat.binding.hmac}`,
        '    }',
        '  }',
        '  respond ok',
        '}',
        '',
      ].join('\n'),
    );
    return runUntilNew(seat, {
      end: 'SIGTERM',
      argv: [program, 'run', '--config', inSeat(seat, 'Caddyfile'), '--adapter', 'caddyfile'],
      environment: { XDG_DATA_HOME: seat.dir, XDG_CONFIG_HOME: seat.dir },
      certificate: () => newestBelow(`${storage}/certificates`),
    });
  };
  return {
    name: 'Caddy 2.11',
    certificate: (seat) => inSeat(seat, 'cert.pem'),
    ip: (seat, address) => run(seat, address, 'http-01'),
    issue: {
      'http-01': (seat, identifier) => run(seat, identifier, 'http-01'),
      'dns-01': 'needs a build of Caddy with a module for DNS',
      'tls-alpn-01': (seat, identifier) => run(seat, identifier, 'tls-alpn-01'),
    },
    renewByAri: (seat) => {
      letRetryAfterPass(inSeat(seat, `storage-http-01-${seat.name}`, 'certificates'));
      return run(seat, seat.name, 'http-01');
    },
    revoke: noCommands,
    changeKey: noCommands,
  };
}

/** Caddy asks again after the six hours of Retry-After, which it keeps beside the certificate. */
function letRetryAfterPass(dir: string): void {
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.json')) continue;
    const text = readFileSync(join(dir, name), 'utf8');
    const passed = text.replace(/("_retryAfter": ")[^"]*/, '$12020-01-01T00:00:00Z');
    if (passed === text) throw new ClientFailed(`${name} has no renewal information:\n${text}`);
    writeFileSync(join(dir, name), passed);
  }
}

function newestBelow(dir: string): string | undefined {
  try {
    const found = readdirSync(dir, { recursive: true, encoding: 'utf8' }).find((name) =>
      name.endsWith('.crt'),
    );
    return found === undefined ? undefined : readFileSync(`${dir}/${found}`, 'utf8');
  } catch {
    return undefined;
  }
}

interface TraefikStore {
  readonly own?: { readonly Certificates: readonly { readonly certificate: string }[] | null };
}

function traefik(program: string): AcmeClient {
  const run = (seat: Seat, identifier: string, challenge: object, what: string) => {
    const storage = inSeat(seat, `${what}.json`);
    const config = traefikFiles(seat, { identifier, challenge, what, storage });
    return runUntilNew(seat, {
      end: 'SIGKILL',
      argv: [program, `--configFile=${config}`],
      environment: rfc2136(seat),
      certificate: () => traefikCertificate(storage),
    });
  };
  const byHttp = { httpChallenge: { entryPoint: 'web' } };
  const byDns = (seat: Seat): object => ({
    dnsChallenge: {
      provider: 'rfc2136',
      resolvers: seat.world.names.addresses.map((address) => `${address}:53`),
      propagation: { disableChecks: true },
    },
  });
  return {
    name: 'Traefik 3.7',
    certificate: (seat) => inSeat(seat, 'cert.pem'),
    ip: (seat, address) => run(seat, address, byHttp, 'ip'),
    issue: {
      'http-01': (seat, identifier) => run(seat, identifier, byHttp, `http-${identifier}`),
      'dns-01': (seat, identifier) => run(seat, identifier, byDns(seat), 'dns'),
      'tls-alpn-01': (seat, identifier) => run(seat, identifier, { tlsChallenge: {} }, 'tls'),
    },
    renewByAri: 'it renews by its own certificatesDuration',
    revoke: noCommands,
    changeKey: noCommands,
  };
}

function traefikCertificate(storage: string): string | undefined {
  try {
    const { own } = JSON.parse(readFileSync(storage, 'utf8')) as TraefikStore;
    const first = own?.Certificates?.[0]?.certificate;
    return first === undefined ? undefined : Buffer.from(first, 'base64').toString();
  } catch {
    return undefined;
  }
}

/** Writes its static and dynamic configuration; returns the path of the former. */
function traefikFiles(
  seat: Seat,
  plan: {
    readonly identifier: string;
    readonly challenge: object;
    readonly what: string;
    readonly storage: string;
  },
): string {
  const { identifier, what } = plan;
  const [config, dynamic] = [`traefik-${what}.json`, `dynamic-${what}.yaml`].map((name) =>
    inSeat(seat, name),
  ) as [string, string];
  const rule = identifier.startsWith('*') ? 'PathPrefix(`/`)' : `Host(\`${identifier}\`)`;
  const tls = { certResolver: 'own', domains: [{ main: identifier }] };
  const service = { loadBalancer: { servers: [{ url: 'http://127.0.0.1:9' }] } };
  writeFileSync(
    dynamic,
    JSON.stringify({
      http: { routers: { own: { rule, service: 'own', tls } }, services: { own: service } },
    }),
  );
  const isTls = what === 'tls';
  const [web, secure] = isTls ? [seat.otherPort, seat.port] : [seat.port, seat.otherPort];
  const acme = {
    email: 'ops@example.org',
    storage: plan.storage,
    caServer: seat.directory,
    caCertificates: [seat.world.caFile],
    eab: { kid: seat.binding.kid, hmacEncoded: seat.binding.hmac },
    ...plan.challenge,
  };
  writeFileSync(
    config,
    JSON.stringify({
      global: { checkNewVersion: false, sendAnonymousUsage: false },
      entryPoints: {
        web: { address: `127.0.0.1:${web}` },
        secure: { address: `127.0.0.1:${secure}` },
      },
      providers: { file: { filename: dynamic } },
      certificatesResolvers: { own: { acme } },
    }),
  );
  return config;
}
