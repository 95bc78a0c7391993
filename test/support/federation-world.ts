import { silentLogger, systemRandom, type Logger } from '../../src/common/runtime/index.ts';
import { NameOwners } from '../../src/domain/index.ts';
import { Access } from '../../src/services/callers/access.ts';
import { RefusalLog } from '../../src/services/callers/refusal-log.ts';
import { endpointClient } from '../../src/services/federation/endpoint-client.ts';
import { FederationService } from '../../src/services/federation/federation-service.ts';
import { ForeignBundles } from '../../src/services/federation/foreign-bundles.ts';
import { FederationPoller } from '../../src/services/federation/poller.ts';
import type { PkiError } from '../../src/common/errors/index.ts';
import type { FederationView, RelationshipDraft } from '../../src/services/services.ts';
import { relationshipMessage } from '../../src/api/messages/federation.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { explainRelationship, showRelationship } from '../../src/cli/federation-view.ts';
import type { Relationship__Output } from '../../src/common/wire/generated/meshca/admin/v1/Relationship.ts';
import { createServicesWorld, local, trustDomain, type ServicesWorld } from './services-world.ts';
import { until } from './until.ts';

export interface Alert {
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Federation over a real store and real endpoints. The clock is the test's. */
export class FederationWorld implements AsyncDisposable {
  readonly world: ServicesWorld;
  readonly foreign: ForeignBundles;
  readonly poller: FederationPoller;
  readonly service: FederationService;
  readonly alerts: Alert[] = [];
  readonly outcomes: string[] = [];

  /** Also for another server on the same database. */
  constructor(world: ServicesWorld) {
    this.world = world;
    const { store, clock } = world;
    const logger: Logger = {
      ...silentLogger,
      warn: (fields, message = '') => {
        if ('alert' in fields) this.alerts.push({ message, fields: { ...fields } });
      },
      child: () => logger,
    };
    this.foreign = new ForeignBundles({
      federation: store.federation,
      onRevision: (listener) => store.onRevision(listener),
      logger,
    });
    const shared = {
      federation: store.federation,
      foreign: this.foreign,
      authorities: { all: () => [world.issuing], rootsDer: () => [] },
      trustDomain,
      clock,
      random: { ...systemRandom, uniform: () => 1 },
    };
    this.poller = new FederationPoller({
      ...shared,
      audit: store.audit,
      fetch: endpointClient({ clock, timeoutMs: 10_000 }),
      limits: { minimumSeconds: 10, maximumSeconds: 3600 },
      held: () => false,
      logger,
      polled: (_name, outcome) => void this.outcomes.push(outcome),
    });
    this.service = new FederationService({
      ...shared,
      poller: this.poller,
      access: new Access(store.roles, trustDomain, () => NameOwners.none),
      refusals: new RefusalLog({
        audit: store.audit,
        clock,
        logger,
        rate: { perSecond: 100, burst: 100 },
      }),
    });
  }

  static async start(): Promise<FederationWorld> {
    const world = new FederationWorld(await createServicesWorld());
    await world.poller.start();
    return world;
  }

  /** On a file, so that another one can start on it later. `nowMs`: when the first one ended. */
  static async startOn(
    remains: ServicesWorld['remains'],
    nowMs?: number,
  ): Promise<FederationWorld> {
    const world = new FederationWorld(await createServicesWorld({}, remains));
    const { clock } = world.world;
    if (nowMs !== undefined && nowMs > clock.nowMs()) clock.advance(nowMs - clock.nowMs());
    await world.poller.start();
    return world;
  }

  create(draft: Partial<RelationshipDraft>): Promise<FederationView> {
    return this.service.create(local, {
      trustDomain: 'partner.test',
      endpointUrl: 'https://localhost/',
      endpointProfile: 'https_web',
      endpointSpiffeId: '',
      webRoots: [],
      bundleDocument: Buffer.alloc(0),
      ...draft,
    });
  }

  view(name = 'partner.test'): Promise<FederationView> {
    return this.service.get(local, name);
  }

  /** The code of the refusal; ok: the poll succeeded. */
  async refresh(name = 'partner.test'): Promise<string> {
    return this.service.refresh(local, name).then(
      () => 'ok',
      (thrown: unknown) => (thrown as PkiError).code,
    );
  }

  /** What `meshca federation explain` prints. */
  async explain(name = 'partner.test'): Promise<string> {
    const message = relationshipMessage(await this.view(name)) as unknown as Relationship__Output;
    return explainRelationship({ now: () => this.world.clock.now() }, message).join('\n');
  }

  /** The lines that `meshca federation show` prints. */
  async show(name = 'partner.test'): Promise<readonly string[]> {
    const message = relationshipMessage(await this.view(name)) as unknown as Relationship__Output;
    let text = '';
    const context = { now: () => this.world.clock.now(), out: (part: string) => (text += part) };
    showRelationship(context as unknown as CliContext, message);
    return text.split('\n');
  }

  /** Lets the time between two polls go by, and waits for the poll. */
  async nextPoll(): Promise<void> {
    const { length } = this.outcomes;
    const { polls } = await this.view();
    const seconds = Math.max(1, (polls?.nextAt ?? 0) - this.world.clock.now());
    this.world.clock.advance(seconds * 1000);
    await until(() => this.outcomes.length > length, 'the poll has an outcome');
  }

  async polled(times: number): Promise<void> {
    await until(() => this.outcomes.length >= times, `${times} polls`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.poller.close();
    this.foreign.close();
    await this.world[Symbol.asyncDispose]();
  }
}
