import {
  CrlPublisher,
  ShardAllocator,
  UpstreamCrls,
  type AuthorityRegistry,
  type ClockGuard,
  type UpstreamAuthority,
} from '../issuance/index.ts';
import type { ServerContext } from './context.ts';
import { shardUrlOf } from './settings.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

export interface CrlDependencies {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
  readonly registry: AuthorityRegistry;
  readonly guard: Pick<ClockGuard, 'standing'>;
  readonly upstream: UpstreamAuthority | undefined;
}

/**
 * The CRLs of this server's authorities, and those of an upstream. Their work begins when the
 * signing gate opens for the first time. Owner: the stack.
 */
export async function openCrls(
  { context, tokens, records, registry, guard, upstream }: CrlDependencies,
  stack: AsyncDisposableStack,
): Promise<{ readonly crls: CrlPublisher; readonly shards: ShardAllocator }> {
  const { config, clock, random } = context;
  const { store } = records;
  const { gate } = tokens;
  const logger = context.logger.child({ part: 'crl' });
  const shardUrl = shardUrlOf(config);
  const shards = new ShardAllocator({
    shards: (authorityId) => store.revocations.shards(authorityId),
    url: shardUrl,
    restoredMs: () => store.objects.restores()[0]?.acceptedMs ?? 0,
    clock,
  });
  const crls = new CrlPublisher({
    shards,
    shardUrl,
    authorities: registry,
    store: store.revocations,
    onRevision: (listener) => store.onRevision(listener),
    signers: gate.signers,
    openToken: gate.openToken,
    held: () => !gate.isOpen,
    clock,
    clockBelieved: () => guard.standing() === 'believed',
    logger,
    lifeSeconds: config.issuance.crlLifeDays * 86_400,
    clockSkewSeconds: config.authorities.clockSkewSeconds,
  });
  stack.defer(() => crls.close());
  context.metrics.watchCrls(crls);
  const upstreamCrls =
    upstream === undefined
      ? undefined
      : new UpstreamCrls({
          upstream,
          publisher: crls,
          authorities: registry,
          clock,
          random,
          logger,
          refreshSeconds: config.authorities.upstream?.crlRefreshSeconds ?? 600,
        });
  stack.defer(() => upstreamCrls?.close());
  let begun = false;
  await gate.whenOpen(async () => {
    if (begun) return;
    begun = true;
    await crls.start();
    // not awaited: nothing else needs it, and the upstream may not answer
    void upstreamCrls?.fetch();
  });
  return { crls, shards };
}
