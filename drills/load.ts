import { createPublicKey } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@grpc/grpc-js';
import { uuidv7 } from '../src/common/runtime/index.ts';
import {
  createCsr,
  generateKeyPairAsync,
  spkiOf,
  verifyX509Svid,
} from '../src/common/x509/index.ts';
import type { Credential } from '../test/support/server.ts';
import { nextTurn } from '../test/support/until.ts';
import { codeOf, unary, type Calls } from './calls.ts';
import type { Breaches } from './drill.ts';
import { trustDomain } from './world.ts';

/** A certificate that a caller holds: what this drill knows outside of the server. */
export interface Received {
  readonly serial: string;
  readonly der: Buffer;
  readonly spiffeId: string;
  readonly requestId: string;
  readonly caller: string;
  readonly sentAtMs: number;
  readonly receivedAtMs: number;
}

/** What one answer holds for one of its items. */
type ItemAnswer = { readonly chainDer: readonly Buffer[] } | { readonly refused: string };

interface CallerKind {
  readonly name: string;
  readonly spiffeId: string;
  readonly batch: number;
  readonly send: (
    items: readonly { readonly requestId: string; readonly csrDer: Buffer }[],
  ) => Promise<readonly ItemAnswer[]>;
}

/**
 * Codes with which a CA that is dying, restarting or without its token may answer. Everything else
 * is a wrong answer.
 */
export const availabilityCodes: ReadonlySet<string> = new Set([
  'UNREACHABLE',
  'HSM_UNAVAILABLE',
  'SHUTTING_DOWN',
  'STARTING_UP',
  'OVERLOADED',
  'CANCELLED',
]);

/**
 * Several callers on all three ways to a signature. An answer that did not come is asked for again
 * with the same request ID.
 */
export class Load {
  readonly received = new Map<string, Received>();
  readonly refused = new Map<string, number>();
  /** When the latest request was sent that a certificate was received for, monotonic ms. */
  lastServedSentMs = 0;
  lastReceivedMs = 0;
  readonly #calls: Calls;
  readonly #breaches: Breaches;
  readonly #allowed: ReadonlySet<string>;
  readonly #pauseMs: number;
  readonly #kinds: CallerKind[] = [];
  #keys: readonly { readonly csrDer: Buffer; readonly spkiDer: Buffer }[] = [];
  #running = false;
  #loops: Promise<void>[] = [];
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(options: {
    readonly calls: Calls;
    readonly breaches: Breaches;
    readonly allowed?: ReadonlySet<string>;
    readonly pauseMs?: number;
  }) {
    this.#calls = options.calls;
    this.#breaches = options.breaches;
    this.#allowed = options.allowed ?? availabilityCodes;
    this.#pauseMs = options.pauseMs ?? 4;
  }

  async prepare(): Promise<void> {
    this.#keys = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const { privateKey } = await generateKeyPairAsync('ec-p256');
        return { csrDer: createCsr(privateKey), spkiDer: spkiOf(createPublicKey(privateKey)) };
      }),
    );
  }

  /** Mints over the local socket. */
  addMinter(name: string): void {
    const client = this.#calls.local();
    const spiffeId = `spiffe://${trustDomain}/minted/${name}`;
    this.#kinds.push({
      name,
      spiffeId,
      batch: 1,
      send: async ([item]) => [
        {
          chainDer: (
            await unary(client, '/meshca.admin.v1.Certificates/MintX509Svid', { spiffeId, ...item })
          )['chainDer'],
        },
      ],
    });
  }

  /** Signs for an entry, as an agent. */
  addAgent(
    name: string,
    credential: Credential,
    entry: { readonly id: string; readonly spiffeId: string },
    batch: number,
  ): Client {
    const client = this.#calls.client(credential);
    this.#kinds.push({
      name,
      spiffeId: entry.spiffeId,
      batch,
      send: (items) => signForEntry(client, entry.id, items),
    });
    return client;
  }

  /** Signs inside a delegation. */
  addDelegate(name: string, credential: Credential, spiffeId: string): void {
    const client = this.#calls.client(credential);
    this.#kinds.push({
      name,
      spiffeId,
      batch: 1,
      send: async ([item]) => [
        {
          chainDer: (
            await unary(client, '/meshca.signing.v1.Signing/Sign', {
              spiffeId,
              ttlSeconds: 600,
              ...item,
            })
          )['chainDer'],
        },
      ],
    });
  }

  start(): void {
    this.#running = true;
    this.#loops = this.#kinds.map((kind) => this.#run(kind));
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  /** Resolves when every request that is under way now has been answered, and its answer taken. */
  async answered(): Promise<void> {
    await Promise.allSettled([...this.#underWay]);
    await nextTurn();
  }

  async #run(kind: CallerKind): Promise<void> {
    let again: readonly string[] | undefined;
    while (this.#running) {
      const ids = again ?? Array.from({ length: kind.batch }, () => uuidv7());
      again = undefined;
      // the key belongs to the request: a repeated one has the same
      const keys = ids.map(
        (id) =>
          this.#keys[Number.parseInt(id.slice(-2), 16) % this.#keys.length] as {
            csrDer: Buffer;
            spkiDer: Buffer;
          },
      );
      const sentAtMs = performance.now();
      try {
        const answers = await this.#sent(
          kind.send(
            ids.map((requestId, at) => ({
              requestId,
              csrDer: (keys[at] as { csrDer: Buffer }).csrDer,
            })),
          ),
        );
        const receivedAtMs = performance.now();
        this.#breaches.expect(
          answers.length === ids.length,
          `${kind.name}: ${answers.length} results for ${ids.length} items`,
        );
        for (const [at, answer] of answers.entries()) {
          if ('refused' in answer) this.#refusal(answer.refused);
          else
            this.#take(kind, {
              requestId: ids[at] as string,
              spkiDer: (keys[at] as { spkiDer: Buffer }).spkiDer,
              chainDer: answer.chainDer,
              sentAtMs,
              receivedAtMs,
            });
        }
        await sleep(this.#pauseMs);
      } catch (thrown) {
        this.#refusal(codeOf(thrown));
        again = ids;
        await sleep(40);
      }
    }
  }

  async #sent<T>(sending: Promise<T>): Promise<T> {
    this.#underWay.add(sending);
    try {
      return await sending;
    } finally {
      this.#underWay.delete(sending);
    }
  }

  #refusal(code: string): void {
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1);
    this.#breaches.expect(this.#allowed.has(code), `a caller was answered ${code}`);
  }

  #take(
    kind: CallerKind,
    {
      requestId,
      spkiDer,
      chainDer,
      sentAtMs,
      receivedAtMs,
    }: {
      readonly requestId: string;
      readonly spkiDer: Buffer;
      readonly chainDer: readonly Buffer[];
      readonly sentAtMs: number;
      readonly receivedAtMs: number;
    },
  ): void {
    const { rootsDer } = this.#calls;
    const verified = verifyX509Svid({
      chainDer,
      bundle: (name) => (name === trustDomain ? rootsDer : undefined),
      now: Math.floor(Date.now() / 1000),
    });
    if (!verified.ok) {
      this.#breaches.add(
        `a caller received a certificate that does not verify: ${verified.error.code} ${verified.error.message}`,
      );
      return;
    }
    const { leaf, id } = verified.value;
    this.#breaches.expect(
      id.toString() === kind.spiffeId,
      `${kind.name} received a certificate for ${id.toString()}`,
    );
    this.#breaches.expect(
      leaf.spkiDer.equals(spkiDer),
      `${kind.name} received a certificate for another key`,
    );
    const before = this.received.get(leaf.serialHex);
    this.#breaches.expect(
      before === undefined || before.requestId === requestId,
      'one serial was received for two requests',
    );
    this.lastReceivedMs = receivedAtMs;
    this.lastServedSentMs = Math.max(this.lastServedSentMs, sentAtMs);
    this.received.set(leaf.serialHex, {
      serial: leaf.serialHex,
      der: chainDer[0] as Buffer,
      spiffeId: kind.spiffeId,
      requestId,
      caller: kind.name,
      sentAtMs,
      receivedAtMs,
    });
  }
}

/** A batch of an agent; items that are refused one by one come as codes. */
export async function signForEntry(
  client: Client,
  entryId: string,
  items: readonly { readonly requestId: string; readonly csrDer: Buffer }[],
): Promise<readonly ItemAnswer[]> {
  const { results } = await unary(client, '/meshca.issuer.v1.AgentIssuer/SignX509Svids', {
    items: items.map((item) => ({ ...item, entryId })),
  });
  return (results as any[]).map((result) =>
    result.svid ? { chainDer: result.svid.chainDer } : { refused: result.refusal.code },
  );
}
