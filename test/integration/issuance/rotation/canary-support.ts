import { createHash } from 'node:crypto';
import type { TestContext } from 'node:test';
import { eventually, quickLives, rotationOf } from '../../../support/mesh.ts';
import { attestByToken, startTestServer, type TestServer } from '../../../support/server.ts';
import { SimAgent, simServer } from '../../../support/sim-agent.ts';

export interface CanaryMesh {
  readonly server: TestServer;
  readonly agents: readonly SimAgent[];
  /** Each of these agents asks for a leaf. The names of those whose leaf comes from this authority. */
  under(authorityId: string, asking?: readonly SimAgent[]): Promise<readonly string[]>;
}

const slow = { ...quickLives, issuance: { ...quickLives.issuance, defaultTtlSeconds: 60 } };

/** A server with this many agents, each with one workload and one entry. */
export async function canaryMesh(
  context: TestContext,
  count: number,
  {
    selectorsOf = () => [],
    step,
    windowSeconds = 600,
  }: {
    readonly selectorsOf?: (index: number) => readonly string[];
    readonly step?: (name: string) => void;
    readonly windowSeconds?: number;
  } = {},
): Promise<CanaryMesh> {
  const server = await startTestServer({
    config: { ...slow, rotation: { ...slow.rotation, canaryWindowSeconds: windowSeconds } },
    ...(step === undefined ? {} : { faults: { step } }),
  });
  context.after(() => server[Symbol.asyncDispose]());
  const agents = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const joining = {
        ...simServer(server),
        joinAgent: async (agentName: string) =>
          attestByToken(
            server.client(),
            (
              await server.admin('Tokens/CreateJoinToken', {
                agentName,
                nodeSelectors: [...selectorsOf(index)],
              })
            ).token,
          ),
      };
      return SimAgent.join(joining, `node-${index}`, ['web']);
    }),
  );
  context.after(() => Promise.all(agents.map((agent) => agent[Symbol.asyncDispose]())));
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: agents.map(({ name, credential }) => ({
      spiffeId: `spiffe://mesh.test/${name}`,
      parentId: credential.spiffeId,
      selectors: ['unix:uid:1'],
    })),
  });
  const entryIds = results.map(({ entry }) => entry!.id as string);
  return {
    server,
    agents,
    under: async (authorityId, asking = agents) => {
      const leaves = await Promise.all(
        asking.map((agent) => agent.renew(entryIds[agents.indexOf(agent)]!)),
      );
      return asking
        .filter((_, index) => leaves[index]?.authorityId === authorityId)
        .map(({ name }) => name);
    },
  };
}

export const insideShare = ({ credential }: SimAgent, share: number): boolean =>
  Number.parseInt(createHash('sha256').update(credential.spiffeId).digest('hex').slice(0, 8), 16) /
    2 ** 32 <
  share;
export const notesOf = async (server: TestServer) =>
  (await server.admin('Authorities/GetRotationStatus')).notes;
export const codesOf = async (server: TestServer): Promise<readonly string[]> =>
  (await notesOf(server)).map(({ code }) => code);

/** What a node reports before the new intermediate begins to sign. */
export interface FirstReport {
  readonly agent: SimAgent;
  readonly succeeded: number;
  readonly failed: number;
}

/**
 * The agents with reports confirm last, and each reports before it confirms. So the verdict knows the
 * reports from the first moment on in which the new intermediate signs for a part.
 */
export async function beginCanary(
  { server }: CanaryMesh,
  canary: { readonly steps: readonly object[]; readonly holdSeconds: number },
  reports: readonly FirstReport[],
): Promise<any> {
  const { status, activeId } = rotationOf(server);
  const before = await activeId('issuing');
  for (const { agent } of reports) agent.freeze();
  await server.admin('Authorities/RotateAuthorities', {
    kind: 'issuing',
    canary: { steps: [...canary.steps], holdSeconds: canary.holdSeconds, maximumFailureRate: 0.05 },
  });
  let keyId = '';
  await eventually('only those with reports have not confirmed', async () => {
    const published = (await status()).authorities.find(
      ({ authority }) => authority!.kind === 'issuing' && authority!.state === 'published',
    );
    keyId = published?.authority?.subjectKeyId ?? '';
    return published?.confirmation?.laggardsTotal === reports.length;
  });
  for (const { agent, succeeded, failed } of reports) {
    agent.reportHandshakes(keyId, succeeded, failed);
    agent.thaw();
  }
  let begun: any;
  await eventually('the new intermediate signs for a part', async () => {
    begun = (await status()).authorities.find(
      ({ authority }) =>
        authority!.kind === 'issuing' && authority!.state === 'active' && authority!.id !== before,
    )?.authority;
    return begun !== undefined;
  });
  return begun;
}
