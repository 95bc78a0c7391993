import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { unwrap } from '../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  createCsr,
  generateKeyPairAsync,
  pemEncode,
} from '../../src/common/x509/index.ts';
import { authorizeAny, connectTls, createTlsServer, X509Source } from '../../src/workload/index.ts';
import { runCommand } from '../support/command.ts';
import { eventually } from '../support/mesh.ts';
import { freePorts } from '../support/ports.ts';
import {
  allMethods,
  codeOf,
  startTestServer,
  testTrustDomain,
  untypedCall,
  type TestServer,
} from '../support/server.ts';
import { listen, rawClient } from '../support/workload-lib.ts';
import { AgentProcess } from './agent-process.ts';
import { EnvoyProcess } from './envoy-process.ts';
import { executableOf, ForeignClient } from './foreign-client.ts';
import { foreignProgram } from './foreign-programs.ts';
import { Presenter, type Pair } from './presenter.ts';

const run = promisify(execFile);
const idOf = (name: string): string => `spiffe://${testTrustDomain}/${name}`;
const dnsName = 'web.shop.test';
const envoyKinds = ['Envoy with the SPIFFE validator', 'Envoy with plain roots'] as const;
type EnvoyKind = (typeof envoyKinds)[number];
const request = 'GET / HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n';
const namesProfiles = ['short', 'classic'] as const;

interface Listening {
  readonly port: number;
  readonly envoy: EnvoyProcess;
}

describe('a certificate for names, presented to peers of the mesh', () => {
  const stack = new AsyncDisposableStack();
  let server: TestServer;
  let agent: AgentProcess;
  let source: X509Source;
  let go: ForeignClient;
  let svid: Pair;
  let upstreamPort = 0;
  let namesRoots: string;
  const pairs: Record<string, Pair> = {};
  /** Egress forwards to `upstreamPort`; ingress answers. */
  const envoys = {} as Record<EnvoyKind, Readonly<Record<'egress' | 'ingress', Listening>>>;

  async function createEntry(name: string, program: string): Promise<void> {
    await server.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: idOf(name),
          parentId: agent.agentId,
          selectors: [`unix:uid:${process.getuid?.() ?? 0}`, `unix:path:${program}`],
        },
      ],
    });
  }

  /** As an operator issues it, for a name and the address at which peers dial. */
  async function issue(profile: string): Promise<Pair> {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const file = (suffix: string): string => join(server.dir, `${profile}.${suffix}`);
    await writeFile(file('csr'), pemEncode('CERTIFICATE REQUEST', createCsr(privateKey)));
    const { code, err } = await runCommand(server, [
      ...['certificate', 'issue', '--csr', file('csr'), '--name', dnsName, '--name', '127.0.0.1'],
      ...['--profile', profile, '--out', file('pem'), '--roots', file('roots.pem')],
    ]);
    assert.equal(code, 0, err);
    const chain = await readFile(file('pem'), 'utf8');
    return { chainDer: unwrap(certificatesFromPem(chain)), privateKey };
  }

  /** An Envoy that takes every peer which its roots verify, whatever its names. */
  async function startEnvoy(kind: EnvoyKind, name: 'egress' | 'ingress'): Promise<Listening> {
    const [port = 0, adminPort = 0] = await freePorts(2);
    const envoy = await EnvoyProcess.start({
      ...{ socketPath: agent.socketPath, api: 'DELTA_GRPC', svid: 'default', bundle: 'ROOTCA' },
      ...{ name, port, adminPort, plainRoots: kind === 'Envoy with plain roots' },
      ...(name === 'egress' ? { upstreamPort } : {}),
    });
    return { port, envoy: stack.use(envoy) };
  }

  /** Each way in which somebody with this certificate meets a peer: what the peer makes of it. */
  async function outcomes(pair: Pair): Promise<Readonly<Record<string, string>>> {
    await using presenter = await new Presenter(pair).listen(upstreamPort);
    const answers: Record<string, string> = {
      'our library, as client': await connectTls(source, {
        ...{ host: '127.0.0.1', port: presenter.port, servername: dnsName, expect: authorizeAny() },
      }).then(
        (socket) => {
          socket.destroy();
          return 'admitted';
        },
        (error: { code: string }) => error.code,
      ),
      'our library, as server': await admittedByLibrary(pair),
      'go-spiffe, as client': await go.dial(presenter.port),
      'go-spiffe, as server': await said(go.port, pair, 'hello\n'),
    };
    for (const kind of envoyKinds) {
      const { egress, ingress } = envoys[kind];
      answers[`${kind}, as client`] = await judgedBy(egress, () => forwarded(egress.port));
      answers[`${kind}, as server`] = await judgedBy(ingress, () =>
        said(ingress.port, pair, request),
      );
    }
    return answers;
  }

  /** Its answer, or `unverified` where it counted a chain that its roots do not verify. */
  async function judgedBy({ envoy }: Listening, ask: () => Promise<string>): Promise<string> {
    const count = async (): Promise<number> => {
      const page = await envoy.admin('/stats?filter=ssl.fail_verify_error');
      return Number(/fail_verify_error: (\d+)/.exec(page)?.[1]);
    };
    const before = await count();
    const answer = await ask();
    return (await count()) === before ? answer : 'unverified';
  }

  const forwarded = async (port: number): Promise<string> => {
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    return `${answer.status} ${await answer.text()}`;
  };

  /** What a server says to a client with this certificate. */
  const said = (port: number, pair: Pair, say: string): Promise<string> =>
    rawClient(port, pair, {}, say).then(
      (text) => (text === '' ? 'nothing' : text),
      (error: { code?: string }) => `refused ${error.code}`,
    );

  /** What a workload of ours makes of a client: `admitted`, or the codes that it counted. */
  async function admittedByLibrary(pair: Pair): Promise<string> {
    const failed = (): Readonly<Record<string, number>> => source.stats().handshakes.server.failed;
    const before = failed();
    const workload = createTlsServer(source, { authorize: authorizeAny() }, (socket) =>
      socket.end('admitted'),
    );
    const port = await listen(workload);
    try {
      const answer = await said(port, pair, 'hello\n');
      const codes = Object.entries(failed()).filter(([code, count]) => count !== before[code]);
      return codes.length === 0 ? answer : codes.map(([code]) => code).join();
    } finally {
      workload.close();
    }
  }

  before(async () => {
    server = stack.use(
      await startTestServer({
        config: {
          names: { enabled: true },
          issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' },
        },
      }),
    );
    agent = stack.use(await AgentProcess.join(server, 'node'));
    await createEntry('library', realpathSync(process.execPath));
    await createEntry('go', executableOf(foreignProgram('goClient')));
    await createEntry('envoy', executableOf(foreignProgram('envoy')));
    for (const profile of namesProfiles) pairs[profile] = await issue(profile);
    svid = await server.mint(idOf('presenter'));
    const roots = await fetch(`http://127.0.0.1:${server.server.httpPorts.plain}/names/roots.pem`);
    namesRoots = await roots.text();
    await using first = await new Presenter(svid).listen();
    upstreamPort = first.port;
    for (const kind of envoyKinds)
      envoys[kind] = {
        egress: await startEnvoy(kind, 'egress'),
        ingress: await startEnvoy(kind, 'ingress'),
      };
    source = await X509Source.connect({ socketPath: agent.socketPath });
    stack.defer(() => source.close());
    go = stack.use(new ForeignClient('go', foreignProgram('goClient'), agent.socketPath));
    await go.ready();
    for (const kind of envoyKinds)
      await eventually(`${kind} to forward`, async () => {
        const { egress, ingress } = envoys[kind];
        const through = await forwarded(egress.port).catch(String);
        const answered = await said(ingress.port, svid, request);
        return through === '200 hello' && answered.includes(' 200 ');
      });
  });
  after(() => stack.disposeAsync());

  test('every peer admits an X.509-SVID', async () => {
    for (const [who, answer] of Object.entries(await outcomes(svid)))
      assert.match(answer, /^admitted$|^hello\n$|^spiffe:|^200 hello$|^HTTP\/1\.1 200 /, who);
  });

  for (const profile of namesProfiles)
    test(`every peer refuses ${profile}`, async () => {
      assert.deepEqual(await outcomes(pairs[profile] as Pair), {
        'our library, as client': 'CHAIN_UNTRUSTED',
        // its purpose is looked at before its chain
        'our library, as server': 'SVID_INVALID',
        'go-spiffe, as client':
          'error: x509svid: could not get leaf SPIFFE ID: certificate contains no URI SAN',
        'go-spiffe, as server': 'refused ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE',
        'Envoy with the SPIFFE validator, as client': 'unverified',
        'Envoy with the SPIFFE validator, as server': 'unverified',
        'Envoy with plain roots, as client': 'unverified',
        'Envoy with plain roots, as server': 'unverified',
      });
    });

  test('the TLS port of the server refuses every call of its holder, anonymous ones too', async () => {
    for (const profile of namesProfiles) {
      const client = server.client({ ...(pairs[profile] as Pair), spiffeId: '', serial: '' });
      for (const path of Object.keys(allMethods()))
        assert.equal(await codeOf(untypedCall(client, path)), 'CHAIN_UNTRUSTED', path);
    }
  });

  /** The verdicts of OpenSSL and node, which trust the roots of names alone, on a server. */
  async function relyingParties(pair: Pair): Promise<readonly string[]> {
    const file = join(server.dir, 'trusted.pem');
    await writeFile(file, namesRoots);
    await using presenter = await new Presenter(pair).listen();
    const openssl = run('openssl', [
      ...['s_client', '-connect', `127.0.0.1:${presenter.port}`, '-CAfile', file],
      '-verify_return_error',
    ]);
    openssl.child.stdin?.end();
    const { stdout } = await openssl.catch((thrown: unknown) => thrown as { stdout: string });
    const node = rawClient(
      presenter.port,
      undefined,
      { ca: namesRoots, rejectUnauthorized: true, checkServerIdentity: () => undefined },
      'hello\n',
    ).catch((thrown: { code?: string }) => String(thrown.code));
    return [/Verify return code: (.*)/.exec(stdout)?.[1] ?? stdout, await node];
  }

  test('who trusts the roots of names alone refuses an X.509-SVID', async () => {
    for (const profile of namesProfiles)
      assert.deepEqual(await relyingParties(pairs[profile] as Pair), ['0 (ok)', 'hello\n']);
    assert.deepEqual(await relyingParties(svid), [
      '20 (unable to get local issuer certificate)',
      'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    ]);
  });
});
