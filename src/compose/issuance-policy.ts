import { PkiError, unwrap } from '../common/errors/index.ts';
import { readPolicy } from '../common/policy/file.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import { PolicyInForce, TenantGate, type PolicyObserver } from '../issuance/index.ts';
import { isNotInLog, type Ledger } from '../ledger/index.ts';
import { TenantOwners } from '../services/index.ts';
import type { ServerMetrics } from '../server/index.ts';
import type { ServerContext } from './context.ts';

/** A rule whose expression fails is announced once in this time; the metric counts each. */
const announceMs = 60_000;
const maximumAnnounced = 1000;

/** What decides before anything is issued. */
export interface Deciders {
  /** The policy, and the tenants behind it. */
  readonly issuancePolicy: TenantGate;
  readonly policyInForce: PolicyInForce;
  readonly tenantOwners: TenantOwners;
}

/** `readTenants`: once the newest records of the log count. */
export async function openDeciders(
  context: ServerContext,
  store: Ledger,
): Promise<Disposable & { readonly parts: Deciders; readonly readTenants: () => Promise<void> }> {
  const { logger } = context;
  const policyInForce = await openPolicy(context, store);
  const tenantOwners = new TenantOwners({
    tenants: store.tenants,
    onRevision: (listener) => store.onRevision(listener),
    logger,
  });
  return {
    parts: {
      policyInForce,
      tenantOwners,
      issuancePolicy: new TenantGate(policyInForce, () => tenantOwners.present()),
    },
    readTenants: () => readTenants(tenantOwners, logger),
    [Symbol.dispose]: () => tenantOwners.close(),
  };
}

/** A server whose tenants were altered runs, and issues nothing that is subject to tenants. */
async function readTenants(owners: TenantOwners, logger: Logger): Promise<void> {
  try {
    await owners.refresh();
  } catch (thrown) {
    if (!isNotInLog(thrown)) throw thrown;
    logger.error(
      { ...errorFields(thrown), alert: true },
      'a tenant differs from the audit log: nothing is issued to workloads until it is restored',
    );
  }
}

/** The policy of issuance as the log has it. One that can not be read denies everything. */
async function openPolicy(
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
