import { errorFields, uuidv7 } from '../common/runtime/index.ts';
import { Pruner, recordReturn } from '../services/index.ts';
import type { AuthorityStage } from './authorities.ts';
import type { ServerContext } from './context.ts';
import type { DoorStage } from './doors.ts';
import type { ServiceStage } from './services.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

interface Below {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
  readonly authorities: AuthorityStage;
  readonly service: ServiceStage;
  readonly doors: DoorStage;
}

/** Starts the background work after the doors are open: rotation and pruning. */
export async function startBackgroundWork({
  context,
  tokens,
  records,
  authorities,
  service,
  doors,
}: Below): Promise<AsyncDisposable> {
  const { config, clock, logger } = context;
  const { store } = records;
  const { rotation, supply } = authorities;
  await using stack = new AsyncDisposableStack();
  const { certificatesDays } = config.retention;
  const pruner = new Pruner({
    store,
    keepSeconds: certificatesDays > 0 ? certificatesDays * 86_400 : undefined,
    keepOrdersSeconds: config.acme.keepOrdersSeconds,
    holder: uuidv7(clock.nowMs()),
    clockBelieved: () => rotation.guard.standing() === 'believed',
    clock,
    logger: logger.child({ part: 'retention' }),
  });
  stack.defer(() => pruner.close());
  pruner.start();
  // the newest record of a stale database does not tell when the server was last alive
  if (tokens.gate.isOpen)
    stack.defer(
      recordReturn({
        audit: store.audit,
        clock,
        lastAliveMs: records.lastAliveMs,
        clockBelieved: () => rotation.guard.standing() === 'believed',
        failed: (thrown) =>
          logger.error(
            { ...errorFields(thrown) },
            'the absence of the server could not be recorded: the grace of agents runs on',
          ),
      }),
    );
  await tokens.gate.whenOpen(() => service.services.poller.start());
  doors.showReadiness();
  stack.defer(store.onRevision(() => rotation.controller.poke()));
  if (supply !== undefined) stack.defer(rotation.controller.onState(() => void supply.supply()));
  await tokens.gate.whenOpen(() => rotation.controller.start());
  tokens.gate.onReopen(doors.showReadiness);
  return stack.move();
}
