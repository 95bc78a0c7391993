import { OcspPublisher, type AuthorityRegistry, type ClockGuard } from '../issuance/index.ts';
import type { ServerContext } from './context.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

export interface OcspStageDependencies {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
  readonly registry: AuthorityRegistry;
  readonly guard: Pick<ClockGuard, 'standing'>;
  /** Reads the authorities again. */
  readonly changed: () => Promise<void>;
}

/**
 * The OCSP answers of this server, if certificates are to name a responder. Their work begins when
 * the signing gate opens for the first time. Owner: the stack.
 */
export async function openOcsp(
  { context, tokens, records, registry, guard, changed }: OcspStageDependencies,
  stack: AsyncDisposableStack,
): Promise<OcspPublisher | undefined> {
  const { config, trustDomain, clock, random, metrics } = context;
  const { baseUrl, answerHours, signerDays } = config.names.ocsp;
  if (baseUrl === undefined) return undefined;
  const { store, recorded, issuancePolicy } = records;
  const { gate } = tokens;
  const ocsp = new OcspPublisher({
    recorded,
    issuancePolicy,
    signers: gate.signers,
    openToken: gate.openToken,
    trustDomain,
    clock,
    random,
    clockSkewSeconds: config.authorities.clockSkewSeconds,
    signerLifeSeconds: signerDays * 86_400,
    lifeSeconds: answerHours * 3_600,
    authorities: registry,
    store,
    answers: store.ocsp,
    revocations: store.revocations,
    changed,
    onRevision: (listener) => store.onRevision(listener),
    onIssued: (listener) => store.log.onIssued(listener),
    held: () => !gate.isOpen,
    clockBelieved: () => guard.standing() === 'believed',
    logger: context.logger.child({ part: 'ocsp' }),
  });
  stack.defer(() => ocsp.close());
  metrics.ocsp.watch(ocsp);
  let begun = false;
  await gate.whenOpen(() => {
    if (begun) return;
    begun = true;
    // not awaited: there may be many answers to sign, and nothing else needs them
    void ocsp.start();
  });
  return ocsp;
}
