import { PkiError, unwrap } from '../common/errors/index.ts';
import { readPolicy } from '../common/policy/file.ts';
import { errorFields } from '../common/runtime/index.ts';
import { PolicyInForce } from '../issuance/index.ts';
import type { Ledger } from '../ledger/index.ts';
import type { ServerContext } from './context.ts';

/** The policy of issuance as the log has it. One that can not be read denies everything. */
export async function openPolicy(
  { clock, logger }: ServerContext,
  { issuancePolicies }: Pick<Ledger, 'issuancePolicies'>,
): Promise<PolicyInForce> {
  const inForce = new PolicyInForce(clock);
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
