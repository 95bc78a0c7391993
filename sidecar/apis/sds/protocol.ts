import { fail, ok, type Result } from '../../../src/common/errors/index.ts';

/** The name by which a client asks for everything that it may have (xDS, "wildcard"). */
export const wildcardName = '*';

/** More names than any proxy asks for on one stream. */
const maximumNames = 256;
const maximumNameBytes = 2048;
/** Of all names of one stream. They stay in memory while it is open, and callers choose them. */
const maximumNamesBytes = 16 * 1024;
/** The versions of this agent are shorter. */
const maximumVersionLength = 64;

/** What the client says about the response with this nonce. */
interface Answer {
  /** Empty if it answers none. */
  readonly nonce: string;
  /** Set: it refuses the response and keeps what it had. */
  readonly refused: string | undefined;
}

/** A request of StreamSecrets: the names are all that the client wants from now on. */
export interface FullRequest extends Answer {
  readonly kind: 'full';
  readonly names: readonly string[];
}

/** A request of DeltaSecrets: the names change what the client wants. */
export interface DeltaRequest extends Answer {
  readonly kind: 'delta';
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  /** What the client holds from an earlier stream, by name. Counts in the first request alone. */
  readonly versions: ReadonlyMap<string, string>;
}

export type SecretsRequest = FullRequest | DeltaRequest;

/** One name that a client wants. */
export interface Subscription {
  /** Counts subscriptions, so that a name that is subscribed anew is answered anew. */
  readonly epoch: number;
  /** The version that the client holds from an earlier stream, until it is sent anything newer. */
  readonly claimed: string | undefined;
}

/** The response that the client has not answered yet. */
interface Outstanding {
  readonly nonce: string;
  readonly name: string;
  readonly epoch: number;
}

/** What is known of one stream. A value: `heard` and `responded` make the next one. */
export interface Conversation {
  readonly begun: boolean;
  /** By name, in the order of subscription. */
  readonly subscriptions: ReadonlyMap<string, Subscription>;
  /**
   * The client wants everything. `implied`: its first request named nothing, which holds until it
   * names something.
   */
  readonly wildcard: 'no' | 'implied' | 'named';
  /** The subscription of everything else under the wildcard. */
  readonly wildcardSubscription: Subscription;
  readonly lastNonce: string;
  readonly outstanding: Outstanding | undefined;
  readonly epochs: number;
}

export const newConversation: Conversation = {
  begun: false,
  subscriptions: new Map(),
  wildcard: 'no',
  wildcardSubscription: { epoch: 0, claimed: undefined },
  lastNonce: '',
  outstanding: undefined,
  epochs: 0,
};

/** What a request says of the response under way. */
export type Verdict =
  /**
   * `proof`: the response held one secret, under a name that the client had subscribed and still
   * wants. Envoy acknowledges a secret that it did not ask for, and does not apply it.
   */
  | { readonly kind: 'acknowledged'; readonly nonce: string; readonly proof: boolean }
  | { readonly kind: 'refused'; readonly nonce: string; readonly reason: string }
  | { readonly kind: 'none' };

export interface Heard {
  readonly conversation: Conversation;
  readonly verdict: Verdict;
}

/**
 * Takes in one request. Fails with SECRET_NAME_INVALID for names that no stream may have.
 *
 * - A request with an old nonce was overtaken by a response. Of StreamSecrets new names do not count:
 *   its client sends them again with the answer to the newer response. What it leaves out is given
 *   up: if it comes back, the client holds nothing of it. Of DeltaSecrets all names count, since
 *   they are sent once.
 * - A refusal may change the names.
 */
export function heard(before: Conversation, request: SecretsRequest): Result<Heard> {
  const problem = namesProblem(request);
  if (problem !== undefined) return fail('SECRET_NAME_INVALID', problem);
  const verdict = before.begun ? verdictOf(before, request) : none;
  const after = verdict === none ? before : { ...before, outstanding: undefined };
  const overtaken = before.begun && request.nonce !== before.lastNonce;
  if (request.kind === 'full' && overtaken)
    return ok({ conversation: withoutGivenUp(before, request), verdict: none });
  const named = request.kind === 'full' ? allNamed(after, request) : changed(after, request);
  const tooMuch = sizeProblem(named);
  if (tooMuch !== undefined)
    return fail('SECRET_NAME_INVALID', tooMuch, {
      next: 'Spread the names over several streams, as Envoy does.',
    });
  return ok({ conversation: { ...named, begun: true }, verdict });
}

/** A response with one secret was handed to the stream. */
export function responded(before: Conversation, nonce: string, name: string): Conversation {
  const subscription = subscriptionOf(before, name);
  const { subscriptions } = before;
  const known = subscriptions.get(name);
  return {
    ...before,
    // what it claimed to hold may come back, and by then it holds what it is sent now
    subscriptions:
      known?.claimed === undefined
        ? subscriptions
        : new Map(subscriptions).set(name, { ...known, claimed: undefined }),
    lastNonce: nonce,
    outstanding: { nonce, name, epoch: subscription?.epoch ?? -1 },
  };
}

/** What the client wants of this name. Undefined: nothing. */
export const subscriptionOf = (
  { subscriptions, wildcard, wildcardSubscription }: Conversation,
  name: string,
): Subscription | undefined =>
  subscriptions.get(name) ?? (wildcard === 'no' ? undefined : wildcardSubscription);

const none: Verdict = { kind: 'none' };

function verdictOf({ outstanding, subscriptions }: Conversation, request: SecretsRequest): Verdict {
  const { nonce, refused } = request;
  if (outstanding === undefined || nonce === '' || outstanding.nonce !== nonce) return none;
  if (refused !== undefined) return { kind: 'refused', nonce, reason: refused };
  const { name, epoch } = outstanding;
  const kept =
    request.kind === 'full'
      ? request.names.includes(name)
      : !request.unsubscribe.includes(name) && !request.subscribe.includes(name);
  const proof = kept && subscriptions.get(name)?.epoch === epoch;
  return { kind: 'acknowledged', nonce, proof };
}

function allNamed(before: Conversation, { names }: FullRequest): Conversation {
  if (names.length === 0) {
    if (!before.begun || before.wildcard === 'implied') return withWildcard(before, 'implied');
    return { ...before, subscriptions: new Map(), wildcard: 'no' };
  }
  let { epochs } = before;
  const subscriptions = new Map<string, Subscription>();
  for (const name of names) {
    if (name === wildcardName || subscriptions.has(name)) continue;
    const known = before.subscriptions.get(name);
    if (known === undefined) epochs += 1;
    subscriptions.set(name, known ?? { epoch: epochs, claimed: undefined });
  }
  const after = { ...before, subscriptions, epochs };
  return names.includes(wildcardName) ? withWildcard(after, 'named') : { ...after, wildcard: 'no' };
}

function withoutGivenUp(before: Conversation, { names }: FullRequest): Conversation {
  const subscriptions = new Map([...before.subscriptions].filter(([name]) => names.includes(name)));
  return { ...before, subscriptions };
}

function changed(
  before: Conversation,
  { subscribe, unsubscribe, versions }: DeltaRequest,
): Conversation {
  const first = !before.begun;
  let { epochs } = before;
  const subscriptions = new Map(before.subscriptions);
  for (const name of new Set(subscribe)) {
    if (name === wildcardName) continue;
    epochs += 1;
    subscriptions.delete(name);
    subscriptions.set(name, {
      epoch: epochs,
      claimed: first ? claimOf(name, versions) : undefined,
    });
  }
  for (const name of unsubscribe) subscriptions.delete(name);
  const after = { ...before, subscriptions, epochs };
  if (unsubscribe.includes(wildcardName)) return { ...after, wildcard: 'no' };
  if (subscribe.includes(wildcardName)) return withWildcard({ ...after, wildcard: 'no' }, 'named');
  if (first && subscribe.length === 0) return withWildcard(after, 'implied');
  return before.wildcard === 'implied' && subscribe.length > 0
    ? { ...after, wildcard: 'no' }
    : after;
}

function claimOf(name: string, versions: DeltaRequest['versions']): string | undefined {
  const version = versions.get(name);
  return version === undefined || version.length > maximumVersionLength ? undefined : version;
}

function withWildcard(before: Conversation, wildcard: 'implied' | 'named'): Conversation {
  if (before.wildcard !== 'no') return { ...before, wildcard };
  const epochs = before.epochs + 1;
  return {
    ...before,
    epochs,
    wildcard,
    wildcardSubscription: { epoch: epochs, claimed: undefined },
  };
}

function sizeProblem({ subscriptions }: Conversation): string | undefined {
  if (subscriptions.size > maximumNames) return `a stream has at most ${maximumNames} names`;
  let bytes = 0;
  for (const name of subscriptions.keys()) bytes += Buffer.byteLength(name);
  return bytes > maximumNamesBytes
    ? `the names of a stream have at most ${maximumNamesBytes} bytes together`
    : undefined;
}

function namesProblem(request: SecretsRequest): string | undefined {
  const names =
    request.kind === 'full' ? request.names : [...request.subscribe, ...request.unsubscribe];
  if (names.length > 2 * maximumNames) return `a request has at most ${2 * maximumNames} names`;
  if (names.includes('')) return 'a secret has no empty name';
  return names.some((name) => Buffer.byteLength(name) > maximumNameBytes)
    ? `the name of a secret has at most ${maximumNameBytes} bytes`
    : undefined;
}
