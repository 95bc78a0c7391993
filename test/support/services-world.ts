import { createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { assembleSigned, buildAuthorityTbs, newSerial } from '../../src/certs/index.ts';
import { PkiError, unwrap } from '../../src/common/errors/index.ts';
import { silentLogger, systemClock, systemRandom, uuidv7 } from '../../src/common/runtime/index.ts';
import { parseSelector, TrustDomain } from '../../src/common/spiffe/index.ts';
import { createCsr, parseCertificate, sha256Hex, spkiOf } from '../../src/common/x509/index.ts';
import type { AuditRecord, Authority, BundleRevision } from '../../src/domain/index.ts';
import {
  createIssuer,
  createRecordedIssuance,
  PolicyInForce,
  TenantGate,
  type Authorities,
  type Issuer,
  type JwtRequest,
} from '../../src/issuance/index.ts';
import {
  createServices,
  defaultServiceSettings,
  InventoryProof,
  NodeAttestors,
  nodeAttestorTypes,
  type AgentCaller,
  type AgentSvid,
  type CertificateCaller,
  type EntryInput,
  type LocalCaller,
  type NodeAttestorConfiguration,
  type NodeAttestorType,
  type RunningServices,
  type ServiceSettings,
  TenantOwners,
} from '../../src/services/index.ts';
import type { TokenMac } from '../../src/hsm/mac-port.ts';
import type { Ledger } from '../../src/ledger/index.ts';
import { tokenVerifier, type TokenVerifier } from '../../src/services/tokens/index.ts';
import { openStore } from './open-store.ts';
import { fakeServiceParts } from './fake-service-parts.ts';
import { FakeClock } from './agent.ts';

export const trustDomain = TrustDomain.of('mesh.test');
export const id = (path: string): string => `spiffe://mesh.test${path}`;
export const agentId = (name: string): string => id(`/meshca/agent/${name}`);
export const local: LocalCaller = { class: 'local', uid: 0, gid: 0, pid: 1 };
export const newKey = (): KeyObject =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

/** The types of node attestation, their configuration, and the files that it names. */
export interface NodeAttestation {
  readonly types?: readonly NodeAttestorType[];
  readonly configuration?: NodeAttestorConfiguration;
  readonly files?: Readonly<Record<string, string>>;
  /** Default: no issuer of tokens is known. */
  readonly verifier?: TokenVerifier;
}

const noTokens: TokenVerifier = tokenVerifier(
  { issuers: [] },
  { clock: systemClock, logger: silentLogger, readFile: () => '' },
);

/**
 * All services over the real pipeline and an in-memory database; only keys, clock and the state of
 * the authorities are stand-ins.
 */
export interface ServicesWorld extends AsyncDisposable {
  readonly services: RunningServices;
  readonly store: Ledger;
  readonly clock: FakeClock;
  readonly jwts: JwtRequest[];
  readonly issuing: Authority;
  readonly settings: ServiceSettings;
  readonly issuer: Issuer;
  readonly inventory: InventoryProof;
  readonly authorities: Authorities;
  readonly tenantOwners: TenantOwners;
  /** The HMAC of the token, with a key of these tests. */
  readonly mac: TokenMac;
  readonly verifier: TokenVerifier;
  /** What outlives the process: the database file and the keys in the token. */
  readonly remains: { readonly path: string; readonly keys: Map<string, KeyObject> };
  /** From now on the clock is not believed. */
  doubtClock(): void;
  /** From now on the database is not trusted. */
  distrust(error: PkiError): void;
  /** From now on the token gives no MACs. */
  loseToken(): void;
  /** Runs right before the next hand-over to the signers, with the intents durable. */
  beforeSigning(act: () => Promise<void>): void;
  /** What the registry of authorities says, and its change. */
  setAuthorities(change: {
    readonly roots?: readonly Buffer[];
    readonly tainted?: readonly Authority[];
    readonly bundle?: BundleRevision;
    readonly all?: readonly Authority[];
  }): void;
  audit(kind?: string): Promise<readonly AuditRecord[]>;
  joinAgent(
    name: string,
    nodeSelectors?: readonly string[],
  ): Promise<{ readonly caller: AgentCaller; readonly svid: AgentSvid; readonly key: KeyObject }>;
  callerOf(svid: {
    readonly serial: string;
    readonly chainDer: readonly Buffer[];
  }): Promise<CertificateCaller>;
  mint(path: string, admin: boolean): Promise<CertificateCaller>;
  addEntry(entry: Partial<EntryInput> & Pick<EntryInput, 'spiffeId' | 'parentId'>): Promise<string>;
}

export const entryInput = (
  entry: Partial<EntryInput> & Pick<EntryInput, 'spiffeId' | 'parentId'>,
): EntryInput => ({
  id: '',
  placeholders: {},
  selectors: [selector('unix:uid:1000')],
  x509TtlSeconds: 0,
  jwtTtlSeconds: 0,
  profile: 'short-lived',
  dnsNames: [],
  hint: '',
  expiresAt: 0,
  admin: false,
  downstream: false,
  allowWeakSelectors: false,
  federatesWith: [],
  ips: [],
  ...entry,
});
export const selector = (text: string): { readonly type: string; readonly value: string } =>
  unwrap(parseSelector(text));

// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
export async function createServicesWorld(
  over: Partial<ServiceSettings> = {},
  remains: ServicesWorld['remains'] = { path: ':memory:', keys: new Map() },
  nodes: NodeAttestation = {},
): Promise<ServicesWorld> {
  const clock = new FakeClock(Math.floor(Date.now() / 1000) * 1000);
  const store = await openStore({
    path: remains.path,
    clock,
    logger: silentLogger,
    pid: process.pid,
  });
  await store.meta.claim(trustDomain.name, clock.now());
  const found = await store.authorities.list();
  const kept = (
    kind: Authority['kind'],
  ): { readonly key: KeyObject; readonly authority: Authority } | undefined => {
    const known = found.find((each) => each.kind === kind);
    return known && { key: remains.keys.get(known.id) as KeyObject, authority: known };
  };
  const root = kept('root') ?? (await authority(store, clock, 'root'));
  const issuing = kept('issuing') ?? (await authority(store, clock, 'issuing', root));
  for (const { authority: each, key } of [root, issuing]) remains.keys.set(each.id, key);
  const listeners = new Set<() => void>();
  const state = {
    roots: [root.authority.certificateDer as Buffer] as readonly Buffer[],
    tainted: [] as readonly Authority[],
    all: [root.authority, issuing.authority] as readonly Authority[],
    bundle: {
      sequence: 1,
      document: '{"keys":[]}',
      jws: 'bundle.1',
      createdAt: clock.now(),
    } as BundleRevision,
  };
  if ((await store.bundles.latest()) === undefined)
    await store.bundles.append(state.bundle, {
      timeMs: clock.nowMs(),
      actor: 'server',
      kind: 'bundle.published',
      subject: '1',
      detail: {},
    });
  const authorities: Authorities = {
    all: () => state.all,
    rootsDer: () => state.roots,
    namesRootsDer: () => [],
    issuing: () => issuing.authority,
    chainDer: () => [issuing.authority.certificateDer as Buffer],
    rootOf: () => state.all.find(({ kind }) => kind === 'root'),
    bundle: () => state.bundle,
    tainted: () => state.tainted,
    published: () => [],
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const jwts: JwtRequest[] = [];
  let interruption: (() => Promise<void>) | undefined;
  const settings: ServiceSettings = {
    ...defaultServiceSettings,
    trustDomain,
    serverVersion: '0.0.0-test',
    serverUid: 990,
    reservedDnsNames: ['ca.mesh.test'],
    ...over,
  };
  const policyInForce = new PolicyInForce(clock, { denied: () => {}, failed: () => {} });
  const tenantOwners = new TenantOwners({
    tenants: store.tenants,
    onRevision: (listener) => store.onRevision(listener),
    logger: silentLogger,
  });
  await tenantOwners.refresh();
  const issuancePolicy = new TenantGate(policyInForce, () => tenantOwners.present());
  const recorded = createRecordedIssuance({
    store: store.issuance,
    quotas: store.quotas,
    blockedKeys: store.blockedKeys,
    clock,
  });
  const issuer = createIssuer({
    store: store.issuance,
    issuancePolicy,
    recorded,
    audit: store.audit,
    signers: {
      sign: async (items) => {
        const act = interruption;
        interruption = undefined;
        await act?.();
        return items.map((item) => ({
          ok: true as const,
          signature: sign('sha256', item.bytes, issuing.key),
        }));
      },
    },
    authorities: {
      chainDer: authorities.chainDer,
      issuerFor: ({ kind }) => ({
        // one authority in both places: which one signs is the matter of the registry
        authority:
          kind === 'endpoint' ? { ...issuing.authority, kind: 'names-issuing' } : issuing.authority,
        certificate: unwrap(parseCertificate(issuing.authority.certificateDer as Buffer)),
      }),
    },
    jwt: {
      issue: (request) => {
        jwts.push(request);
        return Promise.resolve({
          token: 'e30.e30.sig',
          jti: uuidv7(),
          issuedAt: clock.now(),
          expiresAt: clock.now() + request.ttlSeconds,
        });
      },
    },
    clock,
    options: {
      clock,
      random: systemRandom,
      leafBackdateSeconds: 30,
      minimumTtlSeconds: 10,
      giveBackShard: () => {},
      assignShard: (authorityId) => ({
        shard: 5,
        url: `http://ca.mesh.test/crl/${authorityId}/5.crl`,
        isNew: false,
      }),
      issuerUrl: (authorityId) => `http://ca.mesh.test/crl/${authorityId}.cer`,
      ocspUrl: () => undefined,
      isAuthorityKey: () => false,
      reservedDnsNames: settings.reservedDnsNames,
    },
    observe: { issued: () => {}, refused: () => {} },
  });
  const fakes = fakeServiceParts();
  const attestors = new NodeAttestors(
    trustDomain,
    nodes.types ?? nodeAttestorTypes,
    nodes.configuration ?? {},
    {
      clock,
      tokens: store.tokens,
      verifier: nodes.verifier ?? noTokens,
      readFile: (path) => nodes.files?.[path] ?? '',
    },
  );
  let clockBelieved = true;
  let tokenAway = false;
  const verifier = nodes.verifier ?? noTokens;
  const mac: TokenMac = {
    mac: (input) =>
      tokenAway
        ? Promise.reject(new PkiError('HSM_UNAVAILABLE', 'away'))
        : Promise.resolve(createHmac('sha256', 'a key of tests').update(input).digest()),
  };
  let distrusted: PkiError | undefined;
  const inventory = new InventoryProof({
    audit: store.audit,
    facts: fakes.logFacts,
    objects: store.objects,
    clock,
  });
  const services = createServices({
    ...fakes,
    clockBelieved: () => clockBelieved,
    untrusted: () => distrusted,
    inventory,
    store,
    policyInForce,
    issuancePolicy,
    tenantOwners,
    attestors,
    verifier,
    acmeMac: mac,
    issuer,
    recorded,
    authorities,
    clock,
    random: systemRandom,
    logger: silentLogger,
    settings,
    facts: {
      startedAt: () => clock.now(),
      readiness: () => ({ ready: true, reasons: [] }),
      hsmStatus: () => 'ok',
      serverCertificateNotAfter: () => 0,
      serverRootDer: () => undefined,
      ocsp: () => undefined,
      sinceStart: () => ({ recordsAtStart: 0, proof: undefined }),
    },
  });
  const callerOf = (svid: {
    readonly serial: string;
    readonly chainDer: readonly Buffer[];
  }): Promise<CertificateCaller> => {
    const der = svid.chainDer[0] as Buffer;
    const { uriSans, notBefore } = unwrap(parseCertificate(der));
    return services.callers.resolve(
      { serial: svid.serial, sha256: sha256Hex(der), uri: uriSans[0] ?? '', notBefore },
      '192.0.2.1:1',
    );
  };
  return {
    services,
    store,
    clock,
    jwts,
    settings,
    issuer,
    inventory,
    authorities,
    ...{ tenantOwners, mac, verifier },
    remains,
    issuing: issuing.authority,
    callerOf,
    distrust: (error) => void (distrusted = error),
    loseToken: () => {
      tokenAway = true;
    },
    doubtClock: () => {
      clockBelieved = false;
    },
    beforeSigning: (act) => {
      interruption = act;
    },
    setAuthorities(change) {
      Object.assign(state, change);
      for (const listener of listeners) listener();
    },
    async audit(kind) {
      return (await store.audit.list(kind === undefined ? {} : { kind }, { size: 500 })).items;
    },
    async joinAgent(name, nodeSelectors = []) {
      const { token } = await services.tokens.create(local, {
        agentName: name,
        ttlSeconds: 0,
        nodeSelectors,
      });
      const key = newKey();
      const step = await services.attestation
        .open({ peer: '192.0.2.1:1', serverCertificateSha256: Buffer.alloc(32) })
        .start({
          protocolVersion: 1,
          agentVersion: '1',
          requestId: uuidv7(),
          csrDer: createCsr(key),
          evidence: { kind: 'node', type: 'join_token', payload: Buffer.from(token) },
        });
      if (step.kind !== 'svid') throw new Error('a challenge came');
      return { caller: (await callerOf(step.svid.leaf)) as AgentCaller, svid: step.svid, key };
    },
    async mint(path, admin) {
      const { leaf } = await services.mint.mint(local, {
        requestId: '',
        spiffeId: id(path),
        dnsNames: [],
        csrDer: createCsr(newKey()),
        ttlSeconds: 0,
        admin,
      });
      return callerOf(leaf);
    },
    async addEntry(entry) {
      const [result] = await services.entries.create(local, [entryInput(entry)]);
      if (result?.ok !== true) throw result?.error ?? new Error('no result');
      return result.id;
    },
    async [Symbol.asyncDispose]() {
      await services.close();
      await store.close();
    },
  };
}

// oxlint-disable-next-line test-sizes/function-lines -- one record with all its fields
async function authority(
  store: Ledger,
  clock: FakeClock,
  kind: 'root' | 'issuing',
  parent?: { readonly key: KeyObject; readonly authority: Authority },
): Promise<{ readonly key: KeyObject; readonly authority: Authority }> {
  const key = newKey();
  const spkiDer = spkiOf(key);
  const notBefore = clock.now() - 300;
  const notAfter = clock.now() + (kind === 'root' ? 3650 : 365) * 86_400;
  const tbs = buildAuthorityTbs({
    serial: newSerial(clock.nowMs(), systemRandom),
    profile: kind === 'root' ? 'root' : 'intermediate',
    issuer: parent
      ? unwrap(parseCertificate(parent.authority.certificateDer as Buffer))
      : undefined,
    spkiDer,
    trustDomain,
    notBefore,
    notAfter,
  });
  const certificateDer = assembleSigned(tbs, 'ec-p256', sign('sha256', tbs, parent?.key ?? key));
  const authorityId = uuidv7();
  const event = {
    timeMs: clock.nowMs(),
    actor: 'server',
    kind: 'authority.prepared',
    subject: authorityId,
    detail: {},
  };
  await store.authorities.create(
    {
      id: authorityId,
      kind,
      state: 'preparing',
      version: 0,
      keyType: 'ec-p256',
      token: kind === 'root' ? 'root' : 'issuing',
      ckaId: systemRandom.bytes(16).toString('hex'),
      parentId: parent?.authority.id ?? null,
      scope: {},
      spkiDer: null,
      certificateDer: null,
      subjectKeyId: null,
      notBefore: 0,
      notAfter: 0,
      createdAt: clock.now(),
      activatedAt: null,
      taintedAt: null,
    },
    event,
  );
  let made = await store.authorities.complete(
    { id: authorityId, version: 0 },
    {
      spkiDer,
      certificateDer,
      subjectKeyId: unwrap(parseCertificate(certificateDer)).subjectKeyId ?? null,
      notBefore,
      notAfter,
    },
    event,
  );
  for (const next of ['published', 'active'] as const)
    made = await store.authorities.transition(
      { id: authorityId, version: made.version, now: clock.now() },
      next,
      event,
    );
  return { key, authority: made };
}
