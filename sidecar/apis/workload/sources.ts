import { PkiError } from '../../../src/common/errors/index.ts';
import {
  createSubscriptionSet,
  type Content,
  type Granted,
  type SubscriptionSet,
  type StreamHandle,
  type StreamSource,
} from '../../local-server/index.ts';
import type { BundleSource, TrustBundle } from '../../ports/bundles.ts';
import { identityKey } from '../../ports/entries.ts';
import { grantedBundles, type GrantedBundles } from '../../ports/granted-bundles.ts';
import { largestMessageOf, type StreamsWithoutCrls } from './largest-message.ts';
import type { Messages, Reader } from './messages.ts';
import type { WorkloadApiDependencies } from './options.ts';

/** The metadata by which a caller asks for the issuing authorities of the server. */
const issuersKey = 'meshca-issuers';
/** Each stream of the Workload API sends one kind of message. */
const onlyKey = '';

/** The readers of this API state nothing, and what they have is reported by the stream. */
const plainContent = { readerHasIt: false, onSent: () => {}, onRefused: () => {} };

/** FetchX509SVID: all SVIDs of the process in one message, the default first. */
export class X509SvidSource implements StreamSource {
  readonly #subscriptions: SubscriptionSet;
  readonly #messages: Messages;
  readonly #bundles: BundleSource;
  readonly #stream: StreamHandle;
  readonly #firstMessageMs: number;
  readonly #reader: Reader;
  readonly #withoutCrls: StreamsWithoutCrls;
  readonly #leaveClients: () => void;

  constructor(
    { svids, bundles, clock, limits, withoutCrls }: WorkloadApiDependencies,
    messages: Messages,
    stream: StreamHandle,
    leaveClients: () => void,
  ) {
    this.#subscriptions = createSubscriptionSet(svids, clock, () => stream.changed());
    this.#messages = messages;
    this.#bundles = bundles;
    this.#stream = stream;
    this.#firstMessageMs = limits.firstMessageMs;
    this.#withoutCrls = withoutCrls;
    this.#reader = {
      withIssuers: stream.metadata.get(issuersKey).length > 0,
      largestMessage: largestMessageOf(stream.metadata),
    };
    this.#leaveClients = leaveClients;
  }

  contents(
    granted: Granted,
    own: TrustBundle,
    first: boolean,
  ): Promise<readonly Content[]> | readonly Content[] {
    const subscriptions = this.#subscriptions;
    subscriptions.hold(granted.identities, granted.attested.selectors);
    const waiting = first ? subscriptions.settle(this.#firstMessageMs) : undefined;
    if (waiting === undefined && (!first || subscriptions.current().length > 0))
      return this.#content(granted, own);
    return (waiting ?? Promise.resolve()).then(() => {
      const contents = this.#content(granted, own);
      if (contents.length > 0) return contents;
      throw (
        subscriptions.firstFailure() ??
        new PkiError('STARTING_UP', 'the first SVID is still being signed')
      );
    });
  }

  received(): 'request' {
    return 'request';
  }

  stalled(): void {}

  release(): void {
    this.#subscriptions.release();
    this.#withoutCrls.ended(this);
    this.#leaveClients();
  }

  #content({ identities }: Granted, own: TrustBundle): readonly Content[] {
    const svids = this.#subscriptions.current();
    const [first] = svids;
    if (first === undefined) return [];
    const serials = svids.map((each) => `${identityKey(each.identity)}=${each.serial}`).join(',');
    const hints = identities.map((each) => each.entry.hint).join(',');
    const reader = this.#reader;
    const granted = grantedBundles(identities, own, this.#bundles.federated());
    const issuers = reader.withIssuers ? own.issuersSha256.join(',') : '';
    return [
      {
        key: onlyKey,
        version: `${serials}|${hints}|${this.#messages.rootsVersion(granted)}|${issuers}`,
        svids,
        authorities: own.authoritySetDigest,
        ...plainContent,
        onSent: () => this.#stream.session.gaveDefault(first.identity),
        encode: () => {
          const { bytes, crlsLeftOut } = this.#messages.x509Svids(svids, granted, reader);
          this.#withoutCrls.sent(this, crlsLeftOut);
          return bytes;
        },
        onRead: () => this.#subscriptions.confirm(svids),
      },
    ];
  }
}

export function x509BundleSource(
  { bundles, withoutCrls }: Pick<WorkloadApiDependencies, 'bundles' | 'withoutCrls'>,
  messages: Messages,
  { metadata }: StreamHandle,
): StreamSource {
  const reader = { largestMessage: largestMessageOf(metadata) };
  const source: StreamSource = {
    ...bundleSource(bundles, (granted) => ({
      version: messages.rootsVersion(granted),
      authorities: granted.own.authoritySetDigest,
      encode: () => {
        const { bytes, crlsLeftOut } = messages.x509Bundles(granted, reader);
        withoutCrls.sent(source, crlsLeftOut);
        return bytes;
      },
    })),
    release: () => withoutCrls.ended(source),
  };
  return source;
}

export const jwtBundleSource = (
  { bundles }: Pick<WorkloadApiDependencies, 'bundles'>,
  messages: Messages,
): StreamSource =>
  bundleSource(bundles, (granted) => ({
    version: messages.jwtVersion(granted),
    authorities: granted.own.jwtSetDigest,
    encode: () => messages.jwtBundles(granted),
  }));

const bundleSource = (
  bundles: BundleSource,
  content: (granted: GrantedBundles) => Pick<Content, 'version' | 'authorities' | 'encode'>,
): StreamSource => ({
  contents: ({ identities }, own) => [
    {
      key: onlyKey,
      svids: [],
      onRead: () => {},
      ...plainContent,
      ...content(grantedBundles(identities, own, bundles.federated())),
    },
  ],
  received: () => 'request',
  stalled: () => {},
  release: () => {},
});
