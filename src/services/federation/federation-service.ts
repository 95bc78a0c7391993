import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../../common/runtime/index.ts';
import type { OperationName } from '../../common/wire/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import {
  checkRelationship,
  judgeBundle,
  parseForeignDocument,
  type FederationRelationship,
  type JudgedBundle,
} from '../../domain/index.ts';
import type { LedgerFederation, ProvenFederation } from '../../ledger/index.ts';
import type { Access } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkText } from '../requests.ts';
import type { Federation, FederationView, RelationshipDraft } from './federation.ts';
import { acceptedEvent, createdEvent, deletedEvents } from './federation-events.ts';
import type { ForeignBundles } from './foreign-bundles.ts';
import { knownKeys } from './known-keys.ts';
import type { FederationPoller, PollerDependencies } from './poller.ts';

export interface FederationDependencies {
  readonly federation: Pick<LedgerFederation, 'create' | 'delete'>;
  readonly foreign: ForeignBundles;
  readonly poller: FederationPoller;
  readonly authorities: PollerDependencies['authorities'];
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly random: Random;
}

/** Each costs an endpoint to poll, and a bundle in every agent whose entries name it. */
const maximumRelationships = 256;

/** The relationships with foreign trust domains. */
export class FederationService implements Federation {
  readonly #dependencies: FederationDependencies;

  constructor(dependencies: FederationDependencies) {
    this.#dependencies = dependencies;
  }

  create(
    caller: OperatorCaller,
    { bundleDocument, ...input }: RelationshipDraft,
    signal?: AbortSignal,
  ): Promise<FederationView> {
    return this.#refusing(caller, 'CreateRelationship', input.trustDomain, async () => {
      const { access, clock, federation, foreign, trustDomain: own } = this.#dependencies;
      (await access.of(caller)).require('federation.write', access.all);
      const relationship: FederationRelationship = {
        ...checkRelationship(input, own),
        id: uuidv7(clock.nowMs()),
        createdAt: clock.now(),
        createdBy: actorOf(caller),
      };
      const brought = await this.#brought(relationship, bundleDocument);
      if (brought === undefined) await this.#requireRoots(relationship);
      const act = { actor: actorOf(caller), timeMs: clock.nowMs() };
      await federation.create(relationship, brought?.bundle, {
        limit: maximumRelationships,
        event: createdEvent(relationship, act),
        accepted:
          brought === undefined
            ? createdEvent(relationship, act)
            : acceptedEvent(brought, act.actor, act.timeMs),
        signal,
      });
      await foreign.refresh();
      return this.#view(await this.#present(relationship.trustDomain));
    });
  }

  list(caller: OperatorCaller): Promise<readonly FederationView[]> {
    return this.#refusing(caller, 'ListRelationships', '', async () => {
      const { access } = this.#dependencies;
      (await access.of(caller)).require('federation.read', { kind: 'none' });
      return this.views();
    });
  }

  /** For metrics: without a caller. */
  async views(): Promise<readonly FederationView[]> {
    return (await this.#dependencies.foreign.all()).map((present) => this.#view(present));
  }

  get(caller: OperatorCaller, trustDomain: string): Promise<FederationView> {
    return this.#refusing(caller, 'GetRelationship', trustDomain, async () => {
      const { access } = this.#dependencies;
      (await access.of(caller)).require('federation.read', { kind: 'none' });
      return this.#view(await this.#present(trustDomain));
    });
  }

  refresh(caller: OperatorCaller, trustDomain: string): Promise<FederationView> {
    return this.#refusing(caller, 'RefreshRelationship', trustDomain, async () => {
      const { access, foreign, poller } = this.#dependencies;
      (await access.of(caller)).require('federation.write', { kind: 'none' });
      await foreign.reread();
      await poller.refresh(await this.#present(trustDomain));
      return this.#view(await this.#present(trustDomain));
    });
  }

  delete(caller: OperatorCaller, trustDomain: string, reason: string): Promise<void> {
    return this.#refusing(caller, 'DeleteRelationship', trustDomain, async () => {
      const { access, clock, federation, foreign } = this.#dependencies;
      const text = checkText('reason', reason, 500);
      // entries of every prefix may rest on the trust
      (await access.of(caller)).require('federation.write', access.all);
      await federation.delete(
        trustDomain,
        deletedEvents(trustDomain, text, { actor: actorOf(caller), timeMs: clock.nowMs() }),
      );
      await foreign.refresh();
    });
  }

  #refusing<T>(
    caller: OperatorCaller,
    operation: OperationName,
    subject: string,
    act: () => Promise<T>,
  ): Promise<T> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation, subject: subject.slice(0, 255) },
      act,
    );
  }

  async #brought(
    relationship: FederationRelationship,
    bytes: Buffer,
  ): Promise<JudgedBundle | undefined> {
    if (bytes.length === 0) return undefined;
    const document = parseForeignDocument(bytes);
    if (!document.ok) throw document.error;
    const judged = judgeBundle(document.value, {
      relationship,
      held: undefined,
      accepted: undefined,
      known: await knownKeys(this.#dependencies),
      now: this.#dependencies.clock.now(),
    });
    if (!judged.ok) throw judged.error;
    return judged.value;
  }

  /** Without roots of its trust domain, an endpoint that shows an SVID could never be verified. */
  async #requireRoots({
    endpointProfile,
    endpointSpiffeId,
  }: FederationRelationship): Promise<void> {
    if (endpointProfile === 'https_web') return;
    const { foreign, trustDomain } = this.#dependencies;
    const endpoint = SpiffeId.of(endpointSpiffeId).trustDomain;
    if (endpoint.equals(trustDomain)) return;
    if ((await foreign.of(endpoint.name))?.bundle !== undefined) return;
    throw new PkiError(
      'INVALID_REQUEST',
      `nothing verifies the endpoint ${endpointSpiffeId}: there is no bundle of ${endpoint.name}`,
      {
        next:
          'Give the bundle of the foreign trust domain with it (--bundle FILE), as its operators ' +
          'have handed it over.',
      },
    );
  }

  async #present(trustDomain: string): Promise<ProvenFederation> {
    const present = await this.#dependencies.foreign.of(trustDomain);
    if (present === undefined)
      throw new PkiError(
        'NOT_FOUND',
        `there is no relationship with the trust domain ${JSON.stringify(trustDomain.slice(0, 255))}`,
        { next: 'List them: "meshca federation list".' },
      );
    return present;
  }

  #view(present: ProvenFederation): FederationView {
    const { poller } = this.#dependencies;
    return {
      ...present,
      leftOut: present.accepted?.leftOut ?? 0,
      polls: poller.state(present.relationship.id),
      everySeconds: poller.everySeconds(present),
      stale: poller.stale(present),
    };
  }
}
