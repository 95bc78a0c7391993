import { createPrivateKey } from 'node:crypto';
import { join } from 'node:path';
import { PkiError } from '../../src/common/errors/index.ts';
import { SpiffeId, type TrustDomain } from '../../src/common/spiffe/index.ts';
import { parseCertificate, spkiOf } from '../../src/common/x509/index.ts';
import { parseBundleDocument, type BundleDocument } from '../bundle/index.ts';
import { privateDirectory, readPrivateFile, removeFile, replaceFile } from './files.ts';
import type { StateWrites } from './writes.ts';

/** The agent's own SVID with its key; in one file, so that they never mismatch. */
export interface AgentCredential {
  readonly spiffeId: SpiffeId;
  readonly serial: string;
  readonly privateKeyPkcs8Der: Buffer;
  readonly chainDer: readonly Buffer[];
  readonly notBefore: number;
  readonly notAfter: number;
  readonly lifetimeSeconds: number;
  /**
   * Which evidence that is good for one key this identity came from: it is not shown a second time.
   * Empty: none.
   */
  readonly usedEvidence: string;
  /**
   * It descends from an attestation that this agent made by itself after another had superseded it:
   * it makes no second one, also after a restart.
   */
  readonly attestedAnew: boolean;
}

/**
 * A request that was or is about to be sent: the same ID and key go out again when its answer got
 * lost.
 */
export interface PendingRequest {
  readonly purpose: string;
  readonly requestId: string;
  readonly privateKeyPkcs8Der: Buffer;
}

const files = {
  credential: 'agent-svid.json',
  pending: 'pending-request.json',
  bundle: 'bundle.json',
} as const;

/**
 * The state directory of one agent (0700, files 0600). Owner: the agent process; one agent per
 * directory. Each file is replaced whole. A `save…` returns whether the file is durable; what is not
 * stays owed to the directory and is known in memory. Reading throws STATE_CORRUPT with the file's
 * name.
 */
export class AgentState {
  readonly directory: string;
  readonly #trustDomain: TrustDomain;
  readonly #writes: StateWrites;
  /** What is asked for now; differs from the file while that can not be written. */
  #pending: PendingRequest | undefined | 'as on disk' = 'as on disk';
  #keptSerial: string | undefined;
  /** The newest SVID; its file is written again with each newer bundle. */
  #credential: AgentCredential | undefined;
  /** The newest bundle document; a copy of it stands beside the SVID. */
  #bundleJson = '';

  private constructor(directory: string, trustDomain: TrustDomain, writes: StateWrites) {
    this.directory = directory;
    this.#trustDomain = trustDomain;
    this.#writes = writes;
  }

  static async open(
    directory: string,
    trustDomain: TrustDomain,
    writes: StateWrites,
  ): Promise<AgentState> {
    await privateDirectory(directory);
    return new AgentState(directory, trustDomain, writes);
  }

  get #credentialPath(): string {
    return join(this.directory, files.credential);
  }

  get #pendingPath(): string {
    return join(this.directory, files.pending);
  }

  get #bundlePath(): string {
    return join(this.directory, files.bundle);
  }

  /** Of the agent certificate that a restart would begin with; undefined: none is kept. */
  get keptSerial(): string | undefined {
    return this.#keptSerial;
  }

  /** A restart would begin with the bundle that is held. */
  bundleKept(): boolean {
    return this.#writes.kept(files.bundle);
  }

  async credential(): Promise<AgentCredential | undefined> {
    const credential = await this.#readCredential();
    this.#keptSerial = credential?.serial;
    this.#credential = credential;
    if (credential === undefined) return undefined;
    this.#writes.remember(files.credential, () => this.#writeCredential(credential));
    // a crash between two files, or an earlier release, left an older bundle beside the SVID
    if (this.#bundleJson !== '' && (await this.#copiedBundle()) !== this.#bundleJson)
      await this.saveCredential(credential);
    return credential;
  }

  async #readCredential(): Promise<AgentCredential | undefined> {
    return this.#read(this.#credentialPath, (record) => {
      const spiffeId = SpiffeId.of(text(record, 'spiffeId'));
      if (!spiffeId.trustDomain.equals(this.#trustDomain))
        throw new PkiError(
          'TRUST_DOMAIN_CHANGED',
          `${this.#credentialPath} belongs to the trust domain ` +
            `${spiffeId.trustDomain.name}, the configuration names ${this.#trustDomain.name}`,
          { next: 'Set the trust domain back, or give this agent a new state directory.' },
        );
      const chain = record['chain'];
      if (!Array.isArray(chain) || chain.length === 0) throw new Error('it has no chain');
      const credential: AgentCredential = {
        spiffeId,
        serial: text(record, 'serial'),
        privateKeyPkcs8Der: bytes(record, 'privateKey'),
        chainDer: chain.map((each) => Buffer.from(String(each), 'base64')),
        notBefore: number(record, 'notBefore'),
        notAfter: number(record, 'notAfter'),
        lifetimeSeconds: number(record, 'lifetimeSeconds'),
        usedEvidence: text(record, 'usedEvidence'),
        attestedAnew: record['attestedAnew'] === true,
      };
      const leaf = parseCertificate(credential.chainDer[0] as Buffer);
      if (!leaf.ok) throw leaf.error;
      const key = createPrivateKey({
        key: credential.privateKeyPkcs8Der,
        format: 'der',
        type: 'pkcs8',
      });
      if (!spkiOf(key).equals(leaf.value.spkiDer))
        throw new Error('key and certificate do not belong together');
      return credential;
    });
  }

  saveCredential(credential: AgentCredential): Promise<boolean> {
    this.#credential = credential;
    return this.#writes.put(files.credential, () => this.#writeCredential(credential));
  }

  async #writeCredential(credential: AgentCredential): Promise<void> {
    await this.#assertOurs(credential);
    await replaceFile(
      this.#credentialPath,
      `${JSON.stringify(
        {
          version: 1,
          spiffeId: credential.spiffeId.toString(),
          serial: credential.serial,
          privateKey: credential.privateKeyPkcs8Der.toString('base64'),
          chain: credential.chainDer.map((der) => der.toString('base64')),
          notBefore: credential.notBefore,
          notAfter: credential.notAfter,
          lifetimeSeconds: credential.lifetimeSeconds,
          usedEvidence: credential.usedEvidence,
          ...(credential.attestedAnew ? { attestedAnew: true } : {}),
          bundle: this.#bundleJson,
        },
        undefined,
        1,
      )}\n`,
    );
    this.#keptSerial = credential.serial;
  }

  /** A directory that was put in the place of ours may be the state of another agent. */
  async #assertOurs({ spiffeId }: AgentCredential): Promise<void> {
    const text = await readPrivateFile(this.#credentialPath).catch(() => undefined);
    const standing = /"spiffeId":\s*"([^"]*)"/.exec(text ?? '')?.[1];
    if (standing === undefined || standing === spiffeId.toString()) return;
    throw new PkiError(
      'STATE_UNUSABLE',
      `${this.#credentialPath} is of ${standing}, this agent is ${spiffeId.toString()}`,
      { next: 'Give each agent a directory of its own; put the one of this agent back.' },
    );
  }

  async pending(): Promise<PendingRequest | undefined> {
    if (this.#pending !== 'as on disk') return this.#pending;
    return this.#read(this.#pendingPath, (record) => {
      const request = {
        purpose: text(record, 'purpose'),
        requestId: text(record, 'requestId'),
        privateKeyPkcs8Der: bytes(record, 'privateKey'),
      };
      createPrivateKey({ key: request.privateKeyPkcs8Der, format: 'der', type: 'pkcs8' });
      return request;
    });
  }

  async savePending(request: PendingRequest): Promise<boolean> {
    this.#pending = request;
    return this.#putPending(() =>
      replaceFile(
        this.#pendingPath,
        `${JSON.stringify({ version: 1, purpose: request.purpose, requestId: request.requestId, privateKey: request.privateKeyPkcs8Der.toString('base64') })}\n`,
      ),
    );
  }

  async clearPending(): Promise<boolean> {
    this.#pending = undefined;
    return this.#putPending(() => removeFile(this.#pendingPath));
  }

  /**
   * Only once the credential is kept: a restart with the older one asks again with the request that
   * stands there, and is given the same answer.
   */
  #putPending(write: () => Promise<void>): Promise<boolean> {
    return this.#writes.put(files.pending, write, files.credential);
  }

  async bundle(): Promise<BundleDocument | undefined> {
    const found = await readPrivateFile(this.#bundlePath);
    if (found === undefined) return undefined;
    const document = parseBundleDocument(found);
    if (!document.ok)
      throw new PkiError('STATE_CORRUPT', `${this.#bundlePath}: ${document.error.message}`, {
        cause: document.error,
      });
    this.#writes.remember(files.bundle, () => replaceFile(this.#bundlePath, found));
    this.#bundleJson = found;
    return document.value;
  }

  /** The bundle beside the SVID. Undefined: there is none. */
  async bundleCopy(): Promise<
    { readonly json: string; readonly document: BundleDocument } | undefined
  > {
    const json = await this.#copiedBundle();
    if (json === '') return undefined;
    const document = parseBundleDocument(json);
    return document.ok ? { json, document: document.value } : undefined;
  }

  async #copiedBundle(): Promise<string> {
    const json = await this.#read(this.#credentialPath, (record) => record['bundle']);
    return typeof json === 'string' ? json : '';
  }

  /**
   * Also writes the copy beside the SVID: an older copy would bring a root or an issuer back that
   * has left the bundle. Returns whether a restart would begin with this bundle.
   */
  async saveBundle(documentJson: string): Promise<boolean> {
    this.#bundleJson = documentJson;
    const kept = await this.#writes.put(files.bundle, () =>
      replaceFile(this.#bundlePath, documentJson),
    );
    if (this.#credential !== undefined) await this.saveCredential(this.#credential);
    return kept;
  }

  async #read<T>(
    path: string,
    parse: (record: Record<string, unknown>) => T,
  ): Promise<T | undefined> {
    const found = await readPrivateFile(path);
    if (found === undefined) return undefined;
    try {
      const record: unknown = JSON.parse(found);
      if (
        typeof record !== 'object' ||
        record === null ||
        (record as Record<string, unknown>)['version'] !== 1
      )
        throw new Error('it has no known version');
      return parse(record as Record<string, unknown>);
    } catch (thrown) {
      if (thrown instanceof PkiError && thrown.code === 'TRUST_DOMAIN_CHANGED') throw thrown;
      // a JSON error quotes the text around it, which may be a key: its message stays out
      const why = thrown instanceof SyntaxError ? 'it is not JSON' : (thrown as Error).message;
      throw new PkiError('STATE_CORRUPT', `${path} is damaged: ${why}`);
    }
  }
}

function text(record: Record<string, unknown>, key: string): string {
  const value = record[key];
  if (typeof value !== 'string') throw new Error(`${key} is missing`);
  return value;
}

function number(record: Record<string, unknown>, key: string): number {
  const value = record[key];
  if (typeof value !== 'number' || !Number.isSafeInteger(value))
    throw new Error(`${key} is missing`);
  return value;
}

const bytes = (record: Record<string, unknown>, key: string): Buffer =>
  Buffer.from(text(record, key), 'base64');
