import type { ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import { selectorText, type Selector } from '../../src/common/spiffe/index.ts';
import { toStatus } from '../../src/common/wire/index.ts';
import type { Attested, Peer } from '../attest/index.ts';
import type { Identity } from '../ports/entries.ts';
import type { Connection, Connections } from './connections.ts';
import { OpenCounter, RateLimit, RecentValues } from './limits.ts';
import type {
  WorkloadApiLimits,
  WorkloadApiMetrics,
  WorkloadApiOptions,
  WorkloadRpc,
} from './ports.ts';

export type AnyCall = Pick<ServerUnaryCall<unknown, unknown>, 'getPeer' | 'metadata'>;

export interface Granted {
  readonly attested: Attested;
  /** Never empty. */
  readonly identities: readonly Identity[];
}

/** One call of one attested process. */
export interface Session {
  readonly connection: Connection;
  readonly rpc: WorkloadRpc;
  /**
   * All facts, anew. Throws PEER_UNVERIFIABLE, or RATE_LIMITED when the cgroup has no place left.
   */
  attest(): Promise<Attested>;
  /**
   * attest, then the identities; throws NO_IDENTITY with the caller's own selectors, NOT_SYNCED
   * before there are entries.
   */
  grant(): Promise<Granted>;
  /** The last step before anything is handed over; throws PEER_UNVERIFIABLE. */
  verify(): void;
  /** Idempotent. */
  end(): void;
}

export interface Sessions {
  /** Throws what the caller must be told. `onEnd` is called when the connection must end. */
  open(call: AnyCall, rpc: WorkloadRpc, onEnd: (error: PkiError) => void): Session;
  /** The gRPC status of an error: notes refusals under an ID, counts and logs. */
  status(
    thrown: unknown,
    rpc: WorkloadRpc,
    session: Session | Connection | undefined,
  ): ReturnType<typeof toStatus>;
  /** Charges an audience set; throws RATE_LIMITED. */
  chargeAudience(session: Session, key: string): void;
  stopping(): void;
}

const headerKey = 'workload.spiffe.io';
/** Clients bound the size of trailers, some at 8 KiB, and the text is percent-encoded. */
const listedCharacters = 1_500;

export function createSessions(
  options: WorkloadApiOptions,
  connections: Connections,
  limits: WorkloadApiLimits,
  metrics: WorkloadApiMetrics,
): Sessions {
  const { attestor, entries, refusals, clock, logger } = options;
  const streamsPerUid = new OpenCounter(limits.streamsPerUid);
  const streamsPerCgroup = new OpenCounter(limits.streamsPerCgroup);
  const calls = new RateLimit(clock, limits.callsPerSecond, limits.callsBurst);
  const newAudiences = new RateLimit(
    clock,
    limits.newAudiencesPerMinute / 60,
    limits.newAudiencesBurst,
  );
  const knownAudiences = new RecentValues(limits.newAudiencesBurst * 4);
  const logs = new RateLimit(clock, 2, 20);
  const lastSelectors = new WeakMap<Connection, readonly Selector[]>();
  let stopped = false;

  const limited = (what: string, waitMs?: number): PkiError =>
    new PkiError(
      'RATE_LIMITED',
      waitMs === undefined
        ? `too many ${what} are open for this user or control group`
        : `too many ${what} from this user or control group; wait ${Math.max(1, waitMs)} ms`,
    );

  const open = (call: AnyCall, rpc: WorkloadRpc, onEnd: (error: PkiError) => void): Session => {
    const header = call.metadata.get(headerKey);
    if (header.length !== 1 || header[0] !== 'true')
      throw new PkiError(
        'SECURITY_HEADER_MISSING',
        `the call lacks the metadata "${headerKey}: true"`,
      );
    if (stopped) throw new PkiError('SHUTTING_DOWN', 'the agent is shutting down');
    const connection = connections.byId(call.getPeer());
    if (connection === undefined)
      throw new PkiError('PEER_UNVERIFIABLE', 'the connection was closed');
    const wait = calls.take(`uid:${connection.uid}`);
    if (wait > 0) throw limited('calls', wait);
    const releaseUid = streamsPerUid.take(String(connection.uid));
    if (releaseUid === undefined) throw limited('streams');
    let releaseCgroup: (() => void) | undefined;
    let counted: string | undefined;
    let ended = false;
    const leave = connection.enter((error) => onEnd(error));

    const count = (cgroupKey: string): void => {
      if (!connection.countIn(cgroupKey)) throw limited('connections');
      if (counted === cgroupKey || cgroupKey === '/') return;
      if (counted === undefined) {
        const waitMs = calls.take(`cgroup:${cgroupKey}`);
        if (waitMs > 0) throw limited('calls', waitMs);
      }
      const place = streamsPerCgroup.take(cgroupKey);
      if (place === undefined) throw limited('streams');
      releaseCgroup?.();
      releaseCgroup = place;
      counted = cgroupKey;
    };

    const attest = async (): Promise<Attested> => {
      const peer = vouched(connection);
      const attested = await attestor.attest(peer, (selectors, prefixes) =>
        entries.wanted(selectors, prefixes),
      );
      lastSelectors.set(connection, attested.selectors);
      // the call may have ended while a binary was read: what it counts for must not be taken again
      if (!ended) count(attested.cgroupKey);
      return attested;
    };

    return {
      connection,
      rpc,
      attest,
      async grant() {
        if (!entries.synced())
          throw new PkiError('NOT_SYNCED', 'the agent has not received its entries yet');
        const attested = await attest();
        const identities = entries.match(attested.selectors);
        if (identities.length === 0) throw noIdentity(attested);
        return { attested, identities };
      },
      verify() {
        attestor.verify(vouched(connection));
      },
      end() {
        if (ended) return;
        ended = true;
        leave();
        releaseUid();
        releaseCgroup?.();
      },
    };
  };

  const status: Sessions['status'] = (thrown, rpc, about) => {
    const error = PkiError.from(thrown);
    metrics.refused(rpc, error.code);
    const connection =
      about === undefined ? undefined : 'connection' in about ? about.connection : about;
    const fields = { rpc, code: error.code, uid: connection?.uid, pid: connection?.pid };
    if (error.code === 'INTERNAL') {
      logger.error({ ...fields, err: error }, 'a call of the Workload API failed');
      return toStatus(
        new PkiError('INTERNAL', 'the agent could not complete the request', { cause: error }),
      );
    }
    if (
      (error.code !== 'NO_IDENTITY' && error.code !== 'PEER_UNVERIFIABLE') ||
      connection === undefined
    )
      return toStatus(error);
    const id = uuidv7(clock.nowMs());
    refusals.add({
      id,
      code: error.code,
      message: error.message,
      time: clock.now(),
      pid: connection.pid,
      uid: connection.uid,
      selectors: lastSelectors.get(connection) ?? [],
    });
    if (logs.take(String(connection.uid)) === 0)
      logger.info({ ...fields, refusalId: id, reason: error.message }, 'a workload was refused');
    return toStatus(
      new PkiError(error.code, `${error.message}; refusal ID ${id}`, {
        next: error.next,
        cause: error,
      }),
      { refusalId: id },
    );
  };

  return {
    open,
    status,
    chargeAudience(session, key) {
      const uid = String(session.connection.uid);
      if (knownAudiences.has(uid, key)) return knownAudiences.add(uid, key);
      const waitMs = newAudiences.take(uid);
      if (waitMs > 0) throw limited('new JWT audiences', waitMs);
      knownAudiences.add(uid, key);
    },
    stopping() {
      stopped = true;
    },
  };
}

function vouched(connection: Connection): Peer {
  if (connection.peer !== undefined) return connection.peer;
  throw (
    connection.refusal ??
    new PkiError('PEER_UNVERIFIABLE', 'the kernel does not vouch for the caller')
  );
}

/** The caller learns its own selectors, and nothing about entries. */
function noIdentity(attested: Attested): PkiError {
  const texts: string[] = [];
  let length = 0;
  for (const each of attested.selectors.map(selectorText)) {
    length += each.length;
    if (length > listedCharacters) break;
    texts.push(each);
  }
  const more = attested.selectors.length - texts.length;
  return new PkiError(
    'NO_IDENTITY',
    `no registration entry gives this process an identity; its selectors are ${texts.join(', ')}${more > 0 ? ` and ${more} more` : ''}`,
  );
}

export type StreamCall<Request> = ServerWritableStream<Request, Buffer>;
