import { PkiError, unwrap } from '../../../src/common/errors/index.ts';
import {
  createSubscriptionSet,
  noIdentity,
  type Content,
  type Granted,
  type StreamHandle,
  type StreamSource,
  type SubscriptionSet,
} from '../../local-server/index.ts';
import type { TrustBundle } from '../../ports/bundles.ts';
import { identityKey, type Identity } from '../../ports/entries.ts';
import { grantedBundles } from '../../ports/granted-bundles.ts';
import type { HeldX509Svid } from '../../ports/svids.ts';
import { ForeignBundles } from './foreign-bundles.ts';
import { Holds } from './holds.ts';
import {
  allowedNames,
  everyName,
  grantedSecret,
  parseSecretName,
  type CallerRights,
  type GrantedSecret,
  type Validation,
  type Wanted,
} from './names.ts';
import { heldMs, type SdsDependencies } from './options.ts';
import type { Proxies } from './proxies.ts';
import type { ProxyCrls } from './proxy-crls.ts';
import type { ProxyStream } from './proxy.ts';
import {
  heard,
  newConversation,
  responded,
  subscriptionOf,
  wildcardName,
  type Conversation,
} from './protocol.ts';
import { bundlesSecret, keyFits, svidSecret, type SecretContent } from './secrets.ts';
import type { Variant } from './variants.ts';

interface Asked {
  readonly name: string;
  readonly wanted: Wanted;
  readonly granted: GrantedSecret | undefined;
}

export interface SecretSourceDependencies extends SdsDependencies {
  readonly proxies: Proxies;
  readonly proxyCrls: ProxyCrls;
  readonly variant: Variant;
}

/**
 * One stream of secrets. What goes out is decided when it goes out: from the rights that the caller
 * has then, and from the certificates that are there then.
 */
export class SecretSource implements StreamSource {
  readonly #dependencies: SecretSourceDependencies;
  readonly #stream: StreamHandle;
  readonly #subscriptions: SubscriptionSet;
  readonly #holds: Holds;
  readonly #leaveCrls: () => void;
  readonly #wanted = new Map<string, Wanted>();
  readonly #foreign = new ForeignBundles();
  /** The certificates that there are at this look, by identity. */
  #svids: ReadonlyMap<string, HeldX509Svid> = new Map();
  #conversation: Conversation = newConversation;
  #validation: Validation;
  #node = '';
  #proxy: ProxyStream | undefined;
  #waiting = false;
  readonly #mark: string;
  /** What became of the last secret of each name; `again`: a refused one may be sent once more. */
  readonly #answers = new Map<string, 'applied' | 'refused' | 'again'>();
  /** How often a secret was sent again that the proxy had refused. */
  readonly #again = new Map<string, number>();
  /** Whether the acknowledgement that is being told proves that the secret is applied. */
  #proof = false;

  constructor(dependencies: SecretSourceDependencies, stream: StreamHandle) {
    const { svids, clock } = dependencies;
    this.#dependencies = dependencies;
    this.#validation = dependencies.validation;
    this.#stream = stream;
    this.#mark = dependencies.random.bytes(8).toString('hex');
    this.#subscriptions = createSubscriptionSet(svids, clock, () => stream.changed());
    this.#leaveCrls = dependencies.proxyCrls.onChange(() => stream.changed());
    this.#holds = new Holds(clock, heldMs, () => stream.changed());
  }

  received(wire: unknown): 'answer' | 'request' {
    const { node, spiffeValidator, resumes, request } = this.#dependencies.variant.read(wire);
    const before = this.#conversation;
    // clients may name their node in the first request alone
    if (this.#node === '') this.#node = node;
    // what names stand for must not change while the stream is open
    if (!before.begun && spiffeValidator !== undefined)
      this.#validation = { ...this.#validation, spiffeValidator };
    if (!before.begun) this.#foreign.begin(resumes);
    const { conversation, verdict } = unwrap(heard(before, unwrap(request)));
    for (const name of conversation.subscriptions.keys())
      if (!this.#wanted.has(name))
        this.#wanted.set(name, unwrap(parseSecretName(name, this.#validation)));
    for (const name of this.#wanted.keys())
      if (!conversation.subscriptions.has(name)) this.#forget(name);
    this.#conversation = conversation;
    if (verdict.kind === 'acknowledged') {
      this.#proof = verdict.proof;
      this.#stream.acknowledge(verdict.nonce);
    } else if (verdict.kind === 'refused') this.#stream.refuse(verdict.nonce, verdict.reason);
    const asks = !before.begun || changed(before, conversation);
    if (asks) this.#stream.changed();
    return asks || verdict.kind === 'none' ? 'request' : 'answer';
  }

  contents({ identities, attested }: Granted, own: TrustBundle): readonly Content[] {
    const held = this.#dependencies.bundles.federated();
    const rights: CallerRights = { identities, ...grantedBundles(identities, own, held) };
    const asked = this.#asked(rights);
    this.#subscriptions.hold(identitiesOf(asked), attested.selectors);
    this.#settle();
    this.#svids = new Map(
      this.#subscriptions.current().map((svid) => [identityKey(svid.identity), svid]),
    );
    this.#assertInTime(asked, rights, attested);
    this.#tellProxy(asked, rights);
    return asked.flatMap((each) => this.#content(each, own) ?? []);
  }

  stalled(reason: string): void {
    this.#proxy?.stalled(reason);
  }

  release(): void {
    this.#holds.close();
    this.#leaveCrls();
    this.#subscriptions.release();
    this.#proxy?.leave();
  }

  #forget(name: string): void {
    this.#wanted.delete(name);
    this.#answers.delete(name);
    this.#again.delete(name);
    this.#foreign.forget(name);
  }

  /** Another secret was applied: what was refused for its sake may be good now. */
  #sendAgain(): void {
    this.#foreign.tryAgain();
    for (const [name, answer] of this.#answers) {
      if (answer !== 'refused') continue;
      this.#answers.set(name, 'again');
      this.#again.set(name, (this.#again.get(name) ?? 0) + 1);
      this.#stream.changed();
    }
  }

  #applied(name: string): void {
    const before = this.#answers.get(name);
    this.#answers.set(name, 'applied');
    // one that follows a good one heals nothing
    if (before !== 'applied') this.#proxy?.healed();
  }

  #asked(rights: CallerRights): readonly Asked[] {
    const named = [...this.#wanted].map(([name, wanted]) => ({ name, wanted }));
    const others =
      this.#conversation.wildcard === 'no'
        ? []
        : [...new Set([...everyName(rights), ...this.#foreign.given()])]
            .filter((name) => !this.#wanted.has(name))
            .map((name) => ({ name, wanted: unwrap(parseSecretName(name, this.#validation)) }));
    const nobody = rights.identities.length === 0;
    return [...named, ...others].map((each) => ({
      ...each,
      granted:
        grantedSecret(each.wanted, rights) ??
        (nobody
          ? undefined
          : this.#foreign.withdrawn(each.name, each.wanted, rights.own.trustDomain)),
    }));
  }

  /** Goes on when the SVIDs that are being signed are there, or refused. */
  #settle(): void {
    if (this.#waiting) return;
    const waiting = this.#subscriptions.settle(heldMs);
    if (waiting === undefined) return;
    this.#waiting = true;
    void waiting.then(() => {
      this.#waiting = false;
      this.#stream.changed();
    });
  }

  /** Throws when a name was held for long enough. */
  #assertInTime(
    asked: readonly Asked[],
    rights: CallerRights,
    attested: Granted['attested'],
  ): void {
    const nobody = rights.identities.length === 0;
    const held = asked
      .filter(({ granted, wanted }) => granted === undefined && wanted.kind !== 'file')
      .map(({ name }) => name);
    // whatever it names: a process without identity must not keep the place of a stream
    if (nobody) held.push(wildcardName);
    const unsigned = asked.filter((each) => this.#isUnsigned(each)).map(({ name }) => name);
    const over = this.#holds.update([...held, ...unsigned]);
    const denied = over.filter((name) => held.includes(name));
    if (denied.length > 0) {
      this.#dependencies.metrics.notGranted();
      throw nobody ? noIdentity(attested) : this.#notGranted(denied, rights);
    }
    const failure = over.length === 0 ? undefined : this.#subscriptions.firstFailure();
    // while the server is away the proxy waits here: it would come back later than the certificate
    if (failure !== undefined && failure.info.status === 'PERMISSION_DENIED') throw failure;
  }

  #notGranted(names: readonly string[], rights: CallerRights): PkiError {
    const listed = names.slice(0, 5).map((name) => JSON.stringify(name.slice(0, 200)));
    return new PkiError(
      'SECRET_NOT_GRANTED',
      `no entry grants this process ${listed.join(', ')}; it may have ${allowedNames(rights, this.#validation)}`,
    );
  }

  #isUnsigned({ granted }: Asked): boolean {
    return granted?.kind === 'svid' && this.#svidOf(granted.identity) === undefined;
  }

  #svidOf(identity: Identity): HeldX509Svid | undefined {
    return this.#svids.get(identityKey(identity));
  }

  #tellProxy(asked: readonly Asked[], { own, identities }: CallerRights): void {
    const someone = this.#conversation.begun && identities.length > 0;
    if (!someone && this.#proxy === undefined) return;
    this.#proxy ??= this.#dependencies.proxies.enter(this.#stream.session, this.#node, () =>
      this.#sendAgain(),
    );
    this.#proxy.rights(
      own.authoritySetDigest,
      identities.map(({ spiffeId }) => spiffeId.toString()),
      new Set(
        asked
          .filter(({ name, granted }) => this.#wanted.has(name) && holdsOwn(granted, own))
          .map(({ name }) => name),
      ),
    );
  }

  #content({ name, wanted, granted }: Asked, own: TrustBundle): Content | undefined {
    if (granted === undefined) return undefined;
    return granted.kind === 'svid'
      ? this.#svidContent(name, wanted, granted.identity)
      : this.#bundlesContent(name, granted.bundles, own);
  }

  #svidContent(name: string, wanted: Wanted, identity: Identity): Content | undefined {
    const { metrics, logger } = this.#dependencies;
    const svid = this.#svidOf(identity);
    if (svid === undefined) return undefined;
    const spiffeId = identity.spiffeId.toString();
    if (!keyFits(svid)) {
      metrics.keyMismatch();
      logger.error(
        { spiffeId, serial: svid.serial },
        'a certificate and its key do not fit; the proxy is not sent them',
      );
      return undefined;
    }
    const message = this.#message(name, svidSecret(svid));
    return {
      ...message,
      svids: [svid],
      onSent: () => {
        if (wanted.kind === 'default') this.#stream.session.gaveDefault(identity);
        this.#proxy?.sentSvid(spiffeId, svid.notAfter);
      },
      onRead: () => {
        if (!message.readerHasIt && !this.#proof) return;
        this.#subscriptions.confirm([svid]);
        this.#proxy?.appliedSvid(spiffeId);
        if (!message.readerHasIt) this.#applied(name);
      },
      onRefused: (reason) => {
        this.#answers.set(name, 'refused');
        metrics.refusedByProxy('svid');
        this.#proxy?.refusedSvid(spiffeId, reason);
      },
    };
  }

  #bundlesContent(
    name: string,
    granted: readonly TrustBundle[],
    own: TrustBundle,
  ): Content | undefined {
    const { metrics, proxyCrls, logger } = this.#dependencies;
    const { spiffeValidator } = this.#validation;
    const digest = own.authoritySetDigest;
    const bundles = this.#foreign.sendable(name, granted, own);
    const crls = bundles.includes(own) ? proxyCrls.current(own) : [];
    if (crls === undefined) return undefined;
    const secret = bundlesSecret(bundles, own, { spiffeValidator, crls });
    const message = this.#message(name, secret);
    return {
      ...message,
      svids: [],
      onSent: () => {
        this.#foreign.sent(name, bundles, own);
        this.#proxy?.sentBundle(name, digest);
      },
      onRead: () => {
        if (!message.readerHasIt && !this.#proof) return;
        this.#proxy?.appliedBundle(name, digest);
        if (!message.readerHasIt) this.#applied(name);
      },
      onRefused: (reason) => {
        this.#answers.set(name, 'refused');
        metrics.refusedByProxy('bundles');
        // whether it takes the own roots shows when they come alone
        if (!this.#foreign.refused(name, bundles, own))
          return this.#proxy?.refusedBundle(name, reason);
        logger.error(
          { reason, pid: this.#stream.session.connection.pid },
          'a proxy refused the bundles of all trust domains; it gets those of the own one alone',
        );
        this.#stream.changed();
      },
    };
  }

  #message(
    name: string,
    content: SecretContent,
  ): Pick<Content, 'key' | 'version' | 'authorities' | 'readerHasIt' | 'encode'> {
    const subscription = subscriptionOf(this.#conversation, name);
    return {
      key: name,
      version: `${subscription?.epoch ?? ''} ${content.version} ${this.#again.get(name) ?? 0}`,
      authorities: undefined,
      readerHasIt: subscription?.claimed === content.version,
      encode: (nonce) => {
        this.#conversation = responded(this.#conversation, nonce, name);
        const mark = `${this.#mark} ${nonce}`;
        return this.#dependencies.variant.encode(name, content, { nonce, mark });
      },
    };
  }
}

function changed(before: Conversation, after: Conversation): boolean {
  if (before.wildcard !== after.wildcard) return true;
  if (before.subscriptions.size !== after.subscriptions.size) return true;
  return [...after.subscriptions].some(
    ([name, { epoch }]) => before.subscriptions.get(name)?.epoch !== epoch,
  );
}

/** The identities whose certificates are asked for, each once. */
function identitiesOf(asked: readonly Asked[]): readonly Identity[] {
  const identities = new Map<string, Identity>();
  for (const { granted } of asked)
    if (granted?.kind === 'svid') identities.set(identityKey(granted.identity), granted.identity);
  return [...identities.values()];
}

const holdsOwn = (granted: GrantedSecret | undefined, own: TrustBundle): boolean =>
  granted?.kind === 'bundles' &&
  granted.bundles.some(({ trustDomain }) => trustDomain.equals(own.trustDomain));
