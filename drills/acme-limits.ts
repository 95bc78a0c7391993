import { certificatesFromPem, parseCertificate } from '../src/common/x509/index.ts';
import { unwrap } from '../src/common/errors/index.ts';
import { certificateIdOf } from '../src/services/acme/certificate-id.ts';
import { createAcmeServer, suffixOf, type AcmeServerWorld } from './acme/acme-server.ts';
import { AcmeClient, AcmeProblem, type Identifier } from './acme/client.ts';
import { newCsr } from './acme/load.ts';
import { obtain } from './acme/obtain.ts';
import { Breaches, type Drill, type DrillContext } from './drill.ts';

const quota = 3;
const ordersOfAccount = 5;
const day = 86_400;
const many = { count: 1_000_000, seconds: 60 };

/** A client asks too often: who is told, who notices, what helps, and who is not concerned. */
export const acmeLimits: Drill = {
  name: 'acme-limits',
  promise:
    'a client over its limit or quota is told which and until when, the metric shows it, the others get their certificates, and the named remedy helps at once',
  options: [],
  async run(context) {
    await using acme = await createAcmeServer({
      signal: context.signal,
      issuance: { crlBaseUrl: 'http://ca.drill.test/crl' },
      acme: { limits: { ...wide, ordersPerAccount: { count: ordersOfAccount, seconds: day } } },
    });
    await acme.start();
    const play = new Play(acme, context);
    const byQuota = await play.quota();
    const byLimit = await play.limit();
    return {
      figures: { byQuota, byLimit, broken: play.breaches.list },
      broken: play.breaches.list,
    };
  },
};

const wide = {
  ordersPerNames: many,
  ordersPerTenant: many,
  failuresPerName: many,
  ordersPerSecond: 100_000,
  accountsPerSecond: 100_000,
  anonymousPerSecond: 100_000,
};

class Play {
  readonly breaches = new Breaches();
  readonly #acme: AcmeServerWorld;
  readonly #context: DrillContext;
  #names = 0;

  constructor(acme: AcmeServerWorld, context: DrillContext) {
    this.#acme = acme;
    this.#context = context;
  }

  /** The quota of a tenant. The remedy is an operator who raises it. */
  async quota() {
    const [client, other] = [await this.#client('loud', quota), await this.#client('quiet', 0)];
    let issued = 0;
    for (; issued < quota; issued += 1) await this.#obtain(client, 'loud');
    const refused = await this.#refused(
      client,
      'loud',
      'quotaOfTenant',
      /quota of the tenant loud/,
    );
    await this.#obtain(other, 'quiet');
    await this.#acme.world.calls.admin('Tenants/UpdateTenant', {
      tenant: { ...draft('loud'), quotaCertificates: quota + 1, quotaSeconds: day },
    });
    await this.#obtain(client, 'loud');
    this.#context.say(`the quota: ${refused.text}`);
    return { issued: issued + 1, ...refused.figures };
  }

  /** The limit of orders of an account. What the CA itself makes due is free of it. */
  async limit() {
    const client = await this.#client('often', 0);
    const other = await this.#client('seldom', 0);
    const first = await this.#obtain(client, 'often');
    let issued = 1;
    for (; issued < ordersOfAccount; issued += 1) await this.#obtain(client, 'often');
    const refused = await this.#refused(client, 'often', 'ordersPerAccount', /order/);
    await this.#obtain(other, 'seldom');
    const [der] = unwrap(certificatesFromPem(first.chainPem)) as [Buffer];
    const serial = unwrap(parseCertificate(der)).serialHex;
    await this.#acme.world.calls.admin('Certificates/RevokeCertificate', {
      serial,
      reason: 'superseded',
    });
    await this.#obtain(client, 'often', {
      identifiers: first.identifiers,
      replaces: certificateIdOf(der),
    });
    this.#context.say(`the limit: ${refused.text}`);
    return { issued: issued + 1, ...refused.figures };
  }

  async #client(tenant: string, quotaCertificates: number): Promise<AcmeClient> {
    await this.#acme.world.calls.admin('Tenants/CreateTenant', {
      tenant: { ...draft(tenant), quotaCertificates, quotaSeconds: quotaCertificates && day },
    });
    const client = new AcmeClient(this.#acme.transport);
    await client.createAccount(
      await this.#acme.createEabKey(tenant, {
        ...{ proof: 'owner', ipRanges: [], profiles: ['classic'] },
      }),
    );
    return client;
  }

  async #obtain(
    client: AcmeClient,
    tenant: string,
    renewal?: {
      readonly identifiers: readonly Identifier[];
      readonly replaces: string | undefined;
    },
  ) {
    const identifiers = renewal?.identifiers ?? [
      { type: 'dns' as const, value: `host-${this.#names++}.${suffixOf(tenant)}` },
    ];
    const more = renewal === undefined ? {} : { more: { replaces: renewal.replaces } };
    const { chainPem } = await obtain(client, {
      identifiers,
      csrDer: newCsr(identifiers),
      ...more,
    });
    return { chainPem, identifiers };
  }

  /** It is told why and until when, and the metric of the limit grows. */
  async #refused(client: AcmeClient, tenant: string, limit: string, why: RegExp) {
    const before = await this.#count(limit);
    const problem = await this.#obtain(client, tenant).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    const text = String(problem);
    const signal = (await this.#count(limit)) - before;
    this.breaches.expect(
      problem instanceof AcmeProblem && problem.status === 429 && problem.type === 'rateLimited',
      `${tenant} was answered ${text}`,
    );
    this.breaches.expect(why.test(text), `${text} does not name the limit`);
    this.breaches.expect(signal === 1, `the metric of ${limit} grew by ${signal}`);
    return { text, figures: { limit, signal } };
  }

  async #count(limit: string): Promise<number> {
    const answer = await fetch(`http://127.0.0.1:${this.#acme.world.opsPort}/metrics`);
    const line = new RegExp(`^meshca_acme_rate_limited_total\\{limit="${limit}"\\} (\\d+)$`, 'm');
    return Number(line.exec(await answer.text())?.[1] ?? 0);
  }
}

const draft = (name: string) => ({ name, description: 'drill', dnsSuffixes: [suffixOf(name)] });
