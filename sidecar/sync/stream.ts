import type { ClientDuplexStream } from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../../src/common/runtime/index.ts';
import { protocolVersion } from '../../src/common/wire/index.ts';
import type { BundleRefusal } from '../../src/common/wire/generated/meshca/issuer/v1/BundleRefusal.ts';
import type { AuthoritiesUpdate__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AuthoritiesUpdate.ts';
import type { ReplaceSvids__Output } from '../../src/common/wire/generated/meshca/issuer/v1/ReplaceSvids.ts';
import type { SyncDown__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SyncDown.ts';
import type { SyncUp } from '../../src/common/wire/generated/meshca/issuer/v1/SyncUp.ts';
import type { SyncWelcome__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SyncWelcome.ts';
import type { TargetCommand__Output } from '../../src/common/wire/generated/meshca/issuer/v1/TargetCommand.ts';
import type { TaintedAuthority__Output } from '../../src/common/wire/generated/meshca/issuer/v1/TaintedAuthority.ts';
import type { VantageTask__Output } from '../../src/common/wire/generated/meshca/issuer/v1/VantageTask.ts';
import type { BundleStore, RefusedStep } from '../bundle/index.ts';
import type { IssuerConnection } from '../issuer-client/index.ts';
import type { Consumers } from './consumers.ts';
import type { EntriesReceiver } from './entries-receiver.ts';
import type { HandshakeCounts } from './handshakes.ts';
import { printable } from './printable.ts';
import type { Replacements } from './replacements.ts';
import type { VantagePoint } from '../vantage/index.ts';
import type { TargetReports } from './targets.ts';

export interface SyncStreamDependencies {
  readonly connection: IssuerConnection;
  readonly receiver: EntriesReceiver;
  readonly bundles: BundleStore;
  readonly consumers: Consumers;
  readonly replacements: Replacements;
  readonly handshakes: HandshakeCounts;
  readonly targets: TargetReports;
  readonly vantage: VantagePoint;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly agentId: string;
  readonly agentVersion: string;
  /** Random, of this process, so that two under one identity are told from one that comes back. */
  readonly instanceId: string;
  /** What was missing or damaged in the data directory, not told yet. */
  readonly lostState: { list(): readonly string[] };
  /** The server wants the own SVID renewed at once. */
  readonly onRenewNow: () => void;
  /** Of what is in use now; 0: nothing is. */
  readonly survivedOutageSeconds: () => number;
  /** Serial of the own SVID that a restart would begin with; undefined: none is on the disk. */
  readonly keptSerial: () => string | undefined;
  readonly onWelcome: (welcome: SyncWelcome__Output) => void;
  readonly onEntries: () => void;
  /** Full state: authorities whose leaves are replaced, and certificates that are. */
  readonly onTainted: (
    tainted: readonly TaintedAuthority__Output[],
    replaced: ReplaceSvids__Output | undefined,
  ) => void;
  /** Issuing authorities and CRLs, full state; after the bundle that they are to be judged by. */
  readonly onAuthorities: (update: AuthoritiesUpdate__Output) => void;
  /** Keeps checkpoints of the audit log. */
  readonly checkpoints: { readonly note: string; keep(note: string): Promise<boolean> };
}

/** What this agent understands. */
const capabilities = [
  'issuer-sets',
  'handshakes',
  'checkpoints',
  'renew-now',
  'file-targets',
  'federation',
  'replace-svids',
] as const;
const welcomeDeadlineMs = 15_000;
/** Changes of consumers within this time go up as one report… */
const coalesceMs = 50;
/**
 * …and two reports have this between them, since each is a commit at the server, which bounds their
 * rate.
 */
const reportEveryMs = 500;

/** One sync stream from hello to its end. */
export class SyncStream {
  readonly #dependencies: SyncStreamDependencies;
  readonly #call: ClientDuplexStream<SyncUp, SyncDown__Output>;
  /** Resolves when it was ended here, rejects with why it ended there. */
  readonly ended: Promise<void>;
  #finish!: (error?: unknown) => void;
  #tainted: readonly TaintedAuthority__Output[] = [];
  #replaced: ReplaceSvids__Output | undefined;
  #welcomed = false;
  /** An older server would not know what to do with them. */
  #takesHandshakes = false;
  #takesTargets = false;
  #flushPlanned = false;
  #over = false;
  /** Ends what was begun for the server of this stream. */
  readonly #ended = new AbortController();
  #toldOutageSeconds: number;
  #toldKeptSerial: string;
  #toldRefused: RefusedStep | undefined;
  #flushedAt = -Infinity;
  #cancelFlush: (() => void) | undefined;
  /**
   * Down messages are worked off one after another, since bundle steps are verified asynchronously.
   */
  #work: Promise<void> = Promise.resolve();

  constructor(dependencies: SyncStreamDependencies) {
    this.#dependencies = dependencies;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#finish = (error) => (error === undefined ? resolve() : reject(error as Error));
    this.#toldOutageSeconds = dependencies.survivedOutageSeconds();
    this.#toldKeptSerial = dependencies.keptSerial() ?? '';
    this.#call = dependencies.connection.sync();
    this.#call.on('error', (error) => this.#finish(dependencies.connection.explain(error)));
    this.#call.on('end', () =>
      this.#finish(new PkiError('UNREACHABLE', 'the server ended the sync stream')),
    );
    this.#call.on('data', (message) => {
      // a slow step must not let pages pile up in memory
      this.#call.pause();
      this.#work = this.#work
        .then(() => this.#take(message))
        .then(
          () => {
            this.#call.resume();
          },
          (thrown) => this.#abort(thrown),
        );
    });
    const cancelDeadline = dependencies.clock.after(welcomeDeadlineMs, () => {
      if (!this.#welcomed)
        this.#abort(new PkiError('UNREACHABLE', 'the server did not answer the hello'));
    });
    const over = (): void => {
      this.#over = true;
      this.#ended.abort();
      cancelDeadline();
      this.#cancelFlush?.();
    };
    this.ended.then(over, over);
    dependencies.receiver.begin(dependencies.agentId);
    const { position } = dependencies.receiver;
    this.#call.write({
      hello: {
        protocolVersion,
        agentVersion: dependencies.agentVersion,
        capabilities: [...capabilities, ...(dependencies.vantage.enabled ? ['vantage'] : [])],
        instanceId: dependencies.instanceId,
        clockMs: dependencies.clock.nowMs(),
        lostState: [...dependencies.lostState.list()],
        logCheckpoint: dependencies.checkpoints.note,
        bundleSequence: dependencies.bundles.stepSequence(),
        survivedOutageSeconds: this.#toldOutageSeconds,
        keptSvid: { serial: this.#toldKeptSerial },
        ...(position === undefined ? {} : { position }),
      },
    });
  }

  /** Something waits to go up. */
  flushSoon(): void {
    if (this.#flushPlanned || !this.#welcomed) return;
    this.#flushPlanned = true;
    const sinceLast = this.#dependencies.clock.monotonicMs() - this.#flushedAt;
    this.#cancelFlush = this.#dependencies.clock.after(
      Math.max(coalesceMs, reportEveryMs - sinceLast),
      () => {
        this.#flushPlanned = false;
        this.#flush();
      },
    );
  }

  /** Ends the stream from this side. */
  end(): void {
    this.#finish();
    this.#call.cancel();
  }

  #abort(error: unknown): void {
    this.#finish(error);
    this.#call.cancel();
  }

  #flush(): void {
    const { bundles, consumers, replacements, handshakes, clock } = this.#dependencies;
    this.#flushedAt = clock.monotonicMs();
    const survivedOutageSeconds = this.#dependencies.survivedOutageSeconds();
    const keptSerial = this.#dependencies.keptSerial() ?? '';
    const moved = keptSerial !== this.#toldKeptSerial;
    const refused = bundles.refused();
    if (moved || survivedOutageSeconds !== this.#toldOutageSeconds || refused !== this.#toldRefused)
      this.#call.write({
        agent: {
          survivedOutageSeconds,
          ...(moved ? { keptSvid: { serial: keptSerial } } : {}),
          ...(refused === undefined ? {} : { bundleRefusal: refusalMessage(refused) }),
        },
      });
    this.#toldRefused = refused;
    this.#toldOutageSeconds = survivedOutageSeconds;
    this.#toldKeptSerial = keptSerial;
    const changes = consumers.drain();
    if (changes !== undefined)
      this.#call.write({
        consumers: {
          snapshot: false,
          consumers: [...changes.consumers],
          removedIds: [...changes.removedIds],
        },
      });
    for (let serials = replacements.drain(); serials !== undefined; serials = replacements.drain())
      this.#call.write({ replacements: { replacedSerials: [...serials] } });
    this.#flushTargets();
    if (!this.#takesHandshakes) return;
    for (let reports = handshakes.drain(); reports !== undefined; reports = handshakes.drain())
      this.#call.write({ handshakes: { reports: [...reports] } });
  }

  #flushTargets(): void {
    const report = this.#takesTargets ? this.#dependencies.targets.drain() : undefined;
    if (report !== undefined) this.#call.write({ targets: report });
  }

  /** The state comes before the answer. A stream that ended meanwhile takes neither. */
  async #carryOut(command: TargetCommand__Output): Promise<void> {
    const targetResult = await this.#dependencies.targets.carryOut(command);
    if (this.#over) return;
    this.#flushTargets();
    this.#call.write({ targetResult });
  }

  async #validate(task: VantageTask__Output): Promise<void> {
    const vantageResult = await this.#dependencies.vantage.carryOut(task, this.#ended.signal);
    if (!this.#over) this.#call.write({ vantageResult });
  }

  async #take(message: SyncDown__Output): Promise<void> {
    const { receiver, bundles, onEntries, onTainted, onAuthorities, onRenewNow, checkpoints } =
      this.#dependencies;
    const { logger } = this.#dependencies;
    if (message.welcome) {
      this.#welcome(message.welcome);
      // a server of an older release gives no foreign bundles, and would withdraw none
      if (!message.welcome.capabilities.includes('federation'))
        await bundles.updateFederated({ trustDomains: [], bundles: [] });
      return;
    }
    if (!this.#welcomed)
      throw new PkiError('INVALID_REQUEST', 'sync: the server sent something before its welcome');
    if (message.entries) {
      receiver.apply(message.entries);
      onEntries();
    } else if (message.bundles) {
      try {
        await bundles.follow(message.bundles.steps);
      } catch (thrown) {
        // what is held stays in force; the rest of the stream is still of use
        const { next } = PkiError.from(thrown);
        logger.error({ ...errorFields(thrown), next }, 'a bundle step was refused');
      }
      if (bundles.refused() !== this.#toldRefused) this.flushSoon();
    } else if (message.federated) {
      await bundles.updateFederated(message.federated);
    } else if (message.authorities) {
      this.#tainted = message.authorities.tainted;
      onTainted(this.#tainted, this.#replaced);
      onAuthorities(message.authorities);
    } else if (message.checkpoint) {
      await checkpoints.keep(message.checkpoint.note);
    } else if (message.replace) {
      this.#replaced = message.replace;
      onTainted(this.#tainted, this.#replaced);
    } else if (message.renewNow) onRenewNow();
    // not awaited: a delivery takes its time, and the stream goes on
    else if (message.target) void this.#carryOut(message.target);
    else if (message.vantageTask) void this.#validate(message.vantageTask);
  }

  #welcome(welcome: SyncWelcome__Output): void {
    if (this.#welcomed) throw new PkiError('INVALID_REQUEST', 'sync: a second welcome');
    this.#welcomed = true;
    this.#takesHandshakes = welcome.capabilities.includes('handshakes');
    this.#takesTargets = welcome.capabilities.includes('file-targets');
    const { bundles, consumers, replacements, handshakes, targets, onWelcome, onTainted } =
      this.#dependencies;
    bundles.beginSession();
    // a stream begins with nothing tainted: the server says it only where there is something
    onTainted([], undefined);
    const snapshot = consumers.snapshot();
    this.#call.write({
      consumers: { snapshot: true, consumers: [...snapshot.consumers], removedIds: [] },
    });
    if (this.#takesTargets) this.#call.write({ targets: targets.snapshot() });
    replacements.requeue();
    handshakes.requeue();
    this.#flush();
    onWelcome(welcome);
  }
}

const refusalMessage = ({ sequence, heldSequence, error }: RefusedStep): BundleRefusal => ({
  ...{ sequence, heldSequence, code: error.code },
  message: printable(error.message),
});
