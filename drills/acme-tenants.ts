import { parseCertificate } from '../src/common/x509/index.ts';
import { unwrap } from '../src/common/errors/index.ts';
import { certificateIdOf } from '../src/services/acme/certificate-id.ts';
import { since, treeCpu } from '../bench/cpu.ts';
import { createAcmeServer, suffixOf, type AcmeServerWorld } from './acme/acme-server.ts';
import { AcmeClient, AcmeProblem, type AcmeTransport, type Identifier } from './acme/client.ts';
import { obtainAll, type LoadItem } from './acme/load.ts';
import type { HttpResponder } from './acme/responder.ts';
import { StepCa } from './acme/step-ca.ts';
import { Breaches, round, type Drill, type DrillContext } from './drill.ts';

const namesOfTenant = 10;
const parallel = 32;
const promisedSeconds = 300;
const promisedRatio = 2;

/** Many tenants with an account each: their certificates, their renewal, and the end of one. */
export const acmeTenants: Drill = {
  name: 'acme-tenants',
  promise:
    '1,000 tenants get and renew 10 certificates each by ACME in minutes, one is offboarded, and a certificate costs the server no more than twice what it costs step-ca',
  options: [
    '--tenants N          default 1000, 20 with --short',
    '--step-ca PATH       its program, to compare the time of the processor',
    '--certificates N     for the comparison (default 1000)',
  ],
  async run(context) {
    const breaches = new Breaches();
    await using acme = await createAcmeServer({ signal: context.signal });
    const server = await acme.start();
    const tenants = await createTenants(acme, context);
    const issued = await measured(server.pid, tenants.length * namesOfTenant, () =>
      obtainAll(
        tenants.map(({ items }) => items),
        parallel,
      ),
    );
    context.say(`issued: ${JSON.stringify(issued.figures)}`);
    const renewed = await renew(acme, { pid: server.pid, tenants, issued: issued.obtained });
    context.say(`renewed: ${JSON.stringify(renewed)}`);
    await offboard(acme, tenants, breaches);
    const { seconds } = issued.figures;
    if (!context.short)
      breaches.expect(seconds < promisedSeconds, `issuing took ${seconds} s, not 300 s`);
    const compared = await compare(acme, server.pid, context);
    if (compared !== undefined && !context.short)
      breaches.expect(
        compared.ratio <= promisedRatio,
        `a certificate costs ${compared.ratio} times what it costs step-ca`,
      );
    return {
      figures: {
        tenants: tenants.length,
        issued: issued.figures,
        renewed,
        ...(compared === undefined ? {} : { compared }),
        broken: breaches.list,
      },
      broken: breaches.list,
    };
  },
};

interface TenantClient {
  readonly name: string;
  readonly client: AcmeClient;
  readonly items: readonly LoadItem[];
}

async function createTenants(
  acme: AcmeServerWorld,
  { short, options, say, signal }: DrillContext,
): Promise<readonly TenantClient[]> {
  const count = Number(options['tenants'] ?? (short ? 20 : 1000));
  const tenants: TenantClient[] = [];
  for (let at = 0; at < count; at += 1) {
    signal.throwIfAborted();
    const name = `tenant-${at}`;
    await acme.createTenant(name);
    // it owns its names, so that it shows nothing for them
    const eab = await acme.createEabKey(name, { proof: 'owner', ipRanges: [] });
    const client = new AcmeClient(acme.transport);
    await client.createAccount(eab);
    const items = Array.from({ length: namesOfTenant }, (_, index) => ({
      client,
      identifiers: [{ type: 'dns', value: `host-${index}.${suffixOf(name)}` }] as const,
    }));
    tenants.push({ name, client, items });
    if ((at + 1) % 100 === 0) say(`${at + 1} tenants`);
  }
  return tenants;
}

/** Time of the clock, and of the processor in the server, its signers included. */
async function measured<T extends { readonly length: number }>(
  pid: number,
  certificates: number,
  act: () => Promise<T>,
) {
  const [before, startedMs] = [treeCpu(pid), performance.now()];
  const obtained = await act();
  const { mainMs, childrenMs } = since(before, treeCpu(pid));
  const seconds = (performance.now() - startedMs) / 1000;
  if (obtained.length !== certificates) throw new Error(`${obtained.length} certificates came`);
  return {
    obtained,
    figures: {
      certificates,
      seconds: round(seconds, 1),
      perSecond: round(certificates / seconds, 0),
      serverCpuMs: round((mainMs + childrenMs) / certificates),
      ofThatMainMs: round(mainMs / certificates),
    },
  };
}

const leafOf = (chainPem: string): Buffer =>
  Buffer.from(
    chainPem.slice(0, chainPem.indexOf('-----END CERTIFICATE-----')).split('\n').slice(1).join(''),
    'base64',
  );

/** Asks when each certificate is to be renewed (RFC 9773), and replaces it. */
async function renew(
  acme: AcmeServerWorld,
  {
    pid,
    tenants,
    issued,
  }: {
    readonly pid: number;
    readonly tenants: readonly TenantClient[];
    readonly issued: readonly { readonly chainPem: string }[];
  },
) {
  const directory = await acme.transport.directory();
  const idOf = new Map<string, string>();
  for (const { chainPem } of issued) {
    const der = leafOf(chainPem);
    const id = certificateIdOf(der);
    const [name] = unwrap(parseCertificate(der)).dnsSans;
    if (id === undefined || name === undefined) throw new Error('a certificate has no ID');
    idOf.set(name, id);
  }
  const { figures } = await measured(pid, issued.length, async () => {
    for (const id of idOf.values()) {
      const { status, json } = await acme.transport.ask('GET', `${directory['renewalInfo']}/${id}`);
      if (status !== 200 || json['suggestedWindow'] === undefined)
        throw new Error(`the renewal information of ${id} is ${status}`);
    }
    return obtainAll(
      tenants.map(({ items }) =>
        items.map((item) => ({
          ...item,
          more: { replaces: idOf.get(item.identifiers[0]?.value ?? '') },
        })),
      ),
      parallel,
    );
  });
  return figures;
}

/** Nothing more is issued to a tenant that ended, and everything to the others. */
async function offboard(
  acme: AcmeServerWorld,
  tenants: readonly TenantClient[],
  breaches: Breaches,
): Promise<void> {
  const [leaving, staying] = tenants as readonly [TenantClient, TenantClient];
  await acme.world.calls.admin('Tenants/EndTenant', { name: leaving.name, reason: 'drill' });
  const refused = await obtainAll([leaving.items.slice(0, 1)], 1).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  breaches.expect(
    refused instanceof AcmeProblem && refused.status === 403,
    `a tenant that ended was answered ${String(refused)}`,
  );
  await obtainAll([staying.items.slice(0, 1)], 1);
}

/** The same orders with http-01 at both: the time of the processor for each certificate. */
async function compare(acme: AcmeServerWorld, pid: number, { options }: DrillContext) {
  const program = options['step-ca'];
  if (program === undefined) return undefined;
  const count = Number(options['certificates'] ?? 1000);
  await acme.createTenant('compared');
  const eab = await acme.createEabKey('compared');
  const ours = await challenged(acme.transport, acme, {
    count,
    pid,
    createAccount: (client) => client.createAccount(eab),
  });
  await using stepCa = await StepCa.start(program, acme.responder.port);
  const theirs = await challenged(stepCa.transport, acme, {
    count,
    pid: stepCa.pid,
    createAccount: (client) => client.createAccount(),
  });
  return { ours, theirs, ratio: round(ours.serverCpuMs / theirs.serverCpuMs) };
}

async function challenged(
  transport: AcmeTransport,
  { responder, address }: { readonly responder: HttpResponder; readonly address: Identifier },
  {
    count,
    pid,
    createAccount,
  }: {
    readonly count: number;
    readonly pid: number;
    readonly createAccount: (client: AcmeClient) => Promise<void>;
  },
) {
  const clients = Array.from({ length: 16 }, () => new AcmeClient(transport));
  await Promise.all(clients.map((client) => createAccount(client)));
  const lists = (each: number) =>
    clients.map((client) =>
      Array.from({ length: each }, () => ({ client, identifiers: [address] })),
    );
  // both have compiled what they need by then
  await obtainAll(lists(4), clients.length, responder);
  const each = Math.ceil(count / clients.length);
  const before = transport.requests;
  const { figures } = await measured(pid, each * clients.length, () =>
    obtainAll(lists(each), clients.length, responder),
  );
  return { ...figures, requests: round((transport.requests - before) / figures.certificates, 1) };
}
