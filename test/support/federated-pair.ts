import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentSeat, type AgentSeat } from './agent-seat.ts';
import { webPair } from './bundle-endpoint.ts';
import { startTestServer, type TestServer } from './server.ts';
import { createRoot } from './test-pki.ts';
import { until } from './until.ts';

/** A trust domain with one server and one agent. */
export interface FederatedSide {
  readonly trustDomain: string;
  readonly server: TestServer;
  readonly seat: AgentSeat;
  readonly agentId: string;
}

/**
 * Two trust domains, each with its server and agent. The first asks the second by https_spiffe, and
 * the second asks the first by https_web.
 */
export interface FederatedPair extends AsyncDisposable {
  readonly one: FederatedSide;
  readonly other: FederatedSide;
}

/** Above the endpoints with the profile https_web. */
export const webRoot = createRoot('web.test');

/** `sections`: of the configuration of the agent of a trust domain, with a directory of its own. */
export async function federatedPair(
  config: object = {},
  sections: (trustDomain: string, directory: string) => object = () => ({}),
): Promise<FederatedPair> {
  await using started = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'meshca-federated-'));
  started.defer(() => rm(directory, { recursive: true, force: true }));
  const { cert, key } = webPair(webRoot);
  const [certFile, keyFile] = [join(directory, 'web.pem'), join(directory, 'web.key')];
  await writeFile(certFile, cert);
  await writeFile(keyFile, key, { mode: 0o600 });
  const start = async (trustDomain: string): Promise<FederatedSide> => {
    const server = started.use(
      await startTestServer({
        config: {
          trustDomain,
          federation: {
            ...{ pollMinimumSeconds: 1, pollMaximumSeconds: 2 },
            ...{ web: { port: 0, certFile, keyFile }, spiffe: { port: 0 } },
          },
          ...config,
        },
      }),
    );
    const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'node' });
    const own = join(directory, trustDomain);
    await mkdir(own, { mode: 0o700 });
    const seat = started.use(
      await agentSeat(server, { joinToken: { token } }, { sections: sections(trustDomain, own) }),
    );
    await seat.start();
    await seat.connected();
    return { trustDomain, server, seat, agentId };
  };
  const [one, other] = await Promise.all([start('one.test'), start('other.test')]);
  await federate(one, other, 'https_spiffe');
  await federate(other, one, 'https_web');
  const parts = started.move();
  return { one, other, [Symbol.asyncDispose]: () => parts.disposeAsync() };
}

/** Makes the relationship, and waits for the first bundle. */
export async function federate(
  from: FederatedSide,
  to: FederatedSide,
  profile: 'https_spiffe' | 'https_web',
): Promise<void> {
  const { federationPorts, httpPorts } = to.server.server;
  const document = await fetch(`http://127.0.0.1:${httpPorts.plain}/bundle`);
  await from.server.admin('Federation/CreateRelationship', {
    trustDomain: to.trustDomain,
    endpointProfile: profile,
    ...(profile === 'https_spiffe'
      ? {
          endpointUrl: `https://localhost:${federationPorts.spiffe}/`,
          endpointSpiffeId: `spiffe://${to.trustDomain}/meshca/server`,
          bundleDocument: Buffer.from(await document.arrayBuffer()),
        }
      : {
          endpointUrl: `https://localhost:${federationPorts.web}/`,
          webRootsDer: [webRoot.certificateDer],
        }),
  });
  await until(async () => {
    const { polls, bundle } = await from.server.admin('Federation/GetRelationship', {
      trustDomain: to.trustDomain,
    });
    return bundle !== null && (polls?.refreshedAt ?? 0) > 0 && polls?.failures === 0;
  }, `the bundle of ${to.trustDomain}`);
}

/** An entry for every process of this user. Returns its ID. */
export async function entryFor(
  { server, agentId, trustDomain }: FederatedSide,
  path: string,
  federatesWith: readonly string[],
): Promise<string> {
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: `spiffe://${trustDomain}/${path}`,
        parentId: agentId,
        selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
        federatesWith: [...federatesWith],
      },
    ],
  });
  return results?.[0]?.entry?.id ?? '';
}
