import {
  controlPlaneTypes,
  createControlPlanes,
  RepeatMemory,
  type RunningServices,
  type ServedControlPlane,
} from '../services/index.ts';
import type { TokenVerifier } from '../services/tokens/index.ts';
import type { AuthorityStage } from './authorities.ts';
import type { ServerContext } from './context.ts';
import type { IssuingStage } from './issuing.ts';
import { serviceSettings } from './settings.ts';
import type { RecordStage } from './store-and-log.ts';

interface Below {
  readonly context: ServerContext;
  readonly records: RecordStage;
  readonly authorities: AuthorityStage;
  readonly issuing: IssuingStage;
}

/**
 * The configured control planes, whose clients this server serves in their place.
 *
 * @throws PkiError CONFIG_INVALID
 */
export function openControlPlanes(
  { context, records, authorities, issuing }: Below,
  { refusals, nodeSets }: Pick<RunningServices, 'refusals' | 'nodeSets'>,
  verifier: TokenVerifier,
): readonly ServedControlPlane[] {
  const { config, clock, logger } = context;
  const { store } = records;
  return createControlPlanes(controlPlaneTypes, config.controlPlanes, {
    store,
    nodeSets,
    issuer: issuing.issuer,
    authorities: authorities.registry,
    refusals,
    verifier,
    repeats: new RepeatMemory({ issuance: store.issuance, clock }),
    clock,
    logger,
    settings: serviceSettings(config, context.uid),
  });
}
