import { verify } from 'node:crypto';
import { PkiError, unwrap } from '../../src/common/errors/index.ts';
import { silentLogger, systemRandom, uuidv7 } from '../../src/common/runtime/index.ts';
import { TrustDomain } from '../../src/common/spiffe/index.ts';
import {
  parseCertificate,
  sha256Hex,
  type ParsedCertificate,
} from '../../src/common/x509/index.ts';
import {
  assembleSigned,
  buildAuthorityTbs,
  buildLeafTbs,
  newSerial,
  parseOcspResponse,
  type OcspHash,
  type ReadOcspAnswer,
} from '../../src/certs/index.ts';
import { preparingAuthority, type Authority, type Intent } from '../../src/domain/index.ts';
import type { SignItem, SignOutcome } from '../../src/hsm/signing-port.ts';
import type { TokenAdmin } from '../../src/hsm/token-port.ts';
import { createRecordedIssuance, OcspPublisher, type OcspReply } from '../../src/issuance/index.ts';
import type { Ledger } from '../../src/ledger/index.ts';
import { ManualClock } from '../compliance/store/fixtures.ts';
import { ocspRequest } from './ocsp.ts';
import { openStore } from './open-store.ts';
import { passThroughPolicy } from './pass-through-policy.ts';
import { makeKey, signWith, type TestKey } from './x509.ts';

export const day = 86_400;
const trustDomain = TrustDomain.of('mesh.test');

/** A token in memory, which can be lost and come back. */
export class TestToken {
  readonly keys = new Map<string, TestKey>();
  lost = false;
  signatures = 0;

  sign(items: readonly SignItem[]): Promise<readonly SignOutcome[]> {
    return Promise.resolve(
      items.map(({ ckaId, bytes }) => {
        const key = this.keys.get(ckaId);
        if (this.lost || key === undefined) {
          const code = this.lost ? 'HSM_UNAVAILABLE' : 'HSM_KEY_NOT_FOUND';
          return { ok: false, kind: 'failed', code, message: 'away' };
        }
        this.signatures += 1;
        return { ok: true, signature: signWith(key, bytes) };
      }),
    );
  }

  state(): { readonly inFlight: number; readonly signatures: number } {
    return { inFlight: 0, signatures: this.signatures };
  }

  readonly admin: TokenAdmin = {
    generateKey: ({ ckaId, keyType }) => {
      if (this.lost) return Promise.reject(new PkiError('HSM_UNAVAILABLE', 'away'));
      const key = makeKey(keyType);
      this.keys.set(ckaId, key);
      return Promise.resolve({ spkiDer: key.spkiDer });
    },
    findKey: (ckaId) => {
      const key = this.keys.get(ckaId);
      return Promise.resolve(
        key && { ckaId, label: '', keyType: key.keyType, spkiDer: key.spkiDer },
      );
    },
    listKeys: () => Promise.resolve([]),
    sign: () => Promise.reject(new Error('not used')),
    generateMacKey: () => Promise.reject(new Error('not used')),
    findMacKey: () => Promise.reject(new Error('not used')),
    destroyKey: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

export interface OcspWorld extends AsyncDisposable {
  readonly clock: ManualClock;
  readonly token: TestToken;
  readonly store: Ledger;
  readonly publisher: OcspPublisher;
  readonly issuing: Authority;
  readonly issuer: ParsedCertificate;
  readonly state: { held: boolean; clockBelieved: boolean };
  /** Records a leaf with a certificate; its serial. */
  issue(over?: Partial<Intent>): Promise<string>;
  revoke(serial: string): Promise<void>;
  move(to: Authority['state']): Promise<void>;
  ask(serial: string, hash?: OcspHash): Promise<OcspReply>;
  /** The answer, whose signature was verified with the certificate that is in it. */
  answer(serial: string, hash?: OcspHash): Promise<ReadOcspAnswer & { signerDer: Buffer }>;
  /** Another publisher over the same database. */
  restart(): Promise<void>;
}

/** A publisher of OCSP answers over a database and a token in memory. */
// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
export async function ocspWorld(): Promise<OcspWorld> {
  const clock = new ManualClock();
  const logger = silentLogger;
  const store = await openStore({ path: ':memory:', clock, logger, pid: 1 });
  const token = new TestToken();
  const caKey = makeKey();
  const event = (kind: string, subject: string, detail = {}) => ({
    ...{ timeMs: clock.nowMs(), actor: 'server', kind, subject },
    detail: { authorityKind: 'names-issuing', ...detail },
  });
  const caTbs = buildAuthorityTbs({
    serial: newSerial(clock.nowMs(), systemRandom),
    profile: 'root',
    issuer: undefined,
    spkiDer: caKey.spkiDer,
    trustDomain,
    notBefore: clock.now() - day,
    notAfter: clock.now() + 300 * day,
  });
  const certificateDer = assembleSigned(caTbs, caKey.keyType, signWith(caKey, caTbs));
  const issuer = unwrap(parseCertificate(certificateDer));
  const ckaId = '0a'.repeat(16);
  token.keys.set(ckaId, caKey);
  const made = preparingAuthority({
    ...{ id: uuidv7(clock.nowMs()), kind: 'names-issuing', keyType: 'ec-p256' },
    ...{ token: 'issuing', ckaId, parentId: null, createdAt: clock.now() },
  });
  await store.authorities.create(made, event('authority.prepare', made.id));
  let issuing = await store.authorities.complete(
    { id: made.id, version: made.version },
    {
      ...{ spkiDer: caKey.spkiDer, certificateDer, subjectKeyId: issuer.subjectKeyId as string },
      ...{ notBefore: issuer.notBefore, notAfter: issuer.notAfter },
    },
    event('authority.prepared', made.id),
  );
  let all: readonly Authority[] = [];
  const listeners = new Set<() => void>();
  const changed = async (): Promise<void> => {
    all = await store.authorities.list();
    for (const listener of listeners) listener();
  };
  const move = async (to: Authority['state']): Promise<void> => {
    issuing = await store.authorities.transition(
      { id: issuing.id, version: issuing.version, now: clock.now() },
      to,
      event(`authority.${to}`, issuing.id),
    );
    await changed();
  };
  await move('published');
  await move('active');
  const recorded = createRecordedIssuance({
    ...{ store: store.issuance, quotas: store.quotas, blockedKeys: store.blockedKeys, clock },
  });
  const state = { held: false, clockBelieved: true };
  const build = (): OcspPublisher =>
    new OcspPublisher({
      recorded,
      issuancePolicy: passThroughPolicy,
      signers: token,
      trustDomain,
      clock,
      random: systemRandom,
      clockSkewSeconds: 300,
      signerLifeSeconds: 30 * day,
      lifeSeconds: 4 * day,
      authorities: {
        all: () => all,
        onChange: (listener) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
      },
      store,
      answers: store.ocsp,
      revocations: store.revocations,
      openToken: () => Promise.resolve(token.admin),
      changed,
      onRevision: (listener) => store.onRevision(listener),
      onIssued: (listener) => store.log.onIssued(listener),
      held: () => state.held,
      clockBelieved: () => state.clockBelieved,
      logger,
    });
  let publisher = build();
  const ask = (serial: string, hash?: OcspHash): Promise<OcspReply> =>
    publisher.reply(issuing.id, ocspRequest(issuer, serial, hash === undefined ? {} : { hash }));
  return {
    clock,
    token,
    store,
    issuer,
    state,
    move,
    ask,
    get publisher() {
      return publisher;
    },
    get issuing() {
      return issuing;
    },
    issue: (over = {}) => issue({ store, clock, issuing, issuer, caKey }, over),
    revoke: async (serial) => {
      const revokedAt = clock.now();
      await store.revocations.revoke(
        { serial, reason: 'keyCompromise', revokedAt, revokedBy: 'uid:0' },
        { ...event('certificate.revoked', serial), detail: {} },
      );
    },
    answer: async (serial, hash) => {
      const reply = await ask(serial, hash);
      if (reply.kind === 'error') throw new Error(reply.error);
      const read = unwrap(parseOcspResponse(reply.der));
      if (read.answer === undefined) throw new Error('no answer');
      const signerDer = read.certificatesDer[0] as Buffer;
      const signer = unwrap(parseCertificate(signerDer));
      const [ocspKey] = [...token.keys.values()].filter((key) =>
        key.spkiDer.equals(signer.spkiDer),
      );
      if (
        ocspKey === undefined ||
        !verify('sha256', read.tbsDer, ocspKey.publicKey, read.signature)
      )
        throw new Error('the signature is wrong');
      return { ...read.answer, signerDer };
    },
    restart: async () => {
      await publisher.close();
      publisher = build();
      await publisher.start();
    },
    [Symbol.asyncDispose]: async () => {
      await publisher.close();
      await store.close();
    },
  };
}

async function issue(
  {
    store,
    clock,
    issuing,
    issuer,
    caKey,
  }: {
    readonly store: Ledger;
    readonly clock: ManualClock;
    readonly issuing: Authority;
    readonly issuer: ParsedCertificate;
    readonly caKey: TestKey;
  },
  over: Partial<Intent>,
): Promise<string> {
  const serial = newSerial(clock.nowMs(), systemRandom);
  const leafKey = makeKey();
  const subject = { kind: 'names', dnsNames: ['www.example.com'], ips: [] } as const;
  const life = { notBefore: clock.now(), notAfter: over.notAfter ?? clock.now() + 30 * day };
  const tbsDer = buildLeafTbs({
    ...{ serial, issuer, spkiDer: leafKey.spkiDer, subject, profile: 'classic', ...life },
    crlUrl: 'http://ca.mesh.test/crl/1.crl',
  });
  const certificateDer = assembleSigned(tbsDer, caKey.keyType, signWith(caKey, tbsDer));
  const intent: Intent = {
    ...{ serial: serial.toString('hex'), spiffeId: 'dns:www.example.com', kind: 'endpoint' },
    ...{ profile: 'classic', entryId: null, delegationId: null, requester: 'uid:0' },
    ...{ holder: 'uid:0', publicKeySha256: sha256Hex(leafKey.spkiDer), requestId: uuidv7() },
    names: { dnsNames: subject.dnsNames, ips: subject.ips },
    ...{ authorityId: issuing.id, createdAtMs: clock.nowMs(), ...life, replaces: null, tbsDer },
    ...{ shard: 0, tenant: null },
    ...over,
  };
  await store.issuance.recordIntents([intent]);
  await store.issuance.finish([
    {
      kind: 'signed',
      serial: intent.serial,
      certificateDer,
      sha256: sha256Hex(certificateDer),
      rights: [{ kind: 'authority', id: issuing.id, states: ['active'] }],
      event: {
        timeMs: clock.nowMs(),
        actor: 'uid:0',
        kind: 'certificate.issued',
        subject: intent.spiffeId,
        detail: {
          serial: intent.serial,
          authority: issuing.id,
          holder: 'uid:0',
          certificateKind: intent.kind,
          profile: intent.profile,
          notAfter: intent.notAfter,
        },
      },
    },
  ]);
  return intent.serial;
}
