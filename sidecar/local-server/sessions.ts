import { PkiError } from '../../src/common/errors/index.ts';
import {
  errorFields,
  type Clock,
  type Logger,
  uuidv7,
  KeyedBuckets,
} from '../../src/common/runtime/index.ts';
import { toStatus } from '../../src/common/wire/index.ts';
import type { Attestor } from '../attest/index.ts';
import type { EntryCache } from '../ports/entries.ts';
import { DefaultIdentities } from './default-identities.ts';
import type { LocalConnections } from './local-connections.ts';
import { OpenCounter } from './limits.ts';
import type { LocalConnection } from './local-connection.ts';
import type { LocalServerLimits, LocalServerMetrics } from './options.ts';
import type { RefusalLog } from './refusals.ts';
import { CallSession, type AnyCall, type Session } from './session.ts';
import type { SocketApi } from './socket-api.ts';

export interface SessionsDependencies {
  readonly attestor: Attestor;
  readonly entries: EntryCache;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly connections: LocalConnections;
  readonly limits: LocalServerLimits;
  readonly metrics: LocalServerMetrics;
}

/** Refusals by the agent that are kept for `meshca explain --refusal`. */
const explained: ReadonlySet<string> = new Set([
  'NO_IDENTITY',
  'PEER_UNVERIFIABLE',
  'SECRET_NOT_GRANTED',
  'IMPERSONATION_REFUSED',
]);

/** The called method, and the API that offers it. */
export interface CalledMethod {
  readonly api: SocketApi;
  readonly rpc: string;
}

export const limited = (what: string, waitMs?: number): PkiError =>
  new PkiError(
    'RATE_LIMITED',
    waitMs === undefined
      ? `too many ${what} are open for this user or control group`
      : `too many ${what} from this user or control group; wait ${Math.max(1, waitMs)} ms`,
  );

/** Opens a session for each admitted call, and words the refusal of every other. */
export class Sessions {
  readonly #dependencies: SessionsDependencies;
  readonly #streamsPerUid: OpenCounter;
  readonly #streamsPerCgroup: OpenCounter;
  readonly #calls: KeyedBuckets;
  readonly #logs: KeyedBuckets;
  readonly #defaults = new DefaultIdentities();
  #stopped = false;

  constructor(dependencies: SessionsDependencies) {
    const { limits, clock } = dependencies;
    this.#dependencies = dependencies;
    this.#streamsPerUid = new OpenCounter(limits.streamsPerUid);
    this.#streamsPerCgroup = new OpenCounter(limits.streamsPerCgroup);
    this.#calls = new KeyedBuckets(
      { perSecond: limits.callsPerSecond, burst: limits.callsBurst },
      clock,
    );
    this.#logs = new KeyedBuckets({ perSecond: 2, burst: 20 }, clock);
  }

  /** Throws the refusal for the caller. Calls `onEnd` when the connection must end. */
  open(call: AnyCall, method: CalledMethod, onEnd: (error: PkiError) => void): Session {
    const { attestor, entries, connections } = this.#dependencies;
    assertMetadata(call, method.api);
    if (this.#stopped) throw new PkiError('SHUTTING_DOWN', 'the agent is shutting down');
    const connection = connections.byId(call.getPeer());
    if (connection === undefined)
      throw new PkiError('PEER_UNVERIFIABLE', 'the connection was closed');
    assertAdmitted(connection.uid, method.api);
    this.#chargeCall(`uid:${connection.uid}`);
    if (method.api.callers.kind === 'workloads') {
      const waitMs = connections.unidentifiedWaitMs(connection);
      if (waitMs > 0) throw limited('calls that are refused', waitMs);
    }
    const releaseUid = this.#streamsPerUid.take(String(connection.uid));
    if (releaseUid === undefined) throw limited('streams');
    const leave = connection.enter(onEnd);
    const cgroup = this.#cgroupPlace(connection);
    return new CallSession({
      rpc: method.rpc,
      connection,
      attestor,
      entries,
      defaults: this.#defaults,
      count: ({ selectors, cgroupKey }) => {
        connection.selectors = selectors;
        cgroup.count(cgroupKey);
      },
      identified: () => connections.identified(connection),
      release() {
        leave();
        releaseUid();
        cgroup.release();
      },
    });
  }

  /** Charges a message of a client stream like a call. Throws RATE_LIMITED. */
  chargeMessage({ connection }: Session): void {
    this.#chargeCall(`uid:${connection.uid}`);
  }

  /** The gRPC status of an error: notes refusals under an ID, counts and logs. */
  status(
    thrown: unknown,
    { api, rpc }: CalledMethod,
    session: Session | undefined,
  ): ReturnType<typeof toStatus> {
    const { metrics, logger } = this.#dependencies;
    const error = PkiError.from(thrown);
    metrics.refused(rpc, error.code);
    const connection = session?.connection;
    const { uid, pid } = connection ?? {};
    const fields = { api: api.name, rpc, code: error.code, uid, pid };
    if (api.callers.kind === 'operators') {
      logger.info({ ...fields, reason: error.message }, 'a call of an operator was refused');
      return toStatus(error, { full: true });
    }
    if (error.code === 'INTERNAL') {
      logger.error({ ...fields, ...errorFields(error) }, 'a call failed');
      return toStatus(
        new PkiError('INTERNAL', 'the agent could not complete the request', { cause: error }),
      );
    }
    // a refusal by the server has the ID of its record in the server's audit log
    const onRecord = explained.has(error.code) || serverRefusalId(error) !== undefined;
    if (!onRecord || connection === undefined) return toStatus(error);
    if (error.code === 'NO_IDENTITY' || error.code === 'PEER_UNVERIFIABLE')
      this.#dependencies.connections.chargeUnidentified(connection);
    const refusalId = this.#record(error, connection);
    if (this.#logs.take(String(connection.uid)) === 0)
      logger.info({ ...fields, refusalId, reason: error.message }, 'a workload was refused');
    const { code, message, next } = error;
    return toStatus(
      new PkiError(code, `${message}; refusal ID ${refusalId}`, { next, cause: error }),
      { refusalId },
    );
  }

  /** From now on answers every call with SHUTTING_DOWN. */
  close(): void {
    this.#stopped = true;
  }

  #record(error: PkiError, connection: LocalConnection): string {
    const { code, message } = error;
    const { refusals, clock } = this.#dependencies;
    const id = serverRefusalId(error) ?? uuidv7(clock.nowMs());
    const { pid, uid, selectors } = connection;
    refusals.add({ id, code, message, time: clock.now(), pid, uid, selectors });
    return id;
  }

  #chargeCall(key: string): void {
    const waitMs = this.#calls.take(key);
    if (waitMs > 0) throw limited('calls', waitMs);
  }

  /**
   * The place of one call in the limits of its control group. The group may change during the call.
   */
  #cgroupPlace(connection: LocalConnection): { count(key: string): void; release(): void } {
    let release: (() => void) | undefined;
    let counted: string | undefined;
    return {
      count: (key) => {
        if (!connection.countIn(key)) throw limited('connections');
        if (counted === key || key === '/') return;
        if (counted === undefined) this.#chargeCall(`cgroup:${key}`);
        const place = this.#streamsPerCgroup.take(key);
        if (place === undefined) throw limited('streams');
        release?.();
        release = place;
        counted = key;
      },
      release: () => release?.(),
    };
  }
}

function serverRefusalId({ detail }: PkiError): string | undefined {
  const id = detail['refusalId'];
  return typeof id === 'string' && id !== '' ? id : undefined;
}

function assertMetadata({ metadata }: AnyCall, { metadata: rule }: SocketApi): void {
  if (rule.kind === 'none') return;
  const values = metadata.get(rule.key);
  if (values.length !== 1 || values[0] !== rule.value)
    throw new PkiError(
      'SECURITY_HEADER_MISSING',
      `the call lacks the metadata "${rule.key}: ${rule.value}"`,
    );
}

function assertAdmitted(uid: number, { callers }: SocketApi): void {
  if (callers.kind === 'operators' && !callers.uids.has(uid))
    throw new PkiError(
      'CALLER_NOT_ADMITTED',
      'this socket is for root, the user of the agent and the configured users',
      { detail: { uid } },
    );
}
