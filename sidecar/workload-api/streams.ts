import { PkiError } from '../../src/common/errors/index.ts';
import { identityKey, type Identity } from '../ports/entries.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { TrustBundle } from '../ports/bundles.ts';
import { startDelivery, type Message } from './delivery.ts';
import type { Hub } from './hub.ts';
import { createLeaseSet } from './leases.ts';
import type { Messages } from './messages.ts';
import type {
  WorkloadApiLimits,
  WorkloadApiMetrics,
  WorkloadApiOptions,
  WorkloadRpc,
} from './ports.ts';
import type { Clients } from './reports.ts';
import type { Granted, Session, Sessions, StreamCall } from './session.ts';
import { createStreamConsumers } from './stream-consumers.ts';

export interface StreamParts {
  readonly options: WorkloadApiOptions;
  readonly limits: WorkloadApiLimits;
  readonly metrics: WorkloadApiMetrics;
  readonly sessions: Sessions;
  readonly hub: Hub;
  readonly messages: Messages;
  readonly clients: Clients;
}

/** What a kind of stream sends. `version` tells whether it is new to this stream. */
interface Content {
  readonly version: string;
  /** Handed over with it. */
  readonly svids?: readonly HeldX509Svid[];
  encode(): Buffer;
  onRead(): void;
}

interface Source {
  /** undefined: nothing to tell yet. */
  content(
    granted: Granted,
    own: TrustBundle,
    first: boolean,
  ): Promise<Content | undefined> | Content | undefined;
  /** Which authorities the reader holds then, as the consumer registry is told. */
  readonly takes: 'roots' | 'jwt';
  release(): void;
}

export type SourceFactory = (parts: StreamParts, session: Session, changed: () => void) => Source;

/**
 * FetchX509SVID, FetchX509Bundles and FetchJWTBundles: full state at once, and again on each
 * change, to a process attested anew.
 */
export function serveStream(
  parts: StreamParts,
  rpc: WorkloadRpc,
  call: StreamCall<unknown>,
  createSource: SourceFactory,
): void {
  const { options, limits, metrics, sessions, hub } = parts;
  // cancelled before it began: no event will tell
  if (call.cancelled || call.destroyed) return;
  let session: Session | undefined;
  let ended = false;
  let cleanUp = (): void => {};

  const finish = (error: PkiError | undefined): void => {
    if (ended) return;
    ended = true;
    cleanUp();
    if (error !== undefined) call.emit('error', sessions.status(error, rpc, session));
    session?.end();
  };

  try {
    session = sessions.open(call, rpc, finish);
  } catch (thrown) {
    finish(PkiError.from(thrown));
    return;
  }
  const { connection } = session;
  const opened = session;
  let granted: Granted | undefined;
  let sent: string | undefined;

  const produce = async (): Promise<Message | undefined> => {
    const own = options.bundles.current();
    if (own === undefined) throw new PkiError('STARTING_UP', 'the agent has no trust bundle yet');
    granted = await opened.grant();
    const pending = source.content(granted, own, sent === undefined);
    const content = pending instanceof Promise ? await pending : pending;
    if (content === undefined || content.version === sent) return undefined;
    // what was waited for may have taken long enough for another process to stand there now
    if (pending instanceof Promise) opened.verify();
    const { identities } = granted;
    const digest = source.takes === 'jwt' ? own.jwtSetDigest : own.authoritySetDigest;
    return {
      bytes: content.encode(),
      onSent() {
        sent = content.version;
        consumers.sent(identities, digest, content.svids ?? []);
        metrics.delivered(rpc);
      },
      onRead(afterMs) {
        consumers.read(digest);
        content.onRead();
        metrics.confirmed(rpc, afterMs);
      },
    };
  };

  const delivery = startDelivery({
    call,
    produce,
    unreadBytes: () => connection.unreadBytes(),
    clock: options.clock,
    stallMs: limits.stallMs,
    onError(error) {
      finish(error);
      // a connection belongs to one process image: after an exec nothing on it can be proven any
      // more
      if (error.code === 'PEER_UNVERIFIABLE' && connection.peer !== undefined)
        connection.fail(error);
    },
    onStall() {
      options.logger.warn(
        { rpc, uid: connection.uid, pid: connection.pid, stallMs: limits.stallMs },
        'a workload takes no message; its connection is closed',
      );
      consumers.stalled(`took no message for ${limits.stallMs / 1000} s; its stream was closed`);
      finish(new PkiError('DEADLINE_EXCEEDED', `no message was taken for ${limits.stallMs} ms`));
      connection.destroy();
    },
  });

  const source = createSource(parts, session, delivery.changed);
  const clientId = rpc === 'FetchX509SVID' ? parts.clients.idOf(call) : undefined;
  const consumers = createStreamConsumers(parts, session, source.takes, clientId !== undefined);
  const leaveClients =
    clientId === undefined ? (): void => {} : parts.clients.enter(clientId, session, consumers);
  const leaveHub = hub.add({
    bundlesChanged: delivery.changed,
    entriesChanged() {
      if (!unaffected(options, granted)) delivery.changed();
    },
  });
  metrics.streamOpened(rpc);
  cleanUp = () => {
    delivery.stop();
    leaveHub();
    source.release();
    leaveClients();
    consumers.remove();
    metrics.streamClosed(rpc);
  };
  call.on('cancelled', () => finish(undefined));
  call.on('close', () => finish(undefined));
  delivery.changed();
}

/**
 * True if a change of the entries can not concern a process with these selectors, so that it need
 * not be attested anew.
 */
function unaffected(options: WorkloadApiOptions, granted: Granted | undefined): boolean {
  if (granted === undefined) return false;
  const { selectors } = granted.attested;
  const now = options.entries.match(selectors);
  return (
    now.length === granted.identities.length &&
    now.every((each, index) => sameIdentity(each, granted.identities[index] as Identity)) &&
    options.entries.wanted(selectors, ['unix:sha256', 'unix:path']).size === 0
  );
}

const sameIdentity = (one: Identity, other: Identity): boolean =>
  identityKey(one) === identityKey(other) && one.entry.revision === other.entry.revision;

export const x509SvidSource: SourceFactory = ({ options, limits, messages }, _session, changed) => {
  const leases = createLeaseSet(options.svids, options.clock, changed);
  const content = ({ identities }: Granted, own: TrustBundle): Content | undefined => {
    const svids = leases.current();
    if (svids.length === 0) return undefined;
    const hints = identities.map((each) => each.entry.hint).join(',');
    return {
      version: `${svids.map((each) => `${identityKey(each.identity)}=${each.serial}`).join(',')}|${hints}|${messages.rootsVersion(own)}`,
      svids,
      encode: () => messages.x509Svids(svids, own),
      onRead: () => leases.confirm(svids),
    };
  };
  return {
    takes: 'roots',
    content(granted, own, first) {
      leases.hold(granted.identities, granted.attested.selectors);
      const waiting = first ? leases.settle(limits.firstMessageMs) : undefined;
      if (waiting === undefined && (!first || leases.current().length > 0))
        return content(granted, own);
      return (waiting ?? Promise.resolve()).then(() => {
        const made = content(granted, own);
        if (made !== undefined) return made;
        throw (
          leases.firstFailure() ??
          new PkiError('STARTING_UP', 'the first SVID is still being signed')
        );
      });
    },
    release: () => leases.release(),
  };
};

export const x509BundleSource: SourceFactory = ({ messages }) => ({
  takes: 'roots',
  content: (_granted, own) => ({
    version: messages.rootsVersion(own),
    encode: () => messages.x509Bundles(own),
    onRead: () => {},
  }),
  release: () => {},
});

export const jwtBundleSource: SourceFactory = ({ messages }) => ({
  takes: 'jwt',
  content: (_granted, own) => ({
    version: messages.jwtVersion(own),
    encode: () => messages.jwtBundles(own),
    onRead: () => {},
  }),
  release: () => {},
});
