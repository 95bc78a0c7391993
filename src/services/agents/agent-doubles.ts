import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import type { AuditValue } from '../../domain/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';

/**
 * How a second process under one identity showed.
 * - `older-certificate`: by a certificate that a later one had replaced, or a recovery with it.
 * - `second-connection`: two living processes have the same certificate.
 * - `second-key`: by an attestation with another key under the node certificate of an agent whose
 *   SVID is valid.
 */
export type DoubleKind = 'older-certificate' | 'second-connection' | 'second-key';

/** A process that uses the identity of an agent. */
export interface AgentInstance {
  /** Random, of the process; empty: it has no session, or is of an older release. */
  readonly id: string;
  readonly peer: string;
  readonly version: string;
  readonly serial: string;
  /** Unix seconds of its last hello or try. */
  readonly seenAt: number;
}

export interface AgentDouble {
  readonly how: DoubleKind;
  readonly seenAt: number;
  readonly times: number;
  readonly instances: readonly (AgentInstance & { readonly connected: boolean })[];
}

export interface AgentDoublesDependencies {
  readonly audit: Pick<AuditStore, 'append'>;
  readonly clock: Pick<Clock, 'now' | 'nowMs'>;
  readonly logger: Logger;
  readonly onDouble: (how: DoubleKind) => void;
}

/** An instance with a place in the order in which this server met them. */
interface Met extends AgentInstance {
  readonly order: number;
}

interface Sight {
  how: DoubleKind;
  seenAt: number;
  times: number;
}

interface Known {
  /** The instance that has the session. */
  holder: Met | undefined;
  /** Those that had it, or asked for it, before. */
  readonly others: Map<string, Met>;
  /** Instances that an operator has decided against. */
  readonly refused: Set<string>;
  /** Serial and peer of connections whose process went on with its next SVID. */
  readonly handedOver: Set<string>;
  /** What was told already, by what tells it from other sights, with the time. */
  readonly told: Map<string, number>;
  sight: Sight | undefined;
  /** The instance that an operator has decided for, until it was told to renew. */
  renewing: string | undefined;
}

const remembered = 8;
/** The same sight is on record once in this time, so that a process that tries on costs no log. */
const toldAgainSeconds = 24 * 3600;

/**
 * Who uses the identity of each agent, as far as this process saw it. A process that goes on with
 * its next SVID, or that was restarted, is no double: a restarted one has a new instance ID, and the
 * one before never comes back. Owner of that memory; an alert is on record when a method resolves.
 */
export class AgentDoubles {
  readonly #dependencies: AgentDoublesDependencies;
  readonly #agents = new Map<string, Known>();
  /** Refusals of instances whose sight was on record before. */
  readonly #repeated = new WeakSet<PkiError>();
  #met = 0;

  constructor(dependencies: AgentDoublesDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * A process asks for the session of its agent. Of two that live the one that this server met first
   * gets it, so that they take no turns.
   * @returns what `gone` is told at the end of the session
   * @throws PkiError AGENT_DOUBLED, and AGENT_SUPERSEDED where an operator has decided for another
   */
  async hello(spiffeId: string, instance: Omit<AgentInstance, 'seenAt'>): Promise<AgentInstance> {
    const known = this.#known(spiffeId);
    const alerted = new Set<string>();
    let fresh = false;
    for (;;) {
      this.admit(spiffeId, instance.id);
      const rival = rivalOf(known, instance.id);
      // the record of an alert takes time, in which sessions end and operators decide
      if (rival !== undefined && !alerted.has(rival.id)) {
        alerted.add(rival.id);
        fresh = (await this.#seeRival(spiffeId, instance, rival)) || fresh;
        continue;
      }
      const refusal = this.#refusal(spiffeId, instance, rival);
      if (refusal === undefined) return this.#hold(spiffeId, instance);
      if (!fresh) this.#repeated.add(refusal);
      throw refusal;
    }
  }

  /** Whether `hello` threw this for what was on record before: it is counted, and not recorded again. */
  isRepeated(refusal: PkiError): boolean {
    return this.#repeated.has(refusal);
  }

  /** @throws PkiError AGENT_SUPERSEDED where an operator has decided against this instance */
  admit(spiffeId: string, instanceId: string): void {
    if (this.#agents.get(spiffeId)?.refused.has(instanceId) === true)
      throw decidedAgainst(spiffeId);
  }

  /** Its session is over. */
  gone(spiffeId: string, instance: AgentInstance): void {
    const known = this.#agents.get(spiffeId);
    if (known?.holder === undefined || known.holder !== instance) return;
    known.others.set(known.holder.id, known.holder);
    forgetOldest(known.others);
    known.holder = undefined;
  }

  /**
   * A certificate was shown that a later one has replaced.
   * - `hand-over`: over a connection whose process goes on with the later one.
   * - `told`: it is on record that it is shown.
   */
  async olderCertificate(
    spiffeId: string,
    { serial, peer }: { readonly serial: string; readonly peer: string },
  ): Promise<'hand-over' | 'told' | 'new'> {
    const known = this.#known(spiffeId);
    if (known.handedOver.has(`${serial} ${peer}`)) return 'hand-over';
    this.#other(known, { id: '', peer, serial, version: '' });
    const fresh = await this.#see(spiffeId, 'older-certificate', `older ${serial}`, {
      serial,
      peer,
    });
    return fresh ? 'new' : 'told';
  }

  /** An SVID that was lost came back by its key, and ended a later one that was in use. */
  async recovered(
    spiffeId: string,
    detail: { readonly serial: string; readonly peer: string; readonly endedInUse: string },
  ): Promise<void> {
    this.#other(this.#known(spiffeId), { id: '', version: '', ...detail });
    await this.#see(spiffeId, 'older-certificate', `recovered ${detail.serial}`, {
      ...detail,
      act: 'recover',
    });
  }

  /** A node certificate was shown with another key than that of the agent that stands. */
  async secondKey(
    spiffeId: string,
    detail: { readonly serial: string; readonly peer: string; readonly before: string },
  ): Promise<void> {
    this.#other(this.#known(spiffeId), { id: '', version: '', ...detail });
    await this.#see(spiffeId, 'second-key', `key ${detail.before}`, detail);
  }

  /** Whether a living process has the session. */
  held(spiffeId: string): boolean {
    return this.#agents.get(spiffeId)?.holder !== undefined;
  }

  /** Undefined: only one process was seen, or an operator has decided since. */
  of(spiffeId: string): AgentDouble | undefined {
    const known = this.#agents.get(spiffeId);
    if (known?.sight === undefined) return undefined;
    const { holder, others } = known;
    return {
      ...known.sight,
      instances: [
        ...(holder === undefined ? [] : [{ ...shown(holder), connected: true }]),
        ...[...others.values()].map((each) => ({ ...shown(each), connected: false })),
      ],
    };
  }

  /** The instance that an operator means. @throws NOT_FOUND, INVALID_REQUEST */
  find(spiffeId: string, idPrefix: string): AgentInstance {
    const known = this.#agents.get(spiffeId);
    const all = [known?.holder, ...(known?.others.values() ?? [])].filter(
      (each) => each !== undefined && each.id !== '',
    ) as readonly Met[];
    const found =
      idPrefix === ''
        ? all.filter((each) => each === known?.holder)
        : all.filter(({ id }) => id.startsWith(idPrefix));
    const [one] = found;
    if (one === undefined)
      throw new PkiError(
        'NOT_FOUND',
        idPrefix === ''
          ? `no process has a session as ${spiffeId} now`
          : `no process with the instance ID ${idPrefix} was seen as ${spiffeId}`,
        { next: 'See those that were seen: meshca agent show ID' },
      );
    if (found.length > 1)
      throw new PkiError('INVALID_REQUEST', `${found.length} instances begin with ${idPrefix}`);
    return one;
  }

  /** The instances that a decision for this one would be against. Changes nothing. */
  rivals(spiffeId: string, instanceId: string): readonly string[] {
    const known = this.#agents.get(spiffeId);
    return [known?.holder, ...(known?.others.values() ?? [])].flatMap((each) =>
      each === undefined || each.id === '' || each.id === instanceId ? [] : [each.id],
    );
  }

  /**
   * An operator has decided for an instance, on record: these rivals get no session any more. One
   * that came since is not decided against.
   */
  keep(spiffeId: string, instanceId: string, rivals: readonly string[]): void {
    const known = this.#known(spiffeId);
    for (const id of rivals) known.refused.add(id);
    known.refused.delete(instanceId);
    known.renewing = instanceId;
    if (known.holder !== undefined && known.refused.has(known.holder.id)) {
      known.others.set(known.holder.id, known.holder);
      known.holder = undefined;
    }
    this.forget(spiffeId);
  }

  /** True once after a decision: this instance, which has the session, renews at once. */
  takeRenewal(spiffeId: string, instanceId: string): boolean {
    const known = this.#agents.get(spiffeId);
    if (known?.renewing !== instanceId) return false;
    known.renewing = undefined;
    return true;
  }

  /** What was seen is settled: by a decision, an eviction or a ban. */
  forget(spiffeId: string): void {
    const known = this.#agents.get(spiffeId);
    if (known === undefined) return;
    known.sight = undefined;
    known.told.clear();
  }

  /** Of two that live the one that this server met later is refused. */
  #refusal(
    spiffeId: string,
    instance: Omit<AgentInstance, 'seenAt'>,
    rival: Met | undefined,
  ): PkiError | undefined {
    const known = this.#known(spiffeId);
    const met = this.#meet(known, instance);
    if (rival === undefined || met.order <= rival.order) return undefined;
    known.others.set(met.id, met);
    return new PkiError(
      'AGENT_DOUBLED',
      `another living process uses the certificate of ${spiffeId}, from ${rival.peer}`,
    );
  }

  #hold(spiffeId: string, instance: Omit<AgentInstance, 'seenAt'>): AgentInstance {
    const known = this.#known(spiffeId);
    const before = metBefore(known, instance.id);
    const met = this.#meet(known, instance);
    const { holder } = known;
    // also where its stream ended before this one began
    if (before !== undefined && (before === holder || before.id !== ''))
      remember(known.handedOver, placeOf(before));
    if (holder !== undefined && holder.id !== met.id) known.others.set(holder.id, holder);
    known.others.delete(met.id);
    forgetOldest(known.others);
    known.holder = met;
    return met;
  }

  #meet(known: Known, instance: Omit<AgentInstance, 'seenAt'>): Met {
    const order = metBefore(known, instance.id)?.order ?? this.#met + 1;
    this.#met = Math.max(this.#met, order);
    return { ...instance, seenAt: this.#dependencies.clock.now(), order };
  }

  async #seeRival(
    spiffeId: string,
    { id, peer, serial }: Omit<AgentInstance, 'seenAt'>,
    rival: Met,
  ): Promise<boolean> {
    return this.#see(spiffeId, 'second-connection', `${id} ${rival.id}`, {
      instance: id,
      peer,
      serial,
      otherInstance: rival.id,
      otherPeer: rival.peer,
    });
  }

  #other(known: Known, instance: Omit<AgentInstance, 'seenAt'>): void {
    const seenAt = this.#dependencies.clock.now();
    known.others.set(`${instance.id}${instance.serial}`, {
      ...instance,
      seenAt,
      order: ++this.#met,
    });
    forgetOldest(known.others);
  }

  #known(spiffeId: string): Known {
    let known = this.#agents.get(spiffeId);
    if (known === undefined) {
      known = {
        holder: undefined,
        others: new Map(),
        refused: new Set(),
        handedOver: new Set(),
        told: new Map(),
        sight: undefined,
        renewing: undefined,
      };
      this.#agents.set(spiffeId, known);
    }
    return known;
  }

  /** False: it was told already. */
  async #see(
    spiffeId: string,
    how: DoubleKind,
    key: string,
    detail: Readonly<Record<string, AuditValue>>,
  ): Promise<boolean> {
    const { audit, clock, logger, onDouble } = this.#dependencies;
    const known = this.#known(spiffeId);
    known.sight = { how, seenAt: clock.now(), times: (known.sight?.times ?? 0) + 1 };
    onDouble(how);
    const told = known.told.get(key);
    if (told !== undefined && clock.now() - told < toldAgainSeconds) return false;
    known.told.set(key, clock.now());
    if (known.told.size > 64) known.told.delete(known.told.keys().next().value as string);
    logger.warn({ spiffeId, how, ...detail }, 'two agents under one identity');
    try {
      await audit.append([
        {
          timeMs: clock.nowMs(),
          actor: 'server',
          kind: 'agent.doubled',
          subject: spiffeId,
          detail: { how, ...detail },
        },
      ]);
    } catch (thrown) {
      // what is refused stays refused; the next sight is told again
      known.told.delete(key);
      logger.error({ ...errorFields(thrown), spiffeId }, 'an alert could not be recorded');
    }
    return true;
  }
}

export const decidedAgainst = (spiffeId: string): PkiError =>
  new PkiError('AGENT_SUPERSEDED', `an operator has decided that another process is ${spiffeId}`);

const metBefore = ({ holder, others }: Known, id: string): Met | undefined =>
  holder?.id === id ? holder : others.get(id);

/** The holder, where another one that had the session before asks again: both live. */
const rivalOf = (known: Known, id: string): Met | undefined =>
  id !== '' && known.holder?.id !== id && metBefore(known, id) !== undefined
    ? known.holder
    : undefined;

const placeOf = ({ serial, peer }: AgentInstance): string => `${serial} ${peer}`;

const shown = ({ id, peer, version, serial, seenAt }: Met): AgentInstance => ({
  id,
  peer,
  version,
  serial,
  seenAt,
});

function remember(places: Set<string>, place: string): void {
  places.delete(place);
  places.add(place);
  if (places.size > remembered) places.delete(places.values().next().value as string);
}

function forgetOldest(instances: Map<string, Met>): void {
  if (instances.size > remembered) instances.delete(instances.keys().next().value as string);
}
