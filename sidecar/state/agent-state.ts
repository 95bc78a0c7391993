import { createPrivateKey } from 'node:crypto';
import { join } from 'node:path';
import { PkiError } from '../../src/common/errors/index.ts';
import { SpiffeId, type TrustDomain } from '../../src/common/spiffe/index.ts';
import { parseCertificate, spkiOf } from '../../src/common/x509/index.ts';
import { parseBundleDocument, type BundleDocument } from '../bundle/index.ts';
import { privateDirectory, readPrivateFile, removeFile, replaceFile } from './files.ts';

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

/**
 * The state directory of one agent (0700, files 0600). Owner: the agent process; one agent per
 * directory. Each file is replaced whole and durable before the call returns. Reading throws
 * STATE_CORRUPT with the file's name.
 */
export class AgentState {
  readonly directory: string;
  readonly #trustDomain: TrustDomain;

  private constructor(directory: string, trustDomain: TrustDomain) {
    this.directory = directory;
    this.#trustDomain = trustDomain;
  }

  static async open(directory: string, trustDomain: TrustDomain): Promise<AgentState> {
    await privateDirectory(directory);
    return new AgentState(directory, trustDomain);
  }

  get #credentialPath(): string {
    return join(this.directory, 'agent-svid.json');
  }

  get #pendingPath(): string {
    return join(this.directory, 'pending-request.json');
  }

  get #bundlePath(): string {
    return join(this.directory, 'bundle.json');
  }

  async credential(): Promise<AgentCredential | undefined> {
    return this.#read(this.#credentialPath, (record) => {
      const spiffeId = SpiffeId.of(text(record, 'spiffeId'));
      if (!spiffeId.trustDomain.equals(this.#trustDomain))
        throw new PkiError(
          'TRUST_DOMAIN_CHANGED',
          `${this.#credentialPath} belongs to the trust domain ${spiffeId.trustDomain.name}, the configuration names ${this.#trustDomain.name}`,
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

  async saveCredential(credential: AgentCredential): Promise<void> {
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
        },
        undefined,
        1,
      )}\n`,
    );
  }

  async pending(): Promise<PendingRequest | undefined> {
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

  async savePending(request: PendingRequest): Promise<void> {
    await replaceFile(
      this.#pendingPath,
      `${JSON.stringify({ version: 1, purpose: request.purpose, requestId: request.requestId, privateKey: request.privateKeyPkcs8Der.toString('base64') })}\n`,
    );
  }

  async clearPending(): Promise<void> {
    await removeFile(this.#pendingPath);
  }

  async bundle(): Promise<BundleDocument | undefined> {
    const found = await readPrivateFile(this.#bundlePath);
    if (found === undefined) return undefined;
    const document = parseBundleDocument(found);
    if (!document.ok)
      throw new PkiError('STATE_CORRUPT', `${this.#bundlePath}: ${document.error.message}`, {
        cause: document.error,
      });
    return document.value;
  }

  async saveBundle(documentJson: string): Promise<void> {
    await replaceFile(this.#bundlePath, documentJson);
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
