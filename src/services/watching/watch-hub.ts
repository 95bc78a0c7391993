import { PkiError } from '../../common/errors/index.ts';
import { KeyedBuckets, type Clock, type Rate } from '../../common/runtime/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { LedgerWatchers } from '../../ledger/index.ts';
import type { DelegateCaller } from '../callers/caller.ts';
import type { DelegateStreams, OpenStream } from '../callers/delegate-streams.ts';
import { checkText, enforceRate } from '../requests.ts';
import type { Crls } from '../sync/source.ts';
import { ReplacementFeed, type ReplacementFeedDependencies } from './replacement-feed.ts';
import { WatchReports, type WatchReportDependencies } from './watch-reports.ts';
import { WatchSession } from './watch-session.ts';
import type { WatchState } from './watch-state.ts';
import type { Watch, WatchConnection, WatchHello, WatchTransport } from './watch.ts';

const openRate: Rate = { perSecond: 1, burst: 30 };
/** Of one control plane: those that watch, and those that have gone and still count. */
const maximumInstances = 256;
const instancePattern = /^[A-Za-z0-9._-]{1,128}$/;

export interface WatchDependencies extends WatchReportDependencies {
  readonly state: WatchState;
  readonly replacements: ReplacementFeedDependencies;
  readonly streams: Pick<DelegateStreams, 'open'>;
  readonly authorities: Pick<Authorities, 'onChange'>;
  readonly crls: Pick<Crls, 'onChange'>;
  readonly watchers: LedgerWatchers;
  /** Called when a control plane connected, disconnected, or reported what it holds. */
  readonly onHeld: () => void;
  readonly clock: Clock;
}

/** All control planes that watch the bundle. Owner of their sessions. */
export class WatchHub implements Watch {
  readonly #dependencies: WatchDependencies;
  readonly #opened: KeyedBuckets;
  /** By client, and by the name of the process. */
  readonly #sessions = new Map<string, Map<string, WatchSession>>();
  readonly #stop: readonly (() => void)[];

  constructor(dependencies: WatchDependencies) {
    this.#dependencies = dependencies;
    this.#opened = new KeyedBuckets(openRate, dependencies.clock);
    this.#stop = [
      dependencies.authorities.onChange(() => this.#moved()),
      dependencies.crls.onChange(() => this.#moved()),
    ];
  }

  open(
    caller: DelegateCaller,
    hello: WatchHello,
    transport: WatchTransport,
  ): Promise<WatchConnection> {
    let session: WatchSession | undefined;
    return this.#dependencies.streams.open(
      caller,
      'WatchBundle',
      async (stream) => {
        await this.#admit(caller, hello);
        const { state, replacements } = this.#dependencies;
        const { withoutCrls, withReplacements, replacementsAfter: cursor } = hello;
        const of = { clientId: caller.spiffeId, cursor };
        session = new WatchSession(stream, transport, {
          ...{ state, withoutCrls },
          replacements: withReplacements
            ? (ready) => new ReplacementFeed(of, replacements, ready)
            : undefined,
        });
        return this.#connect(session, hello, stream);
      },
      (error) => {
        if (session === undefined) transport.close(error);
        else session.close(error);
      },
    );
  }

  /** See PulledHolders. */
  replace(holders: Iterable<string>): void {
    for (const holder of holders)
      for (const session of this.#sessions.get(holder)?.values() ?? [])
        session.replacementsChanged();
  }

  isConnected(clientId: string): boolean {
    return this.#sessions.has(clientId);
  }

  close(): void {
    for (const stop of this.#stop) stop();
  }

  async #admit({ spiffeId, serial, notAfter }: DelegateCaller, hello: WatchHello): Promise<void> {
    const { watchers, clock } = this.#dependencies;
    enforceRate(this.#opened.take(spiffeId), 'too many streams');
    if (!instancePattern.test(hello.instance))
      throw new PkiError('INVALID_REQUEST', 'instance is not 1 to 128 of [A-Za-z0-9._-]');
    checkText('version', hello.version, 128);
    this.#forgetEnded(spiffeId);
    const known = watchers.instances(spiffeId);
    if (!known.includes(hello.instance) && known.length >= maximumInstances)
      throw new PkiError(
        'OVERLOADED',
        `${spiffeId} has ${maximumInstances} processes that watch, or that have gone and still count`,
      );
    // before anything is sent: from here on rotation waits for this process, also after a restart
    await watchers.begin({ clientId: spiffeId, instance: hello.instance }, notAfter, {
      timeMs: clock.nowMs(),
      actor: spiffeId,
      kind: 'control-plane.watched',
      subject: spiffeId,
      detail: { holder: spiffeId, serial, notAfter, instance: hello.instance },
    });
  }

  #connect(session: WatchSession, hello: WatchHello, stream: OpenStream): WatchConnection {
    const { spiffeId: clientId } = stream.caller;
    const { instance, version } = hello;
    const sessions = this.#sessions.get(clientId) ?? new Map<string, WatchSession>();
    const earlier = sessions.get(instance);
    sessions.set(instance, session);
    this.#sessions.set(clientId, sessions);
    earlier?.close(
      new PkiError('WATCH_SUPERSEDED', `another stream of ${clientId} has the name ${instance}`),
    );
    const reports = new WatchReports({ clientId, instance, version }, this.#dependencies);
    // after the front holds the connection, so that no `drained` comes before it can be passed on
    setImmediate(() => {
      session.pump();
      session.replacementsChanged();
    });
    this.#dependencies.onHeld();
    return {
      report: async (report) => {
        await reports.take(report);
        session.pump();
        this.#dependencies.onHeld();
      },
      drained: () => session.drained(),
      closed: () => {
        session.end();
        this.#remove(session, instance);
      },
    };
  }

  /** What it held counts on until its certificate ends: it may come back, under this name or another. */
  #remove(session: WatchSession, instance: string): void {
    const { clientId, notAfter } = session;
    const sessions = this.#sessions.get(clientId);
    if (sessions?.get(instance) !== session) return;
    sessions.delete(instance);
    if (sessions.size === 0) this.#sessions.delete(clientId);
    const { watchers, clock, onHeld } = this.#dependencies;
    const told = watchers.reported({ clientId, instance });
    if (told !== undefined) {
      const lostUntil = Math.max(notAfter, watchers.lastLeafOf(clientId, clock.now()));
      watchers.report(
        { clientId, instance },
        {
          ...told,
          consumers: told.consumers.map((consumer) =>
            consumer.kind === 'control-plane'
              ? { ...consumer, departedUntil: notAfter }
              : { lostUntil, ...consumer },
          ),
        },
      );
    }
    onHeld();
  }

  #forgetEnded(clientId: string): void {
    const { watchers, clock } = this.#dependencies;
    const now = clock.now();
    for (const instance of watchers.instances(clientId)) {
      const id = { clientId, instance };
      const ended = watchers
        .reported(id)
        ?.consumers.every(
          ({ departedUntil, lostUntil }) => (lostUntil ?? departedUntil ?? Infinity) < now,
        );
      if (ended === true) watchers.forget(id);
    }
  }

  #moved(): void {
    this.#dependencies.state.moved();
    for (const sessions of this.#sessions.values())
      for (const session of sessions.values()) {
        session.pump();
        session.replacementsChanged();
      }
  }
}
