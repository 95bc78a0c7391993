import { generateKeyPairSync } from 'node:crypto';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import { createCsr } from '../../src/common/x509/index.ts';
import { unaryCall, type Credential, type TestServer } from './server.ts';

/** The certificate of a new entry, as an agent on the machine of the workload gets it. */
export async function entryCertificate(
  server: TestServer,
  { id, spiffeId }: { readonly id: string; readonly spiffeId: string },
): Promise<Credential> {
  const agent = await server.joinAgent(`node-of-${id}`);
  await server.admin('Entries/CreateEntries', {
    entries: [
      {
        ...{ id, spiffeId, parentId: agent.spiffeId },
        selectors: ['unix:uid:0'],
        x509TtlSeconds: 600,
      },
    ],
  });
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { results } = await unaryCall(
    server.client(agent),
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    { items: [{ requestId: uuidv7(), entryId: id, csrDer: createCsr(privateKey) }] },
  );
  const { svid } = results[0] as { svid: { serial: string; chainDer: Buffer[] } };
  return { spiffeId, serial: svid.serial, chainDer: svid.chainDer, privateKey };
}
