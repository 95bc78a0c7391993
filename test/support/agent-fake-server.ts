import {
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  verify,
  type KeyObject,
} from 'node:crypto';
import { createServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import {
  Server,
  ServerCredentials,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
} from '@grpc/grpc-js';
import { CompactSign, exportJWK } from 'jose';
import { parseCsr } from '../../src/certs/index.ts';
import { PkiError, unwrap, type ErrorCode } from '../../src/common/errors/index.ts';
import { attestationMessage, issuerContract, toStatus } from '../../src/common/wire/index.ts';
import type { AgentSvid } from '../../src/common/wire/generated/meshca/issuer/v1/AgentSvid.ts';
import type { AttestRequest__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AttestRequest.ts';
import type { AttestStart__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AttestStart.ts';
import type { AttestResponse } from '../../src/common/wire/generated/meshca/issuer/v1/AttestResponse.ts';
import type { RenewAgentRequest__Output } from '../../src/common/wire/generated/meshca/issuer/v1/RenewAgentRequest.ts';
import type { SignJwtSvidRequest__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SignJwtSvidRequest.ts';
import type { SignJwtSvidResponse } from '../../src/common/wire/generated/meshca/issuer/v1/SignJwtSvidResponse.ts';
import type { SignX509SvidsRequest__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsRequest.ts';
import type { SignX509SvidsResponse } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsResponse.ts';
import type { SyncDown } from '../../src/common/wire/generated/meshca/issuer/v1/SyncDown.ts';
import type { SyncEntry } from '../../src/common/wire/generated/meshca/issuer/v1/SyncEntry.ts';
import type { SyncUp__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SyncUp.ts';
import type { X509SvidItem__Output } from '../../src/common/wire/generated/meshca/issuer/v1/X509SvidItem.ts';
import {
  pemEncode,
  pkcs8Of,
  sha256Hex,
  splitDer,
  type ServerIssuers,
} from '../../src/common/x509/index.ts';
import {
  extensions,
  leafExtensions,
  makeAuthority,
  makeCertificate,
  makeKey,
  type TestCertificate,
  type TestKey,
} from './x509.ts';

export const trustDomainName = 'td';
export const agentId = 'spiffe://td/meshca/agent/node1';
/** Whom an agent believes before it holds a signed step. */
export const issuersByMark = (): ServerIssuers => ({ kind: 'mark' });
export const joinToken = 'join-token-of-node1';
const seconds = (): number => Math.floor(Date.now() / 1000);

export interface SyncSession {
  readonly call: ServerDuplexStream<SyncUp__Output, SyncDown>;
  readonly up: SyncUp__Output[];
}

/**
 * A CA of a few lines behind the real contract on real TLS 1.3 sockets with real certificates: the
 * peer of the agent in tests of the agent alone. Every behaviour that a test wants bent is a field.
 */
export class FakeServer {
  readonly root: TestCertificate;
  readonly intermediate: TestCertificate;
  /** Certificates between the intermediate and the root, which the server shows too. */
  readonly #aboveDer: readonly Buffer[];
  /** What its signed steps name as its issuing authorities. */
  issuersSha256: readonly string[];
  jwtKeys: { keyId: string; privateKey: KeyObject; publicKey: KeyObject }[] = [newJwtKey('jwt-1')];
  bundleSequence = 1;
  agentTtlSeconds = 3600;
  workloadTtlSeconds = 3600;
  serverId = `spiffe://${trustDomainName}/meshca/server`;
  /** Refuses these entry IDs, or any call, with a code. */
  refusals = new Map<string, ErrorCode>();
  attestRefusal: ErrorCode | undefined;
  syncRefusal: ErrorCode | undefined;
  signFailure: ErrorCode | undefined;
  /** The next JWT-SVID is refused, as to an older SVID of the agent, when this has resolved. */
  supersedes: (() => Promise<void>) | undefined;
  entries: SyncEntry[] = [];
  epoch = 'e1';
  revision = 1;
  pageSize = 1000;
  /** Drops this many attestation answers on the floor: issued, never told. */
  loseAnswers = 0;
  corruptChallenge = false;
  authorityId = 'intermediate-1';
  /** Returns a leaf for another identity or key. */
  tamper: 'identity' | 'key' | undefined;
  /** What it says of itself in its welcome. */
  capabilities: string[] = [];
  readonly sessions: SyncSession[] = [];
  readonly signCalls: X509SvidItem__Output[][] = [];
  readonly jwtCalls: SignJwtSvidRequest__Output[] = [];
  readonly renewals: string[] = [];
  readonly attestations: { method: string; requestId: string; spki: string }[] = [];
  clientSerials: (string | undefined)[] = [];
  resumed = 0;
  readonly #recorded = new Map<string, { chainDer: Buffer[]; serial: string; notAfter: number }>();
  #tls: TlsServer | undefined;
  #grpc: Server | undefined;
  readonly #sockets = new Set<TLSSocket>();
  #port = 0;
  #leafSha256 = Buffer.alloc(0);
  #tokenKey: string | undefined;

  constructor(
    options: {
      readonly root?: TestCertificate;
      readonly intermediate?: TestCertificate;
      readonly aboveDer?: readonly Buffer[];
    } = {},
  ) {
    this.#aboveDer = options.aboveDer ?? [];
    const validity = { notBefore: seconds() - 3600, notAfter: seconds() + 30 * 86_400 };
    this.root = options.root ?? makeAuthority('root', validity);
    this.intermediate =
      options.intermediate ?? makeAuthority('intermediate', { ...validity, issuer: this.root });
    this.issuersSha256 = [sha256Hex(this.intermediate.parsed.spkiDer)];
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get rootPem(): string {
    return pemEncode('CERTIFICATE', this.root.parsed.raw);
  }

  get rootFingerprint(): string {
    return sha256Hex(this.root.parsed.raw);
  }

  get session(): SyncSession {
    return this.sessions.at(-1) as SyncSession;
  }

  // oxlint-disable-next-line test-sizes/function-lines -- one fake server, handler by handler
  async start(
    port = 0,
    options: { readonly maxVersion?: 'TLSv1.2'; readonly sendRoot?: boolean } = {},
  ): Promise<void> {
    const grpc = new Server();
    const { AgentIssuer, NodeAttestation } = issuerContract().packages.meshca.issuer.v1;
    grpc.addService(NodeAttestation.service, {
      Attest: (call: ServerDuplexStream<AttestRequest__Output, AttestResponse>) =>
        this.#attest(call),
    });
    grpc.addService(AgentIssuer.service, {
      RenewAgent: (
        call: ServerUnaryCall<RenewAgentRequest__Output, AgentSvid>,
        done: sendUnaryData<AgentSvid>,
      ) => {
        this.renewals.push(call.request.requestId);
        this.#agentSvid(call.request.csrDer).then(
          (svid) => done(null, svid),
          (thrown: unknown) => done(toStatus(thrown)),
        );
      },
      SignX509Svids: (
        call: ServerUnaryCall<SignX509SvidsRequest__Output, SignX509SvidsResponse>,
        done: sendUnaryData<SignX509SvidsResponse>,
      ) => {
        this.signCalls.push(call.request.items);
        if (this.signFailure !== undefined) done(toStatus(new PkiError(this.signFailure, 'bent')));
        else done(null, { results: call.request.items.map((item) => this.#sign(item)) });
      },
      SignJwtSvid: (
        call: ServerUnaryCall<SignJwtSvidRequest__Output, SignJwtSvidResponse>,
        done: sendUnaryData<SignJwtSvidResponse>,
      ) => {
        this.jwtCalls.push(call.request);
        const superseded = this.supersedes?.();
        this.supersedes = undefined;
        if (superseded !== undefined) {
          const refusal = new PkiError('AGENT_SUPERSEDED', 'a newer SVID of the agent is in use');
          void superseded.then(() => done(toStatus(refusal)));
          return;
        }
        if (this.signFailure !== undefined) {
          done(toStatus(new PkiError(this.signFailure, 'bent')));
          return;
        }
        const entry = this.entries.find(({ id }) => id === call.request.entryId);
        done(null, {
          token: `token-${this.jwtCalls.length}`,
          spiffeId: entry?.spiffeId ?? '',
          issuedAt: seconds(),
          expiresAt: seconds() + 300,
          serverTime: seconds(),
        });
      },
      Sync: (call: ServerDuplexStream<SyncUp__Output, SyncDown>) => this.#sync(call),
    });
    const leafKey = makeKey();
    const leaf = this.#issue(leafKey, this.serverId, 3600);
    this.#leafSha256 = Buffer.from(sha256Hex(leaf.chainDer[0] as Buffer), 'hex');
    const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
    const chain = [
      ...leaf.chainDer,
      ...this.#aboveDer,
      ...(options.sendRoot === false ? [] : [this.root.parsed.raw]),
    ];
    this.#tls = createServer(
      {
        key: pemEncode('PRIVATE KEY', pkcs8Of(leafKey.privateKey)),
        cert: chain.map((der) => pemEncode('CERTIFICATE', der)).join(''),
        ALPNProtocols: ['h2'],
        requestCert: true,
        rejectUnauthorized: false,
        ...(options.maxVersion === undefined
          ? { minVersion: 'TLSv1.3' }
          : { maxVersion: options.maxVersion }),
      },
      (socket) => {
        this.#sockets.add(socket);
        socket.on('close', () => this.#sockets.delete(socket));
        socket.on('error', () => {});
        if (socket.isSessionReused()) this.resumed += 1;
        const peer = socket.getPeerX509Certificate();
        this.clientSerials.push(peer?.serialNumber.toLowerCase().replace(/^0+/, ''));
        injector.injectConnection(socket);
      },
    );
    this.#tls.on('tlsClientError', () => {});
    this.#grpc = grpc;
    await new Promise<void>((resolve) => {
      this.#tls?.listen(port, '127.0.0.1', resolve);
    });
    this.#port = (this.#tls.address() as AddressInfo).port;
  }

  /** As if the process had died. The port stays known for the next start. */
  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => {
      if (this.#tls === undefined) resolve();
      else this.#tls.close(() => resolve());
    });
    this.#grpc?.forceShutdown();
    this.#tls = undefined;
  }

  async restart(): Promise<void> {
    await this.start(this.#port);
  }

  /** A change of entries, to every open stream. */
  change(upserts: readonly SyncEntry[], removedIds: readonly string[] = []): void {
    this.revision += 1;
    const gone = new Set([...removedIds, ...upserts.map(({ id }) => id)]);
    this.entries = [...this.entries.filter(({ id }) => !gone.has(id)), ...upserts];
    this.session.call.write({
      entries: {
        snapshotBegin: false,
        snapshotEnd: false,
        upserts: [...upserts],
        removedIds: [...removedIds],
        position: { epoch: this.epoch, revision: this.revision },
      },
    });
  }

  async bundleJson(
    sequence = this.bundleSequence,
    extraRoots: readonly TestCertificate[] = [],
  ): Promise<string> {
    const keys = [
      ...[this.root, ...extraRoots].map((root) => ({
        use: 'x509-svid',
        kty: 'EC',
        x5c: [root.parsed.raw.toString('base64')],
      })),
      ...(await Promise.all(
        this.jwtKeys.map(async ({ keyId, publicKey }) => ({
          ...(await exportJWK(publicKey)),
          use: 'jwt-svid',
          kid: keyId,
        })),
      )),
    ];
    return JSON.stringify({
      keys,
      spiffe_sequence: sequence,
      meshca_issuers: this.issuersSha256,
    });
  }

  /** One step: payload under the key of the bundle before. */
  async bundleStep(
    sequence: number,
    signer = this.jwtKeys[0],
    extraRoots: readonly TestCertificate[] = [],
    typ = 'meshca-bundle+jws',
  ): Promise<{ sequence: number; jws: string }> {
    const { keyId, privateKey } = signer as (typeof this.jwtKeys)[number];
    const jws = await new CompactSign(Buffer.from(await this.bundleJson(sequence, extraRoots)))
      .setProtectedHeader({ alg: 'ES256', typ, kid: keyId })
      .sign(privateKey);
    return { sequence, jws };
  }

  #issue(
    key: Pick<TestKey, 'keyType' | 'spkiDer'>,
    id: string,
    ttlSeconds: number,
  ): { chainDer: Buffer[]; serial: string; notAfter: number } {
    const serial = randomBytes(16);
    serial[0] = 0x40 | ((serial[0] as number) & 0x3f);
    const notAfter = seconds() + ttlSeconds;
    const { subjectKeyId } = this.intermediate.parsed;
    const leaf = makeCertificate({
      key: key as TestKey,
      issuer: this.intermediate,
      notBefore: seconds() - 30,
      notAfter,
      serial,
      extensions: leafExtensions(this.intermediate, {
        san: extensions.san([id]),
        ...(subjectKeyId === undefined
          ? {}
          : { authorityKeyId: extensions.authorityKeyId(Buffer.from(subjectKeyId, 'hex')) }),
      }),
    });
    return {
      chainDer: [leaf.parsed.raw, this.intermediate.parsed.raw],
      serial: leaf.parsed.serialHex,
      notAfter,
    };
  }

  async #agentSvid(csrDer: Buffer): Promise<AgentSvid> {
    const { spkiDer, keyType } = unwrap(parseCsr(csrDer));
    const recordedKey = `agent ${spkiDer.toString('hex')}`;
    const issued =
      this.#recorded.get(recordedKey) ??
      this.#issue({ keyType, spkiDer }, agentId, this.agentTtlSeconds);
    this.#recorded.set(recordedKey, issued);
    return {
      spiffeId: agentId,
      serial: issued.serial,
      chainDer: issued.chainDer,
      notBefore: seconds() - 30,
      notAfter: issued.notAfter,
      lifetimeSeconds: this.agentTtlSeconds,
      serverTime: seconds(),
      bundle: await this.bundleStep(this.bundleSequence),
    };
  }

  #attest(call: ServerDuplexStream<AttestRequest__Output, AttestResponse>): void {
    let start: NonNullable<AttestRequest__Output['start']> | undefined;
    const nonce = randomBytes(32);
    const refuse = (code: ErrorCode): void => {
      call.emit('error', toStatus(new PkiError(code, 'bent')));
    };
    const grant = (): void => {
      const csrDer = start?.csrDer as Buffer;
      void this.#agentSvid(csrDer).then((svid) => {
        if (this.loseAnswers > 0) {
          this.loseAnswers -= 1;
          for (const socket of this.#sockets) socket.destroy();
          return;
        }
        call.write({ svid });
        call.end();
      });
    };
    call.on('error', () => {});
    call.on('data', (message: AttestRequest__Output) => {
      if (message.start) {
        start = message.start;
        const spki = unwrap(parseCsr(start.csrDer)).spkiDer.toString('hex');
        this.attestations.push({
          method: start.node?.type ?? start.evidence ?? '',
          requestId: start.requestId,
          spki,
        });
        if (this.attestRefusal !== undefined) refuse(this.attestRefusal);
        else if (start.node?.type === 'join_token') {
          this.#tokenKey ??= spki;
          if (start.node.payload.toString() === joinToken && this.#tokenKey === spki) grant();
          else refuse('JOIN_TOKEN_INVALID');
        } else
          call.write({
            challenge: {
              nonce,
              trustDomain: trustDomainName,
              serverCertificateSha256: this.corruptChallenge ? randomBytes(32) : this.#leafSha256,
            },
          });
        return;
      }
      const newSpkiDer = unwrap(parseCsr(start?.csrDer as Buffer)).spkiDer;
      const signed = attestationMessage({
        nonce,
        trustDomainName,
        serverCertificateSha256: this.#leafSha256,
        newSpkiDer,
      });
      const proving = provingKeyOf(start) ?? this.lastAgentKey;
      if (
        proving !== undefined &&
        verify('sha256', signed, proving, message.answer?.payload as Buffer)
      )
        grant();
      else refuse('ATTESTATION_FAILED');
    });
  }

  /** What an expired SVID is proven with; set by the test. */
  lastAgentKey: KeyObject | undefined;

  #sign(item: X509SvidItem__Output): NonNullable<SignX509SvidsResponse['results']>[number] {
    const refusal = this.refusals.get(item.entryId);
    if (refusal !== undefined)
      return {
        requestId: item.requestId,
        refusal: { code: refusal, message: 'bent', next: '', refusalId: 'r1' },
      };
    const entry = this.entries.find(({ id }) => id === item.entryId);
    if (entry === undefined)
      return {
        requestId: item.requestId,
        refusal: { code: 'ENTRY_NOT_AUTHORIZED', message: 'no entry', next: '', refusalId: 'r2' },
      };
    const { spkiDer, keyType } = unwrap(parseCsr(item.csrDer));
    const key = this.tamper === 'key' ? makeKey() : { spkiDer, keyType };
    const id =
      this.tamper === 'identity'
        ? 'spiffe://td/somebody/else'
        : (entry.spiffeId as string).replace(
            '{unix.user}',
            item.selectors.find(({ value }) => value.startsWith('user:'))?.value.slice(5) ?? '',
          );
    const recordedKey = `${item.requestId} ${spkiDer.toString('hex')}`;
    const issued = this.#recorded.get(recordedKey) ?? this.#issue(key, id, this.workloadTtlSeconds);
    this.#recorded.set(recordedKey, issued);
    return {
      requestId: item.requestId,
      svid: {
        spiffeId: id,
        serial: issued.serial,
        chainDer: issued.chainDer,
        notBefore: seconds() - 30,
        notAfter: issued.notAfter,
        lifetimeSeconds: this.workloadTtlSeconds,
        serverTime: seconds(),
        authorityId: this.authorityId,
      },
    };
  }

  #sync(call: ServerDuplexStream<SyncUp__Output, SyncDown>): void {
    if (this.syncRefusal !== undefined) {
      call.emit('error', toStatus(new PkiError(this.syncRefusal, 'bent')));
      return;
    }
    const session: SyncSession = { call, up: [] };
    this.sessions.push(session);
    call.on('error', () => {});
    call.on('end', () => call.end());
    call.on('data', (message: SyncUp__Output) => {
      session.up.push(message);
      if (!message.hello) return;
      call.write({
        welcome: {
          protocolVersion: 1,
          serverVersion: 'fake',
          capabilities: this.capabilities,
          epoch: this.epoch,
          serverTime: seconds(),
        },
      });
      const { position } = message.hello;
      if (position?.epoch === this.epoch && position.revision === this.revision) {
        call.write({
          entries: {
            snapshotBegin: false,
            snapshotEnd: false,
            upserts: [],
            removedIds: [],
            position,
          },
        });
        return;
      }
      const pages = Math.max(1, Math.ceil(this.entries.length / this.pageSize));
      for (let page = 0; page < pages; page += 1) {
        const last = page === pages - 1;
        call.write({
          entries: {
            snapshotBegin: page === 0,
            snapshotEnd: last,
            removedIds: [],
            upserts: this.entries.slice(page * this.pageSize, (page + 1) * this.pageSize),
            ...(last ? { position: { epoch: this.epoch, revision: this.revision } } : {}),
          },
        });
      }
    });
  }
}

export const newJwtKey = (
  keyId: string,
): { keyId: string; privateKey: KeyObject; publicKey: KeyObject } => ({
  keyId,
  ...generateKeyPairSync('ec', { namedCurve: 'P-256' }),
});

export const wireEntry = (
  id: string,
  selectors: readonly string[],
  more: Partial<SyncEntry> = {},
): SyncEntry => ({
  id,
  revision: 1,
  spiffeId: `spiffe://td/${id}`,
  createdAt: 1,
  selectors: selectors.map((text) => ({
    type: text.slice(0, text.indexOf(':')),
    value: text.slice(text.indexOf(':') + 1),
  })),
  ...more,
});

const cleanups = new WeakMap<TestContext, (() => unknown)[]>();

/** Cleans up after the test, the last first: sockets close before the folders under them go. */
export function defer(context: TestContext, cleanup: () => unknown): void {
  const known = cleanups.get(context);
  if (known !== undefined) {
    known.push(cleanup);
    return;
  }
  const list = [cleanup];
  cleanups.set(context, list);
  context.after(async () => {
    for (const each of list.reverse()) await each();
  });
}

/** The key of the node's certificate, if that is what the node shows. */
function provingKeyOf(start: AttestStart__Output | undefined): KeyObject | undefined {
  if (start?.node?.type !== 'x509pop') return undefined;
  const [leafDer] = unwrap(splitDer(start.node.payload));
  return createPublicKey(pemEncode('CERTIFICATE', leafDer as Buffer));
}
