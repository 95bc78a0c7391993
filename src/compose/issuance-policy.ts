import { PkiError, unwrap } from '../common/errors/index.ts';
import { readPolicy } from '../common/policy/file.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import { PolicyInForce, type PolicyObserver } from '../issuance/index.ts';
import type { Ledger } from '../ledger/index.ts';
import type { ServerMetrics } from '../server/index.ts';
import type { ServerContext } from './context.ts';

/** A rule whose expression fails is announced once in this time; the metric counts each. */
const announceMs = 60_000;
const maximumAnnounced = 1000;

/** The policy of issuance as the log has it. One that can not be read denies everything. */
export async function openPolicy(
  { clock, logger, metrics }: ServerContext,
  { issuancePolicies }: Pick<Ledger, 'issuancePolicies'>,
): Promise<PolicyInForce> {
  const inForce = new PolicyInForce(clock, policyObserver(metrics.policy, logger, clock));
  try {
    const stored = await issuancePolicies.present();
    if (stored === undefined) return inForce;
    inForce.put(stored.version, unwrap(readPolicy(stored.text)));
    const { version, sha256 } = stored;
    logger.info({ version, sha256 }, 'a policy of issuance is in force');
  } catch (thrown) {
    logger.error(
      { ...errorFields(thrown), alert: true },
      'the policy of issuance can not be read: nothing that is subject to one is issued until another is activated',
    );
    inForce.broken(issuancePolicies.presentVersion(), PkiError.from(thrown));
  }
  return inForce;
}

function policyObserver(
  metrics: ServerMetrics['policy'],
  logger: Logger,
  clock: Pick<Clock, 'nowMs'>,
): PolicyObserver {
  const announcedMs = new Map<string, number>();
  return {
    denied: (rule) => metrics.denied(rule),
    failed: ({ version, rule, failure }) => {
      metrics.failed(rule);
      const key = `${version} ${rule}`;
      const now = clock.nowMs();
      const last = announcedMs.get(key);
      if (last !== undefined && now >= last && now - last < announceMs) return;
      if (announcedMs.size >= maximumAnnounced) announcedMs.clear();
      announcedMs.set(key, now);
      logger.error(
        { code: 'POLICY_FAILED', version, rule, reason: failure, alert: true },
        'the expression of a rule of the policy could not be decided, and the request was denied',
      );
    },
  };
}
