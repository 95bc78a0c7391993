import { PkiError } from '../../src/common/errors/index.ts';
import { uuidv7, type Clock, type Logger } from '../../src/common/runtime/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import type { SignJwtSvidRequest } from '../../src/common/wire/generated/meshca/issuer/v1/SignJwtSvidRequest.ts';
import type { SignJwtSvidResponse__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SignJwtSvidResponse.ts';
import type { SyncedEntryCache } from '../cache/index.ts';
import { identityKey, type Identity } from '../ports/entries.ts';
import type { HeldJwtSvid } from '../ports/svids.ts';

export interface JwtSvidsDependencies {
  readonly sign: (request: SignJwtSvidRequest) => Promise<SignJwtSvidResponse__Output>;
  readonly cache: SyncedEntryCache;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Tokens kept. */
  readonly size: number;
  readonly onSigned: (succeeded: boolean) => void;
}

interface Kept {
  readonly identity: Identity;
  readonly selectors: readonly Selector[];
  readonly svid: HeldJwtSvid;
  readonly halfMonotonicMs: number;
  readonly thirdMonotonicMs: number;
  readonly expiresMonotonicMs: number;
}

/** A token with less than this left is of no use to whoever has to carry it somewhere. */
const minimumLeftMs = 5000;

/**
 * JWT-SVIDs by identity and set of audiences, the least recently used first to go. A token is given
 * again until half of its life, is renewed in the background from a third on, and while the CA is
 * away is given until it ends. Owner of them.
 */
export class JwtSvids {
  readonly #dependencies: JwtSvidsDependencies;
  readonly #kept = new Map<string, Kept>();
  readonly #underWay = new Map<string, Promise<HeldJwtSvid>>();

  constructor(dependencies: JwtSvidsDependencies) {
    this.#dependencies = dependencies;
    dependencies.cache.onChange(() => this.#reconcile());
  }

  get size(): number {
    return this.#kept.size;
  }

  async fetch(
    identity: Identity,
    audience: readonly string[],
    selectors: readonly Selector[],
  ): Promise<HeldJwtSvid> {
    const sorted = [...new Set(audience)].sort();
    const key = `${identityKey(identity)}\u0000${identity.entry.revision}\u0000${JSON.stringify(sorted)}`;
    const kept = this.#kept.get(key);
    const now = this.#dependencies.clock.monotonicMs();
    if (kept !== undefined && now < kept.halfMonotonicMs) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      if (now >= kept.thirdMonotonicMs)
        this.#sign(key, identity, sorted, selectors).catch(() => {});
      return { ...kept.svid, hint: identity.entry.hint };
    }
    try {
      return await this.#sign(key, identity, sorted, selectors);
    } catch (thrown) {
      const error = PkiError.from(thrown);
      // the CA being away must not be felt as long as there is something valid
      const away = error.info.status === 'UNAVAILABLE' || error.info.status === 'DEADLINE_EXCEEDED';
      if (
        away &&
        kept !== undefined &&
        kept.expiresMonotonicMs - this.#dependencies.clock.monotonicMs() > minimumLeftMs
      )
        return { ...kept.svid, hint: identity.entry.hint };
      throw error;
    }
  }

  /** Authorities changed: what an authority under suspicion has signed is not given again. */
  clear(): void {
    this.#kept.clear();
  }

  #sign(
    key: string,
    identity: Identity,
    audience: readonly string[],
    selectors: readonly Selector[],
  ): Promise<HeldJwtSvid> {
    const running = this.#underWay.get(key);
    if (running !== undefined) return running;
    const promise = this.#ask(key, identity, audience, selectors).finally(() =>
      this.#underWay.delete(key),
    );
    this.#underWay.set(key, promise);
    return promise;
  }

  async #ask(
    key: string,
    identity: Identity,
    audience: readonly string[],
    selectors: readonly Selector[],
  ): Promise<HeldJwtSvid> {
    const { sign, clock, onSigned, size, cache } = this.#dependencies;
    const sentAt = clock.monotonicMs();
    let answer: SignJwtSvidResponse__Output;
    try {
      answer = await sign({
        requestId: uuidv7(clock.nowMs()),
        entryId: identity.entry.id,
        audience: [...audience],
        ttlSeconds: 0,
        selectors: [...selectors],
      });
      if (answer.spiffeId !== identity.spiffeId.toString())
        throw new PkiError(
          'SVID_INVALID',
          `the JWT-SVID for ${identity.spiffeId.toString()} names another identity`,
        );
    } catch (thrown) {
      onSigned(false);
      throw thrown;
    }
    onSigned(true);
    const svid: HeldJwtSvid = {
      spiffeId: identity.spiffeId,
      token: answer.token,
      expiresAt: answer.expiresAt,
      hint: identity.entry.hint,
    };
    const lifeMs = (answer.expiresAt - answer.serverTime) * 1000;
    // an entry that went meanwhile takes its tokens along
    if (cache.identityFor(identity.entry.id, selectors)?.entry.revision !== identity.entry.revision)
      return svid;
    this.#kept.delete(key);
    this.#kept.set(key, {
      identity,
      selectors,
      svid,
      thirdMonotonicMs: sentAt + lifeMs / 3,
      halfMonotonicMs: sentAt + lifeMs / 2,
      expiresMonotonicMs: sentAt + lifeMs,
    });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= size) break;
      this.#kept.delete(oldest);
    }
    return svid;
  }

  #reconcile(): void {
    for (const [key, { identity, selectors }] of this.#kept) {
      const now = this.#dependencies.cache.identityFor(identity.entry.id, selectors);
      if (
        now === undefined ||
        now.entry.revision !== identity.entry.revision ||
        !now.spiffeId.equals(identity.spiffeId)
      )
        this.#kept.delete(key);
    }
  }
}
